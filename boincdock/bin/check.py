"""check [--json] [--list] [--only RULE]... [--skip RULE]... [--all] [--grace S] [--limit N]

Looks for everything in the database and the file trees that should not be: illegal states, lost results, credit that
does not add up, missing files. Changes nothing and may run at any time. Exit status 1 if a rule is broken.
"""
from __future__ import annotations

import json

from boincdock.bin._run import OptionParser, entry
from boincdock.config import load_project
from boincdock.db import connect
from boincdock.errors import InputError
from boincdock.lifecycle import invariants


def main(argv: list[str]) -> int:
    """Entry point; see the module's text."""
    parser = OptionParser("check", __doc__)
    parser.add_argument("--json", action="store_true", help="one JSON document on standard output")
    parser.add_argument("--list", action="store_true", help="show the rules and exit")
    parser.add_argument("--only", action="append", default=[], metavar="RULE", help="check only this rule (repeatable)")
    parser.add_argument("--skip", action="append", default=[], metavar="RULE", help="leave out this rule (repeatable)")
    parser.add_argument("--all", action="store_true", help="also rules that do not hold for every project")
    parser.add_argument("--grace", type=int, default=3600, metavar="S",
                        help="seconds that work may be overdue before it counts as stuck (default 3600)")
    parser.add_argument("--limit", type=int, default=100, metavar="N", help="most cases per rule (default 100)")
    options = parser.parse_args(argv)
    if options.grace < 0 or options.limit < 1:
        raise InputError("--grace must not be negative, --limit must be at least 1")
    rules = invariants.choose(options.only, options.skip, options.all)
    if options.list:
        for rule in rules if options.only else invariants.RULES:
            print(f"{rule.name:32} {rule.text}")
        return 0
    project = load_project()
    findings = []
    for finding in invariants.check(connect(project.config), project, rules, grace=options.grace, limit=options.limit):
        findings.append(finding)
        if not options.json and finding.offences:
            _show(finding)
    broken = [f for f in findings if f.offences]
    if options.json:
        print(json.dumps(invariants.report(findings), indent=1))
    else:
        print(f"{len(findings)} rules checked, {len(broken)} broken")
    return 1 if broken else 0


def _show(finding: invariants.Finding) -> None:
    count = f"more than {len(finding.offences)}" if finding.more else str(len(finding.offences))
    print(f"BROKEN {finding.rule} ({count}): {finding.text}")
    for offence in finding.offences[:10]:
        print(f"    {offence.id}: {offence.detail}" if offence.id else f"    {offence.detail}")


if __name__ == "__main__":
    entry(main)
