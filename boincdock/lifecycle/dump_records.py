"""The records of the statistics export as XML (spec 03 sections 14.3, 14.4). Pure functions of database rows.

Unlike upstream's, the text is UTF-8 as declared, countries are escaped, and ``]]>`` cannot end the CDATA of ``misc``.
"""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from boincdock.protocol.account_xml import public_cpid

Row = Mapping[str, Any]

_HOST_DETAIL = ("create_time", "rpc_time", "timezone", "ncpus", "p_fpops", "p_iops", "p_membw", "m_nbytes", "m_cache",
                "m_swap", "d_total", "d_free", "n_bwup", "n_bwdown", "avg_turnaround", "credit_per_cpu_sec")
_NUMERIC = {9: "&#9;", 10: "&#10;", 13: "&#13;"}
# What XML 1.0 cannot hold at all, and C1 controls.
_ESCAPES: dict[int, str | None] = {
    **dict.fromkeys(range(32)), **_NUMERIC, **dict.fromkeys(range(0x7f, 0xa0)),
    **dict.fromkeys(range(0xd800, 0xe000)), 0xfffe: None, 0xffff: None}


def escape(value: Any) -> str:
    """Text for an element: ``<``, ``&`` and ``]]>`` as entities, line breaks and tabs as character references,
    other control characters dropped."""
    text = "" if value is None else str(value)
    return text.replace("&", "&amp;").replace("<", "&lt;").replace("]]>", "]]&gt;").translate(_ESCAPES)


def element(name: str, value: Any, indent: str = "    ") -> str:
    """One line; doubles with 6 decimals."""
    return f"{indent}<{name}>{f'{value:.6f}' if isinstance(value, float) else escape(value)}</{name}>\n"


def _credit(row: Row, indent: str) -> str:
    return "".join(element(c, float(row[c]), indent) for c in ("total_credit", "expavg_credit", "expavg_time"))


def user(row: Row, country: bool, url: bool, indent: str = "") -> str:
    """A ``<user>`` record; ``country`` and ``url`` are the config options user_country and user_url."""
    inner = indent + "    "
    parts = [f"{indent}<user>\n", element("id", row["id"], inner), element("name", row["name"], inner),
             element("create_time", row["create_time"], inner), _credit(row, inner),
             element("cpid", public_cpid(row["cross_project_id"], row["email_addr"]), inner)]
    if country and row["country"]:
        parts.append(element("country", row["country"], inner))
    if url and row["url"]:
        parts.append(element("url", row["url"], inner))
    if row["teamid"]:
        parts.append(element("teamid", row["teamid"], inner))
    if row["has_profile"]:
        parts.append(f"{inner}<has_profile/>\n")
    return "".join([*parts, f"{indent}</user>\n"])


def team(row: Row, members: Sequence[str] = ()) -> str:
    """A ``<team>`` record; ``members`` are its users' records, with detail."""
    parts = ["<team>\n", *(element(c, row[c]) for c in ("id", "type", "name", "userid")), _credit(row, "    ")]
    if row["founder_name"] is not None:
        parts.append(element("founder_name", row["founder_name"]))
    parts.append(element("create_time", row["create_time"]))
    parts += [element(c, row[c]) for c in ("url", "name_html", "description") if row[c]]
    return "".join([*parts, element("country", row["country"]), *members, "</team>\n"])


def host(row: Row, detail: bool) -> str:
    """A ``<host>`` record; the owner is named only if he shows his hosts."""
    parts = ["<host>\n", element("id", row["id"])]
    if detail and row["show_hosts"]:
        parts.append(element("userid", row["userid"]))
    parts += [_credit(row, "    "), *(element(c, row[c]) for c in ("p_vendor", "p_model", "os_name", "os_version"))]
    misc = str(row["misc"] or "").replace("]]>", "]]]]><![CDATA[>").translate({**_ESCAPES, 9: "\t", 10: "\n", 13: "\r"})
    parts.append(f"    <misc><![CDATA[{misc}]]></misc>\n")
    if detail:
        values = {**row, "ncpus": row["p_ncpus"]}
        parts += [element(c, values[c]) for c in _HOST_DETAIL]
        parts.append(element("host_cpid", row["host_cpid"]))
    return "".join([*parts, "</host>\n"])


def deleted(kind: str, row: Row) -> str:
    """A record of user_deleted (``kind`` user) or host_deleted (host)."""
    name = "cpid" if kind == "user" else "host_cpid"
    return f"<{kind}>\n{element('id', row['id'])}{element(name, row['cpid'])}</{kind}>\n"


def badge(kind: str, row: Row) -> str:
    """A badge_user or badge_team record."""
    return (f"<badge_{kind}>\n{element(f'{kind}_id', row['id'])}{element('badge_id', row['badge_id'])}"
            f"{element('create_time', int(row['create_time']))}</badge_{kind}>\n")


def work(kind: str, owner: int, rows: Sequence[Row], apps: Mapping[int, str]) -> str:
    """A user's or team's credit by app."""
    parts = [f"<{kind}>\n", element("id", owner)]
    for row in rows:
        name = escape(apps.get(row["appid"], row["appid"])).replace('"', "&quot;")
        parts += [f'    <subproject name="{name}">\n', element("workunits", row["njobs"], "        "),
                  element("credit", float(row["total"]), "        "),
                  element("expavg_credit", float(row["expavg"]), "        "), "    </subproject>\n"]
    return "".join([*parts, f"</{kind}>\n"])


def tables(totals: Row, now: int, credit_by_app: bool, apps: Sequence[Row], badges: Sequence[Row]) -> str:
    """The whole of tables.xml but the XML declaration."""
    parts = ["<tables>\n", element("update_time", now)]
    if credit_by_app:
        parts.append("    <credit_by_app/>\n")
    for name in ("nusers_total", "nteams_total", "nhosts_total", "nusers_deleted_total", "nhosts_deleted_total",
                 "total_credit"):
        if totals[name]:
            parts.append(element(name, float(totals[name]) if name == "total_credit" else int(totals[name])))
    parts.append("    <applications>\n")
    for app in apps:
        parts.append(f"        <application>\n{element('name', app['user_friendly_name'], '            ')}"
                     "        </application>\n")
    parts.append("    </applications>\n    <badges>\n")
    for row in badges:
        parts.append("        <badge>\n" + "".join(element(c, row[c], "            ")
                                                   for c in ("id", "name", "title", "image_url"))
                     + "        </badge>\n")
    return "".join([*parts, "    </badges>\n</tables>\n"])
