"""Any executable as a validator or assimilator: the script protocols (spec 03 sections 6.9, 10.3).

A command is given as ``"name token token…"``: ``name`` is a program in the project's ``bin/``, each token
stands for one or several arguments. Programs are called with an argument list (no shell), in the project's temporary
folder, without input; what they print goes to the daemon's log. One that runs longer than ``--script_timeout`` is
killed.
"""
from __future__ import annotations

import argparse
import contextlib
import logging
import os
import shlex
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from boincdock.config import Project
from boincdock.errors import InputError
from boincdock.lifecycle.assimilator import Assimilator, Defer, Job
from boincdock.lifecycle.daemon import Daemon
from boincdock.lifecycle.model import Result
from boincdock.lifecycle.outputs import OutputFile, safe_name
from boincdock.lifecycle.validator import BadOutput, CompareError, TransientError, Validator

logger = logging.getLogger("boincdock.script")

TRY_LATER = 3
"""Exit status of an init or compare script that cannot tell now."""

ASSIMILATE_LATER = 75
"""Exit status of an assimilator script that wants to be called again after a pause."""

ASSIMILATE_DEFER = 76
"""Exit status of an assimilator script that wants to be called when all instances are over."""

DEFAULT_TIMEOUT = 3600.0
_INIT_TOKENS = {"files", "runtime", "result_id"}
_COMPARE_TOKENS = _INIT_TOKENS | {"files2", "runtime2", "result_id2"}
_ASSIMILATE_TOKENS = {"files", "files2", "wu_id", "wu_name", "result_id", "runtime", "batch_id"}


@dataclass(frozen=True, slots=True)
class Output:
    """A result with its output files, as compare scripts get it."""

    result: Result
    files: Sequence[OutputFile]


@dataclass(frozen=True, slots=True)
class Script:
    """A program of ``bin/`` and the tokens of its arguments."""

    name: str
    tokens: tuple[str, ...]

    @property
    def program(self) -> str:
        """As seen from the temporary folder."""
        return f"../bin/{self.name}"


def parse_script(text: str, option: str, known: set[str], default: tuple[str, ...], project: Project) -> Script:
    """``"name token…"``; ``InputError`` for no or a bad name, an unknown token, a program that is not there."""
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise InputError(f"{option} {text!r}: {error}") from None
    if not words:
        raise InputError(f"{option} needs the name of a program in {project.dir / 'bin'}")
    name, tokens = safe_name(words[0]), tuple(words[1:])
    unknown = [t for t in tokens if t not in known]
    if unknown:
        raise InputError(f"{option}: unknown token {unknown[0]!r}", hint="known: " + ", ".join(sorted(known)))
    path = project.dir / "bin" / name
    if not (path.is_file() and os.access(path, os.X_OK)):
        raise InputError(f"{option}: there is no executable {path}")
    return Script(name, tokens or default)


def expand(script: Script, values: dict[str, Callable[[], list[str]]]) -> list[str]:
    """The argument list, program first."""
    return [script.program, *(argument for token in script.tokens for argument in values[token]())]


def init_command(script: Script, output: Output) -> list[str]:
    """The call that checks one result."""
    return expand(script, _first(output))


def compare_command(script: Script, a: Output, b: Output) -> list[str]:
    """The call that compares two results."""
    second = {"files2": lambda: _paths(b), "runtime2": lambda: [f"{b.result.elapsed_time:.6f}"],
              "result_id2": lambda: [str(b.result.id)]}
    return expand(script, {**_first(a), **second})


def assimilate_command(script: Script, job: Job, files: Sequence[OutputFile]) -> list[str]:
    """The call that takes in a finished workunit; a failed one gets ``--error mask name id batch``."""
    wu = job.wu
    if job.canonical is None:
        return [script.program, "--error", str(wu.error_mask), wu.name, str(wu.id), str(wu.batch)]
    output = Output(job.canonical, files)
    pairs = lambda: [text for f in files for text in (str(f.path), f.logical_name)]  # noqa: E731
    return expand(script, {**_first(output), "files2": pairs, "wu_id": lambda: [str(wu.id)],
                           "wu_name": lambda: [wu.name], "batch_id": lambda: [str(wu.batch)]})


def _first(output: Output) -> dict[str, Callable[[], list[str]]]:
    return {"files": lambda: _paths(output), "runtime": lambda: [f"{output.result.elapsed_time:.6f}"],
            "result_id": lambda: [str(output.result.id)]}


def _paths(output: Output) -> list[str]:
    return [str(f.path) for f in output.files]


class ScriptError(Exception):
    """A script was killed, by a signal, its time limit or the end of the daemon."""

    def __init__(self, message: str, ending: bool = False) -> None:
        super().__init__(message)
        self.ending = ending


def call(daemon: Daemon, command: Sequence[str], timeout: float) -> int:
    """Run a script and return its exit status; ``ScriptError`` if it did not exit by itself. The daemon's
    heartbeat goes on meanwhile."""
    tmp: Path = daemon.project.tmp_dir
    tmp.mkdir(parents=True, exist_ok=True)
    logger.debug("running %s", shlex.join(command))
    environment = {**os.environ, "BOINC_PROJECT_DIR": str(daemon.project.dir)}
    process = subprocess.Popen(list(command), cwd=tmp, stdin=subprocess.DEVNULL, start_new_session=True,
                               env=environment)
    end, pause = time.monotonic() + timeout, 0.001
    try:
        while process.poll() is None:
            if daemon.stopping():
                raise ScriptError(f"{command[0]} stopped: the daemon ends", ending=True)
            if time.monotonic() > end:
                raise ScriptError(f"{command[0]} did not end in {timeout:g} s and was killed")
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(pause)
            pause = min(2 * pause, 0.5)
    finally:
        if process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    if process.returncode < 0:
        raise ScriptError(f"{command[0]} was killed by signal {-process.returncode}")
    return process.returncode


def _add_timeout(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--script_timeout", type=float, default=DEFAULT_TIMEOUT, metavar="S",
                        help=f"kill a script after S seconds (default {DEFAULT_TIMEOUT:g})")


def _check_timeout(options: argparse.Namespace) -> None:
    if not options.script_timeout > 0:
        raise InputError("--script_timeout must be above 0")


class ScriptValidator(Validator):
    """Results are checked by ``--init_script`` (0 fine, 3 cannot tell now, else bad) and compared by
    ``--compare_script`` (0 equal, 3 cannot tell now, else different); without one, all are fine or equal."""

    name = "script_validator"
    _init: Script | None = None
    _compare: Script | None = None

    @classmethod
    def add_options(cls, parser: argparse.ArgumentParser) -> None:
        """The scripts, besides the common options."""
        super().add_options(parser)
        parser.add_argument("--init_script", metavar="'NAME TOKEN…'",
                            help="tokens: files (default), runtime, result_id")
        parser.add_argument("--compare_script", metavar="'NAME TOKEN…'",
                            help="tokens: files, files2 (default both), runtime, runtime2, result_id, result_id2")
        _add_timeout(parser)

    def setup(self) -> None:
        """Find the scripts."""
        super().setup()
        _check_timeout(self.options)
        options = self.options
        if options.init_script is None and options.compare_script is None:
            raise InputError("script_validator needs --init_script or --compare_script")
        if options.init_script is not None:
            self._init = parse_script(options.init_script, "--init_script", _INIT_TOKENS, ("files",), self.project)
        if options.compare_script is not None:
            self._compare = parse_script(options.compare_script, "--compare_script", _COMPARE_TOKENS,
                                         ("files", "files2"), self.project)

    def init(self, result: Result) -> Output:
        """Call the init script."""
        output = Output(result, self.files(result))
        if self._init:
            try:
                status = call(self, init_command(self._init, output), self.options.script_timeout)
            except ScriptError as error:
                raise (TransientError if error.ending else BadOutput)(str(error)) from None
            if status == TRY_LATER:
                raise TransientError(f"{self._init.name} cannot tell now")
            if status:
                raise BadOutput(f"{self._init.name} exited with {status}")
        return output

    def compare(self, a: Output, b: Output) -> bool:
        """Call the compare script."""
        if not self._compare:
            return True
        try:
            status = call(self, compare_command(self._compare, a, b), self.options.script_timeout)
        except ScriptError as error:
            raise (TransientError if error.ending else CompareError)(str(error)) from None
        if status == TRY_LATER:
            raise TransientError(f"{self._compare.name} cannot tell now")
        return status == 0


class ScriptAssimilator(Assimilator):
    """Finished workunits are handed to ``--script``: exit status 0 = done, 75 = call again later, 76 = call
    again when all instances are over, anything else = failed, call again after a growing pause."""

    name = "script_assimilator"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._script = Script("", ())

    @classmethod
    def add_options(cls, parser: argparse.ArgumentParser) -> None:
        """The script, besides the common options."""
        super().add_options(parser)
        parser.add_argument("--script", required=True, metavar="'NAME TOKEN…'",
                            help="tokens: files, files2, wu_id, wu_name, result_id, runtime, batch_id"
                                 " (default: wu_id files)")
        _add_timeout(parser)

    def setup(self) -> None:
        """Find the script."""
        super().setup()
        _check_timeout(self.options)
        self._script = parse_script(self.options.script, "--script", _ASSIMILATE_TOKENS, ("wu_id", "files"),
                                    self.project)

    def handle(self, job: Job) -> None:
        """Call the script."""
        files = self.files(job.canonical) if job.canonical else []
        try:
            status = call(self, assimilate_command(self._script, job, files), self.options.script_timeout)
        except ScriptError as error:
            raise InputError(str(error)) from None
        if status == ASSIMILATE_DEFER:
            raise Defer
        if status == ASSIMILATE_LATER:
            raise InputError(f"{self._script.name} asks to be called later")
        if status:
            raise InputError(f"{self._script.name} exited with {status}")
