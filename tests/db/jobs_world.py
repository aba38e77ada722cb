"""A project directory over the test database, for the tests of apps and jobs."""
from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

from boincdock.config import Project, load_project
from boincdock.crypto import generate_keypair
from boincdock.files.staging import stage_bytes

CONFIG = """<boinc><config>
<long_name>Test</long_name><host>testproject</host>
<master_url>http://127.0.0.1:8080/testproject/</master_url>
<db_name>{db_name}</db_name><db_user>{db_user}</db_user><db_passwd>{db_passwd}</db_passwd><db_host>{db_host}</db_host>
<download_url>http://127.0.0.1:8080/testproject/download</download_url>
<upload_url>http://127.0.0.1:8080/testproject_cgi/file_upload_handler</upload_url>
<uldl_dir_fanout>1024</uldl_dir_fanout><cache_md5_info>1</cache_md5_info>
</config><daemons></daemons><tasks></tasks></boinc>
"""
PROJECT_XML = """<boinc>
  <platform><name>x86_64-pc-linux-gnu</name><user_friendly_name>Linux, 64-bit x86</user_friendly_name></platform>
  <platform><name>windows_x86_64</name><user_friendly_name>Windows</user_friendly_name></platform>
  <app><name>sieve</name><user_friendly_name>Eve's sieve</user_friendly_name><min_version>200</min_version></app>
</boinc>
"""
IN = """<input_template><file_info><gzip/></file_info>
<file_info><physical_name>primes_table_v3</physical_name><sticky/><no_delete/></file_info>
<workunit>
  <file_ref><open_name>in</open_name><copy_file/></file_ref><file_ref><open_name>table</open_name></file_ref>
  <rsc_fpops_est>3e12</rsc_fpops_est><delay_bound>259200</delay_bound>
</workunit></input_template>
"""
NO_FILES = "<input_template><workunit>{0}</workunit></input_template>"
OUT = ("<output_template><file_info><name><OUTFILE_0/></name><max_nbytes>5000000</max_nbytes>"
       "<url><UPLOAD_URL/></url></file_info><result><file_ref><file_name><OUTFILE_0/></file_name>"
       "<open_name>out</open_name><copy_file/></file_ref></result></output_template>")


def make_project(directory: Path, settings: SimpleNamespace) -> Project:
    """A project with keys, one app's templates and two staged files."""
    (directory / "config.xml").write_text(CONFIG.format(**vars(settings)))
    (directory / "project.xml").write_text(PROJECT_XML)
    for sub in ("download", "upload", "keys", "templates", "apps"):
        (directory / sub).mkdir()
    for kind in ("code_sign", "upload"):
        private, public = generate_keypair()
        (directory / "keys" / f"{kind}_private").write_text(private)
        (directory / "keys" / f"{kind}_public").write_text(public)
    (directory / "templates" / "sieve_in").write_text(IN)
    (directory / "templates" / "plain_in").write_text(NO_FILES.format(""))
    (directory / "templates" / "sieve_out").write_text(OUT)
    project = load_project(directory)
    stage_bytes(project, b"17\n", "sieve_17.txt", gzip=True)
    stage_bytes(project, b"2 3 5 7\n", "primes_table_v3")
    return project
