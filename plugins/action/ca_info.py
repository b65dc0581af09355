# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ask the CA what it knows of the hosts of this batch. An unreachable CA is an answer too."""

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase

from ansible_collections.certfleet.tls.plugins.plugin_utils._ca_call import CACallError, ca_host, call_ca, options_of
from ansible_collections.certfleet.tls.plugins.plugin_utils._engine import batch_variables, identity_of


class ActionModule(ActionBase):
    """Fill in the batch's identities and return the contract's fields."""

    _supports_check_mode = True
    _supports_async = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """See the module's documentation."""
        super().run(tmp, task_vars)
        task_vars = task_vars or {}
        arguments = options_of(self, "directory", "identities")
        if "identities" not in arguments:
            arguments["identities"] = [
                identity_of({"inventory_hostname": host, **found})
                for host, found in batch_variables(task_vars, "tls_identity")
            ]
        host = ca_host(self, task_vars)
        try:
            answer = call_ca(self, "ca_info", arguments, task_vars)
        except CACallError as exc:
            return {
                "changed": False,
                "available": False,
                "reachable": exc.code != "ca_unreachable",
                "ca_host": host,
                "message": str(exc),
                "authorities": {},
                "identities": {},
            }
        return {
            "changed": False,
            "available": True,
            "reachable": True,
            "ca_host": host,
            "message": "",
            "authorities": answer.get("authorities") or {},
            "identities": answer.get("identities") or {},
            "time": answer.get("time"),
        }
