"""Whose preferences count, which are stored, which are sent back (spec 01 section 5.5)."""
from __future__ import annotations

from boincdock.protocol.prefs import GlobalPrefs, ProjectPrefs, for_venue, mod_time
from boincdock.scheduler.authenticate import md5_hex
from boincdock.scheduler.rpc import Rpc

_MAX_PREFS = 65000


def handle_preferences(rpc: Rpc) -> None:
    """Set ``global_prefs`` and ``project_prefs`` of the RPC, store newer ones, decide what to send."""
    request, user, now = rpc.request, rpc.user, float(rpc.now)
    stored, master, working = user.global_prefs, request.global_preferences, request.working_global_preferences
    stored_time = mod_time(stored, now) if stored else 0.0
    master_time = mod_time(master, now) if master else 0.0
    working_time = mod_time(working, now) if working else 0.0
    if working:
        used = working
    elif master and not (stored and stored_time > master_time):
        used = for_venue(master, rpc.venue)
    else:
        used = for_venue(stored, rpc.venue) if stored else ""
    rpc.global_prefs = GlobalPrefs.parse(used)
    rpc.project_prefs = ProjectPrefs.parse(user.project_prefs, rpc.venue)
    account = rpc.reply.account
    account.project_preferences = user.project_prefs
    if stored and stored_time > master_time and stored_time > working_time:
        account.global_preferences = _wrapped(stored)
    ours = request.global_prefs_source_email_hash == md5_hex(user.email_addr)
    if master and not rpc.weak and ours and (not stored or master_time > stored_time) and len(master) < _MAX_PREFS:
        rpc.user_writes.append(lambda: rpc.repo.set_user_global_prefs(user.id, _wrapped(master)))


def _wrapped(prefs: str) -> str:
    """The text with its ``<global_preferences>`` tags, which a request's raw copy lacks."""
    body = prefs.strip()
    if body.startswith("<global_preferences>"):
        return body + "\n"
    return f"<global_preferences>\n{body}\n</global_preferences>\n"
