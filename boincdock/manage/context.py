"""What every verb needs: the checkout, the runner, the terminal, the settings. Made lazily, once."""
from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from boincdock.manage.compose import Compose
from boincdock.manage.settings import Settings, load_settings
from boincdock.manage.shell import Runner
from boincdock.manage.stack import Stack
from boincdock.manage.ui import Ui
from boincdock.manage.volunteer import Volunteer

ROOT = Path(__file__).resolve().parents[2]


@dataclass
class App:
    """One invocation of manage.py. Tests make one with a runner of their own."""

    root: Path = ROOT
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
