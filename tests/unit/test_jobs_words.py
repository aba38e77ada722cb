"""Word splitting and option parsing of create_work; job states (spec 04 sections 3.2, 10.5)."""
from __future__ import annotations

import pytest

from boincdock.enums import TargetType
from boincdock.errors import InputError
from boincdock.jobs.create_work import parse_words
from boincdock.jobs.model import RemoteFile, Target
from boincdock.jobs.query import error_text, job_state, stderr_tail
from boincdock.protocol.words import breaks_clients, split_client, split_input


@pytest.mark.parametrize(("line", "words"), [
    ("""a  'b c' "d e" f'g h""", ["a", "b c", "d e", "f'g", "h"]), ("--k='a b' -n 3", ["--k='a", "b'", "-n", "3"]),
    ("""'a''b'c""", ["a", "b", "c"]), ('''"it's"''', ["it's"]), ("'abc", ["abc"]),
    (r'''"a\"b" c''', ["a\\", 'b"', "c"]), ("", []), ("  ", []),
])
def test_vectors_10_5(line: str, words: list[str]) -> None:
    assert split_client(line) == words
    assert split_input(line) == words
    assert not breaks_clients(line)


def test_empty_quoted_word() -> None:
    assert split_client("x '' y") == ["x", "' y"]
    assert split_input("x '' y") == ["x", "", "y"]
    assert breaks_clients("x '' y") and breaks_clients('""')


def test_create_work_words() -> None:
    options = parse_words(["-appname", "a", "in1", "--remote_file", "http://x/y", "5", "0" * 32, "in2",
                           "--command_line", "--stdin", "--priority=-4", "--rsc-fpops-est", "1e12",
                           "-broadcast_user", "7", "-d", "4"])
    assert options.text == {"appname": "a", "command_line": "--stdin"}
    assert options.files == ["in1", RemoteFile("http://x/y", 5, "0" * 32), "in2"]
    assert options.numbers == {"priority": -4, "rsc_fpops_est": 1e12}
    assert options.target == Target(TargetType.USER, 7, True) and options.switches == {"verbose"}
    for bad in (["--x", "1"], ["--priority"], ["--batch", "1e3"], ["--remote_file", "http://x/y", "5"],
                ["--remote_file", "gopher://x", "5", "0" * 32], ["--stdin=1"]):
        with pytest.raises(InputError):
            parse_words(bad)
    with pytest.raises(InputError, match="in this line"):
        parse_words(["--batch", "1"], ["priority"])


def _wu(**more: int) -> dict[str, int]:
    return {"error_mask": 0, "assimilate_state": 0, "canonical_resultid": 0} | more


def _r(state: int, outcome: int = 0, validate: int = 0) -> dict[str, int]:
    return {"server_state": state, "outcome": outcome, "validate_state": validate}


@pytest.mark.parametrize(("workunit", "results", "state"), [
    (_wu(), [], "unsent"), (_wu(), [_r(2)], "unsent"), (_wu(), [_r(4)], "in_progress"),
    (_wu(), [_r(5, 1), _r(4)], "in_progress"), (_wu(), [_r(5, 1)], "validating"), (_wu(), [_r(5, 1), _r(2)], "unsent"),
    (_wu(), [_r(5, 3), _r(2)], "unsent"), (_wu(), [_r(5, 1, 4)], "validating"),
    (_wu(canonical_resultid=3), [_r(5, 1, 1)], "assimilating"), (_wu(assimilate_state=1), [], "assimilating"),
    (_wu(canonical_resultid=3, assimilate_state=2), [_r(5, 1, 1)], "done"), (_wu(error_mask=16), [_r(5, 5)], "error"),
])
def test_job_states(workunit: dict[str, int], results: list[dict[str, int]], state: str) -> None:
    assert job_state(workunit, results) == state


def test_errors_and_stderr() -> None:
    assert error_text(0) == "" and error_text(18) == "too many failures, cancelled"
    stored = (b"<core_client_version>8.2.15</core_client_version>\n<![CDATA[\n<stderr_txt>\n"
              b"Zo&#195;&#171; &lt; a\n</stderr_txt>\n]]>")
    assert stderr_tail(stored) == "Zoë &lt; a"
    assert stderr_tail(None) == "" and len(stderr_tail(b"x" * 9999)) == 4096
