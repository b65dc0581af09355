# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run the module; a CA host that cannot be reached is a failure that a play can answer: a frozen CA must be thawed again."""

from __future__ import annotations

from typing import Any

from ansible.errors import AnsibleConnectionFailure
from ansible.plugins.action import ActionBase

from ansible_collections.certfleet.tls.plugins.plugin_utils._ca_call import ca_host


class ActionModule(ActionBase):
    """An unreachable host leads past the rescue of a block, a failed one into it."""

    _supports_check_mode = True
    _supports_async = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """See the module's documentation."""
        super().run(tmp, task_vars)
        task_vars = task_vars or {}
        try:
            result: dict[str, Any] = self._execute_module(
                module_name="certfleet.tls.ca_backup", module_args=dict(self._task.args), task_vars=task_vars
            )
        except AnsibleConnectionFailure as exc:
            result = {"unreachable": True, "msg": str(exc)}
        if not result.get("unreachable"):
            return result
        return {
            "changed": False,
            "failed": True,
            "code": "unreachable",
            "msg": f"the CA host '{ca_host(self, task_vars)}' cannot be reached ({result.get('msg')}). Bring it up, then run again.",
        }
