# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ask managing systems, such as a MiR Fleet, what they think of devices before and after a change. Nothing is changed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible.plugins.action import ActionBase

from ansible_collections.certfleet.tls.plugins.module_utils._device.errors import DeviceError
from ansible_collections.certfleet.tls.plugins.module_utils._device.requests_library import require_requests
from ansible_collections.certfleet.tls.plugins.module_utils._device.view import look_after, look_before
from ansible_collections.certfleet.tls.plugins.plugin_utils._controller_files import file_reader
from ansible_collections.certfleet.tls.plugins.plugin_utils._device_entries import refuse_delegation
from ansible_collections.certfleet.tls.plugins.plugin_utils._device_view import (
    changed_devices,
    due_devices,
    given_devices,
    sources_of,
)
from ansible_collections.certfleet.tls.plugins.plugin_utils._engine import EngineError, plain_variables, read_ca
from ansible_collections.certfleet.tls.plugins.plugin_utils._wider_proof import VIEW_VARIABLE

_OPTIONS = {
    "step": {"type": "str", "choices": ["before", "after"], "required": True},
    "views": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "name": {"type": "str", "required": True},
            "address": {"type": "str"},
            "port": {"type": "int", "default": 443},
            "server_name": {"type": "str"},
            "username": {"type": "str"},
            "password": {"type": "str", "no_log": True},
            "api": {"type": "raw"},
            "proxy": {"type": "str"},
            "proxy_ssh_options": {"type": "list", "elements": "str"},
            "identity": {"type": "str"},
            "authority": {"type": "str", "default": "fleet"},
            "hosts": {"type": "list", "elements": "str"},
        },
    },
    "devices": {
        "type": "list",
        "elements": "dict",
        "options": {
            "name": {"type": "str", "required": True},
            "address": {"type": "str"},
            "serial_number": {"type": "str"},
        },
    },
    "before": {"type": "dict"},
    "timeout": {"type": "float", "default": 60},
    "interval": {"type": "float", "default": 2},
    "apis": {"type": "dict", "default": {}},
    "ca": {"type": "dict"},
}


class ActionModule(ActionBase):
    """Logins stay in this process."""

    _supports_check_mode = True
    _supports_async = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """See the module's documentation."""
        result: dict[str, Any] = {**super().run(tmp, task_vars), "changed": False}
        task_vars = plain_variables(task_vars, self._templar)
        args = self.validate_argument_spec(_OPTIONS)[1]
        try:
            refuse_delegation(self._task)
            return {**result, **self._answer(args, task_vars)}
        except (DeviceError, EngineError) as exc:
            return {**result, **_unavailable(str(exc)), "failed": True, "msg": str(exc)}

    def _answer(self, args: Mapping[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        if not args["views"]:
            return _unavailable("no system is named that manages these devices")
        if self._task.check_mode:
            return _unavailable("in check mode nobody is asked, since nothing is changed")
        earlier = args["before"] if args["before"] is not None else task_vars.get(VIEW_VARIABLE) or {}
        after = args["step"] == "after"
        if after and not earlier.get("available"):
            return _unavailable(f"there is nothing to compare with: {earlier.get('said') or 'nobody was asked before'}")
        if args["devices"] is not None:
            wanted = given_devices(args["devices"])
        else:
            wanted = changed_devices(task_vars) if after else due_devices(task_vars)
        if not wanted:
            return {**_unavailable("there is no device to ask about"), "devices": earlier.get("devices") or {}}
        require_requests()
        read = file_reader(self, where="device_view")
        sources = sources_of(args["views"], ca=read_ca(task_vars, args), apis=args["apis"], read_file=read)
        if after:
            return look_after(sources, wanted, earlier, timeout=args["timeout"], interval=args["interval"])
        return look_before(sources, wanted, timeout=args["timeout"])


def _unavailable(said: str) -> dict[str, Any]:
    return {"available": False, "said": said, "devices": {}}
