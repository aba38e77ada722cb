"""What every verb needs: the checkout, the runner, the terminal, the settings. Made lazily, once."""
from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from boincdock.errors import ConfigError
from boincdock.manage.compose import Compose
from boincdock.manage.settings import Settings, load_settings
from boincdock.manage.shell import Runner
from boincdock.manage.stack import Stack
from boincdock.manage.ui import Ui
from boincdock.manage.volunteer import Volunteer

ROOT = Path(__file__).resolve().parents[2]


def project_root(folder: str | Path | None = None) -> Path:
    """The folder that this is about: ``folder``, the project of one's own that BOINCDOCK_ROOT names (the manage.py that
    `init` puts there sets it), or this checkout. ConfigError if there is no project."""
    root = Path(folder or os.environ.get("BOINCDOCK_ROOT") or ROOT)
    if not (root / "docker-compose.yml").is_file():
        raise ConfigError(f"there is no project in {root}", "a project's folder has a docker-compose.yml")
    return root.resolve()


@dataclass
class App:
    """One invocation of manage.py. Tests make one with a runner of their own."""

    root: Path = field(default_factory=project_root)
    runner: Runner = field(default_factory=Runner)
    ui: Ui = field(default_factory=Ui)
    options: dict[str, str | None] = field(default_factory=dict)

    def settings(self) -> Settings:
        """The layered settings; ConfigError for a bad value."""
        return load_settings(self.root, options=self.options)

    def compose(self) -> Compose:
        """Compose with these settings, after a look at whether the engine answers at all."""
        settings = self.settings()
        compose = Compose(self.runner, settings)
        compose.engine.version()
        return compose

    def stack(self) -> Stack:
        """The project's containers."""
        return Stack(self.compose(), self.ui)

    def volunteer(self) -> Volunteer:
        """The project's own volunteer."""
        return Volunteer(self.compose(), self.ui)
