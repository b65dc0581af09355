# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The hosts that a run goes on with in waves, in the order in which it does."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ansible_collections.certfleet.tls.plugins.plugin_utils._engine import REQUEST_VARIABLE

DOCUMENTATION = r"""
name: due_hosts
short_description: Choose the hosts on which certificates are due
version_added: 1.0.0
description:
  - Of a group's hosts, those that an earlier play of this run has found due with the tasks of the role C(tls_certificate), and those
    whose last change still waits for being confirmed by clients, or is right while the ledger calls it failed or has not heard of it.
    For the C(hosts) of a play.
  - Hosts whose last attempts have failed, and those on which nothing new is due, come last, so that none of them is the canary of the
    others.
  - Hosts that are absent, deferred or refused are left out.
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
  description: The names of the hosts. Where there are none, a pattern that matches no host.
  type: list
  elements: str
"""

# A pattern without hosts, about which Ansible does not warn.
NOBODY = ["!all"]


def due_hosts(hostvars: Any, group: Iterable[str]) -> list[str]:
    """Names of hosts on which something is due, those with failures behind them last."""
    if not hostvars:
        # Where only the syntax is checked, nothing is known of any host.
        return NOBODY
    found = [(str(host), hostvars.raw_get(host).get(REQUEST_VARIABLE) or {}) for host in group]
    due = [(_troubled(request), host) for host, request in found if _goes_on(request)]
    # Sorting by the first field alone keeps the inventory's order.
    return [host for _last, host in sorted(due, key=lambda item: item[0])] or NOBODY


def _troubled(request: Mapping[str, Any]) -> bool:
    """Whether a host can be no canary: it has failures behind it, or nothing new to prove."""
    return not request.get("due") or any(entry.get("failures") for entry in request.get("certificates") or ())


def _goes_on(request: Mapping[str, Any]) -> bool:
    # What waits for clients, and what was found right while the ledger calls it failed or does not know it to be in service: both end
    # in the wave's last steps.
    open_ends = any(
        entry.get("unconfirmed") or (entry["verdict"] == "none" and (entry.get("failures") or entry.get("unrecorded")))
        for entry in request.get("certificates") or ()
    )
    return bool(request.get("due")) or open_ends


class FilterModule:
    """The filter by its name."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """What Ansible loads."""
        return {"due_hosts": due_hosts}
