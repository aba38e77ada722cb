"""Splitting a command line into words the way every BOINC client does (spec 04 sections 3.2 and 10.5)."""
from __future__ import annotations

_QUOTES = "'\""


def split_client(line: str) -> list[str]:
    """Words as the clients split a job's command line: a word that *starts* with a quote runs to the next
    same quote, there are no escapes, and the character right after an opening quote is never looked at
    (so ``''`` swallows what follows)."""
    return _split(line, first_searched=2)


def split_input(line: str) -> list[str]:
    """Words of a ``--stdin`` line: as ``split_client``, but ``''`` and ``\"\"`` are empty words."""
    return _split(line, first_searched=1)


def _split(line: str, first_searched: int) -> list[str]:
    if not _has_quote(line):
        return line.split()
    words: list[str] = []
    at, end = 0, len(line)
    while at < end:
        char = line[at]
        if char.isspace():
            at += 1
        elif char in _QUOTES:
            close = line.find(char, at + first_searched)
            if close < 0:
                words.append(line[at + 1:])
                break
            words.append(line[at + 1:close])
            at = close + 1
        else:
            stop = at
            while stop < end and not line[stop].isspace():
                stop += 1
            words.append(line[at:stop])
            at = stop
    return words


def breaks_clients(line: str) -> bool:
    """True if the line holds an empty quoted word, which all clients misread."""
    return _has_quote(line) and split_client(line) != split_input(line)


def _has_quote(line: str) -> bool:
    return "'" in line or '"' in line
