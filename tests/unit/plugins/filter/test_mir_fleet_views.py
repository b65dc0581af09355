# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which Fleet is asked about which robots."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.errors import AnsibleError

from ansible_collections.certfleet.tls.plugins.filter.mir_fleet_views import mir_fleet_views

FLEETS: dict[str, dict[str, Any]] = {
    "fleet-1": {"ansible_host": "198.19.0.20"},
    "fleet-2": {
        "ansible_host": "198.19.1.20",
        "tls_identity": "fleet-two",
        "mir_fleet_username": "reader",
        "mir_fleet_password": "secret",
        "mir_fleet_server_name": "{{ x }}",
        "mir_fleet_api": {"view": {"health": {"state": None}}},
        "device_proxy": "http://198.19.0.30:8888",
    },
    "fleet-3": {"mir_fleet_username": "other"},
}


class Hostvars:
    """Variables as Ansible hands them to a filter: raw ones, and a templated view."""

    def __init__(self, robots: dict[str, dict[str, Any]]) -> None:
        self.raw = {**FLEETS, **robots}

    def raw_get(self, host: str) -> dict[str, Any]:
        return self.raw[host]

    def __getitem__(self, host: str) -> dict[str, Any]:
        return {**self.raw[host], "mir_fleet_server_name": "fleet-2.example"}


def views(robots: dict[str, dict[str, Any]], fleets: dict[str, Any] | None = None) -> list[dict[str, Any]]:
    return mir_fleet_views(Hostvars(robots), robots, FLEETS if fleets is None else fleets)


def test_by_default_it_is_the_first_fleet_that_has_a_login() -> None:
    (view,) = views({"robot-1": {}, "robot-2": {"mir_robot_fleet": ""}})
    assert view == {
        "name": "fleet-2",
        "identity": "fleet-two",
        "authority": "fleet",
        "address": "198.19.1.20",
        "port": 443,
        "server_name": "fleet-2.example",
        "username": "reader",
        "password": "secret",
        "api": {"view": {"health": {"state": None}}},
        "proxy": "http://198.19.0.30:8888",
        "proxy_ssh_options": None,
        "hosts": ["robot-1", "robot-2"],
    }


def test_robots_of_several_fleets_and_of_none() -> None:
    found = views(
        {"robot-1": {"mir_robot_fleet": "fleet-3"}, "robot-2": {}, "robot-3": {"mir_robot_fleet_view": False}}
    )
    assert [(view["name"], view["hosts"]) for view in found] == [("fleet-3", ["robot-1"]), ("fleet-2", ["robot-2"])]
    assert views({"robot-1": {"mir_robot_fleet_view": "no"}}) == []
    assert views({"robot-1": {}}, fleets={}) == []


def test_a_fleet_that_this_slice_does_not_hold_gets_no_login() -> None:
    assert views({"robot-1": {"mir_robot_fleet": "fleet-9"}}) == [{"name": "fleet-9", "hosts": ["robot-1"]}]


def test_what_is_neither_true_nor_false_does_not_stop_the_others() -> None:
    found = views({"robot-1": {"mir_robot_fleet_view": "perhaps"}, "robot-2": {}})
    assert [view["hosts"] for view in found] == [["robot-1", "robot-2"]]


@pytest.mark.parametrize("unread", [AnsibleError("'vault_fleet' is undefined"), "{{ vault_fleet }}"])
def test_a_login_that_cannot_be_read_is_none(unread: Any) -> None:
    class Unread(Hostvars):
        def __getitem__(self, host: str) -> dict[str, Any]:
            if isinstance(unread, Exception):
                raise unread
            return {**self.raw[host], "mir_fleet_password": unread}

    fleets = {"fleet": {"mir_fleet_username": "reader", "mir_fleet_password": "{{ vault_fleet }}"}}
    (view,) = mir_fleet_views(Unread({"robot-1": {}, **fleets}), ["robot-1"], ["fleet"])
    assert (view["username"], view["password"]) == ("reader", None)
