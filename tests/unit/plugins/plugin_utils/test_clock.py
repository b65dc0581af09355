# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Wrong clocks: how wrong they are, and what that keeps from happening."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.certfleet.tls.plugins.module_utils._x509.errors import X509Error
from ansible_collections.certfleet.tls.plugins.plugin_utils._clock import clock_error, refuse_by_clock

NOW = 1_800_000_000.0


@pytest.mark.parametrize(
    ("told", "error"),
    [(100.0, 0), (103.0, 0), (101.5, 0), (104.0, 1), (3703.2, 3600), (99.0, -1), (-3500.0, -3600), (100.0 - 0.9, 0)],
)
def test_what_the_way_of_the_answer_explains_is_no_error(told: float, error: int) -> None:
    assert clock_error(told, before=100.0, after=103.0) == error


def entry(verdict: str = "issue", **more: Any) -> dict[str, Any]:
    reasons = [{"code": "missing", "message": "there is no certificate yet"}]
    return {"id": "robot-1/https", "verdict": verdict, "reasons": reasons, **more}


def refused(error: int, given: dict[str, Any], **variables: Any) -> dict[str, Any]:
    refuse_by_clock([given], error, now=NOW, task_vars=variables, templar=None)
    return given


@pytest.mark.parametrize(
    ("error", "variables", "is_refused"),
    [
        (0, {}, False),
        (1800, {}, False),
        (1801, {}, True),
        (-1801, {}, True),
        (1801, {"tls_clock_limit": "2h"}, False),
        (-7201, {"tls_clock_limit": "2h"}, True),
        (30, {"tls_clock_limit": "29s"}, True),
        (1801, {"tls_clock_limit": ""}, True),
    ],
)
def test_the_limit(error: int, variables: dict[str, Any], is_refused: bool) -> None:
    assert (refused(error, entry(), **variables)["verdict"] == "refuse") is is_refused


@pytest.mark.parametrize(
    "given",
    [entry("none"), entry("install"), entry("reload"), entry("refuse"), entry(deferred={"code": "window"})],
)
def test_where_nothing_is_issued_now_clocks_do_not_matter(given: dict[str, Any]) -> None:
    before = dict(given)
    # Nor is the limit looked at.
    assert refused(10**6, given, tls_clock_limit="no span of time") == before


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            -7500,
            "is 2 h 5 min behind the controller's (it says 2027-01-15T05:55:00Z, the controller 2027-01-15T08:00:00Z), more than",
        ),
        (
            -7500,
            "more than tls_clock_limit (30 min) allows: a certificate that is issued now would not be valid yet there.",
        ),
        (3 * 86400, "its clock is 3 d ahead of the controller's"),
        (3 * 86400, "would seem to end too early there"),
    ],
)
def test_the_refusal_says_by_how_much_and_what_was_due(error: int, said: str) -> None:
    (reason,) = refused(error, entry())["reasons"]
    assert reason["code"] == "clock"
    assert said in reason["message"]
    assert reason["message"].endswith("It is due (missing: there is no certificate yet).")


def test_a_limit_that_is_none() -> None:
    with pytest.raises(X509Error, match=r"^tls_clock_limit: 'soon' is no span of time"):
        refused(1, entry(), tls_clock_limit="soon")
