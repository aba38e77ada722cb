"""app VERB …: the project's apps and registered versions.

  app list [--all]                        apps; --all: deprecated ones too
  app show NAME                           one app with its versions
  app add NAME [--friendly_name T] [OPTIONS]
  app set NAME [--friendly_name T] [OPTIONS]
  app deprecate NAME [--undo]             no new jobs of this app are sent
  app versions [APP] [--all]              registered versions
  app deprecate_version ID | APP VERSION [PLATFORM[__PLANCLASS]] [--undo]

OPTIONS: --weight, --beta, --min_version, --target_nresults, --homogeneous_redundancy, --homogeneous_app_version,
--non_cpu_intensive, --fraction_done_exact, each with a number (flags: 0 or 1). --json: one JSON document.
New versions are registered by update_versions, or from the host with ./manage.py app version add DIR.
"""
from __future__ import annotations

import json
import sys
from typing import Any

from boincdock.apps.admin import OPTIONS, AppAdmin, Changed
from boincdock.bin._run import OptionParser, entry
from boincdock.config import load_project
from boincdock.db import connect
from boincdock.errors import InputError


def _print_changed(done: Changed, name: str, as_json: bool) -> None:
    if as_json:
        print(json.dumps(done.json(name)))
        return
    for warning in done.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    print(("changed: " if done.changed else "nothing to change: ") + ", ".join(
        str(row.get("name") or f"{row['app']} {row['version']} {row['platform']}") for row in done.rows))


def _print_rows(rows: list[dict[str, Any]], name: str, as_json: bool) -> None:
    if as_json:
        print(json.dumps({name: rows}))
        return
    for row in rows:
        print("  ".join(f"{key}={value}" for key, value in row.items()))


def main(argv: list[str]) -> int:
    """Run one verb."""
    parser = OptionParser("app", __doc__)
    parser.add_argument("verb", choices=["list", "show", "add", "set", "deprecate", "versions", "deprecate_version"])
    parser.add_argument("words", nargs="*")
    parser.add_argument("--friendly_name")
    for option in OPTIONS:
        parser.add_argument(f"--{option}", type=float)
    for flag in ("--all", "--undo", "--json"):
        parser.add_argument(flag, action="store_true")
    options = parser.parse_intermixed_args(argv)
    project = load_project()
    admin = AppAdmin(connect(project.config), project)
    return _run(admin, options)


def _one(options: Any) -> str:
    if len(options.words) != 1:
        raise InputError(f"app {options.verb}: one app name is needed", "see app --help")
    name: str = options.words[0]
    return name


def _run(admin: AppAdmin, options: Any) -> int:
    given = {name: getattr(options, name) for name in OPTIONS if getattr(options, name) is not None}
    if options.verb == "list":
        _print_rows(admin.apps(everything=options.all), "apps", options.json)
    elif options.verb == "versions":
        app = _one(options) if options.words else None
        _print_rows(admin.versions(app, everything=options.all), "versions", options.json)
    elif options.verb == "show":
        row = admin.app(_one(options))
        versions = [{**v, "files": admin.version_files(v["id"])} for v in admin.versions(row["name"], everything=True)]
        if options.json:
            print(json.dumps({"app": row, "versions": versions}))
        else:
            _print_rows([row, *versions], "", False)
    elif options.verb == "add":
        _print_changed(admin.add(_one(options), options.friendly_name, given), "apps", options.json)
    elif options.verb == "set":
        _print_changed(admin.change(_one(options), options.friendly_name, given), "apps", options.json)
    elif options.verb == "deprecate":
        _print_changed(admin.change(_one(options), None, {}, not options.undo), "apps", options.json)
    else:
        _print_changed(admin.deprecate(options.words, not options.undo), "versions", options.json)
    return 0


if __name__ == "__main__":
    entry(main)
