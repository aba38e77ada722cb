"""The score-based dispatcher (spec 02 sections 10 and 12): which unsent jobs this host gets."""
from __future__ import annotations

import logging
from dataclasses import dataclass

from boincdock.protocol.request_model import PROC_NAMES
from boincdock.scheduler.claim import Claimer
from boincdock.scheduler.feasible import Refusal, check, one_per_host
from boincdock.scheduler.model import App, BestVersion, Job, Row
from boincdock.scheduler.snapshot import read_text
from boincdock.scheduler.versions import VersionChooser
from boincdock.scheduler.window import ANY_HOST, HostKind, JobWindows
from boincdock.scheduler.work import N_TYPES, WorkRequest

log = logging.getLogger(__name__)

MAX_ROUNDS = 4
"""How often a lost race is answered with further candidates before the reply goes out as it is."""

SECOND_LOOK = 32
"""Offers gathered per app if the first look, at a few more than are wanted, did not do."""

SPARE = 1
MAX_SPARE = 48


@dataclass(slots=True)
class Offer:
    """A feasible job with its version, score and delay bound."""

    job: Job
    best: BestVersion
    score: float
    delay_bound: int
    duration: float


class Dispatcher:
    """Chooses and claims jobs for one request."""

    def __init__(self, work: WorkRequest, windows: JobWindows, clock: float, claimer: Claimer,
                 chooser: VersionChooser) -> None:
        self.work, self.rpc = work, work.rpc
        self.windows, self.clock = windows, clock
        self.claimer, self.chooser = claimer, chooser
        self.seen_apps: set[int] = set()
        self.hr_refused = False
        self._gone: set[int] = set()
        self._whole: set[tuple[int, HostKind]] = set()
        """Windows of which every job was looked at in this pass."""
        self._spare = SPARE
        self._held_files = {f.name for f in work.rpc.request.files}
        self._keywords = self._user_keywords()

    def run(self) -> None:
        """Fill the reply: GPUs first, as a GPU without work is the greater loss."""
        for proc_type in reversed(range(N_TYPES)):
            if proc_type not in self.work.type_candidates or not self.work.needs(proc_type):
                continue
            with self.work.only(proc_type):
                for look in (self._first_look(proc_type), SECOND_LOOK, *[0] * MAX_ROUNDS):
                    if not self.work.work_needed() or not self._pass(proc_type, look):
                        break
            self.chooser.forget()

    def _wanted(self, proc_type: int) -> int:
        """How many jobs to take in one go."""
        instances = int(self.work.req_instances[proc_type]) or 1
        return max(1, min(self.work.max_jobs - self.work.jobs_sent, instances, 50))

    def _first_look(self, proc_type: int) -> int:
        """Offers that are enough for most requests. Where jobs of one app and priority may differ in score, the look
        must be wider to find the best."""
        config, apps = self.rpc.config, self.rpc.snapshot.apps.values()
        differ = config.keyword_sched or config.homogeneous_redundancy or any(
            app.n_size_classes or app.locality_scheduling or app.homogeneous_redundancy or app.homogeneous_app_version
            for app in apps
        )
        return SECOND_LOOK if differ else min(self._wanted(proc_type) + self._spare + 2, SECOND_LOOK)

    def _pass(self, proc_type: int, look: int) -> bool:
        """One look at the windows for a processor type; True if another look may find more.

        ``look`` bounds the offers per app; 0 = all of the window.
        """
        self._whole.clear()
        sent_before = self.rpc.sent
        offers = self._offers(proc_type, look)
        lost = bool(look) and len(offers) >= look
        while offers and self.work.work_needed() and self.work.needs(proc_type):
            batch = self._next_batch(offers)
            if not batch:
                break
            lost |= not self._claim(batch)
        if self.rpc.sent == sent_before and not lost and self.work.work_needed() and self.work.needs(proc_type):
            for appid, kind in self._whole:
                lost |= self.windows.unsuitable(appid, kind)
        return lost

    # ---- looking

    def _offers(self, proc_type: int, look: int) -> list[Offer]:
        offers: list[Offer] = []
        for app in self.rpc.snapshot.apps.values():
            if app.non_cpu_intensive or self._app_score(app) is None:
                continue
            kind = self.rpc.kind_of_host(app)
            found = self.windows.jobs(self.rpc.repo, app, kind, self.clock, self._wanted(proc_type) + self._spare)
            jobs = [j for j in found if j.resultid not in self._gone] if self._gone else found
            if jobs:
                self.seen_apps.add(app.id)
            elif kind != ANY_HOST and self.rpc.repo.top_priority(app.id) is not None:
                self.seen_apps.add(app.id)
                self.hr_refused = True
            before = len(offers)
            enough = len(offers) + look if look else len(offers) + len(jobs)
            for job in jobs:
                if len(offers) >= enough:
                    break
                best = self.chooser.choose(job, app)
                if best is None:
                    own = job.buda_app or job.app_version_num or app.homogeneous_app_version or _is_large(job)
                    if not own:
                        # No version for this app at all: the other jobs of the window fare no better.
                        break
                    continue
                if best.usage.proc_type != proc_type:
                    continue
                score = self.score(job, app, best)
                if score is not None:
                    bound = self.delay_bound(job, best)
                    offers.append(Offer(job, best, score, bound, self.work.duration(job.rsc_fpops_est, best.usage)))
            else:
                if jobs:
                    self._whole.add((app.id, kind))
            self.rpc.debug("send_scan", "[%s] app %s: %d jobs seen, %d possible", PROC_NAMES[proc_type], app.name,
                           len(jobs), len(offers) - before)
        # Equal scores: oldest first (the windows of processes start at different places anyway).
        offers.sort(key=lambda o: (-o.score, o.job.resultid))
        return offers

    def _app_score(self, app: App) -> float | None:
        """What the user's choice of apps adds; None: not wanted (section 12.2)."""
        prefs = self.rpc.project_prefs
        score = 0.0
        if app.beta:
            if not prefs.allow_beta_work:
                return None
            score += 1
        if prefs.app_ids and app.id not in prefs.app_ids:
            if not prefs.allow_non_preferred_apps:
                return None
            score -= 1
        return score

    def score(self, job: Job, app: App, best: BestVersion) -> float | None:
        """Score of a job for this host; None to refuse it."""
        config = self.rpc.config
        score = self._app_score(app)
        if score is None:
            return None
        if config.batch_accel and app.n_size_classes > 0 and job.priority > 0:
            if self.rpc.host.get("error_rate", 0) <= 0:
                return None
            score += 10
        if self.needs_reliable(job) and not app.beta and not (best.hav and best.hav.reliable):
            return None
        if job.hr_class or job.app_version_id:
            # Few hosts can take what is committed already.
            score += 1
        if app.locality_scheduling == 1 and job.sticky and not job.sticky.isdisjoint(self._held_files):
            self.rpc.debug("locality_lite", "host has a file of [RESULT#%d]", job.resultid)
            score += 10
        if config.size_classes and app.n_size_classes > 1:
            speed = best.usage.projected_flops * self.work.available(best.usage)
            score += size_score(job.size_class, app.size_quantiles, app.n_size_classes, speed)
        if config.keyword_sched and job.keywords:
            matches = self._keyword_matches(job)
            if matches is None:
                return None
            score += matches
        return score + job.priority

    def _keyword_matches(self, job: Job) -> int | None:
        words = {int(w) for w in job.keywords.split() if w.isdigit()}
        yes, no = self._keywords
        if words & no:
            self.work.note("Your keyword preferences rule out some tasks.")
            self.rpc.debug("keyword", "[RESULT#%d] refused: %s", job.resultid, job.keywords)
            return None
        return len(words & yes)

    def _user_keywords(self) -> tuple[set[int], set[int]]:
        """(yes, no): what the client says, else the file ``kw_prefs/<userid>``."""
        request = self.rpc.request
        if not self.rpc.config.keyword_sched or request.keywords_yes or request.keywords_no:
            return set(request.keywords_yes), set(request.keywords_no)
        lines = [*read_text(self.rpc.project_dir / "kw_prefs" / str(self.rpc.user.id)).split("\n"), "", ""]
        yes, no = ({int(w) for w in line.split() if w.isdigit()} for line in lines[:2])
        return yes, no

    def needs_reliable(self, job: Job) -> bool:
        """Whether the job goes to reliable hosts only."""
        threshold = self.rpc.config.reliable_on_priority
        return bool(threshold and job.priority >= threshold)

    def delay_bound(self, job: Job, best: BestVersion) -> int:
        """Seconds to the deadline, reduced for jobs that need reliable hosts (section 10)."""
        factor = self.rpc.config.reliable_reduced_delay_bound
        if self.needs_reliable(job) and factor > 0.01:
            return reduced_bound(job.delay_bound, factor, self.work.duration(job.rsc_fpops_est, best.usage))
        return job.delay_bound

    # ---- taking

    def _next_batch(self, offers: list[Offer]) -> list[Offer]:
        """Feasible offers from the front, as many as may be wanted plus a few spares for lost races."""
        wanted = self._wanted(offers[0].best.usage.proc_type)
        batch: list[Offer] = []
        while offers and len(batch) < wanted + self._spare:
            offer = offers.pop(0)
            if self.work.in_progress.app_full(offer.best.app.name, offer.best.usage.proc_type):
                continue
            if self._feasible(offer):
                batch.append(offer)
        return batch

    def _feasible(self, offer: Offer) -> bool:
        refusal = check(self.work, offer.job, offer.best, offer.duration, offer.delay_bound)
        if refusal == Refusal.DEADLINE and offer.delay_bound != offer.job.delay_bound:
            offer.delay_bound = offer.job.delay_bound
            refusal = check(self.work, offer.job, offer.best, offer.duration, offer.delay_bound)
        if refusal is not None:
            self.rpc.debug("send_job", "[RESULT#%d] refused: %s", offer.job.resultid, refusal.value)
        if refusal in (Refusal.HR, Refusal.APP_VERSION):
            self.hr_refused = True
        return refusal is None

    def _claim(self, batch: list[Offer]) -> bool:
        """Lock and claim a batch; False if a candidate was gone."""
        repo = self.rpc.repo
        rows = {row["id"]: row for row in repo.lock_jobs([o.job.resultid for o in batch])}
        refused = self._had_already([o.job for o in batch if o.job.resultid in rows])
        missing = False
        for offer in batch:
            job = offer.job
            row = rows.get(job.resultid)
            self._gone.add(job.resultid)
            if row is None:
                missing = True
                self.windows.drop(job.appid, [job.resultid])
            elif job.workunitid not in refused and self._still_wanted(offer):
                self._send(row, offer)
            else:
                self._gone.discard(job.resultid)
                if job.workunitid in refused:
                    self._gone.add(job.resultid)
        if missing:
            # Our window is behind the others': look at more jobs at a time.
            self._spare = min(4 * self._spare, MAX_SPARE)
        return not missing

    def _still_wanted(self, offer: Offer) -> bool:
        """The request may be satisfied, or the version's quota used up, by the jobs before in the batch."""
        if not self.work.work_needed() or not self.work.needs(offer.best.usage.proc_type):
            return False
        if self.chooser.quota_reached(offer.best):
            return False
        return self._feasible(offer)

    def _send(self, row: Row, offer: Offer) -> None:
        job = offer.job
        if self.claimer.claim(row, job, offer.best, offer.delay_bound):
            self._held_files |= job.sticky
            self.rpc.debug("send_job", "[RESULT#%d] score %.2f, delay bound %d, version %d", job.resultid, offer.score,
                           offer.delay_bound, offer.best.app_version_id)
            self.windows.drop(job.appid, [job.resultid])

    def _had_already(self, jobs: list[Job]) -> set[int]:
        """Workunits of which this user, or this host, must not get another instance (section 11.2)."""
        ids = sorted({j.workunitid for j in jobs if one_per_host(self.work, j)})
        if not ids:
            return set()
        if self.rpc.config.one_result_per_user_per_wu:
            return self.rpc.repo.had_by_user(ids, self.rpc.user.id)
        return self.rpc.repo.had_by_host(ids, self.rpc.hostid)


def size_score(size_class: int, quantiles: tuple[float, ...], n_classes: int, speed: float) -> float:
    """What the size class of a job adds for a host of this speed in FLOPS (section 12.2): the class of the host is
    the number of quantiles it reaches."""
    host_class = min(sum(q <= speed for q in quantiles), n_classes - 1)
    if size_class == host_class:
        return 5.0
    return -2.0 if size_class < host_class else -1.0


def _is_large(job: Job) -> bool:
    """A job that may rule out 32-bit versions; others of the window may still have a version."""
    return job.rsc_memory_bound > 2 * 1073741824.0


def reduced_bound(delay_bound: int, factor: float, duration: float) -> int:
    """The shorter deadline of a job that needs a reliable host (section 10, vectors 19)."""
    bound = delay_bound * factor
    if bound < 2 * duration < delay_bound and 2 * duration < 2 * factor * delay_bound:
        bound = 2 * duration
    return int(bound)
