"""Starting again, changing settings and files: what must stay stays, what must change changes everywhere."""
from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest
import requests
from stack_project import Project, wait_for

SERVICES = ("mysql", "apache", "daemons")


def ids(project: Project) -> dict[str, str]:
    return {s: project.inspect(s)["Id"] + project.inspect(s)["State"]["StartedAt"] for s in SERVICES}


def project_files(project: Project) -> dict[str, str]:
    """Files that makeproject looks after: not logs, not what daemons and web write."""
    skip = ("./log_", "./pid_", "./tmp_", "./run_state", "./html/cache", "./html/stats", "./reread_db")
    return {p: h for p, h in project.volume_files("project").items() if not p.startswith(skip)}


def test_a_second_up_changes_nothing(stack: Project) -> None:
    before, secrets, files = ids(stack), stack.volume_files("secrets"), project_files(stack)
    for file in ("secrets.env", "keys/code_sign_private", "keys/upload_private", "html/ops/.htpasswd"):
        assert f"./{file}" in secrets
    stack.up()
    assert ids(stack) == before
    assert stack.volume_files("secrets") == secrets
    assert project_files(stack) == files
    assert stack.logs("makeproject").rstrip().endswith("makeproject: nothing to do")


def test_down_and_up_keep_secrets_accounts_and_files(stack: Project) -> None:
    email = "keeper@example.org"
    created = stack.get(f"/boincserver/create_account.php?email_addr={email}&passwd_hash={'a' * 32}&user_name=Keeper")
    assert "<authenticator>" in created.text
    stack.run_in("apache", "sh", "-c", "echo kept > download/kept; echo kept > /results/kept")
    secrets = stack.volume_files("secrets")
    stack.compose("down")
    stack.up()
    assert stack.volume_files("secrets") == secrets
    again = stack.get(f"/boincserver/lookup_account.php?email_addr={email}&passwd_hash={'a' * 32}")
    assert again.text.split("<authenticator>")[1][:32] == created.text.split("<authenticator>")[1][:32]
    assert stack.get("/boincserver/download/kept").content == b"kept\n"
    assert stack.run_in("daemons", "cat", "/results/kept") == "kept\n"


@pytest.fixture
def moved(stack: Project) -> Iterator[Project]:
    """Gives the project its URL back afterwards."""
    old = stack.url_base
    yield stack
    stack.up(URL_BASE=old)


def test_a_changed_url_is_taken_up_everywhere(moved: Project) -> None:
    old = moved.url_base
    new = old.replace("127.0.0.1", "127.0.0.2")
    assert moved.sql("SELECT count(*) FROM app_version WHERE xml_doc LIKE '%<url>" + old + "/boincserver/download/%'") \
        != [["0"]]
    secrets = moved.volume_files("secrets")
    moved.up(URL_BASE=new)
    assert moved.volume_files("secrets") == secrets
    page = moved.get("/boincserver/").text
    assert f"<!-- <scheduler>{new}/boincserver_cgi/cgi</scheduler> -->" in page and old not in page
    config = moved.run_in("apache", "cat", "config.xml")
    assert f"<master_url>{new}/boincserver/</master_url>" in config and old not in config
    for file in ("html/user/schedulers.txt", "boincserver.httpd.conf", "boincserver.readme"):
        text = moved.run_in("apache", "cat", file)
        assert new in text and old not in text, file
    assert old not in moved.get("/boincserver/get_project_config.php").text
    assert moved.sql(f"SELECT count(*) FROM app_version WHERE xml_doc LIKE '%{old}%'") == [["0"]]
    url = moved.sql("SELECT xml_doc FROM app_version LIMIT 1")[0][0].split("<url>")[1].split("</url>")[0]
    assert url.startswith(f"{new}/boincserver/download/")
    assert requests.get(url, timeout=30).status_code == 200
    assert requests.get(f"{new}/", timeout=30, allow_redirects=False).headers["Location"] == f"{new}/boincserver/"


def test_an_edit_in_the_volume_survives_and_takes_effect(stack: Project) -> None:
    original = stack.run_in("apache", "cat", "config.xml")
    edited = original.replace("<long_name>boincserver</long_name>", "<long_name>Edited by hand</long_name>")
    assert edited != original
    stack.run_in("apache", "sh", "-c", "cat > config.xml", stdin=edited.encode())
    try:
        stack.up()
        assert stack.run_in("apache", "cat", "config.xml") == edited
        wait_for("the page shows the new name",
                 lambda: "Edited by hand" in stack.get("/boincserver/get_project_config.php").text)
    finally:
        stack.run_in("apache", "sh", "-c", "cat > config.xml", stdin=original.encode())
        stack.up()


def test_a_removed_file_comes_back_and_apache_reloads(stack: Project) -> None:
    before = ids(stack)
    stack.run_in("apache", "rm", "boincserver.httpd.conf", "bin/status")
    stack.up()
    assert "BOINC is" in stack.run_in("apache", "bin/status")
    assert ids(stack) == before
    wait_for("the reload", lambda: "httpd reloads" in stack.logs("apache"))
    assert stack.get("/boincserver/").status_code == 200


def test_a_planted_link_does_not_lead_to_the_key(stack: Project) -> None:
    """A web process that is taken over could put links into the project volume; makeproject has the key mounted."""
    key = stack.volume_read("secrets", "keys/code_sign_private").decode().splitlines()[20]
    original = stack.run_in("apache", "cat", "html/user/schedulers.txt")
    stack.run_in("apache", "sh", "-c", "ln -sf /run/secrets/keys/code_sign_private html/user/schedulers.txt && "
                                       "ln -sf /run/secrets/keys/code_sign_private keys/code_sign_public")
    done = stack.compose("run", "--rm", "makeproject", check=False)
    assert done.returncode == 1 and b"symbolic link" in done.stdout + done.stderr
    assert stack.run_in("apache", "grep", "-rlsF", key, "/home/boincadm/project", check=False) == ""
    stack.run_in("apache", "rm", "html/user/schedulers.txt")
    stack.up()
    assert stack.run_in("apache", "cat", "html/user/schedulers.txt") == original
    assert stack.run_in("apache", "cat", "keys/code_sign_public").startswith("1024\n")


# ---- commands of the cookbook

def test_the_cookbooks_commands(stack: Project) -> None:
    assert stack.compose("exec", "-T", "apache", "bash", "-c", "pwd; whoami").stdout.decode().split() == \
        ["/home/boincadm/project", "boincadm"]
    assert "transitioner" in stack.compose("exec", "-T", "apache", "bin/status").stdout.decode()
    assert "transitioner" in stack.compose("exec", "-T", "daemons", "bin/status").stdout.decode()
    template = stack.compose("run", "--rm", "makeproject", "cat", "config.xml").stdout.decode()
    assert "${URL_BASE}" in template and "${DB_PASSWD}" in template
    assert stack.compose("exec", "-T", "apache", "hostname").stdout.decode().strip() == "boincserver"


def test_stop_and_start_from_the_apache_container(stack: Project) -> None:
    stack.run_in("apache", "bin/stop")
    try:
        assert "DISABLED" in stack.run_in("apache", "bin/status")
        assert stack.inspect("daemons")["State"]["Status"] == "running"
    finally:
        stack.run_in("apache", "bin/start")
    wait_for("daemons run again", lambda: "NOT RUNNING" not in stack.run_in("apache", "bin/status")
             and "ENABLED" in stack.run_in("apache", "bin/status"))


# ---- bad settings

@pytest.mark.parametrize(("name", "value", "says"), [
    ("URL_BASE", "http://localhost", "no dot"), ("URL_BASE", "ftp://a.b", "must begin with"),
    ("URL_BASE", "http://a b.c", "white space"), ("PROJECT", "My Project", "not a usable project name"),
    ("PROJECT", "../x", "not a usable project name"), ("BOINC_USER", "root", "not a usable user name"),
])
def test_bad_settings_are_refused_before_anything_is_made(fresh_project: Project, name: str, value: str,
                                                          says: str) -> None:
    done = fresh_project.compose("run", "--rm", "-e", f"{name}={value}", "secrets", check=False)
    text = (done.stdout + done.stderr).decode()
    assert done.returncode == 1 and says in text and "hint:" in text, text
    assert "Traceback" not in text
    assert fresh_project.volume_files("secrets") == {}


def test_another_project_name_on_the_same_volume_is_refused(stack: Project) -> None:
    files = project_files(stack)
    done = stack.compose("run", "--rm", "-e", "PROJECT=another", "makeproject", check=False)
    text = (done.stdout + done.stderr).decode()
    assert done.returncode == 1 and "belongs to PROJECT=boincserver" in text
    assert project_files(stack) == files


# ---- interruptions

def test_makeproject_killed_at_any_moment_is_finished_by_the_next_run(fresh_project: Project) -> None:
    """The first run of a new project is killed after 0.3 s, 0.6 s, …, until one gets through."""
    project = fresh_project
    project.compose("up", "-d", "mysql")
    secrets = project.volume_files("secrets")
    killed, delay = 0, 0.3
    while True:
        project.compose("run", "-d", "--name", f"{project.name}_killed", "makeproject")
        try:
            subprocess.run(["docker", "wait", f"{project.name}_killed"], timeout=delay, check=True, capture_output=True)
            finished = True
        except subprocess.TimeoutExpired:
            finished = False
        code = subprocess.run(["docker", "inspect", "-f", "{{.State.ExitCode}}", f"{project.name}_killed"],
                              capture_output=True, check=True).stdout.decode().strip()
        log = subprocess.run(["docker", "logs", f"{project.name}_killed"], capture_output=True, check=True)
        subprocess.run(["docker", "rm", "-f", f"{project.name}_killed"], check=True, capture_output=True)
        if finished:
            assert code == "0", (log.stdout + log.stderr).decode()
            break
        killed, delay = killed + 1, delay + 0.3
    assert killed >= 1
    project.up()
    assert project.volume_files("secrets") == secrets
    assert project.get("/boincserver/").status_code == 200
    assert project.sql("SELECT count(*) FROM app_version")[0][0] == project.sql(
        "SELECT count(DISTINCT appid, platformid, plan_class, version_num) FROM app_version")[0][0]
    assert "nothing to do" in project.logs("makeproject") or "done" in project.logs("makeproject")
    project.up()
    assert project.logs("makeproject").rstrip().endswith("nothing to do")
