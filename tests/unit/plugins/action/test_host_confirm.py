# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the confirm step tells the ledger, and what it asks of the host; the host's answers are given."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from ansible_collections.certfleet.tls.plugins.action.host_deploy import ActionModule
from ansible_collections.certfleet.tls.plugins.plugin_utils._engine import (
    DEPLOY_VARIABLE,
    RECORD_VARIABLE,
    REQUEST_VARIABLE,
    deploy_result,
    request_result,
    unrecorded,
)
from ansible_collections.certfleet.tls.plugins.plugin_utils._wider_proof import LOOK_VARIABLE
from ansible_collections.certfleet.tls.tests.unit.tls_peers import TestAuthority

ID = "host-1/https"
LEAF = TestAuthority().pair("DNS:a.example")
NEW = LEAF.leaf.fingerprint


class Confirming(ActionModule):
    """The action of a host whose module gives the same answer to each order."""

    def __init__(self, **answer: Any) -> None:
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self._answer = {"outcome": "installed", "said": "", "before": None, "after": LEAF.certificate, "proof": None}
        self._answer.update({"touched": False, "unconfirmed": False, **answer})

    def _execute_module(
        self, module_name: str | None = None, module_args: Any = None, task_vars: Any = None, **_options: Any
    ) -> dict[str, Any]:
        self.asked += [(module_args["step"], order) for order in module_args["orders"]]
        found = [{"id": f"{order['identity']}/{order['name']}", **self._answer} for _step, order in self.asked]
        return {"certificates": found}

    def confirmed(self, variables: Mapping[str, Any]) -> dict[str, Any]:
        """The variables after the step, with its result registered."""
        entries = {str(entry["id"]): entry for entry in variables[REQUEST_VARIABLE]["certificates"]}
        return {**variables, DEPLOY_VARIABLE: self._confirm(entries, {}, dict(variables))}


def entry(verdict: str, **changes: Any) -> dict[str, Any]:
    common = {"id": ID, "identity": "host-1", "name": "https", "authority": "fleet", "profile": "server", "reasons": []}
    return {**common, "verdict": verdict, "spec": {"prove": {"address": "198.18.0.4"}}, **changes}


def host(requested: dict[str, Any], *, accepts: bool, deployed: bool) -> dict[str, Any]:
    """The variables of a host after clients have looked; O(deployed): in this run, and the ledger has heard of it."""
    request = request_result([requested], check_mode=False)
    seen = {
        "name": ID,
        "expected": NEW,
        "fingerprint": NEW,
        "trusted": accepts,
        "failure": "chain",
        "said": "no anchor",
    }
    variables = {
        "inventory_hostname": "host-1",
        REQUEST_VARIABLE: request,
        LOOK_VARIABLE: {"results": [{"item": "client", "endpoints": [seen]}]},
    }
    if deployed:
        done = {
            "id": ID,
            "outcome": "installed",
            "said": "Fine.",
            "before": {"fingerprint": "00"},
            "proof": {"ok": True},
        }
        done.update(after={"fingerprint": NEW}, unconfirmed=True, reasons=[])
        variables[DEPLOY_VARIABLE] = deploy_result([done], ticket=request["ticket"])
        variables[RECORD_VARIABLE] = {"tickets": unrecorded(variables)[1]}
    return variables


def told(variables: Mapping[str, Any]) -> list[tuple[str, bool]]:
    """What the ledger hears: outcome, and whether it takes an earlier one back."""
    return [(item["outcome"], item["revised"]) for item in unrecorded(variables)[0]]


def of_earlier_run() -> dict[str, Any]:
    return entry("none", unconfirmed=True, failures=1, last_outcome="rolled_back", current={"fingerprint": NEW})


def test_the_ledger_hears_that_a_pair_was_taken_back() -> None:
    action = Confirming(outcome="rolled_back", said="It was put back.", touched=True)
    variables = action.confirmed(host(entry("issue"), accepts=False, deployed=True))
    assert told(variables) == [("rolled_back", True)]
    assert variables[DEPLOY_VARIABLE]["confirmed"] is True
    (entry_now,) = variables[DEPLOY_VARIABLE]["certificates"]
    assert (entry_now["before"], variables[DEPLOY_VARIABLE]["changed"]) == ({"fingerprint": "00"}, True)
    variables[RECORD_VARIABLE] = {"tickets": [*variables[RECORD_VARIABLE]["tickets"], *unrecorded(variables)[1]]}
    assert told(variables) == []


def test_what_clients_accept_in_the_run_that_brought_it_in_is_no_news() -> None:
    variables = Confirming().confirmed(host(entry("issue"), accepts=True, deployed=True))
    (entry_now,) = variables[DEPLOY_VARIABLE]["certificates"]
    assert (told(variables), entry_now["unconfirmed"]) == ([], False)


def test_the_end_of_a_previous_pair_is_no_news_where_nothing_had_failed() -> None:
    waiting = {**of_earlier_run(), "failures": 0}
    action = Confirming()
    variables = action.confirmed(host(waiting, accepts=True, deployed=False))
    assert [step for step, _order in action.asked] == ["confirm"]
    assert (told(variables), variables[DEPLOY_VARIABLE]["certificates"]) == ([], [])


def test_what_an_earlier_run_has_left_open_is_good_once_clients_accept_it() -> None:
    variables = Confirming().confirmed(host(of_earlier_run(), accepts=True, deployed=False))
    (entry_now,) = variables[DEPLOY_VARIABLE]["certificates"]
    assert (entry_now["outcome"], entry_now["revised"], entry_now["after"]["fingerprint"]) == ("installed", True, NEW)
    assert ("installed", True) in told(variables)
    assert (variables[DEPLOY_VARIABLE]["changed"], variables[DEPLOY_VARIABLE]["problems"]) == (False, [])


@pytest.mark.parametrize("accepts", [True, False])
@pytest.mark.parametrize("deployed", [True, False])
def test_the_host_is_told_which_leaf_was_looked_at(accepts: bool, deployed: bool) -> None:
    requested = entry("issue", current={"fingerprint": "00"}) if deployed else of_earlier_run()
    action = Confirming()
    action.confirmed(host(requested, accepts=accepts, deployed=deployed))
    ((step, order),) = action.asked
    assert (step, order["expected"]) == ("confirm" if accepts else "restore", NEW)


@pytest.mark.parametrize("accepts", [True, False])
@pytest.mark.parametrize("deployed", [True, False])
def test_where_another_run_is_at_work_nothing_has_failed(accepts: bool, deployed: bool) -> None:
    requested = entry("issue") if deployed else of_earlier_run()
    action = Confirming(outcome="not_tried", said="Another run is at work.", after=None, unconfirmed=True)
    variables = action.confirmed(host(requested, accepts=accepts, deployed=deployed))
    (entry_now,) = variables[DEPLOY_VARIABLE]["certificates"]
    assert entry_now["outcome"] == ("installed" if accepts and deployed else "not_tried")
    assert (entry_now["unconfirmed"], entry_now["said"]) == (True, "Another run is at work.")
    assert (variables[DEPLOY_VARIABLE]["problems"], variables[DEPLOY_VARIABLE]["changed"]) == ([], False)
    assert not {outcome for outcome, _revised in told(variables)} - {"not_tried"}


def test_the_deploy_of_an_earlier_use_of_the_role_is_not_taken_for_this_one() -> None:
    variables = host(of_earlier_run(), accepts=True, deployed=False)
    stale = {"id": ID, "outcome": "installed", "said": "", "after": {"fingerprint": "00"}, "unconfirmed": True}
    other = {**stale, "id": "host-1/other"}
    action = Confirming()
    after = action.confirmed({**variables, DEPLOY_VARIABLE: deploy_result([stale, other], ticket="of another")})
    assert [order["expected"] for _step, order in action.asked] == [NEW]
    assert [item["id"] for item in after[DEPLOY_VARIABLE]["certificates"]] == [ID]
    assert after[DEPLOY_VARIABLE]["ticket"] == variables[REQUEST_VARIABLE]["ticket"]
