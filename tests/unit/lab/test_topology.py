# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's topology and the inventory that Ansible reads say the same."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from ansible_collections.certfleet.tls.tests.lab.certfleet_lab import identity, places, topology

INVENTORY: dict[str, Any] = yaml.safe_load(places.INVENTORY.read_text(encoding="utf-8"))["all"]["children"]
MEMBERS = (*topology.HOSTS, *topology.DEVICES)


def inventory_variables(name: str) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    for group in INVENTORY.values():
        merged.update(group["hosts"].get(name) or {})
    return merged


@pytest.mark.parametrize("member", MEMBERS, ids=lambda member: member.name)
def test_member_has_the_address_and_groups_of_the_inventory(member: topology.Host | topology.Device) -> None:
    assert inventory_variables(member.name)["ansible_host"] == member.address
    assert {group for group, content in INVENTORY.items() if member.name in content["hosts"]} == set(member.groups)


def test_inventory_has_no_one_else() -> None:
    listed = {name for group in INVENTORY.values() for name in group["hosts"]}
    assert listed == {member.name for member in MEMBERS}


@pytest.mark.parametrize("endpoint", topology.endpoints(), ids=lambda endpoint: endpoint.name)
def test_server_name_is_among_the_names_that_the_inventory_asks_for(endpoint: topology.Endpoint) -> None:
    variables = inventory_variables(endpoint.host)
    kind = "IP" if endpoint.product == "mir_robot" else "DNS"
    assert f"{kind}:{endpoint.server_name}" in variables[f"{endpoint.product}_subject_alt_names"]


@pytest.mark.parametrize("device", topology.DEVICES, ids=lambda device: device.name)
def test_logins_are_long_enough_to_be_searched_for(device: topology.Device) -> None:
    assert min(len(part) for part in identity.login(device)) >= 16


def test_the_inventory_names_the_proxy_of_what_this_machine_cannot_reach() -> None:
    proxies = {device.name: device.proxy for device in topology.DEVICES if device.proxy}
    assert proxies
    assert proxies == {name: inventory_variables(name)["device_proxy"] for name in proxies}
    assert not {endpoint.name for endpoint in topology.endpoints()} & set(proxies)
