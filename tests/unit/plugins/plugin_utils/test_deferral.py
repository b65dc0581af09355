# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What waits although it is due, and until when."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.certfleet.tls.plugins.module_utils._x509.judge import Failure, Known
from ansible_collections.certfleet.tls.plugins.module_utils._x509.parse import iso
from ansible_collections.certfleet.tls.plugins.plugin_utils._change_window import read_windows
from ansible_collections.certfleet.tls.plugins.plugin_utils._deferral import Rules, defer, deferral, is_plan
from ansible_collections.certfleet.tls.plugins.plugin_utils._engine import EngineError

from .test_references import trusted

NOW = 1_795_333_500  # 2026-11-22T07:45:00Z, a Sunday
HOUR, DAY = 3600, 86400
NIGHT = [{"from": "22:00", "to": "05:00"}]


def entry(verdict: str = "issue", *, left: int | None = 30 * DAY, **changes: Any) -> dict[str, Any]:
    served = {"not_after": iso(NOW + left), "self_signed": False} if left is not None else None
    named = {"id": "robot-1/https", "identity": "robot-1", "name": "https"}
    return {**named, "verdict": verdict, "served": served, "current": None, **changes}


def failed(count: int = 1, ago: int = 60) -> Failure:
    return Failure(count, iso(NOW - ago), iso(NOW - ago), "rolled_back", "the service did not start")


def test_without_rules_nothing_waits() -> None:
    assert deferral(entry(), None, Rules(), now=NOW) is None


def test_outside_the_window_it_waits_until_that_opens() -> None:
    rules = Rules(windows=read_windows(NIGHT))
    assert deferral(entry("reload"), None, rules, now=NOW) == {
        "code": "window",
        "message": "outside the change windows of this host, the next one opens 2026-11-22T22:00:00Z (tls_change_windows)",
        "until": "2026-11-22T22:00:00Z",
    }
    assert deferral(entry("reload"), None, rules, now=NOW + 15 * HOUR) is None


def test_after_a_failure_it_rests() -> None:
    assert deferral(entry(), failed(ago=60), Rules(), now=NOW) == {
        "code": "backoff",
        "message": "it has failed once and is left alone until 2026-11-22T08:44:00Z (tls_backoff)",
        "until": "2026-11-22T08:44:00Z",
    }
    assert deferral(entry(), failed(ago=HOUR), Rules(), now=NOW) is None
    again = deferral(entry(), failed(2, ago=HOUR), Rules(), now=NOW)
    assert again is not None
    assert "2 times in a row" in again["message"]


def test_whoever_says_so_tries_again_at_once() -> None:
    assert deferral(entry(), failed(5), Rules(retry_now=True), now=NOW) is None
    outside = deferral(entry(), failed(5), Rules(retry_now=True, windows=read_windows(NIGHT)), now=NOW)
    assert outside is not None
    assert outside["code"] == "window"


def test_both_together_tell_when_it_will_really_be_tried() -> None:
    waits = deferral(entry(), failed(3, ago=0), Rules(windows=read_windows(NIGHT)), now=NOW)
    assert waits is not None
    # 16 hours end at 23:45, in the window
    assert (waits["code"], waits["until"]) == ("backoff", "2026-11-22T23:45:00Z")
    waits = deferral(entry(), failed(ago=0), Rules(windows=read_windows(NIGHT)), now=NOW)
    assert waits is not None
    assert (waits["code"], waits["until"]) == ("backoff", "2026-11-22T22:00:00Z")
    assert "08:45:00Z (tls_backoff); then the next change window opens" in waits["message"]


@pytest.mark.parametrize(
    ("leaf", "until"),
    [
        ({"served": {"not_after": iso(NOW + 10 * HOUR)}}, 5 * HOUR),
        ({"served": {"not_after": iso(NOW + 9 * DAY)}, "current": {"not_after": iso(NOW + 10 * HOUR)}}, 5 * HOUR),
        ({"served": {"not_after": iso(NOW - DAY)}}, HOUR),
        ({"served": {"not_after": iso(NOW - DAY), "self_signed": True}}, 64 * HOUR),
        ({"served": {"trusted": False, "said": "refused"}}, 64 * HOUR),
        ({"served": None}, 64 * HOUR),
    ],
)
def test_the_leaf_that_clients_rely_on_bounds_the_pause(leaf: dict[str, Any], until: int) -> None:
    waits = deferral(entry(**leaf), failed(4, ago=0), Rules(), now=NOW)
    assert waits is not None
    assert waits["until"] == iso(NOW + until)


def test_a_pause_is_for_what_has_not_failed_before() -> None:
    rules = Rules(pause="6 certificates have failed lately", spared=frozenset({"robot-9"}))
    assert deferral(entry(), None, rules, now=NOW) == {
        "code": "budget",
        "message": "6 certificates have failed lately",
    }
    assert deferral(entry(), failed(ago=DAY), rules, now=NOW) is None
    assert deferral(entry(identity="robot-9"), None, rules, now=NOW) is None


def test_a_failure_in_the_future_binds_nobody() -> None:
    """The CA's clock was a year ahead when that was written."""
    assert deferral(entry(), failed(9, ago=-365 * DAY), Rules(), now=NOW) is None
    assert deferral(entry(), failed(1, ago=-60), Rules(), now=NOW) is not None


@given(count=st.integers(1, 1000), ago=st.integers(-DAY, 30 * DAY), left=st.none() | st.integers(-DAY, 400 * DAY))
def test_a_pause_ends_in_time(count: int, ago: int, left: int | None) -> None:
    waits = deferral(entry(left=left), failed(count, ago), Rules(), now=NOW)
    if waits is not None:
        assert iso(NOW) < waits["until"] <= iso(NOW + HOUR + 7 * DAY)
        if left is not None and left >= 2 * HOUR and ago >= 0:
            assert waits["until"] <= iso(NOW + left // 2)


def wired(*entries: dict[str, Any], known: Known | None = None, ca: Any = None, **variables: Any) -> list[str | None]:
    """The codes that the entries get."""
    known = known or Known(True)
    defer(
        entries,
        {item["id"]: known for item in entries},
        task_vars=trusted(variables),
        templar=NoTemplar(),
        ca=ca,
        now=NOW,
    )
    return [item.get("deferred", {}).get("code") for item in entries]


class NoTemplar:
    """Asked for a template, the test fails."""

    def template(self, value: Any) -> Any:
        raise AssertionError(f"templated {value!r}")


def test_where_nothing_is_due_nothing_is_read() -> None:
    wrong = {"tls_change_windows": "{{ expensive + 1 }}", "tls_backoff": 5, "tls_certificate_plans": "{{ x | y }}"}
    assert wired(entry("none"), entry("refuse"), **wrong) == [None, None]
    assert is_plan([entry("none")], trusted(wrong), NoTemplar()) is False


def test_the_host_s_variables_and_the_ca_s_words_are_heeded() -> None:
    known = Known(True, failures={"https": failed(2)})
    assert wired(entry(), known=known) == ["backoff"]
    assert wired(entry(name="other"), known=known) == [None]
    assert wired(entry(), known=known, tls_retry_now="yes") == [None]
    assert wired(entry(), known=known, tls_backoff={"first": "1s", "factor": 2}) == [None]
    assert wired(entry("install"), tls_change_windows="{{ plant_windows }}", plant_windows=NIGHT) == ["window"]
    pause = {"message": "too many", "except": ["robot-2"]}
    assert wired(entry(), entry(identity="robot-2"), ca={"pause": pause}) == ["budget", None]
    assert wired(entry(), ca={"pause": None}) == [None]


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"tls_change_windows": [{"from": "x"}]}, r"tls_change_windows\[0\]\.from"),
        ({"tls_backoff": {"first": "x"}}, r"tls_backoff\.first"),
        ({"tls_retry_now": "perhaps"}, "tls_retry_now is 'perhaps'"),
    ],
)
def test_a_wrong_variable_is_said_as_soon_as_it_counts(variables: dict[str, Any], said: str) -> None:
    with pytest.raises(EngineError, match=said):
        wired(entry(), **variables)


@pytest.mark.parametrize(
    ("value", "plans"), [(True, True), ("true", True), (False, False), (None, False), ("{{ later }}", True)]
)
def test_a_play_may_only_plan(value: Any, plans: bool) -> None:
    variables = trusted({"tls_certificate_plans": value, "later": True})
    assert is_plan([entry("none"), entry()], variables, NoTemplar()) is plans
