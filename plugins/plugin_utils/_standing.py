# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a machine came out of a run: one word for each, so that four hundred of them can be read at a glance."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ._engine import reasons_text

# Worst first: a machine with several certificates stands where its worst one does.
STANDINGS = (
    "failed",
    "refused",
    "rolled back",
    "kept",
    "removed",
    "not tried",
    "deferred",
    "absent",
    "due",
    "new",
    "old",
)
_OF_OUTCOME = {
    "installed": "new",
    "reloaded": "new",
    "unchanged": "old",
    "rolled_back": "rolled back",
    "not_tried": "not tried",
}
_SHOWN = 8


def standing_of(request: Mapping[str, Any] | None, deploy: Mapping[str, Any] | None, *, check_mode: bool) -> str:
    """One of STANDINGS, from what the steps of the flow have registered for a machine."""
    if request is None:
        return "not tried"
    if request.get("absent"):
        return "absent"
    if request.get("failed") or (request.get("problems") and not request.get("certificates")):
        return "failed"
    done = {str(entry["id"]): str(entry["outcome"]) for entry in (deploy or {}).get("certificates") or ()}
    found = [_standing(entry, done.get(str(entry["id"])), check_mode) for entry in request.get("certificates") or ()]
    return min(found, key=STANDINGS.index, default="old")


def _standing(entry: Mapping[str, Any], outcome: str | None, check_mode: bool) -> str:
    if outcome is not None:
        return _OF_OUTCOME.get(outcome, outcome)
    if entry["verdict"] == "refuse":
        return "refused"
    if entry["verdict"] == "none":
        return "old"
    if entry.get("deferred"):
        return "deferred"
    return "due" if check_mode else "not tried"


def standings_text(standings: Mapping[str, str], deferrals: Mapping[str, str]) -> list[str]:
    """A line for each standing that a machine has, with the machines' names; O(deferrals) says why they were."""
    lines = []
    for standing in reversed(STANDINGS):
        hosts = [host for host, value in standings.items() if value == standing]
        if hosts:
            lines.append(f"{standing}: {len(hosts)} ({_names(hosts)})")
    reasons = dict.fromkeys(deferrals.values())
    for reason in reasons:
        hosts = [host for host, why in deferrals.items() if why == reason]
        lines.append(f"deferred: {_names(hosts)}: {reason}")
    return lines


def deferral_of(request: Mapping[str, Any] | None, deploy: Mapping[str, Any] | None = None) -> Mapping[str, Any] | None:
    """Why (the first of) a machine's certificates was put off: code and message; after a failure also what went wrong."""
    for entry in (request or {}).get("certificates") or ():
        deferred: Mapping[str, Any] | None = entry.get("deferred")
        if deferred and deferred["code"] == "backoff":
            return {**deferred, "message": f"{deferred['message']}; {reasons_text(entry)}"}
        if deferred:
            return deferred
    # A device that has become busy since the request.
    done = (deploy or {}).get("certificates") or ()
    busy = ({"code": "window", "message": str(entry.get("said"))} for entry in done if entry["outcome"] == "deferred")
    return next(busy, None)


def _names(hosts: Iterable[str]) -> str:
    names = list(hosts)
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
