# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Host names and addresses as subject alternative names."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable
from typing import Any

from ansible.errors import AnsibleFilterError

DOCUMENTATION = r"""
name: subject_alt_names
short_description: Turn host names and addresses into subject alternative names
version_added: 1.0.0
description:
  - Puts V(DNS:) before host names and V(IP:) before addresses, drops empty ones, and keeps each once.
  - Names that already say V(DNS:) or V(IP:) stay as they are.
options:
  _input:
    description: Host names, IPv4 and IPv6 addresses.
    type: list
    elements: str
    required: true
author:
  - certfleet contributors (@certfleet)
"""

EXAMPLES = r"""
- name: "['DNS:robot-1', 'IP:198.19.1.11']"
  ansible.builtin.debug:
    msg: "{{ ['robot-1', '198.19.1.11'] | certfleet.tls.subject_alt_names }}"
"""

RETURN = r"""
_value:
  description: The names in the form that certificates' specifications take.
  type: list
  elements: str
"""


def subject_alt_names(hosts: Iterable[str]) -> list[str]:
    """C(['robot-1', '2001:2::1']) becomes C(['DNS:robot-1', 'IP:2001:2::1'])."""
    if isinstance(hosts, (str, bytes)):
        raise AnsibleFilterError(
            f"subject_alt_names takes a list of host names and addresses, not the text '{hosts!s}'."
        )
    return list(dict.fromkeys(_name(str(host).strip()) for host in hosts if str(host).strip()))


def _name(host: str) -> str:
    if host.upper().startswith(("DNS:", "IP:")):
        return host
    try:
        return f"IP:{ipaddress.ip_address(host.strip('[]'))}"
    except ValueError:
        return f"DNS:{host}"


class FilterModule:
    """The filter by its name."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """What Ansible loads."""
        return {"subject_alt_names": subject_alt_names}
