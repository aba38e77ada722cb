"""Load with faults: ``python3 -m tests.stress concurrency|crash`` (issue 4, "Done when" 3 and 4; README.md here).

Simulated hosts talk to real scheduler and upload handler over HTTP while real daemons work and, in the crash run, while
processes are killed. At the end everything that happened on the clients' side is compared with the database and the
files, and ``bin/check`` must find nothing.
"""
