#!/usr/bin/env python3
"""boincdock's host command: ./manage.py up, ./manage.py --help.

This file needs nothing but Python's standard library. On first use it makes a virtual environment in .venv
from requirements.txt (and adds requirements-dev.txt before `test`), then runs itself in it.
"""
from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
STATE = ROOT / ".boincdock"
RUN, DEV = "requirements.txt", "requirements-dev.txt"
NETWORK_SIGNS = (
    "connection", "resolve", "resolution", "timed out", "timeout", "ssl", "certificate", "proxy", "unreachable",
    "no matching distribution", "could not find a version",
)


class BootstrapError(Exception):
    """The environment could not be made; args are the message and a hint."""


def _stamp_of(requirements: str) -> str:
    """What identifies an environment: its place and its requirements."""
    digest = hashlib.sha256(f"{VENV}\n".encode())
    digest.update((ROOT / requirements).read_bytes())
    return digest.hexdigest()


def _stamp_matches(requirements: str) -> bool:
    try:
        (VENV / "bin" / "python").stat()
        return (VENV / f"{requirements}.stamp").read_text().strip() == _stamp_of(requirements)
    except OSError:
        return False


def _write_stamp(venv: Path, requirements: str) -> None:
    (venv / f"{requirements}.stamp").write_text(_stamp_of(requirements) + "\n")


def _say(text: str, end: str = "\n") -> None:
    sys.stderr.write(text + end)
    sys.stderr.flush()


def _run(argv: list[str], failure: str, hint: str) -> None:
    """Runs a command, showing its progress on one line; its output is shown only when it fails."""
    lines = []
    live = sys.stderr.isatty()
    pipe, merged = subprocess.PIPE, subprocess.STDOUT
    with subprocess.Popen(argv, stdout=pipe, stderr=merged, text=True, errors="replace") as process:
        for line in process.stdout or ():
            lines.append(line.rstrip())
            if live and line.startswith(("Collecting", "Installing", "Downloading")):
                _say("\r\033[K  " + line.strip()[:70], end="")
    if live:
        _say("\r\033[K", end="")
    if process.returncode == 0:
        return
    tail = [text[:200] for text in lines if text.strip()][-6:]
    if any(sign in "\n".join(tail).lower() for sign in NETWORK_SIGNS):
        hint = ("PyPI (or the index pip is set to) could not be reached: check the network; behind a proxy set "
                "HTTPS_PROXY and PIP_CERT, for a local mirror PIP_INDEX_URL, for local wheels PIP_FIND_LINKS")
    raise BootstrapError("\n  ".join([failure, *tail]), hint)


def _pip_install(venv: Path, requirements: str) -> None:
    argv = [str(venv / "bin" / "python"), "-m", "pip", "install", "--disable-pip-version-check", "--no-input",
            "-r", str(ROOT / requirements)]
    if "PIP_RETRIES" not in os.environ:
        argv += ["--retries", "2"]
    _run(argv, f"the Python packages of {requirements} could not be installed", "run it by hand: " + " ".join(argv))


def _relocate(venv_from: Path, venv_to: Path) -> None:
    """Makes the scripts of an environment built at one path name the path it is moved to."""
    for path in (venv_from / "bin").iterdir():
        if path.is_file() and not path.is_symlink():
            text = path.read_bytes()
            changed = text.replace(os.fsencode(venv_from), os.fsencode(venv_to))
            if changed != text:
                path.write_bytes(changed)


@contextlib.contextmanager
def _locked() -> Iterator[None]:
    """One process at a time makes the environment; the others wait."""
    import fcntl

    try:
        STATE.mkdir(exist_ok=True)
        lock = (STATE / "venv.lock").open("w")
    except OSError as error:
        raise BootstrapError(f"cannot write to {ROOT}: {error.strerror}", "put boincdock where you may write") from None
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _make_venv() -> None:
    """Builds the environment beside its place and moves it there when complete."""
    new, old = STATE / "venv.new", STATE / "venv.old"
    for leftover in (new, old):
        shutil.rmtree(leftover, ignore_errors=True)
    _say("Setting up boincdock's Python environment in .venv (once) ...")
    # The versioned executable, so that an upgrade of Python leaves a dangling link, not a half-working environment.
    _run([os.path.realpath(sys.executable), "-m", "venv", "--prompt", "boincdock", str(new)],
         "Python could not make a virtual environment",
         "on Debian and Ubuntu: apt-get install python3-venv")
    _pip_install(new, RUN)
    _relocate(new, VENV)
    _write_stamp(new, RUN)
    if VENV.is_symlink():
        VENV.unlink()
    elif VENV.exists():
        VENV.rename(old)
    new.rename(VENV)
    shutil.rmtree(old, ignore_errors=True)


def ensure_venv(dev: bool) -> Path:
    """Makes or completes .venv; returns its Python."""
    if not all(_stamp_matches(name) for name in ([RUN, DEV] if dev else [RUN])):
        with _locked():
            if not _stamp_matches(RUN):
                _make_venv()
            if dev and not _stamp_matches(DEV):
                _say("Adding the test tools to .venv (once) ...")
                _pip_install(VENV, DEV)
                _write_stamp(VENV, DEV)
    return VENV / "bin" / "python"


def main() -> int:
    """Runs the real command line inside .venv."""
    if sys.version_info < (3, 11):  # noqa: UP036  (this is what finds out)
        _say(f"error: boincdock needs Python 3.11 or newer; this is {sys.version.split()[0]}")
        _say("hint: install a newer python3 and run: python3.11 manage.py ...")
        return 1
    if Path(sys.prefix).resolve() == VENV.resolve() or os.environ.get("BOINCDOCK_NO_VENV"):
        from boincdock.manage.cli import main as cli_main

        return cli_main()
    words = [word for word in sys.argv[1:] if not word.startswith("-")]
    try:
        python = ensure_venv(dev=words[:1] == ["test"])
    except BootstrapError as error:
        _say(f"error: {error.args[0]}\nhint: {error.args[1]}")
        return 1
    return os.execv(python, [str(python), str(ROOT / "manage.py"), *sys.argv[1:]])


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
