"""db_dump [--dump_spec FILE] [--db_host HOST] [--retry_period S] [-d level]

Exports statistics (users, teams, hosts) as XML files for third-party sites, as FILE says (default: db_dump_spec.xml of
the project folder, or the usual files in html/stats). Meant as a daily task.
"""
from __future__ import annotations

import logging
import os
import time
from pathlib import Path
from types import SimpleNamespace

from boincdock import log
from boincdock.bin._run import OptionParser, entry
from boincdock.config import Project, load_project
from boincdock.db import Connection, connect
from boincdock.errors import DatabaseError, InputError
from boincdock.lifecycle import dump
from boincdock.lifecycle.runstate import try_lock

logger = logging.getLogger("boincdock.db_dump")


def main(argv: list[str]) -> int:
    """Entry point; see the module's text."""
    parser = OptionParser("db_dump", __doc__)
    parser.add_argument("-d", "--debug_level", type=int, default=3)
    parser.add_argument("--dump_spec", type=Path, metavar="FILE")
    parser.add_argument("--db_host", metavar="HOST", help="database server to read from (default: the replica, if any)")
    parser.add_argument("--retry_period", type=float, default=0, metavar="S",
                        help="try again after S seconds as long as the database is not there")
    options = parser.parse_args(argv)
    log.setup(options.debug_level)
    project = load_project()
    text, spec = read_spec(project, options.dump_spec)
    project.pid_dir.mkdir(parents=True, exist_ok=True)
    lock = try_lock(project.pid_dir / "db_dump.out.lock")
    if lock is None:
        raise InputError("db_dump runs already")
    try:
        db = open_database(project, options.db_host, options.retry_period)
        names = dump.Dumper(db, project, spec, int(time.time())).run(text)
        logger.info("published %s in %s", ", ".join(names), spec.final_output_dir)
        db.close()
    finally:
        os.close(lock)
    return 0


def read_spec(project: Project, path: Path | None) -> tuple[bytes | None, dump.DumpSpec]:
    """The specification's text and meaning."""
    chosen = path or project.dir / "db_dump_spec.xml"
    try:
        text = chosen.read_bytes()
    except FileNotFoundError:
        if path is None:
            return None, dump.default_spec(project)
        raise InputError(f"there is no file {path}") from None
    except OSError as error:
        raise InputError(f"cannot read {chosen}: {error.strerror}") from None
    return text, dump.parse_spec(project, text, chosen.name)


def open_database(project: Project, host: str | None, retry_period: float) -> Connection:
    """A connection to the named server, else the replica, else the main one."""
    config = project.config
    replica = bool(config.replica_db_host)
    settings = SimpleNamespace(
        db_host=host or config.replica_db_host or config.db_host,
        db_name=(replica and config.replica_db_name) or config.db_name,
        db_user=(replica and config.replica_db_user) or config.db_user,
        db_passwd=(replica and config.replica_db_passwd) or config.db_passwd)
    while True:
        db = connect(settings)
        try:
            db.raw()
            return db
        except DatabaseError as error:
            if retry_period <= 0:
                raise
            logger.warning("%s; trying again in %g s", error.message, retry_period)
            time.sleep(retry_period)


if __name__ == "__main__":
    entry(main)
