"""sample_work_generator [--app NAME] [--in_template_file FILE] [--out_template_file FILE] [options]

Keeps ten small jobs of an app in stock, each with a one-line text file as input: for trying out an app.
"""
from __future__ import annotations

from boincdock.bin._run import OptionParser, entry
from boincdock.lifecycle import daemon
from boincdock.lifecycle.work_generator import SampleWorkGenerator


def main(argv: list[str]) -> int:
    """Entry point; see the module's text."""
    return daemon.main(SampleWorkGenerator, OptionParser("sample_work_generator", __doc__), argv)


if __name__ == "__main__":
    entry(main)
