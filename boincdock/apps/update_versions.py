"""Publishing app versions from the tree apps/APP/VERSION/PLATFORM[__PLANCLASS] (spec 04 section 6, 05 C5).

A version is checked whole, then its files are staged, then one row makes it known: a half-registered
version cannot exist, and what was staged for a version that fails is taken back. Nothing published is ever changed
or removed.
"""
from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from boincdock.apps.repository import AppRepository
from boincdock.apps.signatures import FOLDER, stored_signature
from boincdock.apps.xadd import read_text
from boincdock.config import Project
from boincdock.crypto import (
    CryptoError,
    PrivateKey,
    PublicKey,
    md5_of_file,
    read_private,
    read_public,
    sign_md5,
    verify_md5,
)
from boincdock.db import Connection, DuplicateKeyError
from boincdock.errors import BoincdockError, InputError
from boincdock.files.hierarchy import app_file_path, app_file_url
from boincdock.files.staging import StagedFile, gzip_path, sidecar_path, stage_file
from boincdock.protocol.version_xml import (
    PublishedFile,
    VersionFile,
    VersionSpec,
    app_version_xml,
    check_physical_name,
    choose_main_program,
    find_api_version,
    parse_platform_folder,
    parse_version_number,
    parse_version_xml,
)

MAX_VERSION_XML = 262144
"""Bytes that unmodified upstream programs can hold of app_version.xml_doc."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A version folder that is not registered yet."""

    folder: Path
    app: str
    app_id: int
    version_num: int
    platform: str
    platform_id: int
    plan_class: str

    @property
    def title(self) -> str:
        """How messages call it."""
        plan = f" plan class {self.plan_class}" if self.plan_class else ""
        return f"{self.app} {self.version_num // 100}.{self.version_num % 100:02} {self.platform}{plan}"


@dataclass(frozen=True, slots=True)
class CheckedFile:
    """A file of a version with everything that can be known before it is staged."""

    file: VersionFile
    path: Path
    md5: str
    nbytes: int
    executable: bool
    known_signature: str
    """From ``FILE.sig``, or brought from the signing machine; verified. Empty: it has to be made."""


@dataclass(frozen=True, slots=True)
class CheckedVersion:
    """A version folder whose contents passed every check."""

    candidate: Candidate
    spec: VersionSpec
    files: tuple[CheckedFile, ...]

    @property
    def unsigned(self) -> list[str]:
        """Names of the files that nobody has signed yet."""
        return [f.file.physical_name for f in self.files if not f.known_signature]

    def summary(self) -> str:
        """What will be published, for the operator's eyes."""
        lines = [f"{self.candidate.title}  (api {self.spec.api_version or 'none'})"]
        for f in self.files:
            marks = [m for m, on in (("main program", f.file.main_program), ("executable", f.executable),
                                     ("signed", bool(f.known_signature)),
                                     (f"opened as {f.file.logical_name}", bool(f.file.logical_name))) if on]
            lines.append(f"    {f.file.physical_name}  {f.nbytes} bytes  {', '.join(marks)}".rstrip())
        return "\n".join(lines)


@dataclass(slots=True)
class Outcome:
    """What a run of update_versions did: (id, title) of new versions, problems, versions left out by choice,
    warnings about registered versions whose folders were changed since; and ``unsigned``: (path below apps/,
    file) of what has to be signed elsewhere before a version can be published."""

    added: list[tuple[int, str]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    declined: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    unsigned: list[tuple[str, Path]] = field(default_factory=list)
    known: int = 0


class Publisher:
    """One run of update_versions.

    ``confirm(question)`` decides about each version and, once, about signing on this machine; ``report``
    gets progress lines. ``sign_key``: the code-signing private key file, default key_dir/code_sign_private.
    ``signed``: folder of signatures brought from elsewhere, default key_dir/signed. ``dry_run``: only check.
    """

    def __init__(self, db: Connection, project: Project, confirm: Callable[[str], bool],
                 report: Callable[[str], None], sign_key: Path | None = None, *, signed: Path | None = None,
                 dry_run: bool = False) -> None:
        self._db = db
        self._project = project
        self._repository = AppRepository(db)
        self._confirm = confirm
        self._report = report
        self._sign_key = sign_key or project.key_dir / "code_sign_private"
        self._signed = signed or project.key_dir / FOLDER
        self._dry_run = dry_run
        self._public: PublicKey = read_public(project.key_dir / "code_sign_public")
        self._private: PrivateKey | None = None
        self._may_sign: bool | None = None
        self._taken = {p.name.lower(): p.name for p in project.download_dir.glob("*") if p.is_file()}

    def run(self) -> Outcome:
        """Publish every folder that is not registered yet; problems of one version do not stop the others."""
        outcome = Outcome()
        with _one_publisher(self._project.download_dir):
            for candidate in self._candidates(outcome):
                try:
                    self._one(candidate, outcome)
                except BoincdockError as error:
                    hint = f" ({error.hint})" if error.hint else ""
                    outcome.problems.append(f"{candidate.title}: {error.message}{hint}")
        if outcome.added and not self._dry_run:
            self._project.trigger("reread_db").touch()
        return outcome

    def _one(self, candidate: Candidate, outcome: Outcome) -> None:
        checked = self._check(candidate)
        if checked.unsigned and not self._sign_key.exists():
            parts = candidate.folder.relative_to(self._project.apps_dir)
            outcome.unsigned += [((parts / name).as_posix(), candidate.folder / name) for name in checked.unsigned]
        if self._dry_run:
            if checked.unsigned:
                self._key()
            self._report(f"would add {checked.summary()}")
            outcome.added.append((0, candidate.title))
            return
        if not self._confirm(f"{checked.summary()}\nadd this version?"):
            outcome.declined.append(candidate.title)
            return
        version_id = self._publish(checked)
        outcome.added.append((version_id, candidate.title))
        self._report(f"added {candidate.title}: app version {version_id}")

    def _candidates(self, outcome: Outcome) -> Iterator[Candidate]:
        apps, platforms = self._repository.apps(), self._repository.platforms()
        for app_dir in _folders(self._project.apps_dir):
            if app_dir.name not in apps:
                outcome.problems.append(f"apps/{app_dir.name}: there is no app of this name (list it in project.xml and"
                                        " run xadd)")
                continue
            app_id = apps[app_dir.name]["id"]
            known = self._repository.known_versions(app_id)
            for version_dir in _folders(app_dir):
                number = _number_of(version_dir, self._report, outcome)
                for folder in _folders(version_dir) if number is not None else []:
                    assert number is not None
                    where = f"apps/{app_dir.name}/{version_dir.name}/{folder.name}"
                    try:
                        platform, plan_class = parse_platform_folder(folder.name)
                    except InputError as error:
                        outcome.problems.append(f"{where}: {error.message}")
                        continue
                    if platform not in platforms:
                        outcome.problems.append(f"{where}: there is no platform {platform} (list it in project.xml and"
                                                " run xadd)")
                    elif (platforms[platform]["id"], number, plan_class) in known:
                        outcome.known += 1
                        outcome.warnings += [f"{where}/{name} is not what was published: clients keep the published"
                                             " one; put the new one into a version folder with a higher number and"
                                             " give it a new name" for name in self._changed(folder)]
                    else:
                        yield Candidate(folder, app_dir.name, app_id, number, platform, platforms[platform]["id"],
                                        plan_class)

    def _changed(self, folder: Path) -> list[str]:
        """Names of files of a registered version's folder that differ from the published ones."""
        names = [p.name for p in sorted(folder.iterdir()) if _is_version_file(p)]
        staged = [(name, app_file_path(self._project, name)) for name in names]
        return [name for name, path in staged if path.is_file() and md5_of_file(path) != md5_of_file(folder / name)]

    def _check(self, candidate: Candidate) -> CheckedVersion:
        """Read and check everything; all problems of the folder in one error."""
        version_xml = candidate.folder / "version.xml"
        where = (Path("apps") / candidate.folder.relative_to(self._project.apps_dir) / "version.xml").as_posix()
        spec = parse_version_xml(read_text(version_xml), where) if version_xml.exists() else VersionSpec()
        listed = list(spec.files)
        names = {f.physical_name for f in listed}
        for path in sorted(candidate.folder.iterdir()):
            if _is_version_file(path) and path.name not in names:
                listed.append(VersionFile(path.name))
        if not listed:
            raise InputError("the folder holds no files")
        problems: list[str] = []
        files: list[CheckedFile] = []
        for file in choose_main_program(listed, where):
            try:
                files.append(self._check_file(candidate, file))
            except BoincdockError as error:
                problems.append(error.message)
        if problems:
            raise InputError("; ".join(problems))
        if not spec.api_version:
            main = next(f for f in files if f.file.main_program)
            spec = replace(spec, api_version=find_api_version(main.path.read_bytes()) or "")
        return CheckedVersion(candidate, spec, tuple(files))

    def _check_file(self, candidate: Candidate, file: VersionFile) -> CheckedFile:
        name = file.physical_name
        check_physical_name(name)
        path = candidate.folder / name
        if not path.is_file() or not path.resolve().is_relative_to(candidate.folder.resolve()):
            raise InputError(f"version.xml, line {file.line}: {name} is listed but not in the folder")
        md5, nbytes = md5_of_file(path)
        signature = ""
        signature_file = path.with_name(path.name + ".sig")
        if signature_file.exists():
            signature = read_text(signature_file)
            if len(signature) >= 4096 or not verify_md5(md5, signature, self._public):
                raise InputError(f"{signature_file.name} is no signature of {name} by the project's code_sign_public:"
                                 " the file was changed after signing, or another key signed it")
        elif (brought := stored_signature(self._signed, md5)) and verify_md5(md5, brought, self._public):
            signature = brought
        spelt = self._taken.get(name.lower(), name)
        if spelt != name:
            raise InputError(f"{name} differs only in upper and lower case from {spelt}, which is published already")
        staged = app_file_path(self._project, name)
        if staged.exists() and (staged.stat().st_size != nbytes or md5_of_file(staged)[0] != md5):
            raise InputError(f"a different file named {name} is published already: give the changed file a new name")
        executable = file.main_program or bool(path.stat().st_mode & 0o100)
        return CheckedFile(file, path, md5, nbytes, executable, signature)

    def _key(self) -> PrivateKey:
        if self._private is None:
            if not self._sign_key.exists():
                raise CryptoError(f"the code-signing key {self._sign_key} is not on this machine",
                                  "sign elsewhere: ./manage.py keys sign --export LIST; or put FILE.sig beside each"
                                  " file; or run update_versions where the key is")
            key = read_private(self._sign_key)
            if key.public != self._public:
                raise CryptoError(f"{self._sign_key} does not belong to the project's code_sign_public")
            self._private = key
        return self._private

    def _publish(self, checked: CheckedVersion) -> int:
        if checked.unsigned:
            self._key()
            if self._may_sign is None:
                self._may_sign = self._confirm(f"sign files with {self._sign_key}?")
            if not self._may_sign:
                raise InputError(f"no signature for {', '.join(checked.unsigned)}")
        staged: list[StagedFile] = []
        try:
            published = [self._stage(f, staged) for f in checked.files]
            version_id = self._register(checked, published)
        except BaseException:
            _take_back(staged)
            raise
        for each in staged:
            self._taken[each.name.lower()] = each.name
        return version_id

    def _stage(self, f: CheckedFile, done: list[StagedFile]) -> PublishedFile:
        signature = f.known_signature or sign_md5(f.md5, self._key())
        name = f.file.physical_name
        staged = stage_file(self._project, f.path, name, copy=True, gzip=f.file.gzip, flat=True)
        done.append(staged)
        if staged.md5 != f.md5:
            raise InputError(f"{name} changed while it was being published")
        urls = f.file.urls or (app_file_url(self._project, name),)
        return PublishedFile(f.file, urls, f.nbytes, f.md5, signature, f.executable, staged.gzipped_nbytes)

    def _register(self, checked: CheckedVersion, published: list[PublishedFile]) -> int:
        candidate = checked.candidate
        document = app_version_xml(candidate.app, candidate.version_num, checked.spec, published).encode()
        if len(document) > MAX_VERSION_XML:
            raise InputError(f"the version's XML document is larger than {MAX_VERSION_XML} bytes: too many files")
        try:
            return self._repository.insert_version(
                appid=candidate.app_id, version_num=candidate.version_num, platformid=candidate.platform_id,
                xml_doc=document, plan_class=candidate.plan_class, beta=int(checked.spec.beta))
        except DuplicateKeyError:
            raise InputError("another run of update_versions has just registered it") from None


@contextmanager
def _one_publisher(download_dir: Path) -> Iterator[None]:
    """Two runs at a time would take back one another's files; they may be in different containers."""
    download_dir.mkdir(parents=True, exist_ok=True)
    fd = os.open(download_dir, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def _take_back(staged: list[StagedFile]) -> None:
    """Remove what was staged for a version that could not be registered; its name is free again."""
    for each in staged:
        if each.is_new:
            for path in (sidecar_path(each.path), gzip_path(each.path), each.path):
                path.unlink(missing_ok=True)


def _is_version_file(path: Path) -> bool:
    return path.is_file() and not path.name.startswith(".") and path.name != "version.xml" and path.suffix != ".sig"


def _folders(parent: Path) -> list[Path]:
    if not parent.is_dir():
        return []
    return sorted(p for p in parent.iterdir() if p.is_dir() and not p.name.startswith("."))


def _number_of(version_dir: Path, report: Callable[[str], None], outcome: Outcome) -> int | None:
    where = f"apps/{version_dir.parent.name}/{version_dir.name}"
    try:
        number = parse_version_number(version_dir.name)
    except InputError as error:
        outcome.problems.append(f"{where}: {error.message}")
        return None
    if number is None:
        report(f"{where} is no version number (N or N.M): skipped")
    return number


def update_versions(db: Connection, project: Project, confirm: Callable[[str], bool],
                    report: Callable[[str], None], sign_key: Path | None = None, *, signed: Path | None = None,
                    dry_run: bool = False) -> Outcome:
    """Publish all new app versions of the project; see ``Publisher``. Problems are in the outcome.

    CryptoError: code_sign_public cannot be read.
    """
    return Publisher(db, project, confirm, report, sign_key, signed=signed, dry_run=dry_run).run()
