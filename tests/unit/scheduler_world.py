"""A small project in memory for scheduler tests: account 42 and host 17 of spec 01 section 6."""
from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from boincdock.config import Config, Project
from boincdock.crypto.keys import PublicKey, generate_private
from boincdock.crypto.rotation import CodeSignKeys
from boincdock.scheduler.authenticate import public_cpid
from boincdock.scheduler.handler import Scheduler
from boincdock.scheduler.memory import MemoryRepository

EXAMPLE = Path(__file__).with_name("scheduler_example_request.xml")
KEY = "126d0d20108d69f199bbf73004aca92c"
EMAIL = "ada@example.org"
PASSWD = "b8b0a22f0c0d0a881714ce1bca6b58c4"
HOST_CPID = "bd743f12cd893883a5774d36d5d3864a"
CPID = "c64bbb0b2889c58fa8dac344f65b6dc3"
NOW = 1787108640
LINUX = "x86_64-pc-linux-gnu"

VERSION_XML = b"""<file_info>
    <name>dwrap_22</name>
    <url>http://boinc.test/proj/download/dwrap_22</url>
    <executable/>
    <file_signature>
e34c
.
    </file_signature>
    <nbytes>1843200</nbytes>
</file_info>
<app_version>
    <app_name>fold</app_name>
    <version_num>105</version_num>
    <api_version>8.3.0</api_version>
    <file_ref>
        <file_name>dwrap_22</file_name>
        <main_program/>
    </file_ref>
</app_version>
"""
WU_XML = b"""<file_info>
    <name>fold_000130_in</name>
    <url>http://boinc.test/proj/download/1a3/fold_000130_in</url>
    <md5_cksum>2c6f00854b4702a9da9a18e5fcfdf279</md5_cksum>
    <nbytes>4096</nbytes>
</file_info>
<workunit>
    <command_line>--steps 500</command_line>
    <file_ref>
        <file_name>fold_000130_in</file_name>
        <open_name>in</open_name>
    </file_ref>
</workunit>
"""
RESULT_XML = b"""<file_info>
    <name>fold_000130_0_r902_0</name>
    <generated_locally/>
    <upload_when_present/>
    <max_nbytes>5000000</max_nbytes>
    <url>http://boinc.test/proj/file_upload_handler</url>
</file_info>
<result>
    <file_ref>
        <file_name>fold_000130_0_r902_0</file_name>
        <open_name>out</open_name>
    </file_ref>
</result>
"""
_PRIVATE = generate_private()


def elements(xml: str, tag: str) -> list[str]:
    """Texts of all elements ``tag`` in a reply."""
    return re.findall(rf"<{tag}(?: [^>]*)?>(.*?)</{tag}>", xml, re.S)


class World:
    """Repository, configuration, clock and scheduler; ``rpc`` sends a request and gives the reply's text."""

    def __init__(self, directory: Path, **options: Any) -> None:
        self.now = float(NOW)
        self.repo = MemoryRepository()
        config = Config()
        config.master_url, config.long_name = "http://boinc.test/proj/", "Bench Project"
        config.min_sendwork_interval, config.version_select_random_factor = 6, 0.0
        config.resend_lost_results = config.send_result_abort = True
        for name, value in options.items():
            setattr(config, name, value)
        self.config = config
        self.project = Project(directory, config)
        self.key: PublicKey = _PRIVATE.public
        self.scheduler = self.make_scheduler()
        self._fill()

    def make_scheduler(self) -> Scheduler:
        return Scheduler(self.project, self.repo, keys=lambda: CodeSignKeys(self.key), wall=lambda: self.now,
                         clock=lambda: self.now)

    def _fill(self) -> None:
        repo = self.repo
        self.linux = repo.add("platform", name=LINUX)
        self.anonymous = repo.add("platform", name="anonymous")
        self.app = repo.add("app", id=3, name="fold", user_friendly_name="Protein folding")
        self.version = repo.add("app_version", id=22, appid=3, version_num=105, platformid=self.linux["id"],
                                xml_doc=VERSION_XML, plan_class="docker")
        self.user = repo.add("user", id=42, email_addr=EMAIL, authenticator=KEY, passwd_hash=PASSWD, name="Ada L",
                             cross_project_id=CPID, total_credit=1234.5, expavg_credit=56.25,
                             create_time=1780000000, venue="home")
        self.host = repo.add(
            "host", id=17, userid=42, rpc_seqno=3, rpc_time=NOW - 3600, total_credit=321.0, expavg_credit=21.0,
            create_time=1786900050, venue="home", host_cpid=public_cpid(HOST_CPID, EMAIL), p_ncpus=4,
            p_vendor="GenuineIntel", os_name="Linux Ubuntu",
            p_model="Intel(R) Core(TM) i5-6500 CPU @ 3.20GHz [Family 6 Model 94 Stepping 3]",
            os_version="Ubuntu 24.04.3 LTS [6.8.0-79-generic|libc 2.39]",
        )

    def job(self, n: int = 130, *, state: int = 2, host: int = 0, sent: int = 0, wu: dict[str, Any] | None = None,
            **result: Any) -> dict[str, Any]:
        """A workunit with one result named fold_000<n>_0."""
        values: dict[str, Any] = {"appid": 3, "name": f"fold_{n:06}", "xml_doc": WU_XML, "rsc_fpops_est": 1.48e13,
                                  "rsc_fpops_bound": 2.96e14, "rsc_memory_bound": 1e9, "rsc_disk_bound": 4e9,
                                  "delay_bound": 604800}
        row = self.repo.add("workunit", **{**values, **(wu or {})})
        fields: dict[str, Any] = {"workunitid": row["id"], "appid": 3, "name": f"fold_{n:06}_0", "server_state": state,
                                  "xml_doc_in": RESULT_XML, "hostid": host, "userid": 42 if host else 0,
                                  "sent_time": sent, "report_deadline": sent + 604800 if sent else 0,
                                  "app_version_id": 22 if host else 0}
        return self.repo.add("result", **{**fields, **result})

    def result(self, name: str) -> dict[str, Any]:
        found = self.repo.find("result", name=name)
        assert len(found) == 1
        return found[0]

    def workunit_of(self, result: dict[str, Any]) -> dict[str, Any]:
        return self.repo.find("workunit", id=result["workunitid"])[0]

    def host_row(self, hostid: int = 17) -> dict[str, Any]:
        return self.repo.find("host", id=hostid)[0]

    def rpc(self, request: str | bytes, peer: str = "192.0.2.33") -> str:
        body = request.encode() if isinstance(request, str) else request
        return self.scheduler.handle(body, peer).decode()


def example() -> str:
    """The request of spec 01 section 6.1."""
    return EXAMPLE.read_text()


def change(request: str, **values: Any) -> str:
    """The request with the text of elements replaced; None removes the element."""
    for tag, value in values.items():
        new = "" if value is None else f"<{tag}>{value}</{tag}>"
        request, count = re.subn(rf"<{tag}>.*?</{tag}>", lambda m, new=new: new, request, count=1, flags=re.S)
        if not count:
            request = request.replace("<scheduler_request>", f"<scheduler_request>\n{new}", 1)
    return request


def quiet(request: str) -> str:
    """Without its reported result and with the first report's job not held."""
    return re.sub(r"<result>\n    <name>fold_000118.*?</result>\n", "", request, flags=re.S)
