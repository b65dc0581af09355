# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Upload a pair to a device from the controller's worker and prove it; or remove one.

Within the flow it deploys what device_request found due and ca_issue signed. With an address it works alone, on a pair
that the user brings.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible.plugins.action import ActionBase

from ansible_collections.certfleet.tls.plugins.module_utils._device.errors import DeviceError
from ansible_collections.certfleet.tls.plugins.module_utils._device.requests_library import require_requests
from ansible_collections.certfleet.tls.plugins.module_utils._x509.errors import X509Error
from ansible_collections.certfleet.tls.plugins.plugin_utils._controller_files import file_reader
from ansible_collections.certfleet.tls.plugins.plugin_utils._device_entries import refuse_delegation
from ansible_collections.certfleet.tls.plugins.plugin_utils._device_flow import deploy_entries
from ansible_collections.certfleet.tls.plugins.plugin_utils._device_single import OPTIONS, deploy_single
from ansible_collections.certfleet.tls.plugins.plugin_utils._engine import (
    EngineError,
    deploy_result,
    plain_variables,
    read_ca,
    read_issued,
    read_requests,
    settle,
    ticket_of,
)

_FLOW_OPTIONS = {
    "certificates": {"type": "list", "elements": "dict"},
    "issued": {"type": "dict"},
    "ca": {"type": "dict"},
    "apis": {"type": "dict", "default": {}},
}


class ActionModule(ActionBase):
    """Keys and logins stay in this process."""

    _supports_check_mode = True
    _supports_async = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """See the module's documentation."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        task_vars = plain_variables(task_vars, self._templar)
        try:
            refuse_delegation(self._task)
            require_requests()
            _validation, args = self.validate_argument_spec(
                {**_FLOW_OPTIONS, **OPTIONS},
                mutually_exclusive=[("address", "certificates"), ("address", "issued")],
                required_by={name: ("address",) for name in OPTIONS if "default" not in OPTIONS[name]},
            )
            if args["address"]:
                host = str(task_vars["inventory_hostname"])
                read = file_reader(self, where=host)
                return {**result, **deploy_single(args, host=host, read_file=read, check_mode=self._task.check_mode)}
            return {**result, **self._flow(args, task_vars)}
        except (DeviceError, X509Error, EngineError) as exc:
            return settle({**result, "failed": True, "msg": str(exc)}, self, task_vars)

    def _flow(self, args: Mapping[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        host = str(task_vars["inventory_hostname"])
        entries, diffs = deploy_entries(
            read_requests(task_vars, args),
            issued=read_issued(task_vars, args),
            ca=read_ca(task_vars, args),
            apis=args["apis"],
            host=host,
            default_address=str(task_vars.get("ansible_host") or host),
            read_file=file_reader(self, where=host),
            check_mode=bool(self._task.check_mode),
        )
        result = deploy_result(entries, ticket=ticket_of(task_vars))
        return {**result, "diff": diffs} if diffs else result
