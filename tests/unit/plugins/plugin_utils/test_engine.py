# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the steps hand to each other."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.certfleet.tls.plugins.plugin_utils._engine import (
    DEPLOY_VARIABLE,
    RECORD_VARIABLE,
    REQUEST_VARIABLE,
    EngineError,
    deploy_result,
    is_open,
    issued_for,
    read_ca,
    request_result,
    unrecorded,
)


def entry(verdict: str, name: str = "https") -> dict[str, Any]:
    return {
        "id": f"robot-1/{name}",
        "verdict": verdict,
        "reasons": [] if verdict == "none" else [{"code": "missing", "message": "m"}],
        "authority": "fleet",
        "profile": "server",
    }


@pytest.mark.parametrize(
    ("verdicts", "due", "failed"),
    [
        (["none"], False, False),
        (["none", "reload"], True, False),
        (["issue", "refuse"], True, False),
        (["refuse"], False, True),
        (["none", "refuse"], False, True),
        ([], False, False),
    ],
)
def test_handlers_go_on_where_something_is_due(verdicts: list[str], due: bool, failed: bool) -> None:
    result = request_result([entry(verdict, f"c{n}") for n, verdict in enumerate(verdicts)], check_mode=False)
    assert (result["due"], result["changed"], result.get("failed", False)) == (due, due, failed)
    assert len(result.get("diff", [])) == sum(verdict != "none" for verdict in verdicts)


def test_a_machine_of_another_ca_is_refused_by_name() -> None:
    task_vars = {"inventory_hostname": "robot-7", "tls_ca_host": "ca-b"}
    with pytest.raises(EngineError, match=r"robot-7: .*'ca-b'.*'ca-a'"):
        read_ca(task_vars, {"ca": {"ca_host": "ca-a"}})
    assert read_ca({**task_vars, "tls_ca_host": "ca-a"}, {"ca": {"ca_host": "ca-a"}}) == {"ca_host": "ca-a"}


def test_what_was_not_issued_is_said_in_the_words_of_the_ca() -> None:
    issued = {
        "chains": {"fleet": "CHAIN"},
        "certificates": {
            "a/x": {"certificate": "LEAF", "authority": "fleet"},
            "b/x": {"error": {"code": "bad_csr", "message": "no CSR"}},
        },
    }
    assert issued_for(issued, {"id": "a/x"}) == ("LEAF", "CHAIN")
    with pytest.raises(EngineError, match=r"b/x: not issued \(bad_csr\): no CSR"):
        issued_for(issued, {"id": "b/x"})
    with pytest.raises(EngineError, match="was not asked"):
        issued_for(issued, {"id": "c/x"})


@pytest.mark.parametrize(
    ("outcome", "changed", "problems"),
    [
        ("installed", True, 0),
        ("unchanged", False, 0),
        ("rolled_back", True, 1),
        ("failed", False, 1),
        ("refused", False, 1),
    ],
)
def test_each_bad_outcome_is_a_sentence(outcome: str, changed: bool, problems: int) -> None:
    result = deploy_result([{"id": "robot-1/https", "outcome": outcome, "said": "why"}], ticket="t")
    assert (result["changed"], len(result["problems"])) == (changed, problems)
    assert all("robot-1/https" in problem and "why" in problem for problem in result["problems"])


def states(variables: dict[str, Any]) -> tuple[bool, list[tuple[str, bool]]]:
    """(waits for its deploy, what the ledger has to hear of: outcome and whether it takes an earlier one back)."""
    return is_open(variables), [(item["outcome"], item["revised"]) for item in unrecorded(variables)[0]]


def hear(variables: dict[str, Any]) -> None:
    """What ca_record leaves behind when the ledger has heard all."""
    heard = variables.get(RECORD_VARIABLE, {}).get("tickets", [])
    variables[RECORD_VARIABLE] = {"tickets": [*heard, *unrecorded(variables)[1]]}


def test_what_an_earlier_use_of_the_role_has_dealt_with_is_not_taken_for_new() -> None:
    variables: dict[str, Any] = {}
    assert states(variables) == (False, [])
    variables[REQUEST_VARIABLE] = request_result([entry("issue")], check_mode=False)
    assert states(variables) == (True, [])
    ticket = variables[REQUEST_VARIABLE]["ticket"]
    variables[DEPLOY_VARIABLE] = deploy_result([{"id": "robot-1/https", "outcome": "installed"}], ticket=ticket)
    assert states(variables) == (False, [("installed", False)])
    hear(variables)
    assert states(variables) == (False, [])
    variables[REQUEST_VARIABLE] = request_result([entry("none")], check_mode=False)
    assert states(variables) == (False, [])
    variables[REQUEST_VARIABLE] = request_result([entry("reload")], check_mode=False)
    assert states(variables) == (True, [])


def confirmed(variables: dict[str, Any], *entries: dict[str, Any]) -> None:
    """The confirm step has gone over the deploy, and has come to these entries."""
    ticket = variables[REQUEST_VARIABLE]["ticket"]
    variables[DEPLOY_VARIABLE] = {**deploy_result(entries, ticket=ticket), "confirmed": True}


GOOD = {"id": "robot-1/good", "outcome": "installed"}
TAKEN_BACK = {"id": "robot-1/bad", "outcome": "rolled_back", "revised": True}


def deployed() -> dict[str, Any]:
    requested = request_result([entry("issue", "good"), entry("issue", "bad")], check_mode=False)
    done = deploy_result([GOOD, {"id": "robot-1/bad", "outcome": "installed"}], ticket=requested["ticket"])
    return {REQUEST_VARIABLE: requested, DEPLOY_VARIABLE: done}


def test_after_the_wider_proof_only_what_it_changed_is_recorded_once_more() -> None:
    variables = deployed()
    hear(variables)
    confirmed(variables, GOOD, TAKEN_BACK)
    assert states(variables) == (False, [("rolled_back", True)])
    hear(variables)
    assert states(variables) == (False, [])


def test_a_wider_proof_that_changes_nothing_leaves_nothing_to_record() -> None:
    variables = deployed()
    hear(variables)
    confirmed(variables, GOOD, {"id": "robot-1/bad", "outcome": "installed"})
    assert states(variables) == (False, [])


def test_what_the_ledger_never_heard_is_not_taken_back() -> None:
    """The first call did not reach the CA: all outcomes are recorded as they are now."""
    variables = deployed()
    confirmed(variables, GOOD, TAKEN_BACK)
    assert states(variables) == (False, [("installed", False), ("rolled_back", False)])
    hear(variables)
    assert states(variables) == (False, [])


def test_what_an_earlier_run_left_unconfirmed_is_taken_back() -> None:
    requested = request_result([{**entry("none", "bad"), "unconfirmed": True}], check_mode=False)
    assert (requested["due"], requested["changed"]) == (False, False)
    variables = {REQUEST_VARIABLE: requested}
    confirmed(variables, TAKEN_BACK)
    assert states(variables) == (False, [("rolled_back", True)])


def test_what_is_found_right_after_failures_is_put_right_in_the_ledger_once() -> None:
    """The connection was lost, so the outcome was failed; but the host has finished its deploy."""
    right = {**entry("none"), "failures": 1, "current": {"fingerprint": "ab"}}
    others = [entry("none", "never_failed"), {**entry("issue", "due"), "failures": 2}]
    unconfirmed = {**entry("none", "unconfirmed"), "failures": 1, "unconfirmed": True}
    for plans in (True, False):
        variables = {REQUEST_VARIABLE: request_result([right, *others, unconfirmed], check_mode=False, plans=plans)}
        (told,), _marks = unrecorded(variables)
        assert (told["id"], told["outcome"], told["after"]) == ("robot-1/https", "unchanged", {"fingerprint": "ab"})
        hear(variables)
        assert unrecorded(variables) == ([], [])


def test_what_the_ledger_does_not_know_to_be_in_service_is_told_once() -> None:
    unrecorded_one = {**entry("none"), "unrecorded": True, "current": {"fingerprint": "ab"}}
    for changes, count in (
        ({}, 1),
        ({"unconfirmed": True}, 0),
        ({"last_outcome": "kept"}, 0),
        ({"verdict": "issue"}, 0),
    ):
        variables = {REQUEST_VARIABLE: request_result([{**unrecorded_one, **changes}], check_mode=False, plans=True)}
        told, _marks = unrecorded(variables)
        assert [(item["outcome"], item["after"]) for item in told] == [("unchanged", {"fingerprint": "ab"})] * count
        hear(variables)
        assert unrecorded(variables) == ([], [])


@pytest.mark.parametrize("code", ["window", "backoff", "budget"])
def test_what_is_deferred_is_told_and_is_neither_due_nor_a_failure(code: str) -> None:
    waiting = {**entry("issue"), "deferred": {"code": code, "message": "not before Monday"}}
    result = request_result([waiting, entry("none", "other")], check_mode=False)
    assert (result["due"], result["changed"], result.get("failed", False)) == (False, False, False)
    assert "ticket" not in result
    assert result["msg"] == f"robot-1/https: would issue (missing: m), deferred ({code}): not before Monday"
    assert "deferred: not before Monday" in result["diff"][0]["after"]
    assert request_result([waiting, entry("reload", "other")], check_mode=False)["changed"]
    assert request_result([waiting, entry("refuse", "other")], check_mode=False)["failed"]


def test_a_plan_says_what_is_due_and_changes_nothing() -> None:
    result = request_result([entry("issue")], check_mode=False, plans=True)
    assert (result["due"], result["changed"], result.get("ticket")) == (True, False, None)
    assert result["msg"] == "robot-1/https: would issue (missing: m)"
    assert request_result([entry("refuse")], check_mode=False, plans=True)["failed"]


def test_what_was_not_tried_is_a_warning_and_no_failure_of_the_host() -> None:
    result = deploy_result([{"id": "robot-1/https", "outcome": "not_tried", "said": "the CA is down"}], ticket="t")
    assert (result["problems"], result["changed"]) == ([], False)
    assert result["warnings"] == result["untried"] == ["robot-1/https: not_tried: the CA is down"]
    assert "warnings" not in deploy_result([{"id": "robot-1/https", "outcome": "installed"}], ticket="t")
