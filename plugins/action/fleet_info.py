# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the inventory says of this play's hosts: the CA host of the run, and the endpoints there are to prove."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from ansible.plugins.action import ActionBase

from ansible_collections.certfleet.tls.plugins.plugin_utils._engine import TRUST_VARIABLE
from ansible_collections.certfleet.tls.plugins.plugin_utils._inventory import (
    HostVariables,
    InventoryError,
    ca_hosts,
    endpoints_of,
    unlisted_ca,
)


class ActionModule(ActionBase):
    """Read hostvars once for the whole play."""

    _supports_check_mode = True
    _supports_async = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """See the module's documentation."""
        super().run(tmp, task_vars)
        task_vars = task_vars or {}
        groups = task_vars.get("groups") or {}
        if not groups.get("all"):
            return {
                "failed": True,
                "msg": "The inventory names no machine, so there is nobody to work for. Nothing was changed. Name your inventory in the "
                "command (ansible-playbook -i <inventory> ...), or in ansible.cfg.",
            }
        hosts = [str(host) for host in task_vars.get("ansible_play_hosts_all") or ()]
        variables = HostVariables(task_vars["hostvars"])
        ca_host, others = ca_hosts(variables, hosts)
        if ca_host is None:
            return {
                "failed": True,
                "msg": "No machine of this play has the variable tls_ca_host, so there is no CA to ask. "
                "Set it for the group all to the inventory name of the host that keeps the CA.",
            }
        try:
            endpoints = endpoints_of(variables, hosts, groups)
            unlisted = unlisted_ca(variables, ca_host, hosts, groups)
        except InventoryError as exc:
            return {"failed": True, "msg": str(exc)}
        return {
            **unlisted,
            "changed": False,
            "ca_host": ca_host,
            "other_ca_hosts": others,
            "endpoints": [asdict(endpoint) for endpoint in endpoints],
            "clients": _clients(variables, groups.get("tls_clients") or ()),
        }


def _clients(variables: HostVariables, names: Iterable[Any]) -> list[str]:
    """The clients, without those that this run has not reached so far."""
    return [str(host) for host in names if not (variables.get(str(host), TRUST_VARIABLE) or {}).get("absent")]
