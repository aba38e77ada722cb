"""The least that a scheduler RPC can be in Python under mod_wsgi: five statements and a commit, none of BOINC's rules.

``bench/run.py rpc`` measures it in turns with the scheduler: how near the scheduler comes says more than its absolute
figure, which follows the machine's mood.
"""
from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

import MySQLdb

from boincdock.config import load_project

LOCAL = threading.local()
FIELDS = re.compile(rb"<authenticator>(\w+)</authenticator>\s*<hostid>(\d+)</hostid>.*<d_free>([\d.]+)</d_free>", re.S)
USER = ("SELECT u.id, u.name, u.total_credit, h.rpc_seqno, h.total_credit FROM host h JOIN user u ON u.id = h.userid"
        " WHERE h.id = %s AND u.authenticator = %s")
QUEUE = "SELECT id FROM result WHERE server_state = 2 LIMIT 200 OFFSET %s"
CLAIM = ("UPDATE result SET server_state = 4, hostid = %s, userid = %s, sent_time = %s, report_deadline = %s"
         " WHERE id = %s AND server_state = 2")
DOCUMENTS = ("SELECT r.xml_doc_in, w.xml_doc, w.id, r.name FROM result r JOIN workunit w ON w.id = r.workunitid"
             " WHERE r.id = %s")
DEADLINE = "UPDATE workunit SET transition_time = LEAST(transition_time, %s) WHERE id = %s"
HOST = "UPDATE host SET rpc_time = %s, rpc_seqno = rpc_seqno + 1, d_free = %s WHERE id = %s"


def _database() -> Any:
    if not hasattr(LOCAL, "database"):
        config = load_project().config
        path = os.environ.get("DB_SOCKET", "").partition("=")[2]
        way = {"unix_socket": path} if path else {"host": config.db_host}
        LOCAL.database = MySQLdb.connect(user=config.db_user, password=config.db_passwd, database=config.db_name,
                                         charset="utf8mb4", **way)
        LOCAL.ids = []
    return LOCAL.database


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """One job for one host."""
    match = FIELDS.search(environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"])))
    assert match
    key, host, free = match.groups()
    database = _database()
    cursor = database.cursor()
    cursor.execute(USER, (int(host), key))
    user = cursor.fetchone()
    while True:
        if not LOCAL.ids:
            cursor.execute(QUEUE, (threading.get_ident() // 4096 % 64 * 200,))  # each thread from another place
            LOCAL.ids = [row[0] for row in cursor.fetchall()]
            database.commit()
        now = int(time.time())
        chosen = LOCAL.ids.pop()
        if cursor.execute(CLAIM, (int(host), user[0], now, now + 86400, chosen)):
            break
        database.commit()
    cursor.execute(DOCUMENTS, (chosen,))
    result, workunit, number, name = cursor.fetchone()
    cursor.execute(DEADLINE, (now + 86400, number))
    cursor.execute(HOST, (now, float(free), int(host)))
    database.commit()
    workunit, result = (part.decode() if isinstance(part, bytes) else part for part in (workunit, result))
    result = result.replace("<result>", f"<result>\n<name>{name}</name>", 1)
    body = f"<scheduler_reply>\n<app><name>bench</name></app>\n{workunit}\n{result}\n</scheduler_reply>\n".encode()
    start_response("200 OK", [("Content-Type", "text/xml"), ("Content-Length", str(len(body)))])
    return [body]
