# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Have a machine look at endpoints; one that is away is an answer where the task says so."""

from __future__ import annotations

from typing import Any

from ansible.errors import AnsibleError
from ansible.module_utils.parsing.convert_bool import boolean
from ansible.plugins.action import ActionBase

from ansible_collections.certfleet.tls.plugins.plugin_utils._wider_proof import batch_endpoints


class ActionModule(ActionBase):
    """The module does the looking; this knows what the batch has deployed, and that clients may be off."""

    _supports_check_mode = True
    _supports_async = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """See the module's documentation."""
        super().run(tmp, task_vars)
        task_vars = task_vars or {}
        arguments = {name: value for name, value in self._task.args.items() if value is not None}
        may_be_away = boolean(arguments.get("client_may_be_away", False))
        if "endpoints" not in arguments:
            arguments["endpoints"] = [] if self._task.check_mode else batch_endpoints(task_vars)
        if not arguments["endpoints"]:
            return {"changed": False, "endpoints": [], "reachable": True}
        try:
            answer: dict[str, Any] = self._execute_module(
                module_name="certfleet.tls.endpoint_info", module_args=arguments, task_vars=task_vars
            )
        except AnsibleError as exc:  # no Python there, or no way to become the wanted user
            if not may_be_away:
                raise
            return _away(str(exc))
        if may_be_away and answer.get("failed"):
            return _away(str(answer.get("msg") or "the module gave no reason"))
        return {**answer, "reachable": True}


def _away(said: str) -> dict[str, Any]:
    return {"changed": False, "reachable": False, "said": said, "msg": said}
