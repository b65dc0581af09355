# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Clocks that are wrong: nothing is issued to, or by, a machine that lives in another time than the controller."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Any

from ansible_collections.certfleet.tls.plugins.module_utils._x509.clock import clock_text
from ansible_collections.certfleet.tls.plugins.module_utils._x509.duration import parse_duration, span_text

from ._engine import reasons_text
from ._references import resolve

_VARIABLE = "tls_clock_limit"
# A certificate begins an hour before it is issued: half of that is left for what goes wrong further.
_DEFAULT = "30m"


def clock_limit(task_vars: Mapping[str, Any], templar: Any) -> int:
    """By how many seconds a clock may be wrong (C(tls_clock_limit)). Raises X509Error."""
    value = resolve(task_vars.get(_VARIABLE), task_vars, templar)
    return parse_duration(_DEFAULT if value in (None, "") else value, where=_VARIABLE)


def clock_options(task_vars: Mapping[str, Any], templar: Any) -> dict[str, Any]:
    """What a module that signs compares its clock with, the controller's as it is now. Raises X509Error."""
    return {"controller_time": time.time(), "clock_limit": clock_limit(task_vars, templar)}


def clock_error(told: float, *, before: float, after: float) -> int:
    """By how many seconds the clock that said O(told) is fast (negative: slow), asked between O(before) and O(after) of ours.

    What the answer may have taken on its way is no error.
    """
    return int(told - after) if told > after else int(min(0.0, told - before))


def refuse_by_clock(
    entries: Iterable[dict[str, Any]], error: int, *, now: float, task_vars: Mapping[str, Any], templar: Any
) -> None:
    """Refuse those entries of request for which a certificate would be issued now, if the machine's clock is too wrong for that.

    Where nothing is to be issued the limit is not looked at: it may be a template, and in the steady state nobody waits for those.
    """
    to_issue = [entry for entry in entries if entry["verdict"] == "issue" and not entry.get("deferred")]
    if not to_issue or not error:
        return
    limit = clock_limit(task_vars, templar)
    if abs(error) <= limit:
        return
    harm = "would seem to end too early there" if error > 0 else "would not be valid yet there"
    said = (
        f"its clock is {clock_text(error, now=now)}, more than {_VARIABLE} ({span_text(limit)}) allows: a certificate that is issued "
        f"now {harm}. Nothing was staged or sent. Set its clock (or the controller's), and have it kept right, by NTP."
    )
    for entry in to_issue:
        reason = {"code": "clock", "message": f"{said} It is due ({reasons_text(entry)})."}
        entry.update(verdict="refuse", reasons=[reason])
