# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""fleet_info on a slice of an inventory: the CA host that it lacks is handed to Ansible to be added."""

from __future__ import annotations

from typing import Any

from ansible_collections.certfleet.tls.plugins.action.fleet_info import ActionModule as FleetInfo

from .device_fleet import run_action
from .test_device_view import Hostvars

CONNECTION = {"ansible_host": "198.19.0.10", "ansible_user": "operator"}


def fleet_info(robots: dict[str, dict[str, Any]], *others: str) -> dict[str, Any]:
    variables = {
        "hostvars": Hostvars(robots),
        "groups": {"all": [*robots, *others], "mir_robots": list(robots)},
        "ansible_play_hosts_all": list(robots),
    }
    return run_action(FleetInfo, {}, **variables)


def test_a_slice_learns_of_its_ca_host() -> None:
    robots = {f"robot-{n}": {"tls_ca_host": "ca", "tls_ca_connection": CONNECTION} for n in (1, 2)}
    told = fleet_info(robots)
    assert told["add_host"] == {"host_name": "ca", "groups": [], "host_vars": CONNECTION}
    assert (told["ca_host"], told["changed"], len(told["endpoints"])) == ("ca", False, 2)
    assert "add_host" not in fleet_info(robots, "ca")


def test_what_is_no_connection_is_said() -> None:
    told = fleet_info({"robot-1": {"tls_ca_host": "ca", "tls_ca_connection": {"address": "198.19.0.10"}}})
    assert told["failed"]
    assert "tls_ca_connection must hold variables of a connection" in told["msg"]
