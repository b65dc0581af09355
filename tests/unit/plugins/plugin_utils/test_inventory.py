# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the inventory alone says: the CA of the run, and how many endpoints there are to prove."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.certfleet.tls.plugins.plugin_utils._inventory import (
    HostVariables,
    InventoryError,
    ca_hosts,
    endpoints_of,
    unlisted_ca,
)


class Hostvars:
    """Variables as Ansible hands them to an action: raw ones, and a templated view."""

    def __init__(self, raw: dict[str, dict[str, Any]], templated: dict[str, dict[str, Any]] | None = None) -> None:
        self.raw, self.templated = raw, templated or {}

    def raw_get(self, host: str) -> dict[str, Any]:
        return self.raw[host]

    def __getitem__(self, host: str) -> dict[str, Any]:
        return {**self.raw[host], **self.templated.get(host, {})}


def test_the_ca_is_the_one_that_most_machines_name() -> None:
    raw = {"a": {"tls_ca_host": "ca"}, "b": {"tls_ca_host": "other"}, "c": {"tls_ca_host": "ca"}, "d": {}}
    assert ca_hosts(HostVariables(Hostvars(raw)), raw) == ("ca", {"b": "other"})
    assert ca_hosts(HostVariables(Hostvars({"d": {}})), ["d"]) == (None, {})


def test_endpoints_come_from_groups_and_variables() -> None:
    raw = {
        "robot-1": {"ansible_host": "198.19.1.11"},
        "robot-2": {
            "mir_robot_address": "{{ x }}",
            "mir_robot_server_name": "robot-2.plant.example",
            "mir_robot_port": "8443",
        },
        "fleet": {
            "ansible_host": "2001:2::1",
            "tls_endpoints": [{"address": "198.19.0.20", "port": 8443, "name": "admin"}],
        },
        "pc": {},
    }
    variables = HostVariables(Hostvars(raw, {"robot-2": {"mir_robot_address": "198.19.1.12"}}))
    found = endpoints_of(variables, raw, {"mir_robots": ["robot-1", "robot-2", "robot-9"], "mir_fleet": ["fleet"]})
    assert [(e.name, e.host, e.address, e.port, e.server_name, e.product) for e in found] == [
        ("robot-1", "robot-1", "198.19.1.11", 443, "198.19.1.11", "mir_robot"),
        ("robot-2", "robot-2", "198.19.1.12", 8443, "robot-2.plant.example", "mir_robot"),
        ("fleet", "fleet", "2001:2::1", 443, "2001:2::1", "mir_fleet"),
        ("admin", "fleet", "198.19.0.20", 8443, "198.19.0.20", "own"),
    ]


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"mir_robot_port": "https"}, "no number"),
        ({"mir_robot_port": 70000}, "between 1 and 65535"),
        ({"tls_endpoints": [{"port": 1}]}, "write address"),
        ({"tls_endpoints": [{"address": "a", "adress": "b"}]}, "write address"),
    ],
)
def test_nonsense_is_named_with_its_host(variables: dict[str, Any], said: str) -> None:
    with pytest.raises(InventoryError, match=r"^robot-1: ") as caught:
        endpoints_of(HostVariables(Hostvars({"robot-1": variables})), ["robot-1"], {"mir_robots": ["robot-1"]})
    assert said in str(caught.value)


def test_a_ca_that_the_inventory_lacks_is_added_with_its_connection() -> None:
    raw = {"robot-1": {}, "robot-2": {"tls_ca_connection": {"ansible_host": "198.19.0.10", "ansible_user": "{{ x }}"}}}
    variables = HostVariables(Hostvars(raw))
    added = {"host_name": "ca", "groups": [], "host_vars": {"ansible_host": "198.19.0.10", "ansible_user": "{{ x }}"}}
    assert unlisted_ca(variables, "ca", raw, {"all": list(raw)}) == {"add_host": added}
    # Where nobody says how, its name is what is connected to.
    assert unlisted_ca(variables, "ca", ["robot-1"], {"all": ["robot-1"]})["add_host"]["host_vars"] == {}
    # One that is there is left as it is, also where a limit leaves it out of the play.
    assert unlisted_ca(variables, "ca", raw, {"all": [*raw, "ca"]}) == {}


@pytest.mark.parametrize("given", ["198.19.0.10", ["ansible_host"], {"ansible_host": "a", "tls_waves": [1]}])
def test_a_connection_holds_nothing_but_variables_of_connections(given: Any) -> None:
    raw = {"robot-1": {"tls_ca_connection": given}}
    with pytest.raises(InventoryError, match="tls_ca_connection must hold variables of a connection"):
        unlisted_ca(HostVariables(Hostvars(raw)), "ca", raw, {"all": ["robot-1"]})
