"""Jobs of the project, server side. On the operator's machine also the way to the Python API, which is
``boincdock.client``: ``from boincdock.jobs import submit`` (docs/python-api.md, decision 0115)."""
from __future__ import annotations

from importlib import import_module

_API = frozenset({"Batch", "Job", "NewJob", "Project", "app_job", "batch", "docker_job", "job", "submit", "submit_app",
                  "submit_batch"})


def __getattr__(name: str) -> object:
    """The names of the Python API; nothing of it is loaded before somebody asks, and the images do not have it."""
    if name not in _API:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        found: object = getattr(import_module("boincdock.client"), name)
    except ModuleNotFoundError as error:
        raise ImportError(f"{name}: the Python API is for the operator's machine ({error})") from None
    return found
