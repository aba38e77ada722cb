#!/usr/bin/env python3
"""boincdock's host command: ./manage.py up, ./manage.py --help.

This file needs nothing but Python's standard library. On first use it makes a virtual environment in .venv
from requirements.txt (and adds requirements-dev.txt before `test`), then runs itself in it.
"""
import contextlib
import hashlib
import os
import shutil
import subprocess
import sys

ROOT = os.path.dirname(os.path.realpath(__file__))
VENV = os.path.join(ROOT, ".venv")
STATE = os.path.join(ROOT, ".boincdock")
NETWORK_SIGNS = (
    "connection", "resolve", "resolution", "timed out", "timeout", "ssl", "certificate", "proxy", "unreachable",
    "no matching distribution", "could not find a version",
)


class BootstrapError(Exception):
    """The environment could not be made; args are the message and a hint."""


def _stamp_of(requirements):
    """What identifies an environment: its place and its requirements."""
    digest = hashlib.sha256((VENV + "\n").encode())
    with open(os.path.join(ROOT, requirements), "rb") as f:
        digest.update(f.read())
    return digest.hexdigest()


def _stamp_matches(requirements):
    try:
        os.stat(os.path.join(VENV, "bin", "python"))
        with open(os.path.join(VENV, requirements + ".stamp")) as f:
            return f.read().strip() == _stamp_of(requirements)
    except OSError:
        return False


def _write_stamp(venv, requirements):
    with open(os.path.join(venv, requirements + ".stamp"), "w") as f:
        f.write(_stamp_of(requirements) + "\n")


def _say(text, end="\n"):
    sys.stderr.write(text + end)
    sys.stderr.flush()


def _run(argv, failure, hint):
    """Runs a command, showing its progress on one line; its output is shown only when it fails."""
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
    lines = []
    live = sys.stderr.isatty()
    for line in process.stdout:
        lines.append(line.rstrip())
        if live and line.startswith(("Collecting", "Installing", "Downloading")):
            _say("\r\033[K  " + line.strip()[:70], end="")
    if live:
        _say("\r\033[K", end="")
    if process.wait() == 0:
        return
    tail = [text for text in lines if text.strip()][-6:]
    if any(sign in "\n".join(tail).lower() for sign in NETWORK_SIGNS):
        hint = ("PyPI (or the index pip is set to) could not be reached: check the network; behind a proxy set "
                "HTTPS_PROXY and PIP_CERT, for a local mirror PIP_INDEX_URL, for local wheels PIP_FIND_LINKS")
    raise BootstrapError(failure + "\n  " + "\n  ".join(tail), hint)


def _pip_install(venv, requirements):
    python = os.path.join(venv, "bin", "python")
    argv = [python, "-m", "pip", "install", "--disable-pip-version-check", "--no-input",
            "-r", os.path.join(ROOT, requirements)]
    if "PIP_RETRIES" not in os.environ:
        argv += ["--retries", "2"]
    _run(argv, "the Python packages of %s could not be installed" % requirements, "run it again with: " + " ".join(argv))


def _relocate(venv_from, venv_to):
    """Makes the scripts of an environment built at one path name the path it is moved to."""
    scripts = os.path.join(venv_from, "bin")
    for name in os.listdir(scripts):
        path = os.path.join(scripts, name)
        if os.path.islink(path) or not os.path.isfile(path):
            continue
        with open(path, "rb") as f:
            text = f.read()
        changed = text.replace(os.fsencode(venv_from), os.fsencode(venv_to))
        if changed != text:
            with open(path, "wb") as f:
                f.write(changed)


@contextlib.contextmanager
def _locked():
    """One process at a time makes the environment; the others wait."""
    import fcntl
    try:
        os.makedirs(STATE, exist_ok=True)
        lock = open(os.path.join(STATE, "venv.lock"), "w")
    except OSError as e:
        raise BootstrapError("cannot write to %s: %s" % (ROOT, e.strerror), "check out boincdock where you may write")
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _make_venv():
    """Builds the environment beside its place and moves it there when complete."""
    new, old = os.path.join(STATE, "venv.new"), os.path.join(STATE, "venv.old")
    for leftover in (new, old):
        shutil.rmtree(leftover, ignore_errors=True)
    _say("Setting up boincdock's Python environment in .venv (once) ...")
    # The versioned executable, so that an upgrade of Python leaves a dangling link, not a half-working environment.
    _run([os.path.realpath(sys.executable), "-m", "venv", new], "Python could not make a virtual environment",
         "on Debian and Ubuntu: apt-get install python3-venv")
    _pip_install(new, "requirements.txt")
    _relocate(new, VENV)
    _write_stamp(new, "requirements.txt")
    if os.path.isdir(VENV) and not os.path.islink(VENV):
        os.rename(VENV, old)
    os.rename(new, VENV)
    shutil.rmtree(old, ignore_errors=True)


def ensure_venv(dev):
    """Makes or completes .venv; returns its Python."""
    wanted = ["requirements.txt"] + (["requirements-dev.txt"] if dev else [])
    if not all(_stamp_matches(name) for name in wanted):
        with _locked():
            if not _stamp_matches("requirements.txt"):
                _make_venv()
            if dev and not _stamp_matches("requirements-dev.txt"):
                _say("Adding the test tools to .venv (once) ...")
                _pip_install(VENV, "requirements-dev.txt")
                _write_stamp(VENV, "requirements-dev.txt")
    return os.path.join(VENV, "bin", "python")


def main():
    """Runs the real command line inside .venv."""
    if sys.version_info < (3, 11):
        _say("error: boincdock needs Python 3.11 or newer; this is %s" % sys.version.split()[0])
        _say("hint: install a newer python3 and run: python3.11 manage.py ...")
        return 1
    if os.path.realpath(sys.prefix) == os.path.realpath(VENV) or os.environ.get("BOINCDOCK_NO_VENV"):
        from boincdock.manage.cli import main as cli_main
        return cli_main()
    words = [word for word in sys.argv[1:] if not word.startswith("-")]
    try:
        python = ensure_venv(dev=words[:1] == ["test"])
    except BootstrapError as e:
        _say("error: %s\nhint: %s" % e.args)
        return 1
    os.execv(python, [python, os.path.join(ROOT, "manage.py"), *sys.argv[1:]])


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
