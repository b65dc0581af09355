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
    is_unrecorded,
    issued_for,
    read_ca,
    request_result,
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


def test_what_an_earlier_use_of_the_role_has_dealt_with_is_not_taken_for_new() -> None:
    variables: dict[str, Any] = {}
    assert (is_open(variables), is_unrecorded(variables)) == (False, False)
    variables[REQUEST_VARIABLE] = request_result([entry("issue")], check_mode=False)
    assert (is_open(variables), is_unrecorded(variables)) == (True, False)
    ticket = variables[REQUEST_VARIABLE]["ticket"]
    variables[DEPLOY_VARIABLE] = deploy_result([{"id": "robot-1/https", "outcome": "installed"}], ticket=ticket)
    assert (is_open(variables), is_unrecorded(variables)) == (False, True)
    variables[RECORD_VARIABLE] = {"tickets": [ticket]}
    assert (is_open(variables), is_unrecorded(variables)) == (False, False)
    variables[REQUEST_VARIABLE] = request_result([entry("none")], check_mode=False)
    assert (is_open(variables), is_unrecorded(variables)) == (False, False)
    variables[REQUEST_VARIABLE] = request_result([entry("reload")], check_mode=False)
    assert (is_open(variables), is_unrecorded(variables)) == (True, False)
