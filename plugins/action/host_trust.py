# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Take the anchors from what the CA said, and hand them to the host."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible.errors import AnsibleConnectionFailure, AnsibleError
from ansible.plugins.action import ActionBase

from ansible_collections.certfleet.tls.plugins.plugin_utils._engine import (
    EngineError,
    absent_result,
    failure,
    plain_variables,
    read_ca,
    settle,
)


class ActionModule(ActionBase):
    """Without a CA there is nothing to compare with: predicted in check mode, said otherwise."""

    _supports_check_mode = True
    _supports_async = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """See the module's documentation."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        variables = plain_variables(task_vars, self._templar)
        try:
            return {**result, **settle(self._compared(variables), self, variables)}
        except AnsibleError as exc:  # another CA, or no way to become root, for example
            return settle({**result, **failure(exc, str(variables["inventory_hostname"]))}, self, variables)

    def _compared(self, task_vars: dict[str, Any]) -> dict[str, Any]:
        host, state = str(task_vars["inventory_hostname"]), str(self._task.args.get("state") or "present")
        anchors = self._task.args.get("anchors")
        names = [str(name) for name in self._task.args.get("authorities") or ["fleet"]]
        broken: list[str] = []
        if anchors is None and state == "absent":
            anchors = [{"name": _file_name(name)} for name in names]
        if anchors is None:
            ca = read_ca(task_vars, self._task.args) or {}
            if not ca.get("available", bool(ca)):
                return self._without_ca(host, str(ca.get("message") or "the CA was not asked"))
            authorities: Mapping[str, Any] = ca.get("authorities") or {}
            problems: Mapping[str, Any] = ca.get("problems") or {}
            broken = [
                f"{host}: the anchors of '{name}' could not be compared: {problems[name]}"
                for name in names
                if name in problems
            ]
            names = [name for name in names if name not in problems]
            if not names:
                return {"changed": False, "absent": False, "warnings": broken}
            unknown = [name for name in names if not authorities.get(name, {}).get("anchors")]
            if unknown:
                return self._without_authority(host, unknown)
            anchors = [{"name": _file_name(name), "certificate": str(authorities[name]["anchors"])} for name in names]
        arguments = {"anchors": anchors, "state": state}
        try:
            answer: dict[str, Any] = self._execute_module(
                module_name="certfleet.tls.host_trust", module_args=arguments, task_vars=task_vars
            )
        except AnsibleConnectionFailure as exc:
            return _absent(f"{host} cannot be reached: {exc}")
        return {**answer, "warnings": [*(answer.get("warnings") or []), *broken]} if broken else answer

    def _without_ca(self, host: str, why: str) -> dict[str, Any]:
        said = f"{host}: the anchors could not be compared: {why}"
        predicted = (
            {"changed": True, "msg": f"would be added once there is a CA ({why})"} if self._task.check_mode else {}
        )
        return {"changed": False, "absent": False, "warnings": [said], **predicted}

    def _without_authority(self, host: str, unknown: list[str]) -> dict[str, Any]:
        names = ", ".join(f"'{name}'" for name in unknown)
        if self._task.check_mode:
            return {"changed": True, "absent": False, "msg": f"would be added once the CA has the authority {names}"}
        raise EngineError(
            f"{host}: the CA has no authority {names}, so there are no anchors to trust. Create it with the role tls_ca"
            " (tls_ca_authorities), or correct tls_trust_authorities."
        )


def _file_name(authority: str) -> str:
    return f"certfleet-{authority.replace('.', '-')}"


def _absent(said: str) -> dict[str, Any]:
    gone = absent_result(said)
    return {field: gone[field] for field in ("absent", "changed", "said", "msg")}
