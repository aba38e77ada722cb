"""`secrets rotate`: new passwords in every place that holds them, without wiping anything (decision 0111).

The database's password: the database accepts old and new before anybody uses the new one, and forgets the old one
after everybody does. Each step says in the secrets volume what comes next, so that running it again goes on
from there; at every moment all services get in, also if any of them is restarted.
"""
from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from boincdock.errors import BoincdockError
from boincdock.manage import oneshot
from boincdock.manage.secrets import SecretsVolume, parse_env
from boincdock.manage.stack import Stack

ROTATABLE = ("DB_PASSWD", "OPS_PASSWD")
_SCRIPT = "/usr/local/bin/boincdock-mariadb"


@dataclass
class Rotation:
    """Password changes of one project."""

    stack: Stack

    def _secrets(self) -> dict[str, str]:
        files = SecretsVolume(self.stack.compose, self.stack.ui).files()
        return parse_env(files.get("secrets.env", b"").decode("utf-8", "replace"))

    def rotate(self, name: str) -> dict[str, Any]:
        """Change one of ROTATABLE; ``{"rotated": name, "resumed": was one under way}``."""
        return self._database() if name == "DB_PASSWD" else self._operators()

    def _operators(self) -> dict[str, Any]:
        compose, ui = self.stack.compose, self.stack.ui
        compose.container("mysql")
        ui.confirm("Change the operators' password (OPS_PASSWD)?")
        with ui.step("Changing OPS_PASSWD"):
            oneshot.call(compose, "secrets", "ops-password")
            oneshot.call(compose, "makeproject", "publish")
        return {"rotated": "OPS_PASSWD", "resumed": False}

    # ---- the database --------------------------------------------------------------------------------------------

    def _database(self) -> dict[str, Any]:
        compose, ui = self.stack.compose, self.stack.ui
        host = compose.settings.values.get("DB_HOST") or os.environ.get("DB_HOST") or "mysql"
        if host != "mysql":
            raise BoincdockError(f"the database is on {host}: its password is changed there",
                                 "give its user the new password beside the old one, set DB_PASSWD in the secrets, "
                                 "then ./manage.py up")
        mysql = compose.container("mysql").id
        probe = compose.engine.exec_argv(mysql, ["grep", "-q", "user-sql", _SCRIPT])
        if not compose.runner.run(probe, check=False).ok:
            raise BoincdockError("the running database's image is too old for this", "renew it: ./manage.py up --build")
        values = self._secrets()
        resumed = bool(values.get("DB_PASSWD_NEXT") or values.get("DB_PASSWD_OLD"))
        ui.confirm("Finish the change of the database's password that was begun?" if resumed
                   else "Change the database's password? Services that use it are restarted one after the other.")
        with ui.step("Changing DB_PASSWD") as step:
            state = oneshot.call(compose, "secrets", "db-password", "begin")["state"]
            step.update("the database accepts both passwords")
            self._sql(mysql)
            if state == "next":
                oneshot.call(compose, "secrets", "db-password", "switch")
            step.update("the project takes the new one")
            oneshot.call(compose, "makeproject", "publish")
            compose.stream(step.update, "restart", "-t", "30", "daemons", "apache")
            self.stack.wait_healthy(step)
            step.update("the database forgets the old one")
            self._sql(mysql, "--only")
            oneshot.call(compose, "secrets", "db-password", "finish")
        return {"rotated": "DB_PASSWD", "resumed": resumed}

    def _sql(self, mysql: str, *words: str) -> None:
        """The database's own script makes the SQL from its copy of the secret; no password passes through here or
        stands on a command line."""
        engine = self.stack.compose.engine
        source = engine.exec_argv(mysql, ["boincdock-mariadb", "--user-sql", *words])
        self.stack.compose.runner.pipe(source, engine.exec_argv(mysql, ["mariadb"], user="root", stdin=True))
