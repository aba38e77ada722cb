"""The secrets volume: show what an operator needs, encrypted backup, restore.

A backup is one file: a header line, the salt and nonce, then a tar of the volume encrypted with AES-256-GCM
under a key that scrypt derives from a passphrase. The header is authenticated too.
"""
from __future__ import annotations

import hashlib
import io
import os
import tarfile
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from boincdock.errors import BoincdockError, InputError
from boincdock.manage import baseimage
from boincdock.manage.compose import Compose
from boincdock.manage.ui import Ui

MAGIC = b"boincdock secrets backup 1\n"
_SALT, _NONCE = 16, 12
_LOG2_N = 17  # 128 MiB and about half a second per guess
MIN_PASSPHRASE = 8
MAX_BACKUP = 16 * 2**20
_MOUNT = "/secrets"


def encrypt(plain: bytes, passphrase: str) -> bytes:
    """The content of a backup file."""
    salt, nonce = os.urandom(_SALT), os.urandom(_NONCE)
    head = MAGIC + bytes([_LOG2_N]) + salt + nonce
    return head + AESGCM(_key(passphrase, salt, _LOG2_N)).encrypt(nonce, plain, head)


def decrypt(blob: bytes, passphrase: str) -> bytes:
    """The tar in a backup file; InputError if it is none, is damaged, or the passphrase is wrong."""
    size = len(MAGIC) + 1 + _SALT + _NONCE
    if not blob.startswith(MAGIC) or len(blob) < size + 16:
        raise InputError("this is not a boincdock secrets backup, or it is cut off")
    head = blob[:size]
    log2_n = head[len(MAGIC)]
    if not 14 <= log2_n <= 20:
        raise InputError("this backup's header is damaged")
    salt, nonce = head[len(MAGIC) + 1 : -_NONCE], head[-_NONCE:]
    try:
        return AESGCM(_key(passphrase, salt, log2_n)).decrypt(nonce, blob[size:], head)
    except InvalidTag:
        raise InputError("wrong passphrase, or the backup is damaged") from None


def _key(passphrase: str, salt: bytes, log2_n: int) -> bytes:
    return Scrypt(salt=salt, length=32, n=2**log2_n, r=8, p=1).derive(passphrase.encode("utf-8"))


@dataclass
class SecretsVolume:
    """The volume ``<compose project>_secrets``, reached through one-shot containers of the makeproject image."""

    compose: Compose
    ui: Ui

    @property
    def volume(self) -> str:
        """The volume's name."""
        return f"{self.compose.settings.compose_name}_secrets"

    def _one_shot(self, *command: str, writable: bool = False) -> list[str]:
        mount = f"{self.volume}:{_MOUNT}" + ("" if writable else ":ro")
        return ["docker", "run", "--rm", "-i", "--network", "none", "--user", "0:0", "-v", mount,
                "--entrypoint", command[0], self._image(), *command[1:]]

    def _image(self) -> str:
        """The makeproject image; before the first build the base image does as well (only tar is needed)."""
        image = self.compose.images().get("makeproject", "")
        if image and self.compose.engine.has_image(image):
            return image
        base = self.compose.settings["BASE_IMAGE"]
        baseimage.ensure(self.compose.runner, self.ui, base)
        return base

    def _need(self) -> None:
        if not self.compose.engine.volume_exists(self.volume):
            raise BoincdockError(f"there are no secrets yet (no volume {self.volume})", "./manage.py up makes them")

    def read(self) -> bytes:
        """A tar of the volume: owners, modes and contents."""
        self._need()
        return self.compose.runner.run(self._one_shot("tar", "-C", _MOUNT, "--numeric-owner", "-cf", "-", ".")).stdout

    def files(self) -> dict[str, bytes]:
        """Contents by path."""
        return members(self.read())

    def is_empty(self) -> bool:
        """True if there is no volume or nothing in it."""
        return not self.compose.engine.volume_exists(self.volume) or not self.files()

    def backup(self, target: Path, passphrase: str) -> int:
        """Write an encrypted backup (mode 0600); returns how many files it holds.

        Raises InputError for a short passphrase or an unwritable target; an existing file is replaced only
        once the new one is complete.
        """
        if len(passphrase) < MIN_PASSPHRASE:
            raise InputError(f"the passphrase must have at least {MIN_PASSPHRASE} characters")
        tar = self.read()
        count = len(members(tar))
        if count == 0:
            raise BoincdockError("the secrets volume is empty: nothing to back up", "./manage.py up fills it")
        blob = encrypt(tar, passphrase)
        if decrypt(blob, passphrase) != tar:  # never leave a backup behind that cannot be read
            raise BoincdockError("the backup could not be read back; nothing was written")
        fresh = target.with_name(target.name + ".part")
        try:
            descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "wb") as out:
                out.write(blob)
                out.flush()
                os.fsync(out.fileno())
            fresh.replace(target)
        except OSError as error:
            raise InputError(f"cannot write {target}: {error.strerror}") from None
        return count

    def restore(self, source: Path, passphrase: str) -> int:
        """Fill the volume from a backup; returns how many files it holds. Works before the first `up`.

        Asks before it overwrites existing secrets; refuses while the project is running, because the
        running services would go on with the old ones.
        """
        tar = decrypt(_read(source), passphrase)
        count = len(members(tar))
        if count == 0:
            raise InputError(f"{source} holds no secrets")
        if any(container.running for container in self.compose.containers()):
            raise BoincdockError("the project is running", "stop it first: ./manage.py down")
        if not self.is_empty():
            self.ui.confirm("Overwrite the present secrets and signing keys? Clients know this project by them.")
        self._create_volume()
        clear = self._one_shot("find", _MOUNT, "-mindepth", "1", "-delete", writable=True)
        self.compose.runner.run(clear)
        extract = self._one_shot("tar", "-C", _MOUNT, "--numeric-owner", "-xpf", "-", writable=True)
        self.compose.runner.run(extract, stdin=tar)
        if self.files() != members(tar):
            raise BoincdockError("the volume does not hold what the backup does; restore it again")
        return count

    def _create_volume(self) -> None:
        """With the labels compose gives it, so that compose takes it for its own."""
        name = self.compose.settings.compose_name
        if not self.compose.engine.volume_exists(self.volume):
            labels = ["--label", f"com.docker.compose.project={name}", "--label", "com.docker.compose.volume=secrets"]
            self.compose.runner.run(["docker", "volume", "create", *labels, self.volume])


def members(tar: bytes) -> dict[str, bytes]:
    """The plain files of a tar, by path without the leading ``./``; InputError if one would leave the volume."""
    found = {}
    try:
        with tarfile.open(fileobj=io.BytesIO(tar)) as archive:
            for member in archive:
                if member.name.startswith("/") or ".." in member.name.split("/") or not (
                    member.isfile() or member.isdir() or member.issym()
                ):
                    raise InputError(f"the backup holds something that does not belong there: {member.name!r}")
                if member.isfile():
                    stream = archive.extractfile(member)
                    found[member.name.removeprefix("./")] = stream.read() if stream else b""
    except tarfile.TarError as error:
        raise InputError(f"the backup's content cannot be read: {error}") from None
    return found


def _read(source: Path) -> bytes:
    try:
        if source.stat().st_size > MAX_BACKUP:
            raise InputError(f"{source} is too large to be a secrets backup")
        return source.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {source}: {error.strerror}") from None


def read_passphrase(path: str) -> str:
    """The first line of a file; InputError if there is none."""
    try:
        first = Path(path).read_text(encoding="utf-8").partition("\n")[0].rstrip("\r")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read the passphrase from {path}: {error}") from None
    if not first:
        raise InputError(f"the first line of {path} is empty: no passphrase")
    return first


def summary(volume: SecretsVolume) -> dict[str, dict[str, str]]:
    """What `secrets show` shows: ``passwords`` by name, SHA-256 fingerprints of ``keys`` by file."""
    files = volume.files()
    passwords = parse_env(files.get("secrets.env", b"").decode("utf-8", "replace"))
    keys = {
        path: hashlib.sha256(content).hexdigest() for path, content in sorted(files.items()) if path.startswith("keys/")
    }
    return {"passwords": passwords, "keys": keys}


def parse_env(text: str) -> dict[str, str]:
    """KEY=VALUE lines of secrets.env."""
    pairs = (line.split("=", 1) for line in text.splitlines() if "=" in line and not line.lstrip().startswith("#"))
    return {key.strip(): value.strip().strip("'\"") for key, value in pairs}
