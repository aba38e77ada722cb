"""The base image: present, else pulled, else made from Debian packages under the same name (DESIGN section 2)."""
from __future__ import annotations

import os
import re
from pathlib import Path

from boincdock.errors import BoincdockError
from boincdock.manage.engine import Engine
from boincdock.manage.shell import CommandError, Runner
from boincdock.manage.ui import Step, Ui

MIRROR = "http://deb.debian.org/debian"
SECURITY = "http://deb.debian.org/debian-security"
MERGED_USR_HOOK = Path("/usr/share/mmdebstrap/hooks/merged-usr")
# Suites with a security archive of their own; testing and unstable are mended in place.
STABLE = ("bookworm", "trixie")
_DEBIAN = re.compile(r"(?:docker\.io/)?(?:library/)?debian:([a-z]+)(?:-slim)?\Z")
_EXPIRED = re.compile(r"expired|not valid (yet|anymore)|Valid-Until", re.IGNORECASE)
_MISSING_ARCHIVE = re.compile(r"does not have a Release file|404 +Not Found|Failed to fetch|Could not resolve")
_PULL_TIMEOUT = 600.0


def suite_of(name: str) -> str | None:
    """The Debian suite an image name stands for: ``debian:trixie-slim`` -> ``trixie``; None for other images."""
    match = _DEBIAN.match(name)
    return match[1] if match and match[1] not in ("latest", "stable", "testing", "unstable") else None


def ensure(runner: Runner, ui: Ui, name: str) -> str:
    """See that the engine has the image ``name``; returns ``present``, ``pulled`` or ``made``.

    Raises BoincdockError if it can be neither pulled nor made.
    """
    if Engine(runner).has_image(name):
        return "present"
    with ui.step(f"Base image {name}") as step:
        step.update("looking for it in a registry")
        pulled = runner.run(["docker", "pull", name], check=False, timeout=_PULL_TIMEOUT)
        if pulled.ok:
            step.note = "pulled"
            return "pulled"
        suite = suite_of(name)
        if suite is None:
            reason = (pulled.errors.strip().splitlines() or ["no reason given"])[-1]
            raise BoincdockError(
                f"the base image {name} is neither here nor can it be pulled: {reason}",
                "load it with `docker load`, or use BASE_IMAGE=debian:trixie-slim, which can be made from packages",
            )
        step.update("not pullable; making it from Debian packages")
        _need_mmdebstrap(runner, step)
        make(runner, step, name, suite)
        step.note = "made from Debian packages"
    return "made"


def _need_mmdebstrap(runner: Runner, step: Step) -> None:
    if runner.which("mmdebstrap"):
        return
    hint = "install it (Debian, Ubuntu: apt-get install mmdebstrap debian-archive-keyring), or load the image yourself"
    if os.geteuid() != 0 or not runner.which("apt-get"):
        raise BoincdockError("the base image must be made from Debian packages, but mmdebstrap is not installed", hint)
    step.update("installing mmdebstrap")
    noninteractive = {"DEBIAN_FRONTEND": "noninteractive"}
    runner.run(["apt-get", "update"], env=noninteractive, check=False)
    packages = ["mmdebstrap", "debian-archive-keyring"]
    runner.run(["apt-get", "install", "-y", "--no-install-recommends", *packages], env=noninteractive, hint=hint)


def make(runner: Runner, step: Step, name: str, suite: str) -> None:
    """mmdebstrap the suite into an image called ``name``.

    Tries Debian's normal way first; then without the security archive if the mirror lacks it, and without the
    check of the archive's expiry date if it has expired (a frozen mirror): each only when that is the reason.
    """
    security, expired_ok = suite in STABLE and "BOINCDOCK_DEBIAN_MIRROR" not in os.environ, False
    while True:
        try:
            _make_once(runner, name, suite, security=security, expired_ok=expired_ok)
            return
        except CommandError as error:
            if not expired_ok and _EXPIRED.search(error.output):
                expired_ok = True
                step.update("the archive's expiry date has passed; going on without it")
            elif security and _MISSING_ARCHIVE.search(error.output):
                security = False
                step.update("no security archive here; going on without it")
            else:
                raise CommandError(
                    ["mmdebstrap", suite], error.status, error.output,
                    "a Debian mirror must be reachable; BOINCDOCK_DEBIAN_MIRROR names another one",
                ) from None


def _make_once(runner: Runner, name: str, suite: str, *, security: bool, expired_ok: bool) -> None:
    fresh = f"boincdock-new-base:{suite}"
    argv = mmdebstrap_argv(suite, security=security, expired_ok=expired_ok)
    runner.pipe(argv, ["docker", "import", "--change", 'CMD ["bash"]', "-", fresh])
    runner.run(["docker", "tag", fresh, name])
    runner.run(["docker", "rmi", fresh], check=False)


def mmdebstrap_argv(suite: str, *, security: bool, expired_ok: bool) -> list[str]:
    """The command that writes the suite's smallest root file system to stdout as a tar."""
    mirror = os.environ.get("BOINCDOCK_DEBIAN_MIRROR", MIRROR)
    argv = ["mmdebstrap", "--variant=minbase", "--format=tar"]
    if suite != "bookworm" and MERGED_USR_HOOK.is_dir():
        # mmdebstrap of bookworm does not know by itself that later suites are merged-/usr only.
        argv.append(f"--hook-dir={MERGED_USR_HOOK}")
    if expired_ok:
        argv.append('--aptopt=Acquire::Check-Valid-Until "false"')
    argv += [
        "--dpkgopt=path-exclude=/usr/share/man/*", "--dpkgopt=path-exclude=/usr/share/doc/*",
        "--dpkgopt=path-include=/usr/share/doc/*/copyright", suite, "-", f"deb {mirror} {suite} main",
    ]
    if security:
        argv += [f"deb {mirror} {suite}-updates main", f"deb {SECURITY} {suite}-security main"]
    return argv
