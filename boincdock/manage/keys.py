"""The project's keys: show them, change them, and keep the private signing key off the server (spec 04 §1.7, 6.6).

What needs the secrets volume happens in one-shot containers (``oneshot``); what belongs to the signing machine
(``make_pair``, ``offline_sign``) is plain files here and needs neither Docker nor a project.
"""
from __future__ import annotations

import hashlib
import io
import re
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from boincdock import crypto
from boincdock.crypto import offline
from boincdock.crypto.bundle import KeyChange, write_change
from boincdock.crypto.rotate import RotatedKeys, plan_rotation, write_rotation
from boincdock.errors import BoincdockError, InputError
from boincdock.manage import apps, jobs, oneshot
from boincdock.manage.compose import Compose
from boincdock.manage.secrets import SecretsVolume
from boincdock.manage.ui import Ui

MAX_DOCUMENT = 64 << 20
_OFFLINE = re.compile(r"keys/(code_sign_private|code_sign_public|old_key_[0-9]+|old_key_private_[0-9]+)")


def fingerprint(key: crypto.PublicKey) -> str:
    """SHA-256 of the exact public key file, in hex."""
    return hashlib.sha256(key.file_text.encode("ascii")).hexdigest()


def read_document(path: Path) -> str:
    """A list, a signed list or a key change; InputError if it cannot be read."""
    try:
        if path.stat().st_size > MAX_DOCUMENT:
            raise InputError(f"{path} is too large")
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise InputError(f"{path} is not UTF-8 text") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from None


def write_document(path: Path, text: str) -> None:
    """Write it whole; an existing one is replaced."""
    fresh = path.with_name(path.name + ".part")
    try:
        fresh.write_text(text, encoding="utf-8", newline="\n")
        fresh.replace(path)
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror}") from None


# ---- on the server -----------------------------------------------------------------------------------------------


@dataclass
class Keys:
    """The keys of one project."""

    compose: Compose
    ui: Ui

    def shown(self) -> dict[str, Any]:
        """What the running project shows to clients: the answer of ``bin/keys``."""
        return dict(jobs.call(self.compose, "bin/keys", "--json"))

    def show(self) -> dict[str, Any]:
        """Every key of the secrets volume with its age; what of it clients see, if the project runs."""
        found: dict[str, Any] = {"keys": [], "code_sign_private_on_server": False, "project": None}
        for name, changed, content in self._volume():
            if not name.startswith("keys/") or name.startswith("keys/."):
                continue
            short = name.removeprefix("keys/")
            found["code_sign_private_on_server"] |= short == "code_sign_private"
            if short.startswith("signature_"):
                continue
            found["keys"].append({"name": short, "changed": changed, "fingerprint": _print_of(short, content)})
        if any(c.service == "apache" and c.running for c in self.compose.containers()):
            found["project"] = self.shown()
        return found

    def _volume(self) -> list[tuple[str, int, str]]:
        tar = SecretsVolume(self.compose, self.ui).read()
        with tarfile.open(fileobj=io.BytesIO(tar)) as archive:
            return sorted((m.name.removeprefix("./"), int(m.mtime), (archive.extractfile(m) or io.BytesIO()).read()
                           .decode("latin-1")) for m in archive if m.isfile())

    def rotate(self, kind: str) -> dict[str, Any]:
        """A new key pair: ``code-sign`` or ``upload``. Run again after an interruption, it completes the change."""
        shown = self.shown()["code_sign" if kind == "code-sign" else "upload"]["fingerprint"]
        self.ui.confirm(_QUESTIONS[kind])
        with self.ui.step("Making the new key"):
            made = oneshot.call(self.compose, "secrets", f"rotate-{kind}", shown)
        return self._publish(kind, shown, made["fingerprint"])

    def rotate_with(self, document: str) -> dict[str, Any]:
        """Take over a change of the code-signing key that was made on the signing machine."""
        change = KeyChange.parse(document)
        shown = self.shown()["code_sign"]["fingerprint"]
        if shown not in (fingerprint(change.key), *map(fingerprint, change.old)):
            raise InputError("this key change does not start from the project's present code-signing key")
        self.ui.confirm(_QUESTIONS["code-sign"])
        data = document.encode()
        with self.ui.step("Checking the new key and its signatures"):
            oneshot.call(self.compose, "makeproject", "check-change", stdin=data)
            made = oneshot.call(self.compose, "secrets", "install-change", stdin=data)
        return self._publish("code-sign", shown, made["fingerprint"])

    def _publish(self, kind: str, before: str, now: str) -> dict[str, Any]:
        with self.ui.step("Showing it to clients"):
            oneshot.call(self.compose, "makeproject", "publish")
        state = self.shown()
        part = state["code_sign" if kind == "code-sign" else "upload"]
        if part["fingerprint"] != now or (kind == "code-sign" and part["problems"]):
            raise BoincdockError("\n  ".join(["the new key is not in use everywhere:", *part.get("problems", [])]),
                                 "look at ./manage.py keys show")
        return {"kind": kind, "before": before, "fingerprint": now, "changed": before != now}

    # ---- the private key leaves the server -----------------------------------------------------------------------

    def take_offline(self, folder: Path) -> dict[str, Any]:
        """Save the private code-signing keys in ``folder``, and remove them from the server.

        Nothing is removed before ``folder`` holds, and was read back with, everything that the signing machine needs.
        """
        files = {name.removeprefix("keys/"): content for name, _, content in self._volume()
                 if _OFFLINE.fullmatch(name)}
        public = crypto.parse_public(files.get("code_sign_public", ""))
        if "code_sign_private" not in files:
            if _belongs(folder, public):
                return {"changed": False, "folder": str(folder), "fingerprint": fingerprint(public)}
            raise InputError("the private code-signing key is not on this server any more",
                             f"{folder} does not hold it either; it is where offline-init put it")
        if crypto.parse_private(files["code_sign_private"]).public != public:
            raise BoincdockError("code_sign_private and code_sign_public of the server do not belong together",
                                 "restore both from a backup: ./manage.py secrets restore")
        save_folder(folder, files)
        self.ui.confirm(f"{folder} holds the private signing key now. Remove it from the server?")
        removed = oneshot.call(self.compose, "secrets", "drop-private", fingerprint(public))
        left = [name for name, _, _ in self._volume() if re.fullmatch(r"keys/.*private.*", name)
                and name != "keys/upload_private"]
        if left:
            raise BoincdockError(f"still on the server: {', '.join(left)}", "run offline-init again")
        return {"changed": True, "folder": str(folder), "fingerprint": fingerprint(public), "removed": removed}

    # ---- lists to sign, and signatures that come back ------------------------------------------------------------

    def export(self, *, published: bool = False) -> str:
        """The list of files that wait for a signature, or of all that are published."""
        answer = oneshot.call(self.compose, "makeproject", "published" if published else "unsigned")
        return str(answer["list"])

    def bring_in(self, text: str) -> dict[str, Any]:
        """Verify signatures and give them to the project, which publishes what they make possible."""
        signed = offline.parse_signed(text)
        public = self.public()
        for digest, signature in signed:
            if not crypto.verify_md5(digest.md5, signature, public):
                raise InputError(f"the signature of {digest.path} was not made with the project's code-signing key",
                                 "sign with the private key that belongs to code_sign_public")
        return dict(oneshot.call(self.compose, "makeproject", "import-signatures", stdin=text.encode()))

    def public(self) -> crypto.PublicKey:
        """The code-signing key of the secrets volume."""
        for name, _, content in self._volume():
            if name == "keys/code_sign_public":
                return crypto.parse_public(content)
        raise BoincdockError("the secrets volume holds no code_sign_public", "./manage.py up makes it")


_QUESTIONS = {
    "code-sign": "Change the code-signing key? Attached clients follow, because the old key signs the new one.",
    "upload": "Change the upload key? Jobs in progress keep the old one until they are over.",
}


def _print_of(name: str, content: str) -> str:
    """Fingerprint of the public half, so that a pair shows the same one twice."""
    try:
        key = crypto.parse_private(content).public if "private" in name else crypto.parse_public(content)
    except crypto.CryptoError:
        return ""
    return fingerprint(key)


# ---- files on this machine ---------------------------------------------------------------------------------------


def _belongs(folder: Path, public: crypto.PublicKey) -> bool:
    try:
        return crypto.read_private(folder / "code_sign_private").public == public
    except crypto.CryptoError:
        return False


def save_folder(folder: Path, files: dict[str, str]) -> None:
    """Write key files into a folder (0700, files 0600) and read them back; one that is there already must have the
    same content. InputError otherwise."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.chmod(0o700)
        for name, text in files.items():
            path = folder / name
            if path.exists():
                if path.read_bytes() != text.encode("ascii"):
                    raise InputError(f"{path} exists and holds something else", "name another folder")
            else:
                crypto.write_key_file(path, text, secret=True)
        if any((folder / name).read_bytes() != text.encode("ascii") for name, text in files.items()):
            raise InputError(f"{folder} could not be read back; nothing was removed")
    except OSError as error:
        raise InputError(f"{error.filename}: {error.strerror}") from None


def make_pair(folder: Path) -> dict[str, Any]:
    """A new code-signing pair for a project to come. InputError if the folder holds one."""
    for name in ("code_sign_private", "code_sign_public"):
        if (folder / name).exists():
            raise InputError(f"{folder / name} exists already and is kept")
    private, public = crypto.generate_keypair()
    save_folder(folder, {"code_sign_private": private, "code_sign_public": public})
    return {"changed": True, "folder": str(folder), "fingerprint": fingerprint(crypto.parse_public(public))}


def version_files(folder: Path) -> list[str]:
    """Paths, relative to ``folder``, of the files of app versions in it that have to be signed."""
    found = []
    for version in apps.find_versions(folder, "x", "1", "x") if _is_version(folder) else apps.find_versions(folder):
        base = version.path.relative_to(folder.resolve())
        found += [(base / f).as_posix() for f in version.files() if f.name != "version.xml" and f.suffix != ".sig"]
    return found


def _is_version(folder: Path) -> bool:
    return folder.is_dir() and any(p.is_file() and not p.name.startswith(".") for p in folder.iterdir())


def list_of_folder(folder: Path) -> str:
    """The list to sign of the app versions in a folder of this machine."""
    return offline.make_request(folder.resolve(), version_files(folder))


def offline_sign(text: str, folder: Path, *, rotate: Path | None = None, compare: Path | None = None) -> str:
    """Sign a list with the key in ``folder``: the signed list; with ``rotate``, a key change signed by the new key.

    ``rotate`` names a folder for the new keys (made here; one that an interrupted run made is used). ``compare``: a
    folder with the files themselves, each of which must be what the list says. CryptoError or InputError otherwise.
    """
    files = offline.parse_request(text)
    for each in files if compare else []:
        assert compare is not None
        if offline.digest_file(compare, each.path) != each:
            raise InputError(f"{compare / each.path} is not the file of the list",
                             "what is on the server is not what you have here: do not sign")
    if rotate is None:
        return offline.sign_request(text, crypto.read_private(folder / "code_sign_private"))
    rotated = _rotated(folder, rotate)
    signed = offline.sign_request(text, crypto.read_private(rotate / "code_sign_private"))
    return write_change(rotated, signed)


def _rotated(folder: Path, target: Path) -> dict[str, str]:
    """The public files of ``target``, which follows ``folder``; made if it is not there."""
    if not target.exists():
        made: RotatedKeys = plan_rotation(folder)
        write_rotation(made, target)
        return dict(made.public)
    present = crypto.read_public(folder / "code_sign_public")
    state = crypto.CodeSignKeys.load(target)
    if not state.old or state.old[-1].key != present:
        raise InputError(f"{target} exists and is no change from the key in {folder}", "name another folder")
    names = ["code_sign_public", *(f"{prefix}_{n}" for n in range(len(state.old))
                                   for prefix in ("old_key", "signature", "signature_stripped"))]
    return {name: (target / name).read_text("ascii") for name in names}


def apply_to_folder(text: str, folder: Path, public: crypto.PublicKey) -> list[Path]:
    """Write FILE.sig beside every file of a signed list; all or none."""
    return offline.apply_signatures(text, folder.resolve(), public)


def paths_of(text: str) -> Sequence[str]:
    """The paths of a list to sign."""
    return [each.path for each in offline.parse_request(text)]
