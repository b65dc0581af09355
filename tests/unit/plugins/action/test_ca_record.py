# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""ca_record over a batch, with a real ledger behind it: after the deploy, and once more after the wider proof."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from ansible.errors import AnsibleConnectionFailure
from ansible.playbook.play_context import PlayContext
from ansible.playbook.task import Task
from ansible.plugins.loader import connection_loader

from ansible_collections.certfleet.tls.plugins.action.ca_record import ActionModule
from ansible_collections.certfleet.tls.plugins.module_utils._ca.record import record
from ansible_collections.certfleet.tls.plugins.module_utils._ca.store import Store
from ansible_collections.certfleet.tls.plugins.plugin_utils._engine import (
    DEPLOY_VARIABLE,
    RECORD_VARIABLE,
    REQUEST_VARIABLE,
    deploy_result,
    request_result,
)
from ansible_collections.certfleet.tls.tests.unit.plugins.module_utils._ca.workshop import Workshop

HOSTS = ("robot-1", "robot-2")


class OnThisMachine(ActionModule):
    """The action, whose module runs here instead of on the CA host."""

    store: Store
    is_away = False
    now = 1_800_000_000

    def _execute_module(self, **call: Any) -> dict[str, Any]:
        if self.is_away:
            raise AnsibleConnectionFailure("no route to host")
        type(self).now += 1
        given: Mapping[str, Any] = call["module_args"]
        return {"changed": True, **record(given["outcomes"], given["pins"], store=self.store, now=self.now)}


class Batch:
    """Two robots that were due, and what their plays have registered."""

    def __init__(self, folder: Path) -> None:
        self.ca = Workshop(folder)
        self.ca.create()
        self.variables: dict[str, dict[str, Any]] = {host: {} for host in HOSTS}
        for host in HOSTS:
            entry = {
                "id": f"{host}/https",
                "verdict": "issue",
                "reasons": [],
                "authority": "fleet",
                "profile": "server",
            }
            self.variables[host][REQUEST_VARIABLE] = request_result([entry], check_mode=False)

    def raw_get(self, host: str) -> dict[str, Any]:
        """As Ansible's hostvars."""
        return self.variables[host]

    def deploy(self, *outcomes: str, confirmed: bool = False, revised: frozenset[str] = frozenset()) -> None:
        """How deploy, or its confirm step, ended on each host."""
        for host, outcome in zip(HOSTS, outcomes):
            ticket = self.variables[host][REQUEST_VARIABLE]["ticket"]
            entry = {"id": f"{host}/https", "outcome": outcome, "said": "as told"}
            entry.update({"revised": True} if host in revised else {})
            result = deploy_result([entry], ticket=ticket)
            self.variables[host][DEPLOY_VARIABLE] = {**result, "confirmed": True} if confirmed else result

    def record(self, *, away: bool = False) -> dict[str, Any]:
        """One run of the task; run_once registers its result on all hosts."""
        task = Task()
        task.action, task.args, task.check_mode, task.delegate_to = "certfleet.tls.ca_record", {}, False, "ca"
        context = PlayContext()
        connection = connection_loader.get("local", context, "/dev/null")
        others = {"loader": None, "templar": None, "shared_loader_obj": None}
        action = OnThisMachine(task=task, connection=connection, play_context=context, **others)
        action.store, action.is_away = self.ca.store, away
        first = {**self.variables[HOSTS[0]], "inventory_hostname": HOSTS[0], "ansible_play_batch": list(HOSTS)}
        result = dict(action.run(task_vars={**first, "hostvars": self}))
        for host in HOSTS:
            self.variables[host][RECORD_VARIABLE] = result
        return result

    def failures(self) -> dict[str, int]:
        """How often each identity has failed in a row, as ca_info tells it."""
        self.ca.now = OnThisMachine.now
        return {failure["identity"]: failure["count"] for failure in self.ca.info()["open_failures"]}


@pytest.fixture
def batch(tmp_path: Path) -> Batch:
    return Batch(tmp_path)


def test_what_the_wider_proof_takes_back_is_recorded_alone(batch: Batch) -> None:
    batch.deploy("installed", "installed")
    assert batch.record()["recorded"] == 2
    assert batch.record()["recorded"] == 0
    batch.deploy("installed", "rolled_back", confirmed=True, revised=frozenset({"robot-2"}))
    assert batch.record()["recorded"] == 1
    assert batch.record()["recorded"] == 0
    assert batch.ca.sql("SELECT count(*) FROM outcomes") == [(3,)]
    assert batch.failures() == {"robot-2": 1}


def test_night_after_night_the_count_goes_on(batch: Batch) -> None:
    for night in range(1, 4):
        for host in HOSTS:
            ticket = f"night-{night}-{host}"
            batch.variables[host][REQUEST_VARIABLE] = {**batch.variables[host][REQUEST_VARIABLE], "ticket": ticket}
        batch.deploy("installed", "installed")
        batch.record()
        batch.deploy("installed", "rolled_back", confirmed=True, revised=frozenset({"robot-2"}))
        batch.record()
        assert batch.failures() == {"robot-2": night}


def test_what_is_found_right_later_is_no_failure_any_more(batch: Batch) -> None:
    batch.deploy("failed", "failed")
    batch.record()
    found = {"id": "robot-1/https", "verdict": "none", "failures": 1, "reasons": []}
    batch.variables["robot-1"] = {REQUEST_VARIABLE: request_result([found], check_mode=False, plans=True)}
    assert batch.record()["recorded"] == 1
    assert batch.record()["recorded"] == 0
    assert batch.failures() == {"robot-2": 1}


def test_what_a_run_that_was_cut_short_has_brought_into_service_is_recorded_by_the_next(batch: Batch) -> None:
    old = batch.ca.issue_one("robot-1", names=["DNS:old.example"])
    batch.ca.install(old)
    new = batch.ca.issue_one("robot-1", names=["DNS:new.example"])
    found = {"id": "robot-1/https", "verdict": "none", "unrecorded": True, "reasons": [], "current": new}
    batch.variables["robot-1"] = {REQUEST_VARIABLE: request_result([found], check_mode=False, plans=True)}
    assert batch.ca.issue_one("robot-2", names=["DNS:old.example"])["error"]["code"] == "name_held"
    assert batch.record()["recorded"] == 1
    assert batch.record()["recorded"] == 0
    assert batch.ca.states() == ["superseded", "issued"]
    assert batch.ca.issue_one("robot-2", names=["DNS:old.example"])["issued"]
    leaves = batch.ca.info("robot-1")["identities"]["robot-1"]["leaves"]
    assert [leaf.get("installed") for leaf in leaves] == [True, True]


def test_a_call_that_did_not_reach_the_ca_is_made_up_for(batch: Batch) -> None:
    batch.deploy("installed", "failed")
    assert "cannot be reached" in batch.record(away=True)["message"]
    batch.deploy("rolled_back", "failed", confirmed=True, revised=frozenset({"robot-1"}))
    assert batch.record()["recorded"] == 2
    assert batch.record()["recorded"] == 0
    assert batch.failures() == {"robot-1": 1, "robot-2": 1}


@pytest.mark.parametrize("outcome", ["not_tried", "refused", "absent", "deferred"])
def test_what_did_not_happen_is_no_failure(batch: Batch, outcome: str) -> None:
    batch.deploy("installed", outcome)
    assert batch.record()["recorded"] == 2
    assert batch.failures() == {}
