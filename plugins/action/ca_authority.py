# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tell the module what time it is here: a root that is made by a wrong clock could only be replaced by another one."""

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase

from ansible_collections.certfleet.tls.plugins.module_utils._x509.errors import X509Error
from ansible_collections.certfleet.tls.plugins.plugin_utils._clock import clock_options


class ActionModule(ActionBase):
    """What the module answers, and how it fails, is left as it is."""

    _supports_check_mode = True
    _supports_async = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """See the module's documentation."""
        super().run(tmp, task_vars)
        task_vars = task_vars or {}
        try:
            clock = clock_options(task_vars, self._templar)
        except X509Error as exc:
            return {"changed": False, "failed": True, "code": "bad_option", "msg": f"{exc} Nothing was changed."}
        result: dict[str, Any] = self._execute_module(
            module_name="certfleet.tls.ca_authority", module_args={**self._task.args, **clock}, task_vars=task_vars
        )
        # As of every module: what was asked for is of no interest to anybody, and long.
        result.pop("invocation", None)
        return result
