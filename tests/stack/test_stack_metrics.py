"""/metrics on the real stack: RPCs and uploads of Apache's processes are counted (docs/metrics.md)."""
from __future__ import annotations

import hashlib
import re
import uuid

import requests
from prometheus_client.parser import text_string_to_metric_families
from stack_project import Project

REQUEST = """<scheduler_request>
<authenticator>{key}</authenticator><hostid>0</hostid><rpc_seqno>0</rpc_seqno>
<core_client_major_version>8</core_client_major_version><core_client_minor_version>2</core_client_minor_version>
<core_client_release>15</core_client_release><platform_name>x86_64-pc-linux-gnu</platform_name>
<work_req_seconds>{seconds}</work_req_seconds><cpu_req_secs>{seconds}</cpu_req_secs><cpu_req_instances>1</cpu_req_instances>
<host_info><p_ncpus>2</p_ncpus><p_vendor>V</p_vendor><p_model>M</p_model><os_name>Linux</os_name>
<host_cpid>{cpid}</host_cpid></host_info></scheduler_request>"""

STATUS_OF = """
import http.client, sys
connection = http.client.HTTPConnection("127.0.0.1", 8080)
connection.request("GET", sys.argv[1])
print(connection.getresponse().status)
"""


def numbers(stack: Project) -> dict[str, float]:
    response = stack.get("/boincserver_ops/metrics", auth=("admin", stack.secret("OPS_PASSWD")))
    assert response.status_code == 200
    return {f"{s.name} {' '.join(f'{k}={v}' for k, v in sorted(s.labels.items()))}".strip(): s.value
            for family in text_string_to_metric_families(response.text) for s in family.samples}


def account(stack: Project) -> str:
    email = f"metrics-{uuid.uuid4().hex[:8]}@example.org"
    hashed = hashlib.md5(f"secret99{email}".encode()).hexdigest()
    text = stack.get("/boincserver/create_account.php",
                     params={"email_addr": email, "user_name": "M", "passwd_hash": hashed}).text
    found = re.search(r"<authenticator>(\w+)</authenticator>", text)
    assert found, text
    return found.group(1)


def test_counters_move_with_rpcs_and_uploads_and_survive_a_restart_of_apache(stack: Project) -> None:
    assert stack.get("/boincserver_ops/metrics").status_code == 401
    for path, asked in (("metrics", False), ("", True), ("metrics/../", True), ("metricsx", True)):
        status = stack.run_in("apache", "python3", "-c", STATUS_OF, f"/boincserver_ops/{path}").strip()
        assert (status == "401") == asked, f"{path}: {status}; open to this machine's own programs only"
    key, before = account(stack), numbers(stack)
    assert before["boinc_database_up"] == 1
    assert before["boinc_supervisors"] == 1
    assert any(name.startswith("boinc_daemon_heartbeat_age_seconds") for name in before)
    url = f"{stack.url_base}/boincserver_cgi"
    for seconds in (0, 3600):
        body = REQUEST.format(key=key, seconds=seconds, cpid=uuid.uuid4().hex)
        assert "<userid>" in requests.post(f"{url}/cgi", data=body, timeout=30).text
    for _ in range(12):  # more than there are processes
        requests.post(f"{url}/cgi", data=b"nonsense", timeout=30)
        requests.post(f"{url}/file_upload_handler", data=b"nonsense", timeout=30)
    query = b"<data_server_request>\n<get_file_size>none_0_r1_0</get_file_size>\n</data_server_request>\n"
    requests.post(f"{url}/file_upload_handler", data=query, timeout=30)

    def moved(now: dict[str, float], kind: str, outcome: str) -> float:
        name = f"boinc_{kind}_request_seconds_count outcome={outcome}"
        return now[name] - before[name]

    after = numbers(stack)
    assert moved(after, "scheduler", "malformed") == 12
    assert moved(after, "scheduler", "contact") == 1
    assert moved(after, "scheduler", "no_jobs") + moved(after, "scheduler", "jobs") == 1
    assert moved(after, "upload", "later") == 12
    assert moved(after, "upload", "query") == 1
    received = "boinc_upload_bytes_received_total"
    assert after[received] - before[received] == 12 * 8 + len(query)
    took = "boinc_scheduler_request_seconds_sum outcome=malformed"
    assert 0 < after[took] - before[took] < 60
    files = len(stack.run_in("apache", "sh", "-c", "ls tmp_*/counters").split())
    stack.compose("restart", "apache")
    stack.up()
    requests.post(f"{url}/cgi", data=b"nonsense", timeout=30)
    assert moved(numbers(stack), "scheduler", "malformed") == 13
    assert len(stack.run_in("apache", "sh", "-c", "ls tmp_*/counters").split()) <= files + 1


def test_badges_have_their_pictures(stack: Project) -> None:
    for name in ("pct_1.png", "pct_5.png", "pct_25.png"):
        response = stack.get(f"/boincserver/img/{name}")
        assert (response.status_code, response.headers["Content-Type"]) == (200, "image/png")
        assert response.content.startswith(b"\x89PNG")
    assert stack.get("/boincserver/img/nothing.png").status_code == 404
