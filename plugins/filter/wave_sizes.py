# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How many hosts a run changes at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from ansible.errors import AnsibleFilterError

from ansible_collections.certfleet.tls.plugins.plugin_utils._inventory import HostVariables

DOCUMENTATION = r"""
name: wave_sizes
short_description: Read the sizes of the waves from the inventory
version_added: 1.0.0
description:
  - The variable C(tls_waves) of the first of a group's hosts that has it, for the C(serial) of a play. Group variables of
    an inventory cannot be used there directly.
  - A canary comes first in any case. Without the variable the waves grow threefold after it.
options:
  _input:
    description: The variable C(hostvars).
    type: dict
    required: true
  group:
    description: Names of hosts, such as C(groups.mir_robots).
    type: list
    elements: str
    required: true
author:
  - certfleet contributors (@certfleet)
"""

EXAMPLES = r"""
- name: Certificates of robots, wave by wave
  hosts: "{{ hostvars | certfleet.tls.due_hosts(groups.mir_robots) }}"
  serial: "{{ hostvars | certfleet.tls.wave_sizes(groups.mir_robots) }}"
"""

RETURN = r"""
_value:
  description: Numbers and percentages, as C(serial) takes them; the last is repeated.
  type: list
  elements: raw
  sample: [1, 2, 9, 27, 81, 243]
"""

CANARY_FIRST = (1, 2, 9, 27, 81, 243)


def wave_sizes(hostvars: Any, group: Iterable[str]) -> list[int | str]:
    """C(tls_waves), checked; all hosts of a run share it."""
    if not hostvars:
        # Where only the syntax is checked, nothing is known of any host.
        return list(CANARY_FIRST)
    variables = HostVariables(hostvars)
    given = next((value for host in group if (value := variables.get(str(host), "tls_waves")) is not None), None)
    if given is None:
        return list(CANARY_FIRST)
    if isinstance(given, (str, bytes)) or not isinstance(given, Iterable):
        given = [given]
    sizes = [_size(value) for value in given] or list(CANARY_FIRST)
    return sizes if sizes[0] == 1 else [1, *sizes]


def _size(value: Any) -> int | str:
    text = str(value).strip()
    number = text.removesuffix("%")
    if not number.isdigit() or not int(number):
        raise AnsibleFilterError(
            f"tls_waves holds '{text}'. Give how many hosts a wave has, as a number or as a share such as 10%: [1, 9, 10%]."
        )
    return f"{number}%" if text.endswith("%") else int(number)


class FilterModule:
    """The filter by its name."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """What Ansible loads."""
        return {"wave_sizes": wave_sizes}
