"""The wrapper and option parser all project commands share (boincdock/bin/_run.py)."""
from __future__ import annotations

import pytest

from boincdock.bin import _run
from boincdock.errors import BoincdockError, InputError


def parser() -> _run.OptionParser:
    p = _run.OptionParser("tool")
    p.add_argument("--app")
    p.add_argument("--one_pass", action="store_true")
    p.add_argument("--dry_run", action="store_true")
    p.add_argument("--mod", nargs=2, type=int)
    p.add_argument("-d", "--debug_level", type=int, default=3)
    return p


@pytest.mark.parametrize("dash", ["-", "--"])
def test_one_and_two_dashes_are_alike(dash: str) -> None:
    args = parser().parse_args([f"{dash}app", "a", f"{dash}one_pass", f"{dash}mod", "2", "1", f"{dash}d", "4"])
    assert (args.app, args.one_pass, args.mod, args.debug_level, args.dry_run) == ("a", True, [2, 1], 4, False)


def test_hyphen_and_underscore_are_alike() -> None:
    assert parser().parse_args(["--one-pass"]).one_pass
    assert parser().parse_args(["-dry_run"]).dry_run


def test_unknown_option_names_it() -> None:
    with pytest.raises(InputError, match="--bogus") as caught:
        parser().parse_args(["--bogus"])
    assert "--help" in (caught.value.hint or "")


def test_no_abbreviations() -> None:
    with pytest.raises(InputError):
        parser().parse_args(["--one"])


def test_error_and_hint_without_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    def main(argv: list[str]) -> int:
        raise BoincdockError("no project here", hint="go elsewhere")

    assert _run.run(main, []) == 1
    assert capsys.readouterr().err == "error: no project here\nhint: go elsewhere\n"


@pytest.mark.parametrize(("argv", "shown"), [([], False), (["-d", "3"], False), (["-d", "4"], True),
                                             (["--verbose"], True)])
def test_unforeseen_error_shows_traceback_only_on_request(
        argv: list[str], shown: bool, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BOINCDOCK_TRACEBACK", raising=False)

    def main(argv: list[str]) -> int:
        raise ZeroDivisionError("oops")

    assert _run.run(main, argv) == 1
    err = capsys.readouterr().err
    assert "error: ZeroDivisionError: oops" in err
    assert ("Traceback" in err) == shown


def test_unknown_command_lists_commands() -> None:
    with pytest.raises(InputError, match="nonsense"):
        _run.find_command("nonsense")
    with pytest.raises(InputError):
        _run.find_command("../evil")
