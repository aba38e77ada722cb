"""makeproject's keys, app versions and signatures with a real database (spec 04 sections 1.7, 6; decision 0110)."""
from __future__ import annotations

import io
import os
import shutil
import tarfile
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from boincdock import crypto
from boincdock.apps.signatures import signed_files
from boincdock.bin import keys as keys_command
from boincdock.config import load_project
from boincdock.crypto import offline
from boincdock.crypto.bundle import write_change
from boincdock.crypto.rotate import plan_rotation
from boincdock.db import Connection
from boincdock.errors import BoincdockError, ConfigError, InputError
from boincdock.files.certificates import is_certified, make_certificate
from boincdock.project import keyring, operate, publish, secrets, steps
from boincdock.project.settings import Settings

ROOT = Path(__file__).parents[2]
LINUX = "x86_64-pc-linux-gnu"
PROJECT_XML = f"""<boinc>
  <platform><name>{LINUX}</name><user_friendly_name>Linux</user_friendly_name></platform>
  <app><name>sieve</name><user_friendly_name>Sieve</user_friendly_name></app>
</boinc>
"""


class Place:
    """A project volume, a secrets volume and an image, as makeproject's container sees them."""

    def __init__(self, folder: Path, settings: SimpleNamespace) -> None:
        self.volume, self.secrets, self.image = folder / "volume", folder / "secrets", folder / "image"
        for path in (self.volume, self.secrets):
            path.mkdir()
        shutil.copytree(ROOT / "images/makeproject/project_root", self.image)
        (self.image / "project.xml").write_text(PROJECT_XML)
        secrets.fill(self.secrets, folder / "none")
        env = self.secrets / "secrets.env"
        env.write_text(secrets.set_env(env.read_text(), {"DB_PASSWD": settings.db_passwd}))
        self.settings = Settings("http://127.0.0.1:8080", "boincserver", "boincadm", self.volume,
                                 self.volume, self.image, settings.db_host, settings.db_name, settings.db_user)
        self.said: list[str] = []

    def run(self) -> steps.Run:
        return steps.Run(self.settings, self.secrets, ROOT, ROOT / "nothing", self.said.append, grace=0.0)

    def make(self) -> steps.Run:
        run = self.run()
        steps.makeproject(run)
        return run

    def key(self, name: str = "code_sign_public") -> crypto.PublicKey:
        return crypto.read_public(self.volume / "keys" / name)

    def version(self, number: str, content: bytes = b"#!/bin/sh\n", xml: str = "", platform: str = LINUX) -> Path:
        folder = self.image / "apps" / "sieve" / number / platform
        folder.mkdir(parents=True)
        (folder / f"sieve_{number}").write_bytes(content)
        if xml:
            (folder / "version.xml").write_text(xml)
        return folder


@pytest.fixture
def place(tmp_path: Path, db: Connection, db_settings: SimpleNamespace) -> Place:
    made = Place(tmp_path, db_settings)
    made.version("1.00")
    made.make()
    return made


def documents(db: Connection) -> dict[int, str]:
    return {row["id"]: bytes(row["xml_doc"]).decode() for row in db.all("apps.version_documents")}


def all_signed_by(db: Connection, key: crypto.PublicKey) -> bool:
    files = [file for text in documents(db).values() for file in signed_files(text)]
    return bool(files) and all(crypto.verify_md5(file.md5, file.signature, key) for file in files)


def tar(files: dict[str, bytes]) -> io.BytesIO:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(content), 0o755
            archive.addfile(member, io.BytesIO(content))
    buffer.seek(0)
    return buffer


def add(place: Place, files: dict[str, bytes], **options: Any) -> dict[str, Any]:
    with operate.session(place.run()) as here:
        return operate.add_versions(here, tar(files), **options)


def answer(command: Callable[[list[str]], int], place: Place, monkeypatch: pytest.MonkeyPatch,
           capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    monkeypatch.setenv("BOINC_PROJECT_DIR", str(place.volume))
    capsys.readouterr()
    status = command(list(words))
    return status, capsys.readouterr().out


# ---- the code-signing key ----------------------------------------------------------------------------------------


def test_key_change_reaches_the_project_and_every_published_file(place: Place, db: Connection) -> None:
    old = place.key()
    assert all_signed_by(db, old)
    keyring.rotate_code_sign(place.secrets, keyring.fingerprint(old))
    before = (place.volume / "keys/code_sign_public").read_bytes()
    run = place.make()
    new = place.key()
    assert new != old and all_signed_by(db, new) and not all_signed_by(db, old)
    assert any("signed anew" in change for change in run.changes)
    offer = crypto.CodeSignKeys.load(place.volume / "keys").offer(before.decode(), 8)
    assert offer.key == new.text and offer.signature
    names = {path.name for path in (place.volume / "keys").iterdir()}
    assert not any("private" in name and name != "upload_private" for name in names), names
    assert not (place.volume / "stop_sched").exists()
    assert place.make().changes == []


@pytest.mark.parametrize("at", ["_publish_code_sign", "run", "after"])
def test_key_change_interrupted_anywhere_is_completed(place: Place, db: Connection, at: str,
                                                      monkeypatch: pytest.MonkeyPatch) -> None:
    old = place.key()
    keyring.rotate_code_sign(place.secrets, keyring.fingerprint(old))

    class Killed(BaseException):
        pass

    def killed(*_: Any, **__: Any) -> Any:
        raise Killed

    with monkeypatch.context() as patch:
        if at == "_publish_code_sign":
            patch.setattr(publish, "_publish_code_sign", killed)
        elif at == "run":
            patch.setattr("boincdock.apps.signatures.Resigner.run", killed)
        else:
            patch.setattr(publish.time, "time_ns", killed)
        with pytest.raises(Killed):
            place.make()
    assert (place.volume / "stop_sched").read_bytes() == publish.PAUSE, "no client may meet the half-changed state"
    place.make()
    assert not (place.volume / "stop_sched").exists()
    assert place.key() != old and all_signed_by(db, place.key())


def test_an_operators_own_stop_stays(place: Place, db: Connection) -> None:
    (place.volume / "stop_sched").touch()
    keyring.rotate_code_sign(place.secrets, keyring.fingerprint(place.key()))
    place.make()
    assert all_signed_by(db, place.key()) and (place.volume / "stop_sched").read_bytes() == b""


def test_what_nobody_of_us_signed_is_not_signed_anew(place: Place, db: Connection) -> None:
    """Somebody who can write to the database must not get a program signed."""
    number, text = next(iter(documents(db).items()))
    stranger = crypto.generate_private()
    evil = text.replace(signed_files(text)[0].md5, "0" * 32)
    evil = evil.replace(signed_files(text)[0].signature, crypto.sign_md5("0" * 32, stranger).strip())
    db.run("apps.set_version_document", id=number, xml_doc=evil.encode())
    old = place.key()
    keyring.rotate_code_sign(place.secrets, keyring.fingerprint(old))
    place.said.clear()
    place.make()
    assert place.key() == old, "a key under which an offered file cannot be verified is not shown"
    assert any("not signed by any of the project's keys" in line for line in place.said)
    assert documents(db)[number] == evil
    with pytest.raises(BoincdockError, match="not shown to clients yet"):
        operate.publish(place.run())


def test_keys_command_says_what_does_not_fit(place: Place, db: Connection, monkeypatch: pytest.MonkeyPatch,
                                             capsys: pytest.CaptureFixture[str]) -> None:
    status, text = answer(keys_command.main, place, monkeypatch, capsys)
    assert status == 0 and keyring.fingerprint(place.key()) in text
    number, document = next(iter(documents(db).items()))
    db.run("apps.set_version_document", id=number, xml_doc=document.replace(signed_files(document)[0].md5,
                                                                            "1" * 32).encode())
    status, text = answer(keys_command.main, place, monkeypatch, capsys)
    assert status == 1 and "sieve_1.00 has no signature by the project's present" in text


# ---- upload keys -------------------------------------------------------------------------------------------------


def test_old_upload_key_is_accepted_until_its_jobs_are_over(place: Place, db: Connection) -> None:
    private = crypto.read_private(place.volume / "keys/upload_private")
    certificate = make_certificate("job_0_r1_0", 1000, private)
    keys = place.volume / "keys"
    cursor = db.raw().cursor()
    cursor.execute("INSERT INTO result (create_time, workunitid, name, server_state) VALUES (%s, 1, 'job_0', 4)",
                   (int(time.time()) - 10,))
    keyring.rotate_upload(place.secrets, keyring.fingerprint(place.key("upload_public")))
    place.make()
    assert crypto.read_private(keys / "upload_private") != private
    assert is_certified("job_0_r1_0", 1000, certificate, keys)
    fresh = make_certificate("job_0_r1_0", 1000, crypto.read_private(keys / "upload_private"))
    assert is_certified("job_0_r1_0", 1000, fresh, keys)
    assert place.make().changes == [] and (keys / "old_upload_public_0").exists()
    cursor.execute("UPDATE result SET server_state = 5, outcome = 1")
    place.make()
    assert not (keys / "old_upload_public_0").exists()
    assert not is_certified("job_0_r1_0", 1000, certificate, keys)
    assert place.make().changes == []


# ---- versions from the operator's machine ------------------------------------------------------------------------


def test_a_version_is_added_signed_and_added_again_without_effect(place: Place, db: Connection) -> None:
    files = {f"sieve/1.01/{LINUX}/sieve_1.01": b"program"}
    done = add(place, files, dry_run=True)
    assert [each["title"] for each in done["added"]] == [f"sieve 1.01 {LINUX}"] and len(documents(db)) == 1
    done = add(place, files)
    assert done["problems"] == [] and len(done["added"]) == 1 and len(documents(db)) == 2
    assert all_signed_by(db, place.key())
    assert (place.volume / "download" / "sieve_1.01").read_bytes() == b"program"
    again = add(place, files)
    assert (again["added"], again["known"], again["problems"]) == ([], 1, [])
    changed = add(place, {f"sieve/1.01/{LINUX}/sieve_1.01": b"other"})
    assert "is not what was published" in changed["problems"][0]
    assert (place.volume / "download" / "sieve_1.01").read_bytes() == b"program"


def test_a_version_that_fails_leaves_nothing(place: Place, db: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    files = {f"sieve/1.01/{LINUX}/sieve_1.01": b"program", f"sieve/1.01/{LINUX}/data": b"x" * 1000,
             f"sieve/1.01/{LINUX}/version.xml": b"<version><file><physical_name>sieve_1.01</physical_name>"
             b"<main_program/></file><file><physical_name>data</physical_name><gzip/></file></version>"}
    before = sorted(p.name for p in (place.volume / "download").iterdir())

    def broken(*_: Any, **__: Any) -> int:
        raise InputError("the database says no")

    with monkeypatch.context() as patch:
        patch.setattr("boincdock.apps.repository.AppRepository.insert_version", broken)
        assert "the database says no" in add(place, files)["problems"][0]
    assert sorted(p.name for p in (place.volume / "download").iterdir()) == before and len(documents(db)) == 1
    assert add(place, files)["problems"] == []


@pytest.mark.parametrize(("files", "words"), [
    ({"version.xml": b"<version>\n<file>\n<physical_name>gone</physical_name><main_program/></file></version>",
      "sieve_9": b"x"}, "version.xml, line 2: gone is listed but not in the folder"),
    ({"version.xml": b"<version>\n  <file><physical_name>sieve_9</physical_name>\n  <main_programme/></file></version>",
      "sieve_9": b"x"}, f"apps/sieve/9.00/{LINUX}/version.xml, line 3: <main_programme> is unknown"),
    ({"version.xml": b"<version>\n<file>\n</version>", "sieve_9": b"x"},
     f"apps/sieve/9.00/{LINUX}/version.xml, line 3: </version> where <file> of line 2 is open"),
    ({"sieve_1.00": b"other contents"}, "a different file named sieve_1.00 is published already"),
    ({"SIEVE_1.00": b"#!/bin/sh\n"}, "differs only in upper and lower case"),
    ({"sieve_9": b"x", "sieve_9.sig": b"zz\n.\n"}, "sieve_9.sig is no signature of sieve_9"),
    ({"a": b"x", "b": b"y"}, "exactly one file must be the main program"),
    ({"version.xml": b"<version><file><physical_name>../x</physical_name></file></version>", "sieve_9": b"x"},
     f"apps/sieve/9.00/{LINUX}/version.xml, line 1: physical name '../x'"),
    ({".hidden": b"x", "version.xml": b"<version></version>"}, "the folder holds no files"),
])
def test_bad_versions_are_refused_with_the_place(place: Place, db: Connection, files: dict[str, bytes],
                                                 words: str) -> None:
    before = sorted(p.name for p in (place.volume / "download").iterdir())
    done = add(place, {f"sieve/9.00/{LINUX}/{name}": content for name, content in files.items()})
    assert done["added"] == [] and words in done["problems"][0], done
    assert "/tmp" not in done["problems"][0]
    assert len(documents(db)) == 1 and sorted(p.name for p in (place.volume / "download").iterdir()) == before


def test_unknown_app_platform_and_plan_class(place: Place) -> None:
    done = add(place, {f"other/1.00/{LINUX}/x1": b"x", "sieve/1.02/no-such-platform/x2": b"x"})
    assert done["added"] == [] and len(done["problems"]) == 2
    assert "there is no app of this name" in done["problems"][0]
    assert "there is no platform no-such-platform" in done["problems"][1]
    (place.volume / "plan_class_spec.xml").write_text("<plan_classes>\n</plan_classes>\n")
    done = add(place, {f"sieve/1.02/{LINUX}__cuda9/x3": b"x"})
    assert done["warnings"] == ["plan class cuda9 is not in plan_class_spec.xml: no host gets "
                                f"sieve/1.02/{LINUX}__cuda9"]


@pytest.mark.parametrize("name", ["sieve/1/x", f"sieve/1/{LINUX}/../../../x", f"/sieve/1/{LINUX}/x/../y", "x"])
def test_only_files_of_versions_are_unpacked(place: Place, name: str) -> None:
    with pytest.raises(InputError, match="no file of an app version"):
        add(place, {name: b"x"})


# ---- signing elsewhere -------------------------------------------------------------------------------------------


def take_offline(place: Place, folder: Path) -> None:
    shutil.copytree(place.secrets / "keys", folder)
    keyring.drop_private(place.secrets, keyring.fingerprint(place.key()))


def test_versions_of_the_image_wait_for_signatures_made_elsewhere(place: Place, db: Connection, tmp_path: Path) -> None:
    take_offline(place, tmp_path / "stick")
    place.version("1.05", b"new program")
    place.said.clear()
    place.make()
    assert any("code_sign_private is not on this machine" in line for line in place.said) and len(documents(db)) == 1
    with operate.session(place.run()) as here:
        listed = operate.unsigned(here)
    assert [each.path for each in offline.parse_request(listed)] == [f"sieve/1.05/{LINUX}/sieve_1.05"]
    stranger = offline.sign_request(listed, crypto.generate_private())
    signed = offline.sign_request(listed, crypto.read_private(tmp_path / "stick/code_sign_private"))
    with operate.session(place.run()) as here:
        with pytest.raises(InputError, match="was not made with the project's code-signing key"):
            operate.import_signatures(here, stranger)
        assert len(documents(db)) == 1 and not (place.volume / "keys/signed").exists()
        done = operate.import_signatures(here, signed)
    assert [each["title"] for each in done["added"]] == [f"sieve 1.05 {LINUX}"] and done["problems"] == []
    assert all_signed_by(db, place.key()) and len(documents(db)) == 2
    with operate.session(place.run()) as here:
        assert offline.parse_request(operate.unsigned(here)) == []


def test_a_file_changed_after_signing_is_not_published(place: Place, db: Connection, tmp_path: Path) -> None:
    take_offline(place, tmp_path / "stick")
    folder = place.version("1.05", b"new program")
    with operate.session(place.run()) as here:
        signed = offline.sign_request(operate.unsigned(here), crypto.read_private(tmp_path / "stick/code_sign_private"))
    (folder / "sieve_1.05").write_bytes(b"NEW program")
    with operate.session(place.run()) as here:
        done = operate.import_signatures(here, signed)
    assert done["added"] == [] and len(documents(db)) == 1
    assert done["unsigned"] == [f"sieve/1.05/{LINUX}/sieve_1.05"]


def test_key_change_made_elsewhere(place: Place, db: Connection, tmp_path: Path) -> None:
    take_offline(place, tmp_path / "stick")
    made = plan_rotation(tmp_path / "stick")
    new = crypto.parse_private(made.secret["code_sign_private"])
    with operate.session(place.run()) as here:
        empty = write_change(made.public, offline.sign_request("boincdock files to sign 1\n", new))
        with pytest.raises(InputError, match=r"does not sign sieve_1\.00"):
            operate.check_change(here, empty)
        listed = offline.list_files(operate.published_files(db, here.project.download_dir))
        whole = write_change(made.public, offline.sign_request(listed, new))
        assert operate.check_change(here, whole)["signatures"] == 1
    keyring.install_change(place.secrets, whole)
    place.make()
    assert place.key() == new.public and all_signed_by(db, new.public)


def test_key_change_without_its_signatures_is_not_shown(place: Place, db: Connection, tmp_path: Path) -> None:
    take_offline(place, tmp_path / "stick")
    made = plan_rotation(tmp_path / "stick")
    new = crypto.parse_private(made.secret["code_sign_private"])
    old = place.key()
    keyring.install_change(place.secrets, write_change(made.public, offline.sign_request(
        "boincdock files to sign 1\n", new)))
    place.said.clear()
    place.make()
    assert place.key() == old and all_signed_by(db, old)
    assert any("not shown to clients yet" in line for line in place.said)


def test_a_published_file_that_changed_on_disk_is_not_listed_for_signing(place: Place, db: Connection) -> None:
    (place.volume / "download" / "sieve_1.00").write_bytes(b"tampered with")
    with (operate.session(place.run()) as here,
          pytest.raises(InputError, match=f"is not what was published with sieve 1.00 {LINUX}")):
        operate.published_files(db, here.project.download_dir)


# ---- plan classes ------------------------------------------------------------------------------------------------


def test_a_broken_plan_class_file_does_not_replace_one_that_works(place: Place) -> None:
    good = "<plan_classes>\n<plan_class><name>mt</name><min_ncpus>2</min_ncpus></plan_class>\n</plan_classes>\n"
    (place.image / "plan_class_spec.xml").write_text(good)
    place.make()
    bad = good.replace("<min_ncpus>2", "\n<os_regex>(</os_regex><min_ncpus>2")
    (place.image / "plan_class_spec.xml").write_text(bad)
    with pytest.raises(ConfigError, match=r"plan_class_spec\.xml, line 3: <os_regex> '\(' is no regular expression"):
        place.make()
    assert (place.volume / "plan_class_spec.xml").read_text() == good
    assert load_project(place.volume).dir == place.volume and os.access(place.volume, os.W_OK)
