# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""device_view within the flow: which robots it looks for, whom it asks, and when it asks nobody."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from ansible_collections.certfleet.tls.plugins.action.device_view import ActionModule as View
from ansible_collections.certfleet.tls.plugins.module_utils._probe.tls import look
from ansible_collections.certfleet.tls.plugins.module_utils._x509.parse import parse_certificate
from ansible_collections.certfleet.tls.tests.unit.emulated_devices import PASSWORD, USERNAME, Emulator

from .device_fleet import Fleet


class Hostvars(dict[str, dict[str, Any]]):
    """Variables of hosts as an action gets them."""

    def raw_get(self, host: str) -> dict[str, Any]:
        return self[host]


class Site:
    """A Fleet whose key is pinned, three robots, and the variables of a run."""

    def __init__(self, emulator: Emulator) -> None:
        self.emulator = emulator
        self.flow = Fleet(emulator)
        seen = look(emulator.address("fleet"), emulator.https_port, anchors=None)
        assert seen.leaf is not None
        self.pin = parse_certificate(seen.leaf).spki
        self.hostvars = Hostvars({"robot-1": {}, "robot-2": {}, "robot-3": {}})

    def view(self, **more: Any) -> dict[str, Any]:
        address = self.emulator.address("fleet")
        login = {"username": USERNAME, "password": PASSWORD}
        return {"name": "fleet", "address": address, "port": self.emulator.https_port, **login, **more}

    def due(self, robot: str, *, verdict: str = "issue", prove: bool = True, **more: Any) -> None:
        """The request step has found something due."""
        address = self.emulator.address(robot)
        spec = {"prove": {"address": address} if prove else {}, "on_failure": "keep"}
        entry = {"id": f"{robot}/https", "verdict": verdict, "names": [], "common_name": None, "spec": spec, **more}
        self.hostvars[robot]["__tls_certificate_request"] = {"ticket": robot, "certificates": [entry]}

    def deployed(self, robot: str, outcome: str = "installed") -> None:
        entry = {"id": f"{robot}/https", "outcome": outcome}
        self.hostvars[robot]["__tls_certificate_deploy"] = {"ticket": robot, "certificates": [entry]}

    def ask(
        self, step: str, *, views: Any = None, check: bool = False, args: Any = None, **more: Any
    ) -> dict[str, Any]:
        ca = self.flow.ca()
        ca["identities"]["fleet"] = {"pins": [self.pin], "leaves": []}
        given = {"step": step, "views": [self.view()] if views is None else views, "interval": 0.05, **(args or {})}
        return self.flow.run(
            View,
            given,
            check=check,
            hostvars=self.hostvars,
            ansible_play_batch=list(self.hostvars),
            __tls_certificate_ca=ca,
            **more,
        )

    def requests(self) -> int:
        return len(self.emulator.log("request", "fleet"))


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    devices: list[dict[str, Any]] = [{"name": "fleet", "profile": "fleet"}]
    devices += [{"name": f"robot-{number}"} for number in (1, 2, 3)]
    with Emulator(tmp_path_factory.mktemp("site"), *devices) as emulator:
        yield emulator


@pytest.fixture
def site(running: Emulator) -> Site:
    running.control("all", "factory")
    running.forget_log()
    site = Site(running)
    site.due("robot-1")
    site.due("robot-2", prove=False, common_name="robot-2")
    site.due("robot-3", verdict="none")
    return site


def test_before_and_after_a_change(site: Site) -> None:
    before = site.ask("before")
    assert (before["changed"], before["available"], before.get("failed")) == (False, True, None)
    assert {host: entry["before"]["by"] for host, entry in before["devices"].items()} == {
        "robot-1": "address",
        "robot-2": "name",
    }
    site.deployed("robot-1")
    site.deployed("robot-2", "failed")
    site.emulator.control("all", "set", "fleet_view=unavailable")
    after = site.ask("after", __tls_certificate_view=before, args={"timeout": 0.3})
    assert (after["changed"], after["available"], after.get("failed")) == (False, True, None)
    assert {host: entry["worse"] for host, entry in after["devices"].items()} == {"robot-1": True, "robot-2": False}
    assert PASSWORD not in json.dumps([before, after])


def test_whose_ip_address_the_certificate_carries_is_found_by_it(site: Site) -> None:
    site.due("robot-2", prove=False, names=["DNS:x.example", f"IP:{site.emulator.address('robot-2')}"])
    assert site.ask("before")["devices"]["robot-2"]["before"]["by"] == "address"


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ({"views": []}, "no system is named"),
        ({"check": True}, "in check mode nobody is asked"),
        ({"args": {"devices": []}}, "there is no device to ask about"),
    ],
)
@pytest.mark.parametrize("step", ["before", "after"])
def test_when_nobody_is_asked(site: Site, step: str, args: dict[str, Any], said: str) -> None:
    result = site.ask(step, **args, __tls_certificate_view={"available": True, "devices": {}})
    assert (result["available"], result["devices"], result.get("failed")) == (False, {}, None)
    assert said in result["said"]
    assert site.requests() == 0


def test_who_is_deferred_refused_or_done_is_not_looked_for(site: Site) -> None:
    site.due("robot-1", deferred={"code": "window", "message": "no"})
    site.due("robot-2", verdict="refuse")
    site.due("robot-3")
    site.deployed("robot-3")
    assert "no device to ask about" in site.ask("before")["said"]
    assert site.requests() == 0


def test_after_a_look_that_was_not_possible_there_is_nothing_to_compare(site: Site) -> None:
    site.deployed("robot-1")
    told = site.ask("before", views=[site.view(identity="somebody-else")])
    assert (told["available"], "the peer is not known" in told["said"]) == (False, True)
    after = site.ask("after", __tls_certificate_view=told)
    assert (after["available"], after["devices"]) == (False, {})
    assert "there is nothing to compare with: fleet could not be asked" in after["said"]
    assert site.requests() == 0


@pytest.mark.parametrize(
    ("view", "said"),
    [
        ({"api": {"view": {"itm": "/x"}}}, "has no field 'itm'"),
        ({"api": "mri"}, "there is no API 'mri'"),
        ({"api": ["mir"]}, "neither the name of an API nor a dictionary"),
        ({"port": 70000}, "prove.port is '70000'"),
        ({"address": "127.0.0.1", "port": 1}, "refuses connections"),
    ],
)
def test_a_system_that_is_described_badly_is_a_note(site: Site, view: dict[str, Any], said: str) -> None:
    told = site.ask("before", views=[site.view(**view)])
    assert (told["available"], told.get("failed")) == (False, None)
    assert said in told["said"]


def test_its_api_may_deviate_and_others_may_be_described(site: Site) -> None:
    mine = {"view": {"health": {"active": None, "fleet_state": None, "state": None, "group": GROUP}}}
    told = site.ask("before", views=[site.view(api=mine)])
    assert told["devices"]["robot-1"]["before"]["values"] == {"group": "1"}
    other = site.ask("before", views=[site.view(api="other")], args={"apis": {"other": OTHER}})
    assert other["devices"]["robot-1"]["before"]["values"] == {"group": "1"}


GROUP = {"field": "robot_group_id", "order": [[1], [2]]}
OTHER = {
    "base_path": "/api/v2.0.0",
    "login": {"scheme": "basic_sha256"},
    "headers": {"Accept-Language": "en_US"},
    "upload": {"path": "/x", "body": {"c": {"pem": "fullchain"}, "k": {"pem": "key"}}},
    "view": {"list": "/robots", "item": "/robots/{id}", "address": "ip", "health": {"group": GROUP}},
}


def test_devices_may_be_named_by_the_task(site: Site) -> None:
    devices = [{"name": "any", "address": site.emulator.address("robot-3")}, {"name": "robot-2"}]
    told = site.ask("before", args={"devices": devices})
    assert {host: entry["before"]["id"] for host, entry in told["devices"].items()} == {"any": "3", "robot-2": "2"}


def test_delegation_is_refused(site: Site) -> None:
    args = {"step": "before", "views": [site.view()]}
    result = site.flow.run(View, args, delegate_to="localhost")
    assert (result["failed"], "Remove delegate_to" in result["msg"]) == (True, True)
