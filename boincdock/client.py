"""Submitting and following jobs from Python, for scripts and notebooks on the operator's machine (docs/python-api.md).

    from boincdock.jobs import submit
    job = submit("debian:trixie-slim", ["sh", "-c", "echo $X > /root/shared/results/x.txt"], env={"X": "7"})
    print(job.wait().results("results"))

The verbs are those of manage.py, and the work is done by the same code: it talks to the containers of a project that is
up on this machine. All errors are ``boincdock.errors.BoincdockError``; a job that fails is none (see ``Job.state``).
"""
from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from boincdock.errors import BoincdockError, InputError
from boincdock.manage import jobs as jobs_module
from boincdock.manage import results as results_module
from boincdock.manage import submit as submit_module
from boincdock.manage.compose import Compose
from boincdock.manage.context import App, project_root
from boincdock.manage.submit import BatchChoice, NewJob

FOREVER = 10 * 365 * 86400.0
_PLAIN = {"workdir", "entrypoint", "memory", "cpus", "gpus", "user", "shm_size", "network", "priority", "min_quorum",
          "target_nresults", "max_error_results", "max_total_results", "max_success_results", "delay_bound",
          "rsc_fpops_est", "rsc_fpops_bound", "rsc_memory_bound", "rsc_disk_bound", "target_host", "target_user",
          "result_template"}

Inputs = Mapping[str, str | Path] | Iterable[str | Path]


def _files(inputs: Inputs) -> tuple[tuple[Path, str], ...]:
    """{name in the container: file here}, or files under their own names; a folder brings all of its files."""
    pairs = ([(name, Path(path)) for name, path in inputs.items()] if isinstance(inputs, Mapping)
             else [(Path(path).name, Path(path)) for path in inputs])
    found: list[tuple[Path, str]] = []
    for name, path in pairs:
        if path.is_dir():
            found += [(each, f"{name.rstrip('/')}/{each.relative_to(path).as_posix()}")
                      for each in submit_module.folder_files(path)]
        elif path.is_file():
            found.append((path, name))
        else:
            raise InputError(f"input file {str(path)!r} does not exist")
    return tuple(found)


def docker_job(image: str, command: Sequence[str] = (), *, name: str = "", env: Mapping[str, object] | None = None,
               inputs: Inputs = (), outputs: Sequence[str] = (), dockerfile: str | Path | None = None,
               **options: object) -> NewJob:
    """A Docker job to be. ``options``: ``workdir, entrypoint, memory, cpus, gpus, user, network, priority,
    min_quorum …`` as for `create-work`. ``outputs``: patterns of the files that come back (default: all below
    /root/shared/results). InputError: an unknown option, or a file is missing."""
    words = [word for key, value in (env or {}).items() for word in ("--env", f"{key}={value}")]
    words += [word for pattern in outputs for word in ("--output", pattern)]
    words += _options(options, _PLAIN)
    if dockerfile is not None and image:
        raise InputError("a job has an image or a Dockerfile, not both", 'with a Dockerfile the image is ""')
    words += [*([image] if image else []), *map(str, command)]
    return NewJob(tuple(words), _files(inputs), name=name, dockerfile=Path(dockerfile) if dockerfile else None)


def app_job(app: str, inputs: Iterable[str | Path] = (), *, command_line: str = "", name: str = "",
            **options: object) -> NewJob:
    """A job of another app to be: input files in the order of its template. ``options`` as for `create_work`."""
    words = (["--command_line", command_line] if command_line else []) + _options(options, None)
    return NewJob(tuple(words), _files(list(inputs)), app=app, name=name)


def _options(options: Mapping[str, object], known: set[str] | None) -> list[str]:
    words: list[str] = []
    for key, value in options.items():
        if known is not None and key not in known:
            raise InputError(f"unknown option {key!r}", f"options: {', '.join(sorted(known))}")
        words += [f"--{key}", str(value)]
    return words


@dataclass
class Job:
    """A job of the project. ``state`` and what follows from it are as of the last ``refresh`` (or ``wait``)."""

    project: Project
    name: str
    id: int = 0
    data: dict[str, Any] = field(default_factory=dict, repr=False)

    def refresh(self) -> Job:
        """Ask the project; BoincdockError if the job is gone (db_purge removes old ones)."""
        (self.data,) = jobs_module.query(self.project.compose, [self.name])["jobs"]
        self.id = int(self.data["id"])
        return self

    @property
    def state(self) -> str:
        """unsent, in_progress, validating, assimilating, done or error."""
        return str((self.data or self.refresh().data)["state"])

    @property
    def credit(self) -> float:
        """Credit granted for it, all instances together."""
        return float(sum(result["credit"] or 0 for result in (self.data or self.refresh().data)["results"]))

    @property
    def error(self) -> str:
        """Why it failed: the error and the end of its instances' standard error; "" if it did not."""
        data = self.data or self.refresh().data
        texts = [data["error"], *(result["stderr"] for result in data["results"] if result["stderr"])]
        return "\n".join(text for text in texts if text) if data["state"] == "error" else ""

    def wait(self, timeout: float = FOREVER, on_change: Callable[[Job], None] | None = None) -> Job:
        """Until it is done or has failed; ``on_change`` sees every change of state. BoincdockError after ``timeout``
        seconds."""
        def changed(data: dict[str, Any]) -> None:
            self.data = data
            if on_change:
                on_change(self)

        (self.data,) = jobs_module.wait(self.project.compose, [self.name], timeout, changed, self.project.hurry)
        return self

    def follow(self, timeout: float = FOREVER) -> Iterator[str]:
        """Its states as they change, until the last one (done or error)."""
        deadline, told, pause = time.monotonic() + timeout, "", 1.0
        while True:
            state = self.refresh().state
            if state != told:
                told, pause = state, 1.0
                yield state
            if state in jobs_module.FINAL:
                return
            if time.monotonic() > deadline:
                raise BoincdockError(f"not finished after {timeout:.0f} s: {self.name} ({state})")
            if self.project.hurry:
                self.project.hurry()
            time.sleep(pause)
            pause = min(pause * 1.25, 4.0)

    def results(self, folder: str | Path, only: Sequence[str] = (), *, unpack: bool = True) -> list[Path]:
        """Bring its outputs to ``folder``/NAME; the files. ``only``: patterns such as ``*.csv``."""
        data = self.refresh().data
        brought = results_module.fetch(self.project.compose, [data], Path(folder), patterns=only, unpack=unpack)
        return brought.files.get(self.name, [])

    def output(self) -> str:
        """What a finished Docker job wrote to standard output."""
        return results_module.streams(self.project.compose, self.refresh().data)[0]

    def cancel(self) -> bool:
        """Cancel it; False if it was over."""
        return jobs_module.cancel(self.project.compose, [self.name]) == 1


@dataclass
class Batch:
    """Jobs that belong together. ``data`` is the project's answer as of the last ``refresh`` (or ``wait``)."""

    project: Project
    id: int
    data: dict[str, Any] = field(default_factory=dict, repr=False)

    def refresh(self) -> Batch:
        """Ask the project."""
        self.data = jobs_module.batch(self.project.compose, "show", str(self.id))
        return self

    @property
    def state(self) -> str:
        """in_progress, complete, aborted or retired."""
        return str((self.data or self.refresh().data)["state"])

    @property
    def counts(self) -> dict[str, int]:
        """Jobs: all of them (``jobs``), ``done``, ``error``, ``assimilating``; instances ``in_progress``."""
        return dict((self.data or self.refresh().data)["counts"])

    @property
    def jobs(self) -> list[Job]:
        """Its jobs, in the order of their making."""
        found = jobs_module.of_batch(self.project.compose, self.id)
        return [Job(self.project, data["name"], data["id"], data) for data in found]

    def add(self, new: Sequence[NewJob]) -> list[Job]:
        """More jobs for it; all of them, or none if one is wrong."""
        return self.project.submit_all(new, BatchChoice(id=self.id))

    def wait(self, timeout: float = FOREVER, on_change: Callable[[Batch], None] | None = None) -> Batch:
        """Until all of its jobs are done or have failed. BoincdockError after ``timeout`` seconds."""
        def changed(data: dict[str, Any]) -> None:
            self.data = data
            if on_change:
                on_change(self)

        self.data = jobs_module.wait_batch(self.project.compose, self.id, timeout, changed, self.project.hurry)
        return self

    def results(self, folder: str | Path, only: Sequence[str] = (), *, unpack: bool = True) -> dict[str, list[Path]]:
        """Bring the outputs of its finished jobs to ``folder``/JOB; {job: files}."""
        found = [job.data for job in self.jobs if job.data["outputs"]]
        return results_module.fetch(self.project.compose, found, Path(folder), patterns=only, unpack=unpack).files

    def abort(self) -> int:
        """Cancel what is not finished; how many jobs."""
        self.data = jobs_module.batch(self.project.compose, "abort", str(self.id))
        return int(self.data["cancelled"])

    def retire(self) -> int:
        """It is not needed any more: its outputs are removed from the project, what runs is cancelled."""
        self.data = jobs_module.batch(self.project.compose, "retire", str(self.id))
        return int(self.data["cancelled"])


class Project:
    """The project of a checkout or of a folder that `manage.py init` made. BoincdockError if it is not up."""

    def __init__(self, folder: str | Path | None = None) -> None:
        app = App(root=project_root(folder))
        self.compose: Compose = app.compose()
        self.compose.container("apache")
        self.hurry: Callable[[], None] | None = app.volunteer().hurry()

    @property
    def url(self) -> str:
        """What volunteers attach to."""
        return self.compose.settings.master_url

    def submit(self, image: str, command: Sequence[str] = (), **options: Any) -> Job:
        """Create one Docker job; arguments as for ``docker_job``."""
        return self.submit_all([docker_job(image, command, **options)])[0]

    def submit_app(self, app: str, inputs: Iterable[str | Path] = (), **options: Any) -> Job:
        """Create one job of another app; arguments as for ``app_job``."""
        return self.submit_all([app_job(app, inputs, **options)])[0]

    def submit_all(self, new: Sequence[NewJob], batch: BatchChoice | None = None) -> list[Job]:
        """Create several jobs; all of them, or none if one is wrong."""
        made = submit_module.submit(self.compose, new, batch)
        return [Job(self, job["name"], job["id"]) for job in made.jobs]

    def submit_batch(self, name: str, new: Sequence[NewJob], description: str = "") -> Batch:
        """Create a batch of jobs; all of it, or nothing if one is wrong."""
        made = submit_module.submit(self.compose, new, BatchChoice(name=name, description=description))
        return Batch(self, made.batch)

    def job(self, name: str) -> Job:
        """The job of this name; BoincdockError if there is none."""
        return Job(self, name).refresh()

    def jobs(self, *, state: str | None = None, limit: int = 50) -> list[Job]:
        """The newest jobs."""
        found = jobs_module.query(self.compose, state=state, limit=limit)["jobs"]
        return [Job(self, data["name"], data["id"], data) for data in found]

    def batch(self, batch: int | str) -> Batch:
        """The batch with this number or name; BoincdockError if there is none."""
        data = jobs_module.batch(self.compose, "show", str(batch))
        return Batch(self, int(data["id"]), data)

    def batches(self, limit: int = 20) -> list[Batch]:
        """The newest batches."""
        found = jobs_module.batch(self.compose, "list", "--limit", str(limit))["batches"]
        return [Batch(self, int(data["id"])) for data in found]


# ---- the same for the project of this checkout -----------------------------------------------------------------------


def submit(image: str, command: Sequence[str] = (), **options: Any) -> Job:
    """``Project().submit``: one Docker job."""
    return Project().submit(image, command, **options)


def submit_app(app: str, inputs: Iterable[str | Path] = (), **options: Any) -> Job:
    """``Project().submit_app``: one job of another app."""
    return Project().submit_app(app, inputs, **options)


def submit_batch(name: str, new: Sequence[NewJob], description: str = "") -> Batch:
    """``Project().submit_batch``: a batch of jobs."""
    return Project().submit_batch(name, new, description)


def job(name: str) -> Job:
    """``Project().job``: the job of this name."""
    return Project().job(name)


def batch(which: int | str) -> Batch:
    """``Project().batch``: the batch with this number or name."""
    return Project().batch(which)


__all__ = ["Batch", "BoincdockError", "Job", "NewJob", "Project", "app_job", "batch", "docker_job", "job", "submit",
           "submit_app", "submit_batch"]
