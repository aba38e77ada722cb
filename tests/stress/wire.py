"""What a BOINC client puts on the wire and reads off it (spec 01 sections 3, 4 and 6; 04 section 5), as far as the
simulated hosts need it."""
from __future__ import annotations

import hashlib
import http.client
import re
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit

PLATFORM = "x86_64-pc-linux-gnu"
VERSION_NUM = 100
SIZE_QUERY_FROM = 8192
"""Smaller files are uploaded without asking first what the server has."""

_FILE = re.compile(r"<file_info>(.*?)</file_info>", re.S)
_RESULT = re.compile(r"<result>(.*?)</result>", re.S)
_WORKUNIT = re.compile(r"<workunit>(.*?)</workunit>", re.S)
_REFERENCE = re.compile(r"<file_ref>(.*?)</file_ref>", re.S)


class TransportError(Exception):
    """No usable answer: the client cannot know whether the server did what it was asked."""


@dataclass(frozen=True, slots=True)
class File:
    """A ``<file_info>``: an input (``url`` to fetch) or an output (with its upload certificate)."""

    name: str
    url: str
    signature: str = ""
    max_nbytes: str = "0"


@dataclass(frozen=True, slots=True)
class SentJob:
    """A job in a reply. ``deadline``: Unix seconds, as told to the client."""

    name: str
    wu_name: str
    deadline: int
    inputs: tuple[File, ...]
    outputs: tuple[File, ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """A scheduler reply as its client sees it; times in seconds."""

    down: bool
    hostid: int
    delay: float
    acks: frozenset[str]
    aborts: frozenset[str]
    jobs: tuple[SentJob, ...]
    text: str


@dataclass(frozen=True, slots=True)
class Report:
    """A finished job; ``state`` 5 uploaded, 3 failed, 6 aborted."""

    name: str
    exit_status: int
    state: int
    elapsed: float


def tag(text: str, name: str) -> str:
    """What the first element of this name holds, trimmed; '' if there is none."""
    found = re.search(rf"<{name}>(.*?)</{name}>", text, re.S)
    return found.group(1).strip() if found else ""


def request(key: str, hostid: int, seqno: int, host: int, wanted: int, reports: Iterable[Report],
            held: Iterable[str]) -> bytes:
    """A scheduler request of host number ``host`` that wants ``wanted`` jobs."""
    cpid = hashlib.md5(f"host {host}".encode(), usedforsecurity=False).hexdigest()
    results = "".join(
        f"<result>\n    <name>{r.name}</name>\n    <final_cpu_time>{r.elapsed:f}</final_cpu_time>\n"
        f"    <final_elapsed_time>{r.elapsed:f}</final_elapsed_time>\n    <exit_status>{r.exit_status}</exit_status>\n"
        f"    <state>{r.state}</state>\n    <platform>{PLATFORM}</platform>\n"
        f"    <version_num>{VERSION_NUM}</version_num>\n    <app_version_num>{VERSION_NUM}</app_version_num>\n"
        "<stderr_out>\n<![CDATA[\nsimulated\n]]>\n</stderr_out>\n</result>\n" for r in reports)
    others = "".join(f"<other_result>\n<name>{name}</name>\n</other_result>\n" for name in held)
    return f"""<scheduler_request>
    <authenticator>{key}</authenticator>
    <hostid>{hostid}</hostid>
    <rpc_seqno>{seqno}</rpc_seqno>
    <core_client_major_version>8</core_client_major_version>
    <core_client_minor_version>2</core_client_minor_version>
    <core_client_release>15</core_client_release>
    <work_req_seconds>{wanted:f}</work_req_seconds>
    <cpu_req_secs>{wanted:f}</cpu_req_secs>
    <cpu_req_instances>{wanted:f}</cpu_req_instances>
    <client_cap_plan_class>1</client_cap_plan_class>
    <platform_name>{PLATFORM}</platform_name>
<time_stats>
    <on_frac>1</on_frac>
    <active_frac>1</active_frac>
</time_stats>
<host_info>
    <domain_name>sim{host}</domain_name>
    <ip_addr>10.{host >> 16 & 255}.{host >> 8 & 255}.{host & 255}</ip_addr>
    <host_cpid>{cpid}</host_cpid>
    <p_ncpus>16</p_ncpus>
    <p_vendor>GenuineIntel</p_vendor>
    <p_model>Simulated</p_model>
    <p_fpops>1e12</p_fpops>
    <m_nbytes>64e9</m_nbytes>
    <d_total>1e12</d_total>
    <d_free>5e11</d_free>
    <os_name>Linux</os_name>
    <os_version>6.1</os_version>
</host_info>
{results}<other_results>
{others}</other_results>
</scheduler_request>
""".encode()


def answer(data: bytes) -> Answer:
    """Read a scheduler reply; TransportError if it is not a whole one."""
    text = data.decode("utf-8", "replace")
    if "<scheduler_reply>" not in text or "</scheduler_reply>" not in text:
        raise TransportError(f"not a scheduler reply: {text[:200]!r}")
    files = {f.name: f for f in map(_file, _FILE.findall(text))}
    inputs = {}
    for body in _WORKUNIT.findall(text):
        inputs[tag(body, "name")] = tuple(files[n] for n in _references(body) if n in files)
    jobs = []
    for body in _RESULT.findall(text):
        if wu_name := tag(body, "wu_name"):
            jobs.append(SentJob(tag(body, "name"), wu_name, int(float(tag(body, "report_deadline"))),
                                inputs[wu_name], tuple(files[n] for n in _references(body))))
    return Answer(
        "<project_is_down/>" in text, int(tag(text, "hostid") or 0), float(tag(text, "request_delay") or 0),
        frozenset(_names(text, "result_ack")),
        frozenset(_names(text, "result_abort")), tuple(jobs), text)


def _references(body: str) -> list[str]:
    return [tag(reference, "file_name") for reference in _REFERENCE.findall(body)]


def _names(text: str, element: str) -> list[str]:
    return [tag(body, "name") for body in re.findall(rf"<{element}>(.*?)</{element}>", text, re.S)]


def _file(body: str) -> File:
    return File(tag(body, "name"), tag(body, "url"), tag(body, "xml_signature"), tag(body, "max_nbytes") or "0")


def post(url: str, body: bytes, timeout: float) -> bytes:
    """The body of the answer to a POST; TransportError unless it is complete and its status 200."""
    return _exchange("POST", url, body, timeout)


def get(url: str, timeout: float) -> bytes:
    """A file; TransportError as for ``post``."""
    return _exchange("GET", url, None, timeout)


def _exchange(method: str, url: str, body: bytes | None, timeout: float) -> bytes:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port or 80, timeout=timeout)
    try:
        connection.request(method, parts.path, body, {"Content-Type": "text/xml"} if body is not None else {})
        reply = connection.getresponse()
        data = reply.read()
        if reply.status != 200:
            raise TransportError(f"{method} {parts.path}: HTTP {reply.status}")
        return data
    except (OSError, http.client.HTTPException) as error:
        raise TransportError(f"{method} {parts.path}: {type(error).__name__}: {error}") from None
    finally:
        connection.close()


_VERSION = ("    <core_client_major_version>8</core_client_major_version>\n"
            "    <core_client_minor_version>2</core_client_minor_version>\n"
            "    <core_client_release>15</core_client_release>\n")


class Refused(Exception):
    """The upload handler said "permanent": a real client would throw the finished job away."""


def upload(url: str, file: File, data: bytes, timeout: float) -> None:
    """One attempt at an upload, as clients do it; TransportError: try again later."""
    offset = 0
    if len(data) >= SIZE_QUERY_FROM:
        query = (f"<data_server_request>\n{_VERSION}    <get_file_size>{file.name}</get_file_size>\n"
                 "</data_server_request>\n")
        reply = _upload_status(post(url, query.encode(), timeout))
        size = tag(reply, "file_size")
        if not size:
            raise Refused(f"size query for {file.name}: no file_size in {reply!r}")
        offset = int(size)
        if offset >= len(data):
            return
    md5 = hashlib.md5(data, usedforsecurity=False).hexdigest()
    head = (f"<data_server_request>\n{_VERSION}<file_upload>\n<file_info>\n<name>{file.name}</name>\n"
            f"<xml_signature>\n{file.signature}\n</xml_signature>\n<max_nbytes>{float(file.max_nbytes):.0f}</max_nbytes>\n"
            f"</file_info>\n<nbytes>{len(data)}</nbytes>\n<md5_cksum>{md5}</md5_cksum>\n<offset>{offset}</offset>\n<data>\n")
    _upload_status(post(url, head.encode() + data[offset:], timeout))


def _upload_status(data: bytes) -> str:
    text = data.decode("utf-8", "replace")
    status = tag(text, "status")
    if status == "-1":
        raise Refused(text)
    if status != "0":
        raise TransportError(f"upload: {text[:200]!r}")
    return text
