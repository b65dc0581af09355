# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The table at the end of a run: endpoint, before, after, proof. Text for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

HEADINGS = ("endpoint", "before", "after", "proof")


@dataclass(frozen=True)
class Row:
    """One endpoint. C(state) is proved, absent, unproved, or unseen where nobody looked."""

    endpoint: str
    before: str
    after: str
    proof: str
    state: str


def row_of(
    endpoint: Mapping[str, Any],
    *,
    request: Mapping[str, Any] | None,
    deploy: Mapping[str, Any] | None,
    seen: Mapping[str, Any] | None,
    client: str,
    check_mode: bool = False,
) -> Row:
    """Put together what request, deploy and the client's look say of one endpoint."""
    name = f"{endpoint['name']} {_address(endpoint)}"
    entry = _only(request)
    done = _only(deploy)
    proved, proof = _proof(seen, expected=_expected(entry, done), client=client)
    absent = bool(request and request.get("absent")) or bool(done and done["outcome"] == "absent")
    state = "proved" if proved else "absent" if absent else "unproved" if seen is not None else "unseen"
    after = _after(request, entry, done, check_mode=check_mode)
    return Row(name, _before(request, entry), after, proof, state)


def as_text(
    rows: Sequence[Row],
    absent_machines: Mapping[str, str] | None = None,
    remarks: Sequence[str] = (),
    standings: Sequence[str] = (),
) -> str:
    """The table, how all machines stand, those that could not be reached and have no line in it, remarks, and the line
    C(proved: n/N endpoints)."""
    cells = [HEADINGS, *((row.endpoint, row.before, row.after, row.proof) for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(HEADINGS))]
    lines = ["  ".join(text.ljust(width) for text, width in zip(row, widths)).rstrip() for row in cells]
    lines.insert(1, "  ".join("-" * width for width in widths))
    absent = sum(row.state == "absent" for row in rows)
    summary = f"proved: {sum(row.state == 'proved' for row in rows)}/{len(rows)} endpoints"
    if absent:
        summary += f" (absent: {absent})"
    others = [f"absent: {host}: {_short(said)}" for host, said in (absent_machines or {}).items()]
    others += [f"note: {remark}" for remark in remarks]
    blocks = [lines, list(standings), others]
    return "\n".join([text for block in blocks if block for text in ("", *block)] + ["", summary])


def _address(endpoint: Mapping[str, Any]) -> str:
    address = str(endpoint["address"])
    return f"[{address}]:{endpoint['port']}" if ":" in address else f"{address}:{endpoint['port']}"


def _only(result: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    certificates = (result or {}).get("certificates") or ()
    return certificates[0] if certificates else None


def _expected(entry: Mapping[str, Any] | None, done: Mapping[str, Any] | None) -> str | None:
    """The fingerprint that must be served: what deploy left, else what request judged to be right."""
    if done is not None:
        return (done.get("after") or {}).get("fingerprint")
    if entry is not None and entry["verdict"] == "none":
        return (entry.get("current") or entry.get("served") or {}).get("fingerprint")
    return None


def _proof(seen: Mapping[str, Any] | None, *, expected: str | None, client: str) -> tuple[bool, str]:
    if seen is None:
        return False, "nobody looked"
    if not seen.get("trusted"):
        return False, f"{client}: {seen.get('failure') or 'not trusted'}: {_short(seen.get('said'))}"
    if expected and seen.get("fingerprint") != expected:
        return False, f"{client}: another certificate than the one that was deployed"
    return True, f"{client}: chain, name and time right"


def _before(request: Mapping[str, Any] | None, entry: Mapping[str, Any] | None) -> str:
    if entry is None:
        return "not seen" if request is None or request.get("absent") else "unknown"
    return _certificate(entry.get("served") or entry.get("current"))


def _certificate(described: Mapping[str, Any] | None) -> str:
    if not described or not described.get("not_after"):
        return (
            f"no certificate ({_short(described.get('said'))})"
            if described and described.get("said")
            else "no certificate"
        )
    issuer = "self-signed" if described.get("self_signed") else str(described.get("issuer") or "unknown issuer")
    return f"{issuer}, until {str(described['not_after'])[:10]}"


def _after(
    request: Mapping[str, Any] | None,
    entry: Mapping[str, Any] | None,
    done: Mapping[str, Any] | None,
    *,
    check_mode: bool,
) -> str:
    if request is None:
        return "not tried"
    if request.get("absent"):
        return f"absent: {_short(request.get('said'))}"
    if entry is None:
        return (
            f"failed: {_short(request.get('msg'))}"
            if request.get("problems") or request.get("failed")
            else "nothing to do"
        )
    codes = ", ".join(dict.fromkeys(str(reason["code"]) for reason in entry.get("reasons") or ()))
    if done is None and entry["verdict"] == "refuse":
        return f"refused ({codes})"
    if done is None and entry["verdict"] == "none":
        return "unchanged"
    if done is None and entry.get("deferred"):
        until = f" until {entry['deferred']['until']}" if entry["deferred"].get("until") else ""
        return f"deferred ({entry['deferred']['code']}{until}): {entry['verdict']} ({codes})"
    if done is None:
        return f"{'due' if check_mode else 'not tried'}: {entry['verdict']} ({codes})"
    until = str((done.get("after") or {}).get("not_after") or "")[:10]
    return f"{done['outcome']} ({codes})" + (f", until {until}" if until else "")


def _short(text: Any, limit: int = 70) -> str:
    line = " ".join(str(text or "no reason given").split())
    return line if len(line) <= limit else line[: limit - 1] + "…"
