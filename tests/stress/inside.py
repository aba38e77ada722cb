"""The crash run's part in a container: ``python3 -m tests.stress.inside setup JOBS USERS DELAY_BOUND``.

Adds the app ``stress``, accounts and jobs (an input file each), and lets config.xml run two of each daemon for it.
"""
from __future__ import annotations

import re
import sys
from pathlib import Path

from boincdock.config import load_project
from boincdock.db import connect
from boincdock.files.staging import stage_bytes
from tests.stress.world import APP, OUTPUT_TEMPLATE, add_app_and_users, add_jobs

INPUT_TEMPLATE = ("<input_template><file_info/><workunit><file_ref><open_name>in</open_name></file_ref></workunit>"
                  "</input_template>")
_PER_APP = ("sample_bitwise_validator", "results_assimilator")
_OPTIONS = {"min_sendwork_interval": "0", "daily_result_quota": "1000000", "one_result_per_user_per_wu": "1",
            "max_wus_to_send": "50", "uldl_dir_fanout": "1024"}


def input_name(number: int) -> str:
    """The input file of a job."""
    return f"{APP}_in_{number}"


def input_data(number: int) -> bytes:
    """What is in it."""
    return f"input of job {number}\n".encode() * (1 + number % 50)


def configure(path: Path) -> None:
    """Rewrite config.xml: two copies of each daemon for our app, no pauses between requests."""
    text = path.read_text()
    daemons = ["feeder -d 3", "file_deleter -d 3 --sleep_interval 0.5"]
    for i in (0, 1):
        share = f"--mod 2 {i} --sleep_interval 0.5 -d 3"
        daemons.append(f"transitioner {share}")
        daemons += [f"{name} --app {APP} {share}" for name in _PER_APP]
    entries = "".join(f"<daemon><cmd>{cmd}</cmd><output>{_log(cmd)}.log</output><pid_file>{_log(cmd)}.pid</pid_file>"
                      "</daemon>\n" for cmd in daemons)
    text = re.sub(r"<daemons>.*</daemons>", f"<daemons>\n{entries}</daemons>", text, flags=re.S)
    text = re.sub(r"<tasks>.*</tasks>", "<tasks></tasks>", text, flags=re.S)
    for name, value in _OPTIONS.items():
        text = re.sub(rf"\s*<{name}>.*?</{name}>", "", text)
        text = text.replace("<config>", f"<config>\n        <{name}>{value}</{name}>", 1)
    temporary = path.with_name("config.xml.new")
    temporary.write_text(text)
    temporary.chmod(path.stat().st_mode)
    temporary.replace(path)


def _log(cmd: str) -> str:
    words = cmd.split()
    return f"{words[0]}_{words[words.index('--mod') + 2]}" if "--mod" in words else words[0]


def setup(jobs: int, users: int, delay_bound: int) -> None:
    """Make everything ready; the daemons begin at once."""
    project = load_project()
    db = connect(project.config)
    (project.dir / "templates").mkdir(exist_ok=True)
    (project.dir / "templates" / "stress_out").write_text(OUTPUT_TEMPLATE)
    add_app_and_users(db, users)
    for number in range(1, jobs + 1):
        stage_bytes(project, input_data(number), input_name(number))
    configure(project.dir / "config.xml")
    add_jobs(db, project, range(1, jobs + 1), delay_bound, lambda n: (input_name(n),), INPUT_TEMPLATE)


if __name__ == "__main__":
    setup(*(int(word) for word in sys.argv[2:5]))
