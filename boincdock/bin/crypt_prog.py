"""crypt_prog: keys and signatures in BOINC's format (spec 04 section 1.9).

  crypt_prog -genkey 1024 PRIVATE PUBLIC        make a key pair (files must not exist)
  crypt_prog -sign FILE PRIVATE                 print the signature of a file
  crypt_prog -sign_string STRING PRIVATE        … of a string
  crypt_prog -verify FILE SIGNATURE PUBLIC      check one; SIGNATURE is a file
  crypt_prog -verify_string STRING SIGNATURE PUBLIC
  crypt_prog -test_crypt PRIVATE PUBLIC         do the two belong together?
  crypt_prog -convkey o2b|b2o priv|pub IN OUT   convert a key from (o2b) or to (b2o) OpenSSL's PEM
  crypt_prog -convsig o2b|b2o IN OUT            convert a signature from or to raw bytes

Exit status 0; 1: the signature is invalid, or wrong usage; 2: error.
"""
from __future__ import annotations

import secrets
import sys
from collections.abc import Callable
from pathlib import Path

from boincdock import crypto
from boincdock.bin._run import entry
from boincdock.errors import BoincdockError, InputError

_MAX_FILE = 1 << 16


def _read(path: str) -> bytes:
    with Path(path).open("rb") as stream:
        data = stream.read(_MAX_FILE + 1)
    if len(data) > _MAX_FILE:
        raise InputError(f"{path} is too large for a key or a signature")
    return data


def _genkey(bits: str, private: str, public: str) -> int:
    if not (bits.isascii() and bits.isdigit()) or int(bits[:9]) != crypto.KEY_BITS:
        raise InputError(f"a key of {bits[:20]} bits is not possible",
                         f"BOINC clients accept {crypto.KEY_BITS} bits only")
    for path in (private, public):
        if Path(path).exists():
            raise InputError(f"{path} exists already and is kept")
    private_text, public_text = crypto.generate_keypair()
    crypto.write_key_file(private, private_text, secret=True)
    crypto.write_key_file(public, public_text, secret=False)
    return 0


def _sign(path: str, private: str) -> int:
    print(crypto.sign_file(path, crypto.read_private(private)), end="")
    return 0


def _sign_string(text: str, private: str) -> int:
    print(crypto.sign_bytes(text.encode("utf-8", "surrogateescape"), crypto.read_private(private)), end="")
    return 0


def _say(valid: bool) -> int:
    print("signature is valid" if valid else "signature is invalid")
    return 0 if valid else 1


def _signature(path: str) -> str:
    text = _read(path).decode("latin-1")
    crypto.parse_signature(text)
    return text


def _verify(path: str, signature: str, public: str) -> int:
    return _say(crypto.verify_file(path, _signature(signature), crypto.read_public(public)))


def _verify_string(text: str, signature: str, public: str) -> int:
    data = text.encode("utf-8", "surrogateescape")
    return _say(crypto.verify_bytes(data, _signature(signature), crypto.read_public(public)))


def _test_crypt(private: str, public: str) -> int:
    message = secrets.token_bytes(64)
    signature = crypto.sign_bytes(message, crypto.read_private(private))
    if not crypto.verify_bytes(message, signature, crypto.read_public(public)):
        raise InputError("the two keys do not belong together")
    print("the keys work")
    return 0


def _convkey(direction: str, kind: str, source: str, target: str) -> int:
    data = _read(source)
    text = data.decode("latin-1")
    if (direction, kind) == ("o2b", "priv"):
        new = crypto.private_from_pem(data).file_text
    elif (direction, kind) == ("o2b", "pub"):
        new = crypto.public_from_pem(data).file_text
    elif (direction, kind) == ("b2o", "priv"):
        new = crypto.private_to_pem(crypto.parse_private(text)).decode("ascii")
    elif (direction, kind) == ("b2o", "pub"):
        new = crypto.public_to_pem(crypto.parse_public(text)).decode("ascii")
    else:
        raise _UsageError
    crypto.write_key_file(target, new, secret=kind == "priv")
    return 0


def _convsig(direction: str, source: str, target: str) -> int:
    data = _read(source)
    if direction == "b2o":
        raw = crypto.parse_signature(data.decode("latin-1"))
        with Path(target).open("xb") as stream:
            stream.write(raw)
    elif direction == "o2b":
        crypto.write_key_file(target, crypto.encode_signature(data), secret=False)
    else:
        raise _UsageError
    return 0


class _UsageError(Exception):
    pass


_OPERATIONS: dict[str, tuple[int, Callable[..., int]]] = {
    "genkey": (3, _genkey), "sign": (2, _sign), "sign_string": (2, _sign_string), "verify": (3, _verify),
    "verify_string": (3, _verify_string), "test_crypt": (2, _test_crypt), "convkey": (4, _convkey),
    "convsig": (3, _convsig),
}


def main(argv: list[str]) -> int:
    """Run crypt_prog."""
    if argv and argv[0] in ("-h", "-help", "--help"):
        print(__doc__)
        return 0
    count, operation = _OPERATIONS.get(argv[0].lstrip("-"), (0, None)) if argv else (0, None)
    try:
        if operation is None or not argv[0].startswith("-") or len(argv) != count + 1:
            raise _UsageError
        return operation(*argv[1:])
    except _UsageError:
        print(__doc__, file=sys.stderr)
        return 1
    except BoincdockError as error:
        print(f"error: {error.message}", *([f"hint: {error.hint}"] if error.hint else []), sep="\n", file=sys.stderr)
    except OSError as error:
        print(f"error: {error.filename}: {error.strerror}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    entry(main)
