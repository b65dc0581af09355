# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is due and left alone all the same, for now: outside the change windows, after failures, or when too much has failed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

from ansible.module_utils.parsing.convert_bool import boolean

from ansible_collections.certfleet.tls.plugins.module_utils._x509.judge import Failure, Known
from ansible_collections.certfleet.tls.plugins.module_utils._x509.parse import iso

from ._backoff import Backoff, read_backoff
from ._change_window import Window, opens_at, read_windows
from ._engine import EngineError
from ._references import resolve


@dataclass(frozen=True)
class Rules:
    """When this host may be changed. C(pause): why nothing further may be begun in this run; C(spared) identities may, though."""

    windows: tuple[Window, ...] = ()
    backoff: Backoff = field(default_factory=Backoff)
    retry_now: bool = False
    pause: str | None = None
    pause_code: str = "budget"
    spared: frozenset[str] = frozenset()


def read_rules(task_vars: Mapping[str, Any], templar: Any, ca: Mapping[str, Any] | None) -> Rules:
    """The host's variables, and what ca_info says of the whole run. Raises EngineError."""

    def variable(name: str) -> Any:
        return resolve(task_vars.get(name), task_vars, templar)

    pause = (ca or {}).get("pause") or {}
    return Rules(
        windows=read_windows(variable("tls_change_windows")),
        backoff=read_backoff(variable("tls_backoff")),
        retry_now=_switch("tls_retry_now", variable("tls_retry_now")),
        pause=str(pause["message"]) if pause else None,
        pause_code=str(pause.get("code") or "budget"),
        spared=frozenset(str(identity) for identity in pause.get("except") or ()),
    )


def is_plan(entries: Sequence[Mapping[str, Any]], task_vars: Mapping[str, Any], templar: Any) -> bool:
    """Whether this run only judges (C(tls_certificate_plans)): another play goes on where something is due.

    Where nothing is wanted it makes no difference, and is not looked at.
    """
    if all(entry["verdict"] == "none" for entry in entries):
        return False
    value = task_vars.get("tls_certificate_plans")
    return _switch("tls_certificate_plans", resolve(value, task_vars, templar))


def defer(
    entries: Sequence[dict[str, Any]],
    known: Mapping[str, Known],
    *,
    task_vars: Mapping[str, Any],
    templar: Any,
    ca: Mapping[str, Any] | None,
    now: int,
) -> None:
    """Give those entries of request that are due, but not now, their C(deferred). O(known) by the entries' ids.

    Where nothing is due, no variable is looked at: they may be templates, and in the steady state nobody waits for those.
    """
    due = [entry for entry in entries if entry["verdict"] not in {"none", "refuse"}]
    waiting = [entry for entry in entries if entry["verdict"] == "none" and entry.get("unconfirmed")]
    if not due and not waiting:
        return
    rules = read_rules(task_vars, templar, ca)
    for entry in waiting:
        # Clients may be asked at any time; what they do not accept goes back when the host may be changed.
        opening = opens_at(rules.windows, now)
        if opening > now:
            entry["window_opens"] = iso(opening)
    for entry in due:
        found = deferral(entry, known[str(entry["id"])].failures.get(str(entry["name"])), rules, now=now)
        if found:
            entry["deferred"] = found


def deferral(entry: Mapping[str, Any], failure: Failure | None, rules: Rules, *, now: int) -> dict[str, str] | None:
    """Why this entry of request waits: C(code) (window, backoff, budget or canary), C(message), and C(until) where that is known.

    What has failed before may always be tried again in its time: that is how a budget is got back.
    """
    if failure is None and rules.pause and str(entry["identity"]) not in rules.spared:
        return {"code": rules.pause_code, "message": rules.pause}
    rested = now if failure is None or rules.retry_now else _rested_at(entry, failure, rules.backoff, now=now)
    opening = opens_at(rules.windows, max(rested, now))
    if opening <= now:
        return None
    if failure is not None and rested > now:
        often = "once" if failure.count == 1 else f"{failure.count} times in a row"
        message = f"it has failed {often} and is left alone until {iso(rested)} (tls_backoff)"
        if opening > rested:
            message += f"; then the next change window opens {iso(opening)} (tls_change_windows)"
        return {"code": "backoff", "message": message, "until": iso(opening)}
    message = f"outside the change windows of this host, the next one opens {iso(opening)} (tls_change_windows)"
    return {"code": "window", "message": message, "until": iso(opening)}


def _rested_at(entry: Mapping[str, Any], failure: Failure, backoff: Backoff, *, now: int) -> int:
    """When the pause after a failure ends, in unix seconds."""
    last = _seconds(failure.last_at)
    if last > now + backoff.first:
        return now  # the CA's clock was wrong then; it must not keep the certificate from being renewed
    ends = [_seconds(end) for end in _ends_in_service(entry)]
    return last + backoff.pause(failure.count, left=min(ends) - last if ends else None)


def _ends_in_service(entry: Mapping[str, Any]) -> list[str]:
    """The ends of the leaves that clients rely on; on a self-signed one nobody does."""
    leaves = [entry.get("served") or {}, entry.get("current") or {}]
    return [str(leaf["not_after"]) for leaf in leaves if leaf.get("not_after") and not leaf.get("self_signed")]


def _seconds(text: str) -> int:
    return int(datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=timezone.utc).timestamp())


def _switch(name: str, value: Any) -> bool:
    if value in (None, ""):
        return False
    try:
        return bool(boolean(value))
    except TypeError as exc:
        raise EngineError(f"{name} is {value!r}. Write true or false.") from exc
