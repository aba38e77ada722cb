"""The XML of work in a reply, from what is stored (spec 02 section 12.4). Pure functions on text."""
from __future__ import annotations

import re

from boincdock.protocol.request_model import PROC_NAMES
from boincdock.protocol.scanner import escape
from boincdock.scheduler.buda import workunit_with
from boincdock.scheduler.model import App, BestVersion, Job

_WORKUNIT = re.compile(r"<workunit>[ \t]*\r?\n?")
_RESULT = re.compile(r"<result>[ \t]*\r?\n?")
_MAX_CMDLINE = 255


class BadDocument(ValueError):
    """A stored document lacks an element it must have; the job cannot be sent."""


def app_xml(app: App) -> str:
    """``<app>`` of a reply."""
    return (
        f"<app>\n    <name>{escape(app.name)}</name>\n"
        f"    <user_friendly_name>{escape(app.user_friendly_name)}</user_friendly_name>\n"
        f"    <non_cpu_intensive>{int(app.non_cpu_intensive)}</non_cpu_intensive>\n"
        f"    <fraction_done_exact>{int(app.fraction_done_exact)}</fraction_done_exact>\n</app>"
    )


def app_version_xml(best: BestVersion) -> str:
    """File infos and ``<app_version>`` with this host's usage put in."""
    assert best.version is not None
    document = best.version.xml_doc
    end = document.rfind("</app_version>")
    if end < 0:
        raise BadDocument(f"app version {best.version.id} has no </app_version>")
    usage = best.usage
    lines = [f"    <platform>{escape(best.platform)}</platform>"]
    if best.plan_class:
        lines.append(f"    <plan_class>{escape(best.plan_class)}</plan_class>")
    lines.append(f"    <avg_ncpus>{usage.avg_ncpus:f}</avg_ncpus>")
    lines.append(f"    <flops>{max(usage.projected_flops, 1.0):f}</flops>")
    cmdline = usage.cmdline.strip()
    if cmdline:
        lines.append(f"    <cmdline>{escape(cmdline[:_MAX_CMDLINE])}</cmdline>")
    if usage.proc_type:
        lines.append(
            f"    <coproc>\n        <type>{PROC_NAMES[usage.proc_type]}</type>\n"
            f"        <count>{usage.gpu_usage:f}</count>\n    </coproc>"
        )
    if usage.gpu_ram:
        lines.append(f"    <gpu_ram>{usage.gpu_ram:f}</gpu_ram>")
    return document[:end].rstrip() + "\n" + "\n".join(lines) + "\n" + document[end:]


def workunit_xml(document: str, job: Job, best: BestVersion) -> str:
    """File infos and ``<workunit>`` with resources, name and app put first."""
    found = _WORKUNIT.search(document)
    if found is None or "</workunit>" not in document:
        raise BadDocument(f"workunit {job.wu_name} has no <workunit> element")
    memory = best.usage.mem_usage or job.rsc_memory_bound
    scale = best.fpops_scale
    inserted = (
        f"    <rsc_fpops_est>{job.rsc_fpops_est * scale:f}</rsc_fpops_est>\n"
        f"    <rsc_fpops_bound>{job.rsc_fpops_bound * scale:f}</rsc_fpops_bound>\n"
        f"    <rsc_memory_bound>{memory:f}</rsc_memory_bound>\n"
        f"    <rsc_disk_bound>{job.rsc_disk_bound:f}</rsc_disk_bound>\n"
        f"    <name>{escape(job.wu_name)}</name>\n"
        f"    <app_name>{escape(best.app.name)}</app_name>\n"
    )
    if job.keywords:
        inserted += f"    <job_keyword_ids>{escape(job.keywords)}</job_keyword_ids>\n"
    whole = document[: found.start()] + "<workunit>\n" + inserted + document[found.end() :]
    return workunit_with(best.variant, best.usage, whole) if best.variant is not None else whole


def result_xml(document: str, result_name: str, job: Job, best: BestVersion, deadline: int) -> str:
    """Output file infos and ``<result>``; ``deadline`` is the client's, without grace."""
    found = _RESULT.search(document)
    end = document.rfind("</result>")
    if found is None or end < found.end():
        raise BadDocument(f"result {result_name} has no <result> element")
    first = (
        f"<result>\n    <report_deadline>{deadline}</report_deadline>\n"
        f"    <wu_name>{escape(job.wu_name)}</wu_name>\n    <name>{escape(result_name)}</name>\n"
    )
    last = (
        f"    <platform>{escape(best.platform)}</platform>\n    <version_num>{best.version_num}</version_num>\n"
        f"    <plan_class>{escape(best.plan_class)}</plan_class>\n"
    )
    return document[: found.start()] + first + document[found.end() : end].rstrip(" \t") + last + document[end:]
