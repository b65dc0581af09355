# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One call to the CA host, with the ways in which it can fail turned into words.

These tasks run once for a batch. If one of them failed or became unreachable, Ansible would blame the first host and drop
the rest; so a failure travels in the result, and each host hears of it in its own next step.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible.errors import AnsibleConnectionFailure, AnsibleError

from ansible_collections.certfleet.tls.plugins.module_utils._x509.errors import X509Error

from ._clock import clock_options


class CACallError(Exception):
    """The CA host could not be reached, or its module said no. C(code) is ca_unreachable, ca_failed or ca_clock."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def call_ca(action: Any, module: str, arguments: Mapping[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
    """Run a ca_* module where the task was delegated to. Raises CACallError."""
    host = ca_host(action, task_vars)
    try:
        result: dict[str, Any] = action._execute_module(
            module_name=f"certfleet.tls.{module}", module_args=dict(arguments), task_vars=task_vars
        )
    except AnsibleConnectionFailure as exc:
        raise CACallError(
            "ca_unreachable",
            f"the CA host '{host}' cannot be reached ({exc}). Nothing was changed; bring it up, or correct tls_ca_host, and run again.",
        ) from exc
    except AnsibleError as exc:
        raise CACallError("ca_failed", f"the CA host '{host}' could not run {module}: {exc}") from exc
    if result.get("failed") or result.get("unreachable"):
        said = str(result.get("msg") or "the module gave no reason").strip()
        details = str(result.get("module_stderr") or "").strip()
        # As ca_info tells of the same.
        code = "ca_clock" if result.get("code") == "ca_clock" else "ca_failed"
        raise CACallError(code, f"the CA host '{host}': {said}{' ' + details[-300:] if details else ''}")
    return result


def call_signer(action: Any, module: str, arguments: Mapping[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
    """As call_ca(), for a module that signs: it compares its clock with the controller's."""
    try:
        clock = clock_options(task_vars, action._templar)
    except X509Error as exc:
        raise CACallError("ca_failed", f"{exc} Nothing was changed.") from exc
    return call_ca(action, module, {**arguments, **clock}, task_vars)


def ca_host(action: Any, task_vars: Mapping[str, Any]) -> str:
    """The inventory name of the host that this task was delegated to, or of the host itself."""
    return str(action._task.delegate_to or task_vars["inventory_hostname"])


def options_of(action: Any, *names: str) -> dict[str, Any]:
    """Those of the task's options that were given."""
    return {name: action._task.args[name] for name in names if action._task.args.get(name) is not None}
