"""Tables and lines on the terminal for what the verbs found out."""
from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from boincdock.manage import jobs as jobs_module
from boincdock.manage.doctor import Finding
from boincdock.manage.ui import Ui

_MARK = {"ok": "[green]✓[/green]", "warning": "[yellow]![/yellow]", "error": "[red]✗[/red]"}


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def findings(console: Console, found: Sequence[Finding]) -> None:
    """The doctor's list."""
    for finding in found:
        console.print(f"{_MARK[finding.level]} {escape(finding.message)}")
        if finding.hint:
            console.print(f"    {escape(finding.hint)}")
    bad = sum(finding.level == "error" for finding in found)
    console.print("everything needed is here" if not bad else f"{bad} to mend before `./manage.py up`")


def status(console: Console, report: dict[str, Any]) -> None:
    """Services, daemons, counts."""
    console.print(f"[bold]{escape(report['project'])}[/bold] {escape(report['url'])}")
    table = _table("service", "state", "health")
    for service in report["services"]:
        mark = _MARK["ok" if service["ok"] else "error"]
        table.add_row(f"{mark} {service['service']}", service["state"], service["health"] or "")
    console.print(table)
    if report["daemons"] is not None:
        if not report["enabled"]:
            console.print("[yellow]daemons are switched off[/yellow] (./manage.py shell bin/start)")
        table = _table("daemon", "state", "pid")
        for daemon in report["daemons"]:
            running = bool(daemon.get("running"))
            off = daemon.get("disabled")
            mark = _MARK["ok" if running else "warning" if off else "error"]
            words = "running" if running else "disabled" if off else "not running"
            table.add_row(f"{mark} {escape(str(daemon['name']))}", words, str(daemon.get("pid") or ""))
        console.print(table)
    if report["counts"] is not None:
        table = _table("queue", "jobs")
        for name, count in report["counts"].items():
            table.add_row(name.replace("_", " "), str(count))
        console.print(table)


def secrets(console: Console, shown: dict[str, Any]) -> None:
    """Passwords and fingerprints."""
    table = _table("what", "value")
    for name, value in shown["passwords"].items():
        table.add_row(escape(name), escape(value) or "[dim]not set[/dim]")
    for name, fingerprint in shown["keys"].items():
        table.add_row(escape(name), f"sha256 {fingerprint}")
    console.print(table)


def jobs(console: Console, answer: dict[str, Any], *, details: bool = False) -> None:
    """A table of jobs; with ``details`` also their results and outputs."""
    if not answer["jobs"]:
        console.print("no jobs")
        return
    table = _table("job", "app", "state", "created")
    for job in answer["jobs"]:
        state = jobs_module.progress(job)
        table.add_row(escape(job["name"]), escape(job["app"]), escape(state), _when(job.get("created")))
    console.print(table)
    for job in answer["jobs"] if details else ():
        for result in job.get("results", ()):
            text = (f"  {result['name']}: {result['state']}, outcome {result['outcome']}, exit status "
                    f"{result['exit_status']}, host {result['host']}, credit {result.get('credit') or 0:.4g}")
            console.print(escape(text))
            if job["state"] == "error" and result.get("stderr"):
                for line in result["stderr"].strip().splitlines()[-10:]:
                    console.print(f"    {escape(line)}")
        for path in job.get("outputs", ()):
            console.print(f"  output: {escape(path)}")


def _when(created: Any) -> str:
    if not isinstance(created, int | float) or created <= 0:
        return ""
    return datetime.fromtimestamp(created, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")


@contextmanager
def following(ui: Ui, names: Sequence[str]) -> Iterator[Callable[[dict[str, Any]], None]]:
    """Live progress of jobs: yields what to call with a job whose state changed."""
    states: dict[str, str] = {}
    with ui.step(f"Waiting for {len(names)} job{'s' if len(names) != 1 else ''}") as step:

        def changed(job: dict[str, Any]) -> None:
            states[job["name"]] = job["state"]
            ui.say(f"  {job['name']}: {jobs_module.progress(job)}")
            finished = sum(state in jobs_module.FINAL for state in states.values())
            step.update(f"{finished} of {len(names)} finished")

        yield changed
        failed = sum(state == "error" for state in states.values())
        step.note = f"{len(states) - failed} done, {failed} failed"


def batches(console: Console, found: Sequence[dict[str, Any]]) -> None:
    """A table of batches."""
    if not found:
        console.print("no batches")
        return
    table = _table("batch", "name", "state", "jobs", "failed", "done", "created")
    for batch in found:
        table.add_row(str(batch["id"]), escape(batch["name"]), batch["state"].replace("_", " "), str(batch["njobs"]),
                      str(batch["nerror_jobs"]), f"{batch['fraction_done']:.1%}", _when(batch["created"]))
    console.print(table)


@contextmanager
def following_batch(ui: Ui, number: int) -> Iterator[Callable[[dict[str, Any]], None]]:
    """Live progress of a batch: yields what to call with the batch whenever its counts changed. A terminal shows
    every change, elsewhere each tenth of the jobs is a line."""
    told = -1
    with ui.step(f"Waiting for batch {number}") as step:

        def changed(batch: dict[str, Any]) -> None:
            nonlocal told
            counts = batch["counts"]
            over = counts["done"] + counts["error"]
            line = (f"{over} of {counts['jobs']} jobs over, {counts['in_progress']} instances computing"
                    + (f", {counts['error']} failed" if counts["error"] else ""))
            step.update(line)
            step.note = f"{counts['done']} done, {counts['error']} failed"
            tenth = over * 10 // max(counts["jobs"], 1)
            if tenth != told:
                told = tenth
                ui.say(f"  {line}")

        yield changed


def demo(console: Console, finished: Sequence[dict[str, Any]]) -> None:
    """What came back."""
    for job in finished:
        console.print(f"[green]✓[/green] [bold]{escape(job['app'])}[/bold] job {escape(job['name'])}: "
                      f"{job['credit']:.4g} credit granted; it returned")
        for line in job["content"].splitlines():
            console.print(f"    {escape(line)}")
        for path in job["outputs"]:
            console.print(f"    [dim]in {escape(path)}[/dim]")


def apps(console: Console, found: Sequence[dict[str, Any]]) -> None:
    """A table of apps."""
    table = _table("app", "name", "versions", "unfinished", "weight", "")
    for row in found:
        marks = [mark for mark, on in (("deprecated", row["deprecated"]), ("beta", row["beta"])) if on]
        table.add_row(escape(row["name"]), escape(row["user_friendly_name"]), str(row["versions"]),
                      str(row["unfinished"]), f"{row['weight']:g}", ", ".join(marks))
    console.print(table if found else "no apps")


def versions(console: Console, found: Sequence[dict[str, Any]]) -> None:
    """A table of app versions."""
    table = _table("id", "app", "version", "platform", "plan class", "", "added")
    for row in found:
        marks = [mark for mark, on in (("current", row["current"]), ("deprecated", row["deprecated"]),
                                       ("beta", row["beta"])) if on]
        table.add_row(str(row["id"]), escape(row["app"]), row["version"], escape(row["platform"]),
                      escape(row["plan_class"]), ", ".join(marks), _when(row["create_time"]))
    console.print(table if found else "no versions")


def app(console: Console, answer: dict[str, Any]) -> None:
    """One app with its versions and their files."""
    table = _table("setting", "value")
    for name, value in answer["app"].items():
        table.add_row(escape(name), escape(str(value)))
    console.print(table)
    versions(console, answer["versions"])
    for row in answer["versions"]:
        for file in row["files"]:
            console.print(escape(f"  {row['id']}: {file['name']}  {file['nbytes']} bytes"))


def files(console: Console, answer: dict[str, Any]) -> None:
    """What is wrong with the download tree."""
    for each in answer["missing"] + answer["changed"]:
        console.print(f"{_MARK['error']} {escape(each['path'])}: {escape(each['why'])} [dim]{escape(each['of'])}[/dim]")
    mark = _MARK["ok" if answer["ok"] else "error"]
    console.print(f"{mark} {answer['checked']} files checked, {len(answer['missing'])} missing, "
                  f"{len(answer['changed'])} changed; {answer['orphans']} orphaned ({answer['orphaned_bytes']} bytes)")


def keys(console: Console, found: dict[str, Any]) -> None:
    """All keys, and what clients see of them."""
    table = _table("key", "sha256 of the public half", "changed")
    for key in found["keys"]:
        table.add_row(escape(key["name"]), key["fingerprint"], _when(key["changed"]))
    console.print(table)
    where = "on this server" if found["code_sign_private_on_server"] else "not on this server, signing is elsewhere"
    console.print(f"private code-signing key: {where}")
    if found["project"] is None:
        console.print("the project is not running: what clients see is not known")
        return
    for problem in found["project"]["code_sign"]["problems"]:
        console.print(f"{_MARK['error']} {escape(problem)}")
    for former in found["project"]["upload"]["former"]:
        console.print(f"former upload key {former['fingerprint'][:16]}…: "
                      f"{former['unfinished_results']} unfinished results")
