"""What is fuzzed. A target is called with bytes, returns if all is well and raises ``Fault`` (or anything) if not.

Each of them checks more than "does not raise": lists are bounded, numbers finite, replies readable by a client, files
only where they belong. ``files`` are the sources whose lines count as found; ``seeds`` are where mutation begins.
"""

from __future__ import annotations

import dataclasses
import io
import logging
import math
import re
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from boincdock.protocol import prefs, request_fast, scheduler_request, upload
from boincdock.protocol.request_model import Coproc
from boincdock.protocol.scheduler_request import MalformedRequest, SchedulerRequest, parse_request
from tests.fuzz import client_view
from tests.fuzz.source import reply_from

CORPUS = Path(__file__).with_name("corpus")
EXAMPLE = Path(__file__).parents[1] / "unit" / "scheduler_example_request.xml"


class Fault(AssertionError):
    """The program did something with this input that it must never do."""


@dataclasses.dataclass(frozen=True)
class Target:
    """One thing to fuzz; ``start`` makes the function, with whatever it needs around it."""

    name: str
    start: Callable[[], Callable[[bytes], None]]
    files: tuple[str, ...]
    words: tuple[bytes, ...] = ()
    first: Callable[[], list[bytes]] = lambda: [b""]
    """Inputs to begin with, besides the corpus."""

    fresh: int = 0
    """Make the function anew after so many inputs (0: never): what it keeps must not decide for ever."""

    @property
    def folder(self) -> Path:
        return CORPUS / self.name

    def seeds(self) -> list[bytes]:
        """The corpus; every found case stays in it."""
        found = [path.read_bytes() for path in sorted(self.folder.glob("*")) if path.is_file()]
        return [*self.first(), *found]


# ---- the request parser ------------------------------------------------------------------------------------------

_BOUNDS = {
    "results": 20000,
    "other_results": 50000,
    "app_versions": 5000,
    "files": 20000,
    "trickles": 1000,
    "alt_platforms": 32,
    "coprocs": 8,
    "keywords_yes": 1024,
    "keywords_no": 1024,
}


_FIELDS: dict[type, tuple[str, ...]] = {}


def _check_values(thing: Any) -> None:
    kind = type(thing)
    names = _FIELDS.get(kind)
    if names is None:
        names = _FIELDS[kind] = tuple(field.name for field in dataclasses.fields(thing))
    for name in names:
        value = getattr(thing, name)
        sort = type(value)
        if sort is float:
            if not math.isfinite(value):
                raise Fault(f"{kind.__name__}.{name} is {value}")
        elif sort is int:
            if not -(1 << 63) <= value < 1 << 63:
                raise Fault(f"{kind.__name__}.{name} is {value}")
        elif sort is str:
            if value and ("\0" in value or len(value) > scheduler_request.MAX_BLOB or not value.encode()):
                raise Fault(f"{kind.__name__}.{name} has a NUL or {len(value)} characters")
        elif sort is bytes:
            if len(value) > scheduler_request.MAX_TIME_LOG:
                raise Fault(f"{kind.__name__}.{name} has {len(value)} bytes")
        elif sort is list:
            for item in value[:200]:
                if dataclasses.is_dataclass(item):
                    _check_values(item)
        elif dataclasses.is_dataclass(value):
            _check_values(value)


def check_request(request: SchedulerRequest) -> None:
    """``Fault`` for a value that must not get into the server."""
    for name, most in _BOUNDS.items():
        if len(getattr(request, name)) > most:
            raise Fault(f"{name} has {len(getattr(request, name))} elements")
    if any(not result.name for result in request.results):
        raise Fault("a result without name")
    if any(not isinstance(coproc, Coproc) or not coproc.type_name for coproc in request.coprocs):
        raise Fault("a coprocessor without type")
    _check_values(request)


def _requests() -> list[bytes]:
    """The worked example, and each of its elements in a request of its own: short inputs are quick ones."""
    whole = EXAMPLE.read_bytes()
    inner = whole[whole.index(b"<scheduler_request>") + 19 : whole.index(b"</scheduler_request>")]
    found = [whole]
    at = 0
    while match := re.compile(rb"\s*<(\w+)>.*?</\1>", re.S).match(inner, at):
        at = match.end()
        if len(match.group()) < 2000:
            found.append(b"<scheduler_request>" + match.group() + b"\n</scheduler_request>\n")
    return found


def _full_requests() -> list[bytes]:
    """Requests that get past authentication: the worked example, and the same without most of its body."""
    whole = EXAMPLE.read_bytes()
    # The example's key is not that of the tests' world, which would send no work.
    usual = re.sub(rb"<code_sign_key>.*?</code_sign_key>", b"", whole, flags=re.S)
    return [whole, usual, re.sub(rb"<(coprocs|host_info|app_versions)>.*?</\1>", b"", usual, flags=re.S)]


def _outcome(parse: Callable[[bytes], SchedulerRequest], data: bytes) -> SchedulerRequest | str:
    try:
        return parse(data)
    except MalformedRequest as error:
        return str(error)


def _parser(data: bytes) -> None:
    """The quick parser, which the scheduler calls, and the tolerant one, which must agree with it."""
    found = _outcome(request_fast.parse_request, data)
    if found != _outcome(parse_request, data):
        raise Fault("the quick parser and the tolerant one do not agree")
    if not isinstance(found, str):
        check_request(found)
    elif len(found) > 200:
        raise Fault("the reason is too long for a message")


# ---- the reply writer --------------------------------------------------------------------------------------------


def _reply(data: bytes) -> None:
    reply, messages = reply_from(data)
    names = [element.name for element in client_view.read(reply.render())]
    wanted = {"message": messages}
    if not reply.project_is_down:
        wanted |= {"delete_file_info": len(reply.delete_files), "project_name": 1, "hostid": 0}
        if reply.full:
            wanted |= {
                "result_ack": len(reply.acks),
                "result_abort": len(reply.aborts),
                "user_name": 1,
                "userid": 1,
                "result_abort_if_not_started": len(reply.aborts_if_not_started),
                "hostid": bool(reply.new_hostid),
                "workunit": len(reply.workunits_xml),
                "project_preferences": 1,
                "global_preferences": 0,
            }
    for name, count in wanted.items():
        if names.count(name) != count:
            raise Fault(f"{names.count(name)} elements <{name}> instead of {count}")


class CriticalLog(logging.Handler):
    """Remembers what the code under test logged as a failure of its own."""

    def __init__(self) -> None:
        super().__init__(logging.CRITICAL)
        self.seen: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.seen.append(self.format(record))


def _quiet_logs() -> CriticalLog:
    logger, found = logging.getLogger("boincdock"), CriticalLog()
    logger.handlers[:] = [found]
    logger.setLevel(logging.CRITICAL)
    return found


# ---- uploads -----------------------------------------------------------------------------------------------------


def _uploads() -> list[bytes]:
    from tests.unit.test_upload_parser import signature_of, size_query, upload_request

    return [
        size_query(),
        upload_request(),
        upload_request(signature=signature_of()),
        upload_request(b"", nbytes=0, md5=""),
        upload_request(b"lo\n", offset=3),
    ]


_DATA_REPLY = re.compile(
    r"<data_server_reply>\n    <status>(-1|0|1)</status>\n(?:    <message>[^<>]{1,1200}</message>\n)?"
    r"(?:    <file_size>\d+</file_size>\n)?</data_server_reply>\n"
)


def _check_name(name: str) -> None:
    if (
        not name
        or len(name) > 240
        or not name.isascii()
        or not name.isprintable()
        or set(name) & set("/\\%")
        or ".." in name
        or name != name.strip()
        or name.startswith(".")
    ):
        raise Fault(f"file name {name!r}")


def _header(data: bytes) -> None:
    for complete in (True, False):
        try:
            request = upload.parse_header(data, complete)
        except upload.UploadError as error:
            if error.reply.status == upload.Status.OK or not _DATA_REPLY.fullmatch(error.reply.encode().decode()):
                raise Fault(f"reply {error.reply}") from error
            continue
        _check_name(request.name)
        if isinstance(request, upload.Upload):
            _check_upload(request, data)


def _check_upload(request: upload.Upload, data: bytes) -> None:
    if not (
        0 <= request.nbytes <= 2**53 and 0 <= request.offset <= 2**53 and 0 <= (request.max_nbytes or 0) <= 2**53
    ):
        raise Fault(f"a size is out of range: {request}")
    if not data[: request.data_at].endswith((b"<data>\n", b"<data>")) or request.data_at > upload.MAX_HEADER:
        raise Fault(f"data at {request.data_at}")
    if not re.fullmatch(r"(?:[0-9a-f]{32})?", request.md5):
        raise Fault(f"MD5 {request.md5!r}")


class UploadWorld:
    """A project's upload folder and its handler, in memory if the machine has a file system there."""

    def __init__(self) -> None:
        from boincdock import crypto
        from boincdock.files.upload_handler import Body, UploadHandler
        from tests.unit.test_crypto_keys import worked_example
        from tests.unit.test_files_hierarchy import make_project

        self._logs = _quiet_logs()
        shm = Path("/dev/shm")
        self._holder = tempfile.TemporaryDirectory(dir=shm if shm.is_dir() else None, prefix="fuzz_upload_")
        self.root = Path(self._holder.name) / "project"
        self.root.mkdir()
        project = make_project(self.root)
        crypto.write_key_file(self.root / "keys" / "upload_public", worked_example().public.file_text, secret=False)
        self.handlers = []
        for certificates in (True, False):
            project.config.ignore_upload_certificates = not certificates
            self.handlers.append(UploadHandler(project, min_free_bytes=0))
        self._body, self._upload = Body, self.root / "upload"
        self._keep = {path for path in self.root.rglob("*") if path.is_file()}

    def __call__(self, data: bytes) -> None:
        handler = self.handlers[len(data) % 2]
        body = self._body(io.BytesIO(data), None if len(data) % 3 else len(data))
        reply = handler.handle(body)
        if self._logs.seen:
            raise Fault(self._logs.seen.pop())
        if not _DATA_REPLY.fullmatch(reply.encode().decode()):
            raise Fault(f"reply {reply}")
        if not body.complete and body.read(1):
            raise Fault("the body was not read to its end")
        self._check_tree()

    def _check_tree(self) -> None:
        for path in self.root.iterdir():
            if path.name not in ("download", "upload", "keys"):
                raise Fault(f"{path} was made")
        for folder in self._upload.iterdir():
            if not re.fullmatch(r"[0-9a-f]{1,3}", folder.name):
                raise Fault(f"{folder} was made")
            for path in folder.iterdir():
                if not path.is_file() or path.stat().st_size > 1 << 20:
                    raise Fault(f"{path} is no small file")
            shutil.rmtree(folder)


# ---- the whole scheduler -----------------------------------------------------------------------------------------


def _scheduler() -> Callable[[bytes], None]:
    from tests.unit.scheduler_world import World

    logs = _quiet_logs()
    folder = tempfile.TemporaryDirectory(prefix="fuzz_scheduler_")
    world = World(Path(folder.name), one_result_per_user_per_wu=False)
    for number in range(130, 150):
        world.job(number)
    world.job(118, state=4, host=17, sent=int(world.now) - 5000)
    world.job(119, state=4, host=17, sent=int(world.now) - 5000)

    def run(data: bytes, _folder: Any = folder) -> None:
        world.now += 60
        reply = world.scheduler.handle(data, "192.0.2.33")
        if logs.seen:
            raise Fault(logs.seen.pop())
        client_view.read(reply)

    return run


def _calls() -> list[bytes]:
    """Requests to the web RPCs: the query string with its page, a line feed, the posted form."""
    return [
        b"get_project_config.php?\n",
        b"lookup_account.php?email_addr=ann%40example.org&passwd_hash=782394328243fe00696be7548b103000\n",
        b"create_account.php?email_addr=bob%40example.org&user_name=B%C3%A9\npasswd_hash=" + b"0" * 32,
        b"login_token_lookup.php?user_id=42&token=abc\n",
        b"am_get_info.php?account_key=0123456789abcdef0123456789abcdef\n",
        b"am_set_host_info.php?account_key=0123456789abcdef0123456789abcdef&hostid=17&venue=home\n",
        b"show_user.php?format=xml&userid=42\n",
        b"show_user.php?format=xml&auth=0123456789abcdef0123456789abcdef\n",
        b"show_host_detail.php?format=xml&hostid=17\n",
        b"server_status.php?xml=1\n",
        b"login_action.php?\nemail_addr=ann%40example.org&passwd=x&next_url=home.php",
        b"results.php?hostid=17&offset=20&state=1\n",
    ]


def _web() -> Callable[[bytes], None]:
    import sys

    sys.path.insert(0, str(EXAMPLE.parent))
    from web_world import ANN, World  # type: ignore[import-not-found]

    logs = _quiet_logs()
    folder = tempfile.TemporaryDirectory(prefix="fuzz_web_")
    world = World(Path(folder.name))
    world.insert("user", **ANN)
    world.insert("host", id=17, userid=42)

    def run(data: bytes, _folder: Any = folder) -> None:
        world.now += 10000
        call, _, body = data.partition(b"\n")
        path, _, query = call.partition(b"?")
        environ = {
            "REQUEST_METHOD": "POST" if body else "GET",
            "SCRIPT_NAME": "/p",
            "PATH_INFO": "/" + path.decode("latin-1"),
            "QUERY_STRING": query.decode("latin-1"),
            "SERVER_NAME": "127.0.0.1",
            "SERVER_PORT": "8080",
            "SERVER_PROTOCOL": "HTTP/1.1",
            "REMOTE_ADDR": "192.0.2.7",
            "wsgi.url_scheme": "http",
            "wsgi.input": io.BytesIO(body),
            "CONTENT_LENGTH": str(len(body)),
            "wsgi.errors": io.StringIO(),
            "CONTENT_TYPE": "application/x-www-form-urlencoded",
            "HTTP_HOST": "127.0.0.1:8080",
            "wsgi.version": (1, 0),
            "wsgi.multithread": False,
            "wsgi.multiprocess": True,
            "wsgi.run_once": False,
        }
        seen: list[Any] = []
        answer = b"".join(world.app(environ, lambda *given: seen.append(given)))
        status, headers = seen[0][0], dict(seen[0][1])
        if logs.seen:
            raise Fault(logs.seen.pop())
        if status.startswith("5"):
            raise Fault(f"status {status}")
        if headers.get("Content-Type", "").startswith("text/xml"):
            try:
                ElementTree.fromstring(answer)
            except ElementTree.ParseError as error:
                raise Fault(f"the XML of the answer is broken: {error}: {answer[:300]!r}") from error
        if any(set(value) & set("\r\n") for value in headers.values()):
            raise Fault(f"a header has two lines: {headers}")

    return run


def _documents() -> list[bytes]:
    return [
        b"<global_preferences>\n<mod_time>1700000000</mod_time>\n<ram_max_used_busy_frac>0.5</ram_max_used_busy_frac>\n"
        b'<venue name="home">\n<work_buf_min_days>0.1</work_buf_min_days>\n</venue>\n</global_preferences>\n',
        b"<project_preferences>\n<resource_share>100</resource_share>\n<no_cpu>1</no_cpu>\n<project_specific>\n"
        b"<max_jobs>3</max_jobs>\n<app_id>1</app_id>\n</project_specific>\n</project_preferences>\n",
    ]


def _preferences(data: bytes) -> None:
    text = data.replace(b"\0", b"").decode("utf-8", "replace")
    for venue in ("", "home", "x" * 10):
        chosen = prefs.for_venue(text, venue)
        _check_values(prefs.GlobalPrefs.parse(chosen))
        prefs.ProjectPrefs.parse(text, venue)
    if not 0 <= prefs.mod_time(text, 1e9) <= 1e9:
        raise Fault("modification time")


_REQUEST_WORDS = (
    tuple(
        b"<" + name + b">"
        for name in (
            *scheduler_request._TOP,
            *scheduler_request._HOST,
            *scheduler_request._RESULT,
            *scheduler_request._COPROC,
        )
    )
    + tuple(
        piece
        for name in scheduler_request._TOP_GROUPS
        for piece in (b"<" + name + b">", b"</" + name + b">", b"<" + name + b"/>")
    )
    + (
        b"<scheduler_request>",
        b"</scheduler_request>",
        b"<stderr_out>",
        b"</stderr_out>",
        b"<coproc_cuda>",
        b"</coproc_cuda>",
        b"<distro>",
        b"</distro>",
        b"<opencl_cpu_prop>",
        b"<yes>7</yes>",
        b"<app_version>",
        b"</app_version>",
        b"<variety>",
    )
)
_UPLOAD_WORDS = (
    b"<data_server_request>",
    b"<file_upload>",
    b"<file_info>",
    b"</file_info>",
    b"<name>",
    b"</name>",
    b"<nbytes>",
    b"</nbytes>",
    b"<offset>",
    b"</offset>",
    b"<max_nbytes>",
    b"</max_nbytes>",
    b"<xml_signature>",
    b"</xml_signature>",
    b"<md5_cksum>",
    b"</md5_cksum>",
    b"<data>\n",
    b"<get_file_size>",
    b"</get_file_size>",
    b"<url>",
    b"</url>",
    b"demo_0_r918273645_0",
    b"../../keys/upload_public",
    b"%2e%2e%2f",
)
_PREF_WORDS = (
    b"<mod_time>",
    b"</mod_time>",
    b'<venue name="home">',
    b"</venue>",
    b"<global_preferences>",
    b"<no_cpu/>",
    b"<project_specific>",
    b"<max_jobs>",
    b"<app_id>",
    b"<resource_share>",
    b"<cpu_usage_limit>",
)

_WEB_WORDS = (
    *(
        b"&",
        b"=",
        b"%00",
        b"%0a",
        b"%0d%0a",
        b"%3c",
        b"%26",
        b"%c3",
        b"%ed%a0%80",
        b"%F0%9F%98%80",
        b"%27",
        b"%22",
        b"..%2f",
    ),
    *(
        b"&format=xml",
        b"&xml=1",
        b"&userid=",
        b"&hostid=",
        b"&teamid=",
        b"&offset=",
        b"&account_key=",
        b"&opaque_auth=1",
    ),
    *(
        b"email_addr=",
        b"passwd_hash=",
        b"user_name=",
        b"team_name=",
        b"invite_code=",
        b"consent_flag=1",
        b"venue=school",
    ),
    *(
        b"show_user.php?",
        b"am_get_info.php?",
        b"home.php?",
        b"top_users.php?",
        b"workunit.php?wuid=",
        b"result.php?resultid=",
    ),
)

TARGETS: dict[str, Target] = {
    target.name: target
    for target in (
        Target(
            "parser",
            lambda: _parser,
            (
                "protocol/request_fast.py",
                "protocol/scheduler_request.py",
                "protocol/scanner.py",
                "protocol/request_model.py",
            ),
            _REQUEST_WORDS,
            _requests,
        ),
        Target(
            "reply",
            lambda: _reply,
            ("protocol/scheduler_reply.py", "protocol/scanner.py"),
            (b"<&>", b"]]>", b"</message>", b"</scheduler_reply>", "é€".encode(), b"\0"),
            lambda: [bytes(range(256)) * 2, bytes((1, 30)) + b"a<b>&" * 60],
        ),
        Target("upload", lambda: _header, ("protocol/upload.py", "protocol/scanner.py"), _UPLOAD_WORDS, _uploads),
        Target(
            "upload_handler",
            UploadWorld,
            ("files/upload_handler.py", "files/partial.py", "protocol/upload.py"),
            _UPLOAD_WORDS,
            _uploads,
            fresh=5000,
        ),
        Target("scheduler", _scheduler, ("/scheduler/", "protocol/"), _REQUEST_WORDS, _full_requests, fresh=300),
        Target("web", _web, ("/web/", "protocol/account_xml.py"), _WEB_WORDS, _calls, fresh=2000),
        Target("preferences", lambda: _preferences, ("protocol/prefs.py",), _PREF_WORDS, _documents),
    )
}
