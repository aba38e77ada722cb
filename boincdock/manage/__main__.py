"""``python -m boincdock.manage`` is manage.py."""
import sys

from boincdock.manage.cli import main

sys.exit(main())
