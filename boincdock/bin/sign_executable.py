"""sign_executable FILE PRIVATE_KEY: print the signature of a file, as update_versions wants it in FILE.sig."""
from __future__ import annotations

from boincdock import crypto
from boincdock.bin._run import OptionParser, entry
from boincdock.errors import InputError


def main(argv: list[str]) -> int:
    """Run sign_executable."""
    parser = OptionParser("sign_executable", __doc__)
    parser.add_argument("file", metavar="FILE")
    parser.add_argument("key", metavar="PRIVATE_KEY")
    options = parser.parse_args(argv)
    key = crypto.read_private(options.key)
    try:
        signature = crypto.sign_file(options.file, key)
    except OSError as error:
        raise InputError(f"{options.file} cannot be read: {error.strerror}") from error
    print(signature, end="")
    return 0


if __name__ == "__main__":
    entry(main)
