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
from ansible_collections.certfleet.tls.plugins.plugin_utils._device_confirm import confirmed_entries
from ansible_collections.certfleet.tls.plugins.plugin_utils._device_entries import refuse_delegation
from ansible_collections.certfleet.tls.plugins.plugin_utils._device_flow import Setting, deploy_entries
from ansible_collections.certfleet.tls.plugins.plugin_utils._device_single import OPTIONS, deploy_single
from ansible_collections.certfleet.tls.plugins.plugin_utils._engine import (
    DEPLOY_VARIABLE,
    EngineError,
    deploy_result,
    plain_variables,
    read_ca,
    read_issued,
    read_requests,
    settle,
    ticket_of,
)
from ansible_collections.certfleet.tls.plugins.plugin_utils._wider_proof import wider_verdicts

_FLOW_OPTIONS = {
    "step": {"type": "str", "choices": ["deploy", "confirm"], "default": "deploy"},
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
                if args["step"] != "deploy":
                    raise DeviceError("step confirm belongs to the flow; with address there is nothing to confirm.")
                host = str(task_vars["inventory_hostname"])
                read = file_reader(self, where=host)
                return {**result, **deploy_single(args, host=host, read_file=read, check_mode=self._task.check_mode)}
            step = self._confirm if args["step"] == "confirm" else self._deploy
            return {**result, **step(args, self._setting(args, task_vars), task_vars)}
        except (DeviceError, X509Error, EngineError) as exc:
            return settle({**result, "failed": True, "msg": str(exc)}, self, task_vars)

    def _setting(self, args: Mapping[str, Any], task_vars: Mapping[str, Any]) -> Setting:
        host = str(task_vars["inventory_hostname"])
        return Setting(
            host=host,
            default_address=str(task_vars.get("ansible_host") or host),
            ca=read_ca(task_vars, args),
            issued=read_issued(task_vars, args),
            apis=args["apis"],
            read_file=file_reader(self, where=host),
        )

    def _deploy(self, args: Mapping[str, Any], setting: Setting, task_vars: dict[str, Any]) -> dict[str, Any]:
        check_mode = bool(self._task.check_mode)
        entries, diffs = deploy_entries(read_requests(task_vars, args), setting=setting, check_mode=check_mode)
        result = deploy_result(entries, ticket=ticket_of(task_vars))
        return {**result, "diff": diffs} if diffs else result

    def _confirm(self, args: Mapping[str, Any], setting: Setting, task_vars: dict[str, Any]) -> dict[str, Any]:
        """The whole answer of the deploy step once more; only what came out otherwise is a change."""
        deployed = task_vars.get(DEPLOY_VARIABLE) or {}
        entries = [dict(entry) for entry in deployed.get("certificates") or ()]
        if entries and not self._task.check_mode:
            requested = read_requests(task_vars, args)
            entries = confirmed_entries(entries, requested, wider_verdicts(task_vars), setting=setting)
        result = deploy_result(entries, ticket=str(deployed.get("ticket") or ticket_of(task_vars)))
        removed = any(entry.get("revised") and entry["outcome"] == "removed" for entry in entries)
        return {**result, "changed": removed, "confirmed": True}
