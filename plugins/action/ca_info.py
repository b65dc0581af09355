# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ask the CA what it knows of the hosts of this batch. An unreachable CA is an answer too."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from ansible.module_utils.parsing.convert_bool import boolean
from ansible.plugins.action import ActionBase

from ansible_collections.certfleet.tls.plugins.module_utils._x509.clock import clock_text
from ansible_collections.certfleet.tls.plugins.module_utils._x509.duration import parse_duration
from ansible_collections.certfleet.tls.plugins.module_utils._x509.errors import X509Error
from ansible_collections.certfleet.tls.plugins.plugin_utils._ca_call import CACallError, ca_host, call_ca, options_of
from ansible_collections.certfleet.tls.plugins.plugin_utils._clock import clock_error, clock_limit
from ansible_collections.certfleet.tls.plugins.plugin_utils._engine import (
    CA_VARIABLE,
    DEPLOY_VARIABLE,
    REQUEST_VARIABLE,
    EngineError,
    batch_hosts,
    batch_variables,
    identity_of,
    raw_variables,
)
from ansible_collections.certfleet.tls.plugins.plugin_utils._failure_budget import Progress, budget_of, pause_of
from ansible_collections.certfleet.tls.plugins.plugin_utils._inventory import HostVariables

# What people ask for; the engine never does.
_INQUIRIES = ("list", "within", "names", "export")


class ActionModule(ActionBase):
    """Fill in the batch's identities and return the contract's fields."""

    _supports_check_mode = True
    _supports_async = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """See the module's documentation."""
        super().run(tmp, task_vars)
        task_vars = task_vars or {}
        arguments = options_of(self, "directory", "identities", "failure_window", *_INQUIRIES)
        is_inquiry = "list" in arguments or "export" in arguments
        if "identities" not in arguments and not is_inquiry:
            arguments["identities"] = [
                identity_of({"inventory_hostname": host, **found})
                for host, found in batch_variables(task_vars, "tls_identity")
            ]
            arguments["identities"] += self._managers(task_vars)
        try:
            if "failure_window" in arguments:
                arguments["failure_window"] = parse_duration(arguments["failure_window"], where="tls_failure_window")
            answer, problem = self._ask(arguments, task_vars, compare=not is_inquiry)
        except X509Error as exc:
            return {"changed": False, "failed": True, "msg": str(exc)}
        if is_inquiry and problem is not None:
            # Somebody asked; nothing waits for the answer, so its absence is a failure.
            return {"changed": False, "failed": True, "msg": str(problem)}
        told: dict[str, Any] = {
            "authorities": answer.get("authorities") or {},
            "problems": answer.get("problems") or {},
            "identities": answer.get("identities") or {},
            "open_failures": answer.get("open_failures") or [],
        }
        try:
            # Also without a CA: what needs none (a reload) goes on, and so do the canary and the budget of this run.
            pause = self._pause(told["open_failures"], task_vars)
        except EngineError as exc:
            return {"changed": False, "failed": True, "msg": str(exc)}
        inquired: dict[str, Any] = {
            field: answer[field] for field in ("certificates", "refusals", "exported") if field in answer
        }
        known = {"time": answer.get("time"), **inquired} if problem is None else {}
        return {
            **told,
            **known,
            "changed": bool(answer.get("changed")),
            "available": problem is None,
            "reachable": problem is None or problem.code != "ca_unreachable",
            "ca_host": ca_host(self, task_vars),
            "message": str(problem or ""),
            "pause": pause,
            "hosts": self._hosts(task_vars),
            **({"warnings": list(told["problems"].values())} if told["problems"] else {}),
        }

    def _ask(
        self, arguments: dict[str, Any], task_vars: dict[str, Any], *, compare: bool
    ) -> tuple[dict[str, Any], CACallError | None]:
        """(the answer, why there is none). O(compare): a CA that lives in another time is none."""
        before = time.time()
        try:
            answer = call_ca(self, "ca_info", arguments, task_vars)
        except CACallError as exc:
            return {}, exc
        # Its clock is told in whole seconds.
        error = clock_error(answer.get("time", before), before=before - 1, after=time.time()) if compare else 0
        if not error or abs(error) <= clock_limit(task_vars, self._templar):
            return answer, None
        said = (
            f"the CA host '{ca_host(self, task_vars)}' cannot be used: its clock is {clock_text(error, now=time.time())}, more than "
            "tls_clock_limit allows, and what it signs would not be valid when it says so. Nothing was changed. Set its clock (or the "
            "controller's), and have it kept right, by NTP."
        )
        return {}, CACallError("ca_clock", said)

    def _managers(self, task_vars: Mapping[str, Any]) -> list[str]:
        """Identities of the systems that manage the batch's devices: to be asked about them, they must be recognised as well."""
        variables = HostVariables(task_vars["hostvars"])
        known = set((task_vars.get("groups") or {}).get("all") or ())
        managers = [str(host) for host in self._task.args.get("managers") or () if str(host) in known]
        return [str(variables.get(host, "tls_identity") or host) for host in managers]

    def _hosts(self, task_vars: Mapping[str, Any]) -> int:
        """How many hosts a share of the budget is a share of: those of the play, or of the earlier one that chose them."""
        if self._task.args.get("failure_budget") in (None, ""):
            return 0
        return max(len(_play_hosts(task_vars)), int((task_vars.get(CA_VARIABLE) or {}).get("hosts") or 0))

    def _pause(self, open_failures: list[Mapping[str, Any]], task_vars: Mapping[str, Any]) -> dict[str, Any] | None:
        """Whether nothing further may be begun; only where the task sets a budget."""
        args = self._task.args
        if args.get("failure_budget") in (None, ""):
            return None
        budget = budget_of(args["failure_budget"], hosts=self._hosts(task_vars))
        canary = boolean(args.get("canary", False))
        # Before the waves nothing has been tried; reading what 1,000 hosts have registered is not for free.
        wanted = (REQUEST_VARIABLE, DEPLOY_VARIABLE)
        progress = Progress.of(raw_variables(task_vars, _play_hosts(task_vars), *wanted)) if canary else Progress()
        lately = {f"{item['identity']}/{item['name']}" for item in open_failures}
        why = pause_of(progress, lately=lately, budget=budget, canary=canary)
        if why:
            return {"code": "budget", "message": why, "except": []}
        batch = batch_hosts(task_vars)
        if canary and not progress.proved and len(batch) > 1:
            first = next(batch_variables(task_vars, "tls_identity"))
            return {
                "code": "canary",
                "message": f"no host has proved the change yet, so of this wave only {first[0]} is tried; run again",
                "except": [identity_of({"inventory_hostname": first[0], **first[1]})],
            }
        return None


def _play_hosts(task_vars: Mapping[str, Any]) -> list[str]:
    return [str(host) for host in task_vars.get("ansible_play_hosts_all") or batch_hosts(task_vars)]
