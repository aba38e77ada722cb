"""The verbs about keys and passwords: keys, secrets rotate."""
from __future__ import annotations

from pathlib import Path

import click

from boincdock.errors import InputError
from boincdock.manage.cli import json_option, pass_app, with_yes
from boincdock.manage.context import App

folder_option = click.Path(path_type=Path, file_okay=False)
file_option = click.Path(path_type=Path, dir_okay=False)


@click.group("keys")
def keys_group() -> None:
    """The keys by which volunteers' computers trust this project: show, change, sign elsewhere."""


@keys_group.command("show")
@json_option
@pass_app
def keys_show(app: App, as_json: bool) -> None:
    """Fingerprints and ages of all keys, and whether everything published fits them. Never the keys themselves."""
    from boincdock.manage import keys, views

    found = keys.Keys(app.compose(), app.ui).show()
    app.ui.data(found) if as_json else views.keys(app.ui.out, found)


@keys_group.command("rotate")
@click.argument("kind", type=click.Choice(["code-sign", "upload"]))
@click.option("--import", "document", type=file_option, metavar="FILE",
              help="A key change made on the signing machine (keys offline-sign --rotate).")
@with_yes
@json_option
@pass_app
def keys_rotate(app: App, kind: str, document: Path | None, as_json: bool) -> None:
    """Replace the code-signing or the upload key; attached clients and jobs in progress go on.

    Clients take a new code-signing key because the old one signs it; all published files are signed anew. Jobs
    in progress may upload with the old upload key until they are over. If it is interrupted, run it again.
    """
    from boincdock.manage import keys

    if document and kind != "code-sign":
        raise InputError("--import is for the code-signing key")
    work = keys.Keys(app.compose(), app.ui)
    done = work.rotate_with(keys.read_document(document)) if document else work.rotate(kind)
    if as_json:
        app.ui.data(done)
    else:
        app.ui.say(f"{kind} key: {done['fingerprint'][:16]}… replaces {done['before'][:16]}…" if done["changed"]
                   else f"{kind} key: {done['fingerprint'][:16]}… is in use already")
        app.ui.say("save the new keys: ./manage.py secrets backup FILE")


@keys_group.command("sign")
@click.argument("folder", type=folder_option, required=False)
@click.option("--export", "target", type=file_option, metavar="LIST",
              help="Write the list of files to sign (digests only), to carry to the signing machine.")
@click.option("--import", "source", type=file_option, metavar="LIST", help="Verify and take over a signed list.")
@click.option("--published", is_flag=True, help="With --export: all published files, for a change of the key.")
@json_option
@pass_app
def keys_sign(app: App, folder: Path | None, target: Path | None, source: Path | None, published: bool,
              as_json: bool) -> None:
    """Have app versions signed where the private key is, and bring the signatures back.

    With FOLDER: app versions on this machine; the signatures come beside the files as FILE.sig. Without:
    what the project's images hold and could not publish.
    """
    from boincdock.manage import keys

    if (target is None) == (source is None) or (published and (folder or source)):
        raise InputError("either --export LIST (with FOLDER, or --published), or --import LIST (with FOLDER)",
                         "see ./manage.py keys sign --help")
    if target is not None:
        text = keys.list_of_folder(folder) if folder else keys.Keys(app.compose(), app.ui).export(published=published)
        paths = keys.paths_of(text)
        if paths:
            keys.write_document(target, text)
        if as_json:
            app.ui.data({"files": list(paths), "list": str(target) if paths else None})
        else:
            app.ui.say(f"{len(paths)} files in {target}; next, on the signing machine: ./manage.py keys offline-sign "
                       f"{target.name} --keys FOLDER" if paths else "nothing waits for a signature")
        return
    assert source is not None
    work = keys.Keys(app.compose(), app.ui)
    text = keys.read_document(source)
    if folder:
        written = keys.apply_to_folder(text, folder, work.public())
        if as_json:
            app.ui.data({"written": [str(path) for path in written]})
        else:
            app.ui.say(f"{len(written)} signatures written; next: ./manage.py app version add {folder}")
        return
    done = work.bring_in(text)
    if as_json:
        app.ui.data(done)
    for added in done["added"] if not as_json else []:
        app.ui.say(f"added {added['title']}: app version {added['id']}")
    for problem in done["problems"]:
        app.ui.warn(f"not published: {problem}")


@keys_group.command("offline-init")
@click.argument("folder", type=folder_option)
@click.option("--new", "fresh", is_flag=True, help="Make a new pair for a project to come (needs no project).")
@with_yes
@json_option
@pass_app
def keys_offline_init(app: App, folder: Path, fresh: bool, as_json: bool) -> None:
    """Move the private code-signing key off the server, into FOLDER (on a stick, say). Signing then happens elsewhere.

    Whoever breaks into the server can then publish no programs. The public key stays, nothing changes for clients.
    """
    from boincdock.manage import keys

    done = keys.make_pair(folder) if fresh else keys.Keys(app.compose(), app.ui).take_offline(folder)
    if as_json:
        app.ui.data(done)
    elif done["changed"]:
        app.ui.say(f"the private key is in {folder}" + ("" if fresh else " and no longer on the server")
                   + "; keep a second copy in a safe place")
    else:
        app.ui.say(f"the private key is in {folder} already, and not on the server")


@keys_group.command("offline-sign")
@click.argument("source", metavar="LIST", type=file_option)
@click.option("--keys", "folder", type=folder_option, required=True, help="Folder with code_sign_private.")
@click.option("-o", "--output", type=file_option, help="Where the signed list goes; default LIST.signed.")
@click.option("--files", "compare", type=folder_option, help="Folder with the files: sign only if they are these.")
@click.option("--rotate", type=folder_option, metavar="NEWDIR",
              help="Make a new key in NEWDIR, and sign with that: a key change, for keys rotate --import.")
@json_option
@pass_app
def keys_offline_sign(app: App, source: Path, folder: Path, output: Path | None, compare: Path | None,
                      rotate: Path | None, as_json: bool) -> None:
    """On the signing machine: sign a list made by `keys sign --export`. Needs neither Docker nor a network."""
    from boincdock.manage import keys

    text = keys.read_document(source)
    target = output or source.with_name(source.name + ".signed")
    keys.write_document(target, keys.offline_sign(text, folder, rotate=rotate, compare=compare))
    paths = keys.paths_of(text)
    if as_json:
        app.ui.data({"signed": list(paths), "output": str(target)})
        return
    for path in paths:
        app.ui.say(f"  signed {path}")
    verb = "keys rotate code-sign --import" if rotate else "keys sign --import"
    app.ui.say(f"{len(paths)} signatures in {target}; next, where the project is: ./manage.py {verb} {target.name}")


@click.command("rotate")
@click.argument("name", type=click.Choice(["DB_PASSWD", "OPS_PASSWD"]))
@with_yes
@json_option
@pass_app
def secrets_rotate(app: App, name: str, as_json: bool) -> None:
    """A new random password, in the secrets and everywhere it is used. Data stays; jobs in progress go on.

    If it is interrupted, run it again: it goes on where it was.
    """
    from boincdock.manage.rotate import Rotation

    done = Rotation(app.stack()).rotate(name)
    app.ui.data(done) if as_json else app.ui.say(f"{name} is changed (./manage.py secrets show)")


COMMANDS: tuple[click.Command, ...] = (keys_group,)
