# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""When a run pauses: the canary, the budget of this run, and what the ledger remembers of earlier ones."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.certfleet.tls.plugins.plugin_utils._engine import EngineError
from ansible_collections.certfleet.tls.plugins.plugin_utils._failure_budget import Progress, budget_of, pause_of

IDS = st.sets(st.sampled_from([f"robot-{n}/https" for n in range(12)]))


def progress(*, good: str = "", failed: str = "") -> Progress:
    return Progress(frozenset(good.split()), frozenset(failed.split()), proved=bool(good))


@pytest.mark.parametrize(
    ("title", "done", "lately", "budget", "canary", "pauses"),
    [
        ("nothing tried yet", progress(), "", 5, True, False),
        ("the canary failed, whatever the budget", progress(failed="a/x"), "", 99, True, True),
        ("the canary failed, but this play has none", progress(failed="a/x"), "", 5, False, False),
        ("one failed after the canary", progress(good="a/x", failed="b/x"), "", 5, True, False),
        ("as many as allowed", progress(good="a/x", failed="b/x c/x"), "", 2, True, False),
        ("one more than allowed", progress(good="a/x", failed="b/x c/x d/x"), "", 2, True, True),
        ("earlier runs count", progress(good="a/x"), "b/x c/x d/x", 2, True, True),
        ("counted once", progress(good="a/x", failed="b/x c/x"), "b/x c/x", 2, True, False),
        ("put right in this run", progress(good="a/x b/x"), "b/x c/x d/x", 2, True, False),
        ("no budget at all", progress(good="a/x", failed="b/x"), "", 0, True, True),
    ],
)
def test_when_to_pause(title: str, done: Progress, lately: str, budget: int, canary: bool, pauses: bool) -> None:
    assert bool(pause_of(done, lately=lately.split(), budget=budget, canary=canary)) is pauses, title


def test_the_message_names_what_failed_and_the_next_step() -> None:
    said = pause_of(progress(failed=" ".join(f"r{n}/https" for n in range(8))), lately=(), budget=3, canary=False)
    assert said is not None
    assert "8 certificates" in said and "r0/https" in said and "and 3 more" in said and "tls_failure_budget (3)" in said


@given(good=IDS, failed=IDS, lately=IDS, budget=st.integers(0, 12))
def test_a_larger_budget_never_pauses_more(good: set[str], failed: set[str], lately: set[str], budget: int) -> None:
    done = Progress(frozenset(good - failed), frozenset(failed))
    less = pause_of(done, lately=lately, budget=budget, canary=False)
    more = pause_of(done, lately=lately, budget=budget + 1, canary=False)
    assert less is not None or more is None


@pytest.mark.parametrize(
    ("value", "hosts", "budget"), [(None, 400, 5), (3, 400, 3), ("10%", 400, 40), ("10 %", 9, 0), ("0", 4, 0)]
)
def test_a_budget_is_a_number_or_a_share(value: object, hosts: int, budget: int) -> None:
    assert budget_of(value, hosts=hosts) == budget


@pytest.mark.parametrize("value", ["many", "-1", "10%%", "", "1.5"])
def test_other_budgets_are_errors_that_say_what_to_write(value: str) -> None:
    with pytest.raises(EngineError, match="tls_failure_budget"):
        budget_of(value, hosts=10)


def host(wanted: str, outcomes: str = "", **fields: object) -> dict[str, object]:
    """C("a/x=issue a/y=none"), C("a/x=installed"): what a host of the wave has registered."""

    def pairs(text: str) -> list[list[str]]:
        return [word.split("=") for word in text.split()]

    found: dict[str, object] = {
        "__tls_certificate_request": {"certificates": [{"id": i, "verdict": v, **fields} for i, v in pairs(wanted)]}
    }
    if outcomes:
        found["__tls_certificate_deploy"] = {"certificates": [{"id": i, "outcome": o} for i, o in pairs(outcomes)]}
    return found


@pytest.mark.parametrize(
    ("title", "hosts", "expected"),
    [
        ("brought in", [host("a/x=issue", "a/x=installed")], Progress(frozenset({"a/x"}), frozenset(), True)),
        ("gone back", [host("a/x=issue", "a/x=rolled_back")], Progress(frozenset(), frozenset({"a/x"}), False)),
        (
            "one of two on the same host",
            [host("a/x=issue a/y=issue", "a/x=installed a/y=failed")],
            Progress(frozenset({"a/x"}), frozenset({"a/y"}), False),
        ),
        (
            "the other was well before",
            [host("a/x=issue a/y=none", "a/x=kept")],
            Progress(frozenset(), frozenset({"a/x"})),
        ),
        ("not tried, absent", [host("a/x=issue", "a/x=not_tried"), host("b/x=issue", "b/x=absent")], Progress()),
        ("another run was faster", [host("a/x=none")], Progress(frozenset(), frozenset(), True)),
        ("only waits for clients", [host("a/x=none", "a/x=installed", unconfirmed=True)], Progress()),
        ("found right after a failure", [host("a/x=none", failures=2)], Progress()),
        ("not reached yet", [host("a/x=issue"), {}], Progress()),
    ],
)
def test_progress_is_read_from_what_the_hosts_registered(
    title: str, hosts: list[dict[str, object]], expected: Progress
) -> None:
    assert Progress.of(hosts) == expected, title
