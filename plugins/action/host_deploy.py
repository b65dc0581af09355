# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bring a host's certificates into service in one task: promote, reload, prove, commit, or put the old pair back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible.errors import AnsibleConnectionFailure
from ansible.plugins.action import ActionBase

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
from ansible_collections.certfleet.tls.plugins.plugin_utils._host_entries import deploy_entry, orders_of


class ActionModule(ActionBase):
    """Pick this host's part of the batch, and turn what the module did into the contract's words."""

    _supports_check_mode = True
    _supports_async = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """See the module's documentation."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        task_vars = plain_variables(task_vars, self._templar)
        try:
            return {**result, **self._flow(task_vars)}
        except EngineError as exc:
            return settle({**result, "failed": True, "msg": str(exc)}, self, task_vars)

    def _flow(self, task_vars: dict[str, Any]) -> dict[str, Any]:
        args = self._task.args
        entries = {str(entry["id"]): entry for entry in read_requests(task_vars, args)}
        if self._task.check_mode:
            return deploy_result([], ticket=ticket_of(task_vars))
        authorities = (read_ca(task_vars, args) or {}).get("authorities") or {}
        orders, done = orders_of(entries.values(), read_issued(task_vars, args), authorities)
        if orders:
            done += self._deploy(orders, entries, task_vars)
        return deploy_result(done, ticket=ticket_of(task_vars))

    def _deploy(
        self, orders: list[dict[str, Any]], entries: Mapping[str, Mapping[str, Any]], task_vars: dict[str, Any]
    ) -> list[dict[str, Any]]:
        arguments = {"orders": orders, "by": str(task_vars["inventory_hostname"])}
        try:
            answer = self._execute_module(
                module_name="certfleet.tls.host_deploy", module_args=arguments, task_vars=task_vars
            )
        except AnsibleConnectionFailure as exc:
            answer = {"failed": True, "msg": f"the connection to the host was lost: {exc}"}
        if answer.get("failed") or "certificates" not in answer:
            said = f"{answer.get('msg') or 'the module gave no reason'} {str(answer.get('module_stderr') or '')[-300:]}"
            said = f"{said.strip()} What is in place is wholly old or wholly new; the next run looks, and goes on."
            ordered = (entries[f"{order['identity']}/{order['name']}"] for order in orders)
            return [deploy_entry(entry, outcome="failed", said=said) for entry in ordered]
        fields = ("outcome", "said", "before", "after", "proof")
        return [
            deploy_entry(entries[item["id"]], **{field: item[field] for field in fields})
            for item in answer["certificates"]
        ]
