# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which MiR Fleets are asked what they think of robots, and how they are reached."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from ansible.errors import AnsibleError

from ansible_collections.certfleet.tls.plugins.plugin_utils._inventory import HostVariables

DOCUMENTATION = r"""
name: mir_fleet_views
short_description: The MiR Fleets that manage some robots
version_added: 1.0.0
description:
  - Each Fleet that is to be asked what it thinks of these robots, as M(certfleet.tls.device_view) takes it in
    O(certfleet.tls.device_view#module:views).
  - A robot's Fleet is the one that its variable C(mir_robot_fleet) names, else the first that has a login (C(mir_fleet_username)).
    Robots with C(mir_robot_fleet_view=false) are left out.
  - A Fleet that a slice of the inventory does not hold has no login there, and will not be asked.
options:
  _input:
    description: The variable C(hostvars).
    type: dict
    required: true
  robots:
    description: Names of robots, such as C(ansible_play_batch).
    type: list
    elements: str
    required: true
  fleets:
    description: Names of MiR Fleets, such as C(groups.mir_fleet).
    type: list
    elements: str
    required: true
author:
  - certfleet contributors (@certfleet)
"""

EXAMPLES = r"""
- name: What do the Fleets think of this batch of robots?
  certfleet.tls.device_view:
    step: before
    views: "{{ hostvars | certfleet.tls.mir_fleet_views(ansible_play_batch, groups.mir_fleet | default([])) }}"
  run_once: true
"""

RETURN = r"""
_value:
  description: One entry for each Fleet, with the robots that it manages in C(hosts).
  type: list
  elements: dict
"""


_NO = frozenset({"no", "n", "false", "f", "off", "0"})


def mir_fleet_views(hostvars: Any, robots: Iterable[str], fleets: Iterable[str]) -> list[dict[str, Any]]:
    """The Fleets of these robots, as device_view's option views."""
    variables, known = HostVariables(hostvars), [str(fleet) for fleet in fleets]
    with_login = [fleet for fleet in known if _login(variables, fleet, "mir_fleet_username")]
    managed: dict[str, list[str]] = {}
    for robot in map(str, robots):
        fleet = _fleet_of(variables, robot) or (with_login[0] if with_login else "")
        if fleet and _is_wanted(variables, robot):
            managed.setdefault(fleet, []).append(robot)
    return [
        {**(_view(variables, fleet) if fleet in known else {"name": fleet}), "hosts": hosts}
        for fleet, hosts in managed.items()
    ]


def _fleet_of(variables: HostVariables, robot: str) -> str:
    return str(variables.get(robot, "mir_robot_fleet") or "")


def _is_wanted(variables: HostVariables, robot: str) -> bool:
    value = variables.get(robot, "mir_robot_fleet_view")
    # This is read once for a whole wave: what is no switch must not stop the others, and Fleet is asked.
    return value is None or str(value).strip().lower() not in _NO


def _login(variables: HostVariables, fleet: str, name: str) -> Any:
    """A part of the login; none where it cannot be read, since a slice may lack the vault that it is in."""
    try:
        value = variables.get(fleet, name)
    except AnsibleError:
        return None
    # Older versions of Ansible answer a template with an undefined variable in it as it is.
    return None if isinstance(value, str) and "{{" in value else value


def _view(variables: HostVariables, fleet: str) -> dict[str, Any]:
    address = variables.get(fleet, "mir_fleet_address") or variables.get(fleet, "ansible_host") or fleet
    return {
        "name": fleet,
        "identity": str(variables.get(fleet, "tls_identity") or fleet),
        "authority": str(variables.get(fleet, "mir_fleet_authority") or "fleet"),
        "address": str(address),
        "port": variables.get(fleet, "mir_fleet_port") or 443,
        "server_name": str(variables.get(fleet, "mir_fleet_server_name") or address),
        "username": _login(variables, fleet, "mir_fleet_username"),
        "password": _login(variables, fleet, "mir_fleet_password"),
        "api": variables.get(fleet, "mir_fleet_api") or {},
        "proxy": variables.get(fleet, "mir_fleet_proxy") or variables.get(fleet, "device_proxy"),
        "proxy_ssh_options": variables.get(fleet, "mir_fleet_proxy_ssh_options")
        or variables.get(fleet, "device_proxy_ssh_options"),
    }


class FilterModule:
    """The filter by its name."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """What Ansible loads."""
        return {"mir_fleet_views": mir_fleet_views}
