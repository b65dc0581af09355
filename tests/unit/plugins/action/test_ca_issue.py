# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""ca_issue over a batch, with a real CA behind it: what reaches the CA of what the request steps have said."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible.errors import AnsibleConnectionFailure
from ansible.playbook.play_context import PlayContext
from ansible.playbook.task import Task
from ansible.plugins.loader import connection_loader

from ansible_collections.certfleet.tls.plugins.action.ca_issue import ActionModule
from ansible_collections.certfleet.tls.plugins.module_utils._ca.clock import Clock
from ansible_collections.certfleet.tls.plugins.module_utils._ca.errors import CAError
from ansible_collections.certfleet.tls.plugins.module_utils._ca.orders import read_declared
from ansible_collections.certfleet.tls.plugins.plugin_utils._engine import REQUEST_VARIABLE, request_result
from ansible_collections.certfleet.tls.tests.unit.plugins.module_utils._ca.workshop import Workshop, request

NAME = "DNS:line.plant.example"


class OnThisMachine(ActionModule):
    """The action, whose module runs here instead of on the CA host. What it gets has gone through JSON."""

    ca: Workshop
    is_away = False
    calls: list[dict[str, Any]]

    def _execute_module(self, **call: Any) -> dict[str, Any]:
        if self.is_away:
            raise AnsibleConnectionFailure("no route to host")
        given = json.loads(json.dumps(call["module_args"]))
        self.calls.append(given)
        declared = read_declared(given.get("shared_names") or ())
        self.ca.clock = Clock.from_options(given)
        try:
            answer = self.ca.issue(*given["requests"], declared=declared)
        except CAError as exc:
            return {"failed": True, "msg": str(exc), "code": exc.code}
        return {"changed": any(item.get("issued") for item in answer["certificates"].values()), **answer}


class Run:
    """Hosts of a run, what their request steps said, and which of them are in the batch."""

    def __init__(self, folder: Path) -> None:
        self.ca = Workshop(folder)
        self.ca.now = int(time.time())
        self.ca.create()
        self.variables: dict[str, dict[str, Any]] = {}
        self.calls: list[dict[str, Any]] = []

    def asks(self, host: str, *, verdict: str = "issue", **changes: Any) -> None:
        """What the request step of a host has registered."""
        entry = {**request(host, names=[NAME], reasons=[], **changes), "verdict": verdict}
        if verdict == "none":
            entry = {field: entry.get(field) for field in ("id", "identity", "name", "authority", "shared_names")}
            entry.update(verdict="none", reasons=[])
        self.variables[host] = {REQUEST_VARIABLE: request_result([entry], check_mode=False)}

    def raw_get(self, host: str) -> dict[str, Any]:
        """As Ansible's hostvars."""
        return self.variables[host]

    def __iter__(self) -> Iterator[str]:
        return iter(self.variables)

    def issue(
        self, *batch: str, away: bool = False, check: bool = False, limit: str | None = None, **args: Any
    ) -> dict[str, Any]:
        """One run of the task."""
        task = Task()
        task.action, task.args, task.check_mode, task.delegate_to = "certfleet.tls.ca_issue", args, check, "ca"
        context = PlayContext()
        connection = connection_loader.get("local", context, "/dev/null")
        others = {"loader": None, "templar": None, "shared_loader_obj": None}
        action = OnThisMachine(task=task, connection=connection, play_context=context, **others)
        action.ca, action.is_away, action.calls = self.ca, away, self.calls
        first = {**self.variables[batch[0]], "inventory_hostname": batch[0], "ansible_play_batch": list(batch)}
        return dict(action.run(task_vars={**first, "hostvars": self, "tls_clock_limit": limit}))


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path)


def codes(result: dict[str, Any]) -> dict[str, str]:
    return {
        key: item["error"]["code"] if "error" in item else ("issued" if item["issued"] else "kept")
        for key, item in result["certificates"].items()
    }


def test_a_batch_is_signed_in_one_call_and_each_fails_alone(run: Run) -> None:
    run.asks("a")
    run.asks("b")
    result = run.issue("a", "b")
    assert codes(result) == {"a/https": "issued", "b/https": "name_held"}
    assert (result["changed"], list(result["chains"]), len(run.calls)) == (True, ["fleet"], 1)
    assert "shared_names" not in run.calls[0]
    again = run.issue("a", "b")
    assert (codes(again)["a/https"], again["changed"]) == ("kept", False)


def test_who_is_settled_already_and_in_another_batch_is_heard(run: Run) -> None:
    run.asks("a", shared_names=None)
    run.issue("a")
    run.asks("a", verdict="none", shared_names=[NAME])
    run.asks("b", shared_names=[NAME])
    assert codes(run.issue("b")) == {"b/https": "issued"}
    assert {"identity": "a", "authority": "fleet", "names": [NAME]} in run.calls[-1]["shared_names"]


def test_who_does_not_share_is_not_made_to(run: Run) -> None:
    run.asks("a")
    run.issue("a")
    run.asks("a", verdict="none", shared_names=None)
    run.asks("b", shared_names=[NAME])
    assert codes(run.issue("b")) == {"b/https": "name_held"}


def test_what_the_task_says_counts_for_the_run(run: Run) -> None:
    run.asks("a")
    run.issue("a")
    run.asks("b", shared_names=[NAME])
    shared = [{"identity": "a", "authority": "fleet", "names": [NAME]}]
    assert codes(run.issue("b", shared_names=shared)) == {"b/https": "issued"}


def test_only_what_the_ca_needs_travels(run: Run) -> None:
    run.asks("a", secret="not for the CA", common_name=None)
    run.issue("a")
    (asked,) = run.calls[0]["requests"]
    assert "secret" not in asked
    assert "common_name" not in asked
    assert "verdict" not in asked


def test_a_ca_that_is_away_is_an_error_of_each(run: Run) -> None:
    run.asks("a")
    run.asks("b", verdict="none", shared_names=None)
    assert codes(run.issue("a", "b", away=True)) == {"a/https": "ca_unreachable"}


def test_a_ca_that_lives_in_another_time_is_an_error_of_each(run: Run) -> None:
    run.asks("a")
    run.ca.now += 3600
    refused = run.issue("a")
    assert codes(refused) == {"a/https": "ca_clock"}
    assert refused["certificates"]["a/https"]["error"]["message"].startswith(
        "the CA host 'ca': The clock of this CA host is "
    )
    assert run.ca.states() == []
    assert codes(run.issue("a", limit="soon")) == {"a/https": "ca_failed"}
    assert codes(run.issue("a", limit="2h")) == {"a/https": "issued"}


def test_nothing_is_asked_in_check_mode_or_when_nothing_is_due(run: Run) -> None:
    run.asks("a")
    assert run.issue("a", check=True)["certificates"] == {}
    run.asks("a", verdict="none", shared_names=[NAME])
    assert run.issue("a")["certificates"] == {}
    assert run.calls == []
