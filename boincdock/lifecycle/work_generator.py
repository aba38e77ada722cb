"""sample_work_generator: keeps a few small jobs of an app in stock (spec 03 section 16)."""
from __future__ import annotations

import argparse
import logging
from typing import Any

from boincdock.files.staging import stage_bytes
from boincdock.jobs.create import create_jobs, read_template
from boincdock.jobs.model import JobKind, JobLimits, JobSpec
from boincdock.lifecycle.daemon import Daemon

logger = logging.getLogger("boincdock.work_generator")

CUSHION = 10
LIMITS = JobLimits(rsc_fpops_est=1e12, rsc_fpops_bound=1e14, rsc_memory_bound=1e8, rsc_disk_bound=1e8,
                   delay_bound=86400, min_quorum=1, target_nresults=1, max_error_results=4, max_total_results=8,
                   max_success_results=4)


class SampleWorkGenerator(Daemon):
    """Whenever fewer than ten results wait to be sent, makes new jobs with a text file of one line as input. Then it
    waits until the transitioner has looked at them, so that it does not make them twice."""

    name = "sample_work_generator"
    default_sleep = 10.0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._started = self.now
        self._sequence = 0
        self._appid = 0
        self._created_at = 0
        self._template = ""

    @classmethod
    def add_options(cls, parser: argparse.ArgumentParser) -> None:
        """App and templates."""
        add = parser.add_argument
        add("--app", default="example_app", metavar="NAME", help="short name of the app (default example_app)")
        add("--in_template_file", default="example_app_in", metavar="FILE", help="input template in templates/")
        add("--out_template_file", default="example_app_out", metavar="FILE", help="result template in templates/")

    def setup(self) -> None:
        """Find app and templates."""
        self._appid = self.app_id()
        template = read_template(self.project.templates_dir / self.options.in_template_file, "input template")
        self._kind = JobKind(app=self.options.app, input_template=template, limits=LIMITS,
                             result_template_file=f"templates/{self.options.out_template_file}")

    def run_once(self) -> int:
        """Make what is missing, if the jobs made before have results; the number of jobs."""
        if self._created_at:
            earliest = self.db.value("stats.earliest_transition")
            if earliest is not None and earliest <= self._created_at:
                return 0
        missing = CUSHION - int(self.db.value("stats.unsent_results", appid=self._appid) or 0)
        if missing <= 0:
            return 0
        jobs = []
        for _ in range(missing):
            name = f"{self.options.app}_{self._started}_{self._sequence}"
            self._sequence += 1
            stage_bytes(self.project, f"This is the input file of job {name}\n".encode(), name)
            jobs.append(JobSpec(self._kind, name, files=(name,)))
        create_jobs(self.db, self.project, jobs)
        self._created_at = self.now
        logger.info("made %d jobs", len(jobs))
        return 0 if self.options.one_pass else len(jobs)
