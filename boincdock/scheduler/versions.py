"""Choosing the app version for a job (spec 02 section 5)."""
from __future__ import annotations

from dataclasses import replace

from boincdock.enums import AnonymousVersion
from boincdock.protocol.request_model import PROC_TITLES, proc_type_of
from boincdock.scheduler import speed
from boincdock.scheduler.buda import cpu_type
from boincdock.scheduler.limits import daily_quota
from boincdock.scheduler.model import App, AppVersion, BestVersion, Hav, Job, Usage, gavid
from boincdock.scheduler.snapshot import make_version
from boincdock.scheduler.work import WorkRequest

_ADDRESS_SPACE = (("windows", 2), ("linux", 3), ("darwin", 4), ("solaris", 4))
_FAILING_PENALTY = 0.01


def needs_64bit(rsc_memory_bound: float, platform: str) -> bool:
    """Whether a job does not fit the 32-bit address space of a platform (section 5.1)."""
    gb = next((n for hint, n in _ADDRESS_SPACE if hint in platform), 2)
    return rsc_memory_bound > gb * speed.GB


class VersionChooser:
    """Chooses versions for one request; remembers answers per app until :meth:`forget`."""

    def __init__(self, work: WorkRequest) -> None:
        self.work = work
        self.rpc = work.rpc
        self._usages: dict[str, Usage | None] = {}
        self._cache: dict[tuple[int, bool, bool], BestVersion | None] = {}
        self._buda_cache: dict[tuple[str, bool], BestVersion | None] = {}
        self.excluded_by_prefs: set[int] = set()

    def forget(self) -> None:
        """Start afresh, e.g. for another processor type."""
        self._cache.clear()
        self._buda_cache.clear()

    def choose(self, job: Job, app: App, check_req: bool = True) -> BestVersion | None:
        """The version for this job on this host, or None."""
        if job.buda_app:
            return self._buda(job, app, check_req)
        if app.homogeneous_app_version:
            if self.rpc.request.anonymous:
                return None
            if job.app_version_id:
                return self._committed(job, app, check_req)
        needs64 = needs_64bit(job.rsc_memory_bound, self.rpc.request.platform_name)
        key = (app.id, needs64, check_req)
        if key in self._cache and not job.app_version_num:
            best = self._cache[key]
            if best is None or self._still_good(best, check_req):
                return best
        best = self._anonymous(app, needs64, check_req) if self.rpc.request.anonymous else self._project(
            job, app, needs64, check_req
        )
        if not job.app_version_num:
            self._cache[key] = best
        return best

    def _buda(self, job: Job, app: App, check_req: bool) -> BestVersion | None:
        """The wrapper's version, with the fastest variant of the science app that this host may run (section 8)."""
        if self.rpc.request.anonymous:
            return None
        key = (job.buda_app, check_req)
        if key in self._buda_cache:
            known = self._buda_cache[key]
            if known is None or self._still_good(known, check_req):
                return known
        # A variant for a GPU runs under the wrapper's CPU version, so what is asked for is the variant's matter.
        wrapper = self._project(job, app, needs_64bit(job.rsc_memory_bound, self.rpc.request.platform_name), False,
                                primary_only=True)
        best: BestVersion | None = None
        mine = cpu_type(self.rpc.request.platform_name)
        for variant in self.rpc.snapshot.buda.get(job.buda_app, ()) if wrapper else ():
            usage = self.usage(variant.plan_class) if variant.cpu_type == mine or (
                not mine and variant.cpu_type not in ("intel", "arm")) else None
            if wrapper is None or usage is None or not self._may_use(app, usage, check_req):
                continue
            if best is None or usage.projected_flops > best.usage.projected_flops:
                best = replace(wrapper, usage=usage, variant=variant, wrapper_usage=wrapper.usage)
        self._buda_cache[key] = best
        return best

    def _still_good(self, best: BestVersion, check_req: bool) -> bool:
        t = best.usage.proc_type
        if self.work.in_progress.app_full(best.app.name, t) or self.quota_reached(best):
            return False
        return not check_req or self.work.needs(t)

    def usage(self, plan_class: str) -> Usage | None:
        """What a job of a plan class uses here; evaluated once per request."""
        if plan_class not in self._usages:
            self._usages[plan_class] = self.rpc.snapshot.plan_classes.usage(plan_class, self.work.facts)
        found = self._usages[plan_class]
        return replace(found) if found is not None else None

    def quota_reached(self, best: BestVersion) -> bool:
        """Whether the version's jobs of today are used up (section 9.3)."""
        return self._quota_reached(best.hav, best.usage.proc_type)

    def _quota_reached(self, hav: Hav | None, proc_type: int) -> bool:
        config = self.work.config
        if hav is None or not hav.exists or not config.daily_result_quota:
            return False
        gpu = self.work.gpus.get(proc_type)
        quota = daily_quota(hav, proc_type, self.rpc.request.host.p_ncpus, gpu.count if gpu else 0,
                            config.gpu_multiplier)
        if hav.n_jobs_today + hav.sent < quota:
            return False
        self.rpc.debug("quota", "version %d: %d of %d jobs today", hav.app_version_id, hav.n_jobs_today + hav.sent,
                       quota)
        self.work.quota_reached = max(self.work.quota_reached, quota)
        return True

    def _may_use(self, app: App, usage: Usage, check_req: bool) -> bool:
        t = usage.proc_type
        if t in self.rpc.project_prefs.excluded_types:
            self.excluded_by_prefs.add(t)
            return False
        if self.work.in_progress.app_full(app.name, t):
            return False
        return not check_req or self.work.needs(t)

    # ---- project versions

    def _project(self, job: Job, app: App, needs64: bool, check_req: bool,
                 primary_only: bool = False) -> BestVersion | None:
        best: BestVersion | None = None
        best_score = 0.0
        for platformid, platform in self.rpc.platforms[:1] if primary_only else self.rpc.platforms:
            if needs64 and "64" not in platform:
                continue
            for version in self.rpc.snapshot.versions.get((app.id, platformid), ()):
                found = self._candidate(version, job, app, check_req)
                if found is None:
                    continue
                score = self._ranking(found)
                if score > best_score:
                    best, best_score = found, score
            if best is not None and self.work.config.prefer_primary_platform:
                break
        if best is not None and best.version is not None:
            self._finish(best, best.version)
            self.rpc.debug("version_select", "app %s: version %d (%s), %.2f GFLOPS", app.name, best.version.id,
                           best.plan_class or "no plan class", best.usage.projected_flops / 1e9)
        return best

    def _finish(self, best: BestVersion, version: AppVersion) -> None:
        config = self.work.config
        best.usage.projected_flops = speed.projected_flops(
            best.usage, version, best.hav, self.rpc.request.host.p_fpops,
            no_stats=config.rte_no_stats, from_pfc=config.estimate_flops_from_hav_pfc,
        )

    def _candidate(self, version: AppVersion, job: Job, app: App, check_req: bool) -> BestVersion | None:
        rpc = self.rpc
        if job.app_version_num:
            if version.version_num != job.app_version_num:
                return None
        elif version.superseded:
            return None
        if version.beta and not rpc.project_prefs.allow_beta_work:
            return None
        usage = self.usage(version.plan_class)
        if usage is None or (version.plan_class and not rpc.request.client_cap_plan_class and not usage.plain):
            return None
        hav = rpc.hav.get(version.id)
        if not self._may_use(app, usage, check_req) or self._quota_reached(hav, usage.proc_type):
            return None
        client = rpc.request.client_version
        if client < version.min_core_version or (version.max_core_version and client > version.max_core_version):
            return None
        return self._best(app, version, usage, hav)

    def _best(self, app: App, version: AppVersion, usage: Usage, hav: Hav | None) -> BestVersion:
        return BestVersion(
            app, usage, version, platform=version.platform, version_num=version.version_num,
            plan_class=version.plan_class, app_version_id=version.id, hav=hav,
        )

    def _ranking(self, best: BestVersion) -> float:
        """The value by which versions compete (section 5.2)."""
        hav, plan_value = best.hav, best.usage.projected_flops
        version = best.version
        assert version is not None
        value, n = plan_value, 1.0
        if hav is not None and hav.exists:
            n = max(1.0, hav.pfc_n)
            config = self.work.config
            stats = speed.projected_flops(
                best.usage, version, hav, self.rpc.request.host.p_fpops,
                no_stats=config.rte_no_stats, from_pfc=config.estimate_flops_from_hav_pfc,
            )
            value = rank_value(stats, plan_value, hav.pfc_n)
            failing = hav.pfc_n == 0 and hav.max_jobs_per_day == 1 and hav.consecutive_valid == 0
            if failing and self.rpc.rng.random() < 0.99:
                value *= _FAILING_PENALTY
        factor = self.work.config.version_select_random_factor
        noise = max(0.1, 1 + factor * self.rpc.rng.gauss(0, 1) / n) if factor else 1.0
        return max(value, 1.0) * noise

    def _committed(self, job: Job, app: App, check_req: bool) -> BestVersion | None:
        """The one version a workunit is committed to, even if it is deprecated (section 5.4)."""
        version = self.rpc.snapshot.version_by_id.get(job.app_version_id)
        if version is None:
            row = self.rpc.repo.app_version(job.app_version_id)
            if row is None:
                return None
            version = make_version(row, row["platform"])
        if version.platformid not in {platformid for platformid, _ in self.rpc.platforms}:
            return None
        usage = self.usage(version.plan_class)
        if usage is None or (check_req and not self.work.needs(usage.proc_type)):
            return None
        best = self._best(app, version, usage, self.rpc.hav.get(version.id))
        self._finish(best, version)
        return best

    # ---- the client's own versions

    def _anonymous(self, app: App, needs64: bool, check_req: bool) -> BestVersion | None:
        """The fastest of the client's versions of the app (section 5.3)."""
        best: BestVersion | None = None
        host = self.rpc.request.host
        seen = False
        for index, own in enumerate(self.rpc.request.app_versions):
            if own.app_name != app.name:
                continue
            seen = True
            proc_type = proc_type_of(own.coproc_type) if own.coproc_type else 0
            if proc_type is None or (needs64 and "64" not in own.platform) or own.version_num < app.min_version:
                continue
            version_id = int(AnonymousVersion.CPU) - proc_type
            hav = self.rpc.hav.get(gavid(app.id, version_id))
            usage = Usage(proc_type, own.coproc_count if proc_type else 0.0, avg_ncpus=own.avg_ncpus)
            if proc_type == 0 and usage.avg_ncpus <= 0:
                usage.avg_ncpus = 1.0
            if not self._may_use(app, usage, check_req) or self._quota_reached(hav, proc_type):
                continue
            usage.projected_flops, scale = speed.anonymous_flops(own.flops, hav, host.p_fpops)
            usage.peak_flops = (usage.avg_ncpus * speed.cpu_fpops(host.p_fpops)
                                + usage.gpu_usage * self.work.peak_of_gpu(proc_type))
            if best is None or usage.projected_flops > best.usage.projected_flops:
                best = BestVersion(app, usage, None, index, own.platform, own.version_num, own.plan_class,
                                   version_id, scale, hav)
        if best is None and not seen:
            self.work.note(f"Your app_info.xml file has no usable version of {app.user_friendly_name or app.name}.")
        return best

    def describe_excluded(self) -> list[str]:
        """Messages for types that preferences rule out."""
        return [
            f"Tasks for {PROC_TITLES[t]} are available, but your preferences do not accept them."
            for t in sorted(self.excluded_by_prefs)
        ]


def rank_value(stats: float, plan: float, pfc_n: float) -> float:
    """The mix of statistics and plan class value with which a version with a HAV row competes (vectors 19)."""
    n = max(1.0, pfc_n)
    return (stats * (n - 1) + plan) / n
