"""What the secrets volume holds, and how its first content is made (issue 3, spec 05 D3, 04 section 1.1).

``secrets.env`` (KEY=VALUE), ``keys/{code_sign,upload}_{private,public}`` and ``html/ops/.htpasswd``. What is
missing is made, random; what is there is never changed. Each file appears all at once, so an interrupted run
is simply repeated. Only the database password leaves the volume: a copy for the database's container.
"""
from __future__ import annotations

import os
import re
import secrets
import string
from collections.abc import Mapping
from pathlib import Path

from boincdock import crypto
from boincdock.errors import ConfigError
from boincdock.project.keyring import finish_change
from boincdock.project.tree import Tree

SECRETS_DIR = Path("/run/secrets")
DBSECRET_DIR = Path("/run/dbsecret")
TEMPLATE_DIR = Path("/usr/local/share/boincdock/secrets")
DBSECRET_GID = 990
"""Group that may read the copy of the database password (images/common/boincdock-user)."""

KEYS = ("DB_PASSWD", "MAILPASS", "RECAPTCHA_PUBLIC_KEY", "RECAPTCHA_PRIVATE_KEY", "OPS_PASSWD")
RANDOM_KEYS = ("DB_PASSWD", "OPS_PASSWD")
OPS_USER = "admin"
NEXT_DB_PASSWD = "DB_PASSWD_NEXT"
"""A new database password that the database is about to accept beside the present one (decision 0111)."""
OLD_DB_PASSWD = "DB_PASSWD_OLD"
"""The former database password, which the database still accepts."""
_LINE = re.compile(r"\s*(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)\s*=(.*)")
_ALPHABET = string.ascii_letters + string.digits
_BCRYPT_ROUNDS = 6
"""Apache checks the ops password at each request; 140 random bits need no slow hash."""


def parse_env(text: str, origin: str = "secrets.env") -> dict[str, str]:
    """KEY=VALUE lines; quotes around a value are taken off. Nothing is ever executed.

    ConfigError names the line that is something else.
    """
    found = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        match = _LINE.fullmatch(line)
        if not match:
            raise ConfigError(f"{origin}: line {number} is not KEY=VALUE")
        value = match[2].strip()
        if len(value) >= 2 and value[0] == value[-1] and value[0] in "'\"":
            value = value[1:-1]
        if not value.isprintable():
            raise ConfigError(f"{origin}: line {number}: control characters in the value of {match[1]}")
        found[match[1]] = value
    return found


def random_password(length: int = 24) -> str:
    """Letters and digits, about 6 bits each."""
    return "".join(secrets.choice(_ALPHABET) for _ in range(length))


def complete_env(text: str, new_password: Mapping[str, str] | None = None) -> str:
    """The text with every key of KEYS; passwords that are missing or empty get a random value.

    All other lines stay byte for byte; the text itself is returned if nothing is missing.
    """
    values = parse_env(text)
    lines = text.splitlines(keepends=True)
    for key in KEYS:
        wanted = random_password() if key in RANDOM_KEYS else ""
        wanted = (new_password or {}).get(key, wanted)
        if key not in values:
            if lines and not lines[-1].endswith("\n"):
                lines[-1] += "\n"
            lines.append(f"{key}={wanted}\n")
        elif key in RANDOM_KEYS and not values[key]:
            lines = [f"{key}={wanted}\n" if (m := _LINE.match(line)) and m[1] == key else line for line in lines]
    return "".join(lines)


def set_env(text: str, values: Mapping[str, str | None]) -> str:
    """The text with each key set to its value, or without the key (None); all other lines stay byte for byte."""
    lines = [line for line in text.splitlines(keepends=True)
             if not ((m := _LINE.match(line)) and m[1] in values and not line.lstrip().startswith("#"))]
    if lines and not lines[-1].endswith("\n"):
        lines[-1] += "\n"
    return "".join([*lines, *(f"{key}={value}\n" for key, value in values.items() if value is not None)])


def htpasswd_line(user: str, password: str) -> str:
    """A line of Apache's password file, bcrypt."""
    import bcrypt

    hashed = bcrypt.hashpw(password.encode(), bcrypt.gensalt(rounds=_BCRYPT_ROUNDS)).decode("ascii")
    return f"{user}:$2y${hashed.removeprefix('$2b$')}\n"


def load_env(tree: Tree) -> dict[str, str]:
    """The values of secrets.env; ConfigError if the volume was never filled."""
    data = tree.read("secrets.env")
    if data is None:
        raise ConfigError(f"{tree.root}/secrets.env is missing", "the service 'secrets' makes it; start it first")
    return parse_env(data.decode("utf-8", "replace"), f"{tree.root}/secrets.env")


def fill(secrets_dir: Path = SECRETS_DIR, template_dir: Path = TEMPLATE_DIR) -> list[str]:
    """Make what is missing in the secrets volume; the names of what was made."""
    tree = Tree(secrets_dir)
    try:
        secrets_dir.chmod(0o700)
        made = ["keys"] if finish_change(tree) else []
        made += _copy_templates(tree, template_dir)
        text = (tree.read("secrets.env") or b"").decode("utf-8")
        complete = complete_env(text)
        if complete != text or "secrets.env" in made:
            tree.write("secrets.env", complete.encode(), 0o600)
            made += ["secrets.env"] if "secrets.env" not in made else []
        for pair in ("code_sign", "upload"):
            made += _fill_pair(tree, pair)
        if _fill_htpasswd(tree, parse_env(complete)["OPS_PASSWD"]):
            made.append("html/ops/.htpasswd")
        _tighten(secrets_dir)
        return made
    finally:
        tree.close()


def _fill_htpasswd(tree: Tree, password: str) -> bool:
    """Make the operators' password file follow OPS_PASSWD; True if it was written.

    Our own line of it is known by a copy beside it; a file that the operator brought, and other users' lines, stay.
    """
    import bcrypt

    data, ours = tree.read("html/ops/.htpasswd"), (tree.read("html/ops/.htpasswd.ours") or b"").strip()
    known = ours and bcrypt.checkpw(password.encode(), ours.partition(b":")[2].replace(b"$2y$", b"$2b$", 1))
    line = ours + b"\n" if known else htpasswd_line(OPS_USER, password).encode()
    if data is None:
        tree.write("html/ops/.htpasswd", line, 0o600)
        tree.write("html/ops/.htpasswd.ours", line, 0o600)
        return True
    if known or not ours or ours not in data.split(b"\n"):
        return False
    # An interruption between the two writes leaves a password file that is not ours any more: so the copy is last.
    lines = [line.strip() if each == ours else each for each in data.split(b"\n")]
    tree.write("html/ops/.htpasswd", b"\n".join(lines), 0o600)
    tree.write("html/ops/.htpasswd.ours", line, 0o600)
    return True


def rotate_ops_password(secrets_dir: Path = SECRETS_DIR) -> None:
    """A new OPS_PASSWD, and the user ``admin`` of the password file with it; other users stay."""
    tree = Tree(secrets_dir)
    try:
        load_env(tree)
        text = (tree.read("secrets.env") or b"").decode("utf-8")
        password = random_password()
        data = (tree.read("html/ops/.htpasswd") or b"").decode("utf-8")
        line = htpasswd_line(OPS_USER, password)
        others = [each + "\n" for each in data.splitlines() if each and not each.startswith(f"{OPS_USER}:")]
        # The file first: interrupted here, the old password is still shown and the next run sets both anew.
        tree.write("html/ops/.htpasswd", "".join([line, *others]).encode(), 0o600)
        tree.write("html/ops/.htpasswd.ours", line.encode(), 0o600)
        tree.write("secrets.env", set_env(text, {"OPS_PASSWD": password}).encode(), 0o600)
    finally:
        tree.close()


DB_PHASES = ("begin", "switch", "finish")


def db_password(phase: str, secrets_dir: Path = SECRETS_DIR, dbsecret_dir: Path = DBSECRET_DIR,
                gid: int | None = DBSECRET_GID) -> str:
    """One step of a change of the database password; the state afterwards: ``next``, ``old`` or ``none``.

    ``begin`` chooses the new password (the database shall accept both), ``switch`` makes it the one in use,
    ``finish`` forgets the old one. A step that is behind us changes nothing, so each may be repeated.
    """
    tree = Tree(secrets_dir)
    try:
        values = load_env(tree)
        text = (tree.read("secrets.env") or b"").decode("utf-8")
        if phase == "begin" and not values.get(NEXT_DB_PASSWD) and not values.get(OLD_DB_PASSWD):
            text = set_env(text, {NEXT_DB_PASSWD: random_password()})
        elif phase == "switch" and values.get(NEXT_DB_PASSWD):
            text = set_env(text, {"DB_PASSWD": values[NEXT_DB_PASSWD], OLD_DB_PASSWD: values["DB_PASSWD"],
                                  NEXT_DB_PASSWD: None})
        elif phase == "finish" and not values.get(NEXT_DB_PASSWD):
            text = set_env(text, {OLD_DB_PASSWD: None})
        tree.write("secrets.env", text.encode(), 0o600)
        values = parse_env(text)
    finally:
        tree.close()
    publish_db_password(secrets_dir, dbsecret_dir, gid)
    return "next" if values.get(NEXT_DB_PASSWD) else "old" if values.get(OLD_DB_PASSWD) else "none"


def _copy_templates(tree: Tree, template_dir: Path) -> list[str]:
    """Files of the operator's secrets/ folder that the volume does not have."""
    made = []
    for path in sorted(template_dir.rglob("*")) if template_dir.is_dir() else []:
        rel = path.relative_to(template_dir).as_posix()
        if path.is_file() and path.name != "README.md" and tree.read(rel) is None:
            tree.write(rel, path.read_bytes(), 0o600)
            made.append(rel)
    return made


def _fill_pair(tree: Tree, pair: str) -> list[str]:
    """A key pair: the private key first, so that a missing public one can always be made from it."""
    private, public = f"keys/{pair}_private", f"keys/{pair}_public"
    private_text, public_text = tree.read(private), tree.read(public)
    if private_text is None and public_text is None:
        new_private, new_public = crypto.generate_keypair()
        tree.write(private, new_private.encode("ascii"), 0o600)
        tree.write(public, new_public.encode("ascii"), 0o600)
        return [private, public]
    if private_text is None:
        if pair == "code_sign":
            return []  # the operator signs on another machine
        raise ConfigError(f"{tree.root}/{public} is there, but not {private}",
                          "restore the pair from a backup; without it clients' uploads are refused")
    key = crypto.parse_private(private_text.decode("ascii", "replace"))
    if public_text is None:
        tree.write(public, key.public.file_text.encode("ascii"), 0o600)
        return [public]
    if crypto.parse_public(public_text.decode("ascii", "replace")) != key.public:
        raise ConfigError(f"{tree.root}/{private} and {public} do not belong together",
                          "restore both from the same backup")
    return []


def _tighten(secrets_dir: Path) -> None:
    """Nobody but the owner reads or enters anything here, also after a restore by hand."""
    for folder, folders, files in os.walk(secrets_dir, followlinks=False):
        for name in folders + files:
            path = Path(folder, name)
            if not path.is_symlink():
                path.chmod(0o700 if path.is_dir() else 0o600)


def publish_db_password(secrets_dir: Path = SECRETS_DIR, dbsecret_dir: Path = DBSECRET_DIR,
                        gid: int | None = DBSECRET_GID) -> bool:
    """Copy the database password, and nothing else, to where the database's container reads it; True if it
    changed. While the password is being changed, ``db_passwd_also`` holds the other one that is accepted."""
    source = Tree(secrets_dir)
    target = Tree(dbsecret_dir)
    try:
        values = load_env(source)
        password = values.get("DB_PASSWD", "")
        if not password:
            raise ConfigError(f"DB_PASSWD in {secrets_dir}/secrets.env is empty")
        also = values.get(NEXT_DB_PASSWD) or values.get(OLD_DB_PASSWD) or ""
        # The other one first: whatever the project uses at the moment is then accepted at any time.
        changed = _publish(target, dbsecret_dir, "db_passwd_also", also, gid) if also else False
        changed |= _publish(target, dbsecret_dir, "db_passwd", password, gid)
        if not also:
            changed |= target.remove("db_passwd_also")
        return changed
    finally:
        source.close()
        target.close()


def _publish(target: Tree, folder: Path, name: str, value: str, gid: int | None) -> bool:
    data = f"{value}\n".encode()
    if target.read(name) == data:
        return False
    # Written for the group in two steps: the name appears only when the group may read it.
    target.write(f".{name}", data, 0o640)
    if gid is not None:
        os.chown(folder / f".{name}", -1, gid)
    (folder / f".{name}").rename(folder / name)
    return True
