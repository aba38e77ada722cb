"""Running external commands: argument lists only, every one shown with -v, one error type when they fail."""
from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from boincdock.errors import BoincdockError

NOT_FOUND = 127
_TAIL_LINES = 12


class CommandError(BoincdockError):
    """An external command failed; carries its exit status and the end of what it printed."""

    def __init__(self, argv: Sequence[str], status: int, output: str, hint: str | None = None) -> None:
        tail = [line for line in output.splitlines() if line.strip()][-_TAIL_LINES:]
        text = f"command failed with status {status}: {shlex.join(argv)}"
        super().__init__("\n  ".join([text, *tail]), hint)
        self.status = status
        self.output = output


@dataclass(frozen=True)
class Result:
    """What a command returned: exit status (127 = no such program) and its output."""

    status: int
    stdout: bytes
    stderr: bytes

    @property
    def ok(self) -> bool:
        """Exit status 0."""
        return self.status == 0

    @property
    def text(self) -> str:
        """Standard output as text."""
        return self.stdout.decode("utf-8", "replace")

    @property
    def errors(self) -> str:
        """Standard error as text."""
        return self.stderr.decode("utf-8", "replace")


class Runner:
    """Runs commands on this machine. Tests put another class with the same methods in its place."""

    def __init__(self, *, verbose: bool = False) -> None:
        self.verbose = verbose

    def _show(self, argv: Sequence[str]) -> None:
        if self.verbose:
            print(f"$ {shlex.join(argv)}", file=sys.stderr, flush=True)

    def run(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        stdin: bytes | None = None,
        check: bool = True,
        timeout: float | None = None,
        hint: str | None = None,
    ) -> Result:
        """Run to the end and return the output; raises CommandError if ``check`` and the status is not 0.

        ``env`` is added to this process's environment. Without ``stdin`` the command reads an empty input.
        ``timeout`` is in seconds; its end counts as status 124.
        """
        self._show(argv)
        try:
            done = subprocess.run(
                list(argv), env=_environment(env), input=b"" if stdin is None else stdin, capture_output=True,
                timeout=timeout, check=False,
            )
            result = Result(done.returncode, done.stdout, done.stderr)
        except FileNotFoundError:
            result = Result(NOT_FOUND, b"", f"{argv[0]}: not found".encode())
        except PermissionError as error:
            result = Result(126, b"", f"{argv[0]}: {error.strerror}".encode())
        except subprocess.TimeoutExpired as error:
            result = Result(124, error.stdout or b"", b"timed out after %d s" % int(timeout or 0))
        if check and not result.ok:
            raise CommandError(argv, result.status, result.errors or result.text, hint)
        return result

    def save(self, argv: Sequence[str], path: Path, *, stdin: bytes | None = None) -> None:
        """Run to the end with standard output going into a file; raises CommandError if it fails."""
        self._show(argv)
        try:
            with path.open("wb") as target:
                done = subprocess.run(list(argv), input=b"" if stdin is None else stdin, stdout=target,
                                      stderr=subprocess.PIPE, check=False)
        except FileNotFoundError:
            raise CommandError(argv, NOT_FOUND, f"{argv[0]}: not found") from None
        if done.returncode:
            raise CommandError(argv, done.returncode, done.stderr.decode("utf-8", "replace"))

    def stream(
        self,
        argv: Sequence[str],
        on_line: Callable[[str], None],
        *,
        env: Mapping[str, str] | None = None,
        check: bool = True,
        hint: str | None = None,
    ) -> int:
        """Run to the end, calling ``on_line`` for every line of stdout and stderr as it comes."""
        self._show(argv)
        kept: list[str] = []
        try:
            process = subprocess.Popen(
                list(argv), env=_environment(env), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT, text=True, errors="replace",
            )
        except FileNotFoundError:
            raise CommandError(argv, NOT_FOUND, f"{argv[0]}: not found", hint) from None
        assert process.stdout is not None
        with process:
            try:
                for line in process.stdout:
                    kept.append(line.rstrip("\n"))
                    del kept[:-200]
                    on_line(kept[-1])
                status = process.wait()
            except BaseException:
                process.terminate()
                raise
        if check and status != 0:
            raise CommandError(argv, status, "\n".join(kept), hint)
        return status

    def interactive(self, argv: Sequence[str], *, env: Mapping[str, str] | None = None) -> int:
        """Run with this terminal as its input and output; returns the exit status."""
        self._show(argv)
        sys.stdout.flush()
        sys.stderr.flush()
        try:
            return subprocess.run(list(argv), env=_environment(env), check=False).returncode
        except FileNotFoundError:
            raise CommandError(argv, NOT_FOUND, f"{argv[0]}: not found") from None

    def pipe(
        self, source: Sequence[str], sink: Sequence[str], *, env: Mapping[str, str] | None = None,
        hint: str | None = None,
    ) -> None:
        """``source | sink``; raises CommandError if either fails."""
        if self.verbose:
            print(f"$ {shlex.join(source)} | {shlex.join(sink)}", file=sys.stderr, flush=True)
        environment = _environment(env)
        try:
            first = subprocess.Popen(list(source), env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        except FileNotFoundError:
            raise CommandError(source, NOT_FOUND, f"{source[0]}: not found", hint) from None
        errors: list[bytes] = []
        assert first.stderr is not None
        reader = threading.Thread(target=lambda stream=first.stderr: errors.append(stream.read()))
        reader.start()
        with first:
            second = subprocess.run(list(sink), env=environment, stdin=first.stdout, capture_output=True, check=False)
            if first.stdout:
                first.stdout.close()  # a dead sink must end the source too
            status = first.wait()
            reader.join()
        sink_died = second.returncode != 0 and status == -signal.SIGPIPE
        if status != 0 and not sink_died:
            raise CommandError(source, status, b"".join(errors).decode("utf-8", "replace"), hint)
        if second.returncode != 0:
            raise CommandError(sink, second.returncode, second.stderr.decode("utf-8", "replace"), hint)

    def which(self, program: str) -> str | None:
        """The program's path, or None."""
        for folder in os.environ.get("PATH", os.defpath).split(os.pathsep):
            candidate = Path(folder or ".") / program
            if candidate.is_file() and os.access(candidate, os.X_OK):
                return str(candidate)
        return None


def _environment(extra: Mapping[str, str] | None) -> dict[str, str]:
    return {**os.environ, **(extra or {})}
