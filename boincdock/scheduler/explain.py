"""Telling a volunteer why there is no work (spec 01 section 5.2, 02 section 13)."""
from __future__ import annotations

from boincdock.protocol.request_model import PROC_NAMES, PROC_TITLES
from boincdock.scheduler.rpc import Rpc
from boincdock.scheduler.versions import VersionChooser
from boincdock.scheduler.work import WorkRequest


def explain_no_work(work: WorkRequest, chooser: VersionChooser, seen_apps: set[int], hr_refused: bool) -> None:
    """Add the headline and every reason that came up while looking for jobs."""
    rpc = work.rpc
    rpc.low("No tasks sent")
    if not seen_apps:
        rpc.low("Project has no tasks available")
    for appid in sorted(rpc.project_prefs.app_ids):
        app = rpc.snapshot.apps.get(appid)
        if app is not None and appid not in seen_apps:
            rpc.low(f"No tasks are available for {app.user_friendly_name or app.name}")
    if rpc.project_prefs.app_ids and not rpc.project_prefs.app_ids & set(rpc.snapshot.apps):
        rpc.low("The applications you have chosen are not offered any more; please review your preferences.")
    for reason in work.reasons:
        rpc.notice(reason)
    if work.disk_short > 0 and not any("disk" in reason for reason in work.reasons):
        rpc.notice(f"Not enough disk space: {work.disk_short / 1048576:.0f} MB more are needed for any task.")
    for text in chooser.describe_excluded():
        rpc.low(text)
    if work.too_slow:
        host = rpc.request.host
        rpc.low(f"Tasks won't finish in time: BOINC runs {100 * host.on_frac:.1f}% of the time; computation is "
                f"enabled {100 * host.active_frac:.1f}% of that.")
    if hr_refused:
        rpc.low("Tasks are committed to other platforms")
    if work.quota_reached:
        rpc.notice(f"This computer has finished a daily quota of {work.quota_reached} tasks")
    if work.in_progress.reached:
        rpc.low("This computer has reached a limit on tasks in progress")


def missing_resources(rpc: Rpc) -> list[str]:
    """Names for ``<no_rsc_apps>``: what the client has and the project has no versions for (01 section 4.5)."""
    if rpc.request.anonymous:
        return []
    have = [0, *sorted({c.proc_type for c in rpc.request.coprocs if c.proc_type is not None and c.count > 0})]
    lacking = [t for t in have if t not in rpc.snapshot.proc_types]
    # Covering everything the client has would keep old clients away for good.
    return [] if len(lacking) == len(have) else [PROC_NAMES[t] for t in lacking]


def gpu_only_notice(rpc: Rpc) -> None:
    """Say so if the project has GPU versions only and the client has no such GPU."""
    types = rpc.snapshot.proc_types
    present = {c.proc_type for c in rpc.request.coprocs if c.count > 0}
    if types and 0 not in types and not types & present and not rpc.request.anonymous:
        wanted = " or ".join(PROC_TITLES[t] for t in sorted(types))
        rpc.notice(f"This project needs a GPU ({wanted}), and this computer has none that BOINC can use.")
