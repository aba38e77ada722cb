"""Who is calling, from which host (spec 01 section 5.3)."""
from __future__ import annotations

import hashlib
import hmac
import re

from boincdock.protocol.scheduler_reply import LOW, NOTICE
from boincdock.scheduler.model import Row, text_of
from boincdock.scheduler.rpc import Rpc, StopRpc, User

BAD_KEY_DELAY = 3600.0
_MAX_MERGES = 20
_CPID = re.compile(r"[0-9a-fA-F]{32}")


def md5_hex(text: str) -> str:
    """MD5 of a text's UTF-8 bytes in hex."""
    return hashlib.md5(text.encode("utf-8", "surrogateescape"), usedforsecurity=False).hexdigest()


def weak_key(userid: int, authenticator: str, passwd_hash: str) -> str:
    """The key that can ask for work but not act on the account."""
    return f"{userid}_{md5_hex(authenticator + passwd_hash)}"


def rss_key(userid: int, authenticator: str, passwd_hash: str) -> str:
    """The key of the account's notices feed (spec 01 section 4.5)."""
    return f"{userid}_{md5_hex(authenticator + passwd_hash + 'notify_rss')}"


def public_cpid(cpid: str, email: str) -> str:
    """The id shown outside of this project."""
    return md5_hex(cpid + email)


def _same(a: str, b: str) -> bool:
    return hmac.compare_digest(a.encode("utf-8", "surrogateescape"), b.encode("utf-8", "surrogateescape"))


def authenticate(rpc: Rpc) -> None:
    """Fill user, host, hostid and weak of ``rpc``, creating or matching a host if need be.

    Raises :class:`StopRpc` with the reply's message set if the key is not valid.
    """
    row = _load_host(rpc)
    if row is not None and _accept_host(rpc, row):
        return
    if not rpc.user.id:
        _find_user(rpc)
    _find_or_create_host(rpc, search_cpid=row is None)


def _load_host(rpc: Rpc) -> Row | None:
    """The host named in the request, merged hosts followed; None if there is none."""
    hostid = rpc.request.hostid
    if hostid <= 0:
        return None
    seen: set[int] = set()
    while hostid > 0 and hostid not in seen and len(seen) < _MAX_MERGES:
        seen.add(hostid)
        row = rpc.repo.host_with_owner(hostid)
        if row is None:
            break
        if row["userid"]:
            rpc.matched = len(seen) > 1
            return row
        # A host merged into another keeps the survivor's id in rpc_seqno.
        hostid = row["rpc_seqno"]
    rpc.low("This computer's ID is not known to the project any more; it will get a new one.")
    return None


def _accept_host(rpc: Rpc, row: Row) -> bool:
    """Whether the request may act as this host; sets the user if the key is valid for one."""
    key = rpc.request.authenticator
    owner = User.of(row) if row["u_id"] else None
    if owner is not None and key and _same(key, owner.authenticator):
        rpc.user = owner
    elif owner is not None and _same(key, weak_key(owner.id, owner.authenticator, owner.passwd_hash)):
        rpc.user, rpc.weak = owner, True
    else:
        # Another account on this machine: its key is good, but the host is not its own.
        _find_user(rpc, NOTICE)
        rpc.matched = False
        return False
    if rpc.request.rpc_seqno < row["rpc_seqno"] and not rpc.matched:
        # A copied or rolled-back client: two machines must not share one host.
        return False
    rpc.host, rpc.hostid = row, row["id"]
    if rpc.matched:
        rpc.reply.new_hostid = rpc.hostid
    return True


def _find_user(rpc: Rpc, priority: str = LOW) -> None:
    key = rpc.request.authenticator
    number, _, _digest = key.partition("_")
    guard = rpc.bad_keys
    if guard is not None and guard.blocked(rpc.peer):
        rpc.debug("user_messages", "too many wrong keys from %s", rpc.peer)
    elif "_" in key:
        row = rpc.repo.user_by_id(int(number)) if re.fullmatch(r"\d{1,9}", number) else None
        if row is not None:
            user = User.of(row)
            if _same(key, weak_key(user.id, user.authenticator, user.passwd_hash)):
                rpc.user, rpc.weak = user, True
                return
    elif key:
        row = rpc.repo.user_by_authenticator(key)
        if row is not None and _same(key, text_of(row["u_authenticator"])):
            rpc.user = User.of(row)
            return
    if guard is not None:
        guard.failed(rpc.peer)
    rpc.reply.message("Invalid or missing account key; remove and add this project.", priority, BAD_KEY_DELAY)
    raise StopRpc


def _find_or_create_host(rpc: Rpc, search_cpid: bool) -> None:
    """Steps 5 to 9: reuse a host that must be this one, else make one. One at a time per account."""
    request, repo, user = rpc.request, rpc.repo, rpc.user
    repo.lock_user(user.id)
    rpc.matched = True
    host = request.host
    row = None
    if search_cpid and _CPID.fullmatch(host.host_cpid):
        row = repo.host_by_cpid(user.id, public_cpid(host.host_cpid, user.email_addr))
        if row is not None and _differs(row, rpc):
            row = None
        if row is not None and request.allow_multiple_clients != 1 and not request.other_results:
            repo.abandon_jobs(row["id"], rpc.now)
    if row is None:
        row = _similar_host(rpc)
        if row is not None and not request.other_results:
            repo.abandon_jobs(row["id"], rpc.now)
    if row is None:
        values = {
            "create_time": rpc.now, "userid": user.id, "rpc_time": 0, "expavg_time": rpc.now,
            "venue": user.venue, "domain_name": host.domain_name,
            "host_cpid": public_cpid(host.host_cpid, user.email_addr) if host.host_cpid else "",
        }
        hostid = repo.insert_host(values)
        found = repo.host_with_owner(hostid)
        if found is None:
            rpc.low("The project could not register this computer; it will try again.")
            raise StopRpc
        row, rpc.created = found, True
    rpc.host, rpc.hostid = row, row["id"]
    rpc.reply.new_hostid = rpc.hostid


def _similar_host(rpc: Rpc) -> Row | None:
    request, host = rpc.request, rpc.request.host
    if request.allow_multiple_clients == 1 or rpc.user.id in rpc.config.dont_search_host_for_user:
        return None
    values = {
        "userid": rpc.user.id, "domain_name": host.domain_name, "last_ip_addr": host.last_ip_addr,
        "os_name": host.os_name, "p_model": host.p_model, "m_nbytes": host.m_nbytes,
    }
    return rpc.repo.similar_host(values) if all(values.values()) else None


def _differs(row: Row, rpc: Rpc) -> bool:
    host = rpc.request.host
    return (
        row["p_ncpus"] != host.p_ncpus
        or any(text_of(row[name]) != getattr(host, name) for name in ("p_vendor", "p_model", "os_name", "os_version"))
    )


def adopt_cpid(rpc: Rpc) -> None:
    """Step 10: take over the client's cross-project id; the reply still shows the old one."""
    sent = rpc.request.cross_project_id
    if not rpc.weak and _CPID.fullmatch(sent) and sent != rpc.user.cross_project_id:
        rpc.user_writes.append(lambda: rpc.repo.set_user_cpid(rpc.user.id, sent))
