# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""ca_info asked by the engine, with a real ledger behind it: a CA that lives in another time is none."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from ansible.playbook.play_context import PlayContext
from ansible.playbook.task import Task
from ansible.plugins.loader import connection_loader

from ansible_collections.certfleet.tls.plugins.action.ca_info import ActionModule
from ansible_collections.certfleet.tls.plugins.module_utils._ca.known import read_info
from ansible_collections.certfleet.tls.plugins.module_utils._ca.store import Store
from ansible_collections.certfleet.tls.tests.unit.plugins.module_utils._ca.workshop import Workshop


class OnThisMachine(ActionModule):
    """The action, whose module runs here instead of on the CA host; that host's clock is so fast."""

    store: Store
    fast_by = 0.0

    def _execute_module(self, **call: Any) -> dict[str, Any]:
        given: Mapping[str, Any] = call["module_args"]
        now = int(time.time() + self.fast_by)
        return {"changed": False, **read_info(self.store, given["identities"], now=now), "certificates": []}


@pytest.fixture(scope="module")
def ca(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    workshop = Workshop(tmp_path_factory.mktemp("ca"))
    workshop.now = int(time.time())
    workshop.create()
    workshop.issue_one("robot-1")
    return workshop


def ask(ca: Workshop, *, fast_by: float = 0.0, args: dict[str, Any] | None = None, **variables: Any) -> dict[str, Any]:
    """One run of the task for robot-1."""
    task = Task()
    task.action, task.args, task.delegate_to = "certfleet.tls.ca_info", args or {}, "ca"
    action = OnThisMachine(
        task=task,
        connection=connection_loader.get("local", PlayContext(), "/dev/null"),
        play_context=PlayContext(),
        loader=None,
        templar=None,
        shared_loader_obj=None,
    )
    action.store, action.fast_by = ca.store, fast_by
    hosts = {"robot-1": {}}
    given = {"inventory_hostname": "robot-1", "ansible_play_batch": ["robot-1"], "hostvars": _Hostvars(hosts)}
    return dict(action.run(task_vars={**given, **variables}))


class _Hostvars(dict[str, Any]):
    def raw_get(self, host: str) -> dict[str, Any]:
        """As Ansible's."""
        return dict(self[host])


@pytest.mark.parametrize("fast_by", [0, 1795, -1795])
def test_a_clock_within_the_limit(ca: Workshop, fast_by: float) -> None:
    told = ask(ca, fast_by=fast_by)
    assert (told["available"], told["message"], set(told["identities"])) == (True, "", {"robot-1"})
    assert told["authorities"]["fleet"]["profiles"]["server_client"] == ["clientAuth", "serverAuth"]


@pytest.mark.parametrize(("fast_by", "side"), [(1890, "ahead of"), (-1890, "behind")])
def test_beyond_it_there_is_no_ca(ca: Workshop, fast_by: float, side: str) -> None:
    told = ask(ca, fast_by=fast_by)
    assert (told["available"], told["reachable"], told["authorities"], told["identities"]) == (False, True, {}, {})
    assert told["message"].startswith("the CA host 'ca' cannot be used: its clock is 31 min ")
    assert f" {side} the controller's" in told["message"]
    assert "NTP" in told["message"]
    assert ask(ca, fast_by=fast_by, tls_clock_limit="1h")["available"]


def test_who_only_asks_is_answered_all_the_same(ca: Workshop) -> None:
    assert ask(ca, fast_by=10**6, args={"identities": [], "list": "all"})["available"]


def test_a_broken_authority_is_told_and_the_others_are_there(ca: Workshop) -> None:
    stray = Path(ca.store.path("stray"))
    stray.mkdir()
    try:
        told = ask(ca)
    finally:
        stray.rmdir()
    assert (told["available"], set(told["authorities"]), set(told["problems"])) == (True, {"fleet"}, {"stray"})
    assert told["warnings"] == [told["problems"]["stray"]]
    whole = ask(ca)
    assert (whole["problems"], "warnings" in whole) == ({}, False)


def test_a_limit_that_is_none(ca: Workshop) -> None:
    told = ask(ca, fast_by=5, tls_clock_limit="soon")
    assert (told["failed"], told["msg"].startswith("tls_clock_limit: 'soon'")) == (True, True)
