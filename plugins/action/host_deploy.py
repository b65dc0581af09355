# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bring a host's certificates into service in one task: promote, reload, prove, commit, or put the old pair back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible.errors import AnsibleConnectionFailure
from ansible.module_utils.parsing.convert_bool import boolean
from ansible.plugins.action import ActionBase

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
from ansible_collections.certfleet.tls.plugins.plugin_utils._host_entries import deploy_entry, orders_of
from ansible_collections.certfleet.tls.plugins.plugin_utils._wider_proof import Verdict, wider_verdicts


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
        args, ticket = self._task.args, ticket_of(task_vars)
        entries = {str(entry["id"]): entry for entry in read_requests(task_vars, args)}
        step = str(args.get("step") or "deploy")
        if step not in ("deploy", "confirm"):
            raise EngineError(f"There is no step '{step}' of host_deploy. Choose deploy or confirm.")
        if self._task.check_mode:
            return deploy_result([], ticket=ticket)
        authorities = (read_ca(task_vars, args) or {}).get("authorities") or {}
        if step == "confirm":
            return self._confirm(entries, authorities, task_vars)
        orders, done = orders_of(entries.values(), read_issued(task_vars, args), authorities)
        keep_previous = boolean(task_vars.get("tls_certificate_keeps_previous") or False)
        if orders:
            done += self._deploy([{**order, "keep_previous": keep_previous} for order in orders], entries, task_vars)
        return deploy_result(done, ticket=ticket)

    def _deploy(
        self, orders: list[dict[str, Any]], entries: Mapping[str, Mapping[str, Any]], task_vars: dict[str, Any]
    ) -> list[dict[str, Any]]:
        found, problem = self._ask("deploy", orders, task_vars)
        if problem:
            return [
                deploy_entry(
                    entries[f"{order['identity']}/{order['name']}"], outcome="failed", said=_broken_off(problem, order)
                )
                for order in orders
            ]
        return [_entry_of(entries[item["id"]], item) for item in found]

    # After the proof by others

    def _confirm(
        self,
        entries: Mapping[str, Mapping[str, Any]],
        authorities: Mapping[str, Any],
        task_vars: dict[str, Any],
    ) -> dict[str, Any]:
        """The whole result of the deploy again, with what the others' verdict has made of it."""
        ticket, deploy = ticket_of(task_vars), task_vars.get(DEPLOY_VARIABLE) or {}
        if deploy.get("ticket", "") != ticket:
            deploy = {}  # of an earlier use of the role
            task_vars = {**task_vars, DEPLOY_VARIABLE: deploy}
        done: dict[str, dict[str, Any]] = {str(item["id"]): dict(item) for item in deploy.get("certificates") or ()}
        verdicts = {name: verdict for name, verdict in wider_verdicts(task_vars).items() if name in entries}
        for name in done.keys() & verdicts.keys():
            done[name]["said"] = f"{done[name]['said']} {_remark(verdicts[name])}"
        changed = False
        for step, ok in (("confirm", True), ("restore", False)):
            orders = [
                _confirming(entry, verdicts[name], authorities, expected=_looked_at(entry, done.get(name)))
                for name, entry in entries.items()
                if name in verdicts
                and verdicts[name].ok is ok
                # Where nothing is kept there is nothing to remove.
                and (step == "restore" or done.get(name, entry).get("unconfirmed"))
            ]
            found, problem = self._ask(step, orders, task_vars) if orders else ([], None)
            if problem:
                for order in orders:
                    self._not_reached(entries[f"{order['identity']}/{order['name']}"], step, problem, done)
            for item in found:
                _settle(entries[item["id"]], step, item, done)
                changed = changed or bool(item["touched"])
        return {**deploy_result(list(done.values()), ticket=ticket), "changed": changed, "confirmed": True}

    def _not_reached(self, entry: Mapping[str, Any], step: str, problem: str, done: dict[str, dict[str, Any]]) -> None:
        """The host did not answer: its pair in place is proved, and still waits for being confirmed."""
        name = str(entry["id"])
        said = f"{problem} The new pair is in service, the previous one on the host; the next run goes on."
        if step == "restore":
            said = f"Others do not accept the new pair, and it could not be taken back: {said}"
            done[name] = {**deploy_entry(entry, outcome="failed", said=said, unconfirmed=True), "revised": True}
        elif name in done:
            done[name]["said"] = f"{done[name]['said']} {said}"

    def _ask(
        self, step: str, orders: list[dict[str, Any]], task_vars: dict[str, Any]
    ) -> tuple[list[dict[str, Any]], str | None]:
        """One round trip: (the module's answers, what went wrong)."""
        arguments = {"step": step, "orders": orders, "by": str(task_vars["inventory_hostname"])}
        try:
            answer = self._execute_module(
                module_name="certfleet.tls.host_deploy", module_args=arguments, task_vars=task_vars
            )
        except AnsibleConnectionFailure as exc:
            answer = {"failed": True, "msg": f"the connection to the host was lost: {exc}"}
        if answer.get("failed") or "certificates" not in answer:
            said = f"{answer.get('msg') or 'the module gave no reason'} {str(answer.get('module_stderr') or '')[-300:]}"
            return [], said.strip().rstrip(".") + "."
        return list(answer["certificates"]), None


def _broken_off(problem: str, order: Mapping[str, Any]) -> str:
    """What is known of a certificate whose deploy gave no answer."""
    is_watched = (order.get("watchdog") or {}).get("method") != "none"
    by_itself = "the host goes back by itself, unless it had proved the new one; " if is_watched else ""
    return f"{problem} The pair in place is wholly old or wholly new: {by_itself}the next run looks, and goes on."


def _entry_of(entry: Mapping[str, Any], item: Mapping[str, Any]) -> dict[str, Any]:
    fields = ("outcome", "said", "before", "after", "proof", "unconfirmed")
    return deploy_entry(entry, **{field: item[field] for field in fields})


def _looked_at(entry: Mapping[str, Any], deployed: Mapping[str, Any] | None) -> str | None:
    """The fingerprint of the leaf that the others have looked at."""
    seen = entry.get("current") if deployed is None else deployed.get("after")
    return (seen or {}).get("fingerprint")


def _confirming(
    entry: Mapping[str, Any], verdict: Verdict, authorities: Mapping[str, Any], *, expected: str | None
) -> dict[str, Any]:
    """What the host needs to know to confirm a pair or to take it back."""
    anchors = (authorities.get(entry["authority"]) or {}).get("anchors")
    return {
        "identity": entry["identity"],
        "name": entry["name"],
        **entry["spec"],
        "anchors": anchors,
        "said": verdict.said,
        "expected": expected,
    }


def _remark(verdict: Verdict) -> str:
    said = verdict.said.rstrip(".")
    said = f"{said[:1].upper()}{said[1:]}."
    return f"Not confirmed yet: {said}" if verdict.ok is None else said


def _settle(entry: Mapping[str, Any], step: str, item: Mapping[str, Any], done: dict[str, dict[str, Any]]) -> None:
    """What the host answered, as the entry of the whole result."""
    name = str(entry["id"])
    earlier = done.get(name)
    if step == "confirm" and earlier is not None:
        # It is as the deploy has told.
        earlier["unconfirmed"] = item["unconfirmed"]
        if item["unconfirmed"]:  # the previous pair could not be removed, or another run has overtaken this one
            earlier["said"] = item["said"]
        return
    if step == "confirm" and item["outcome"] == "installed" and not item["unconfirmed"] and not entry.get("failures"):
        return  # the run that brought it in has told the ledger, and that the previous pair is gone is no change
    done[name] = _entry_of(entry, item)
    if item["outcome"] == "not_tried":
        done[name]["unconfirmed"] = bool((earlier or entry).get("unconfirmed"))
        if earlier is not None:
            done[name].update(before=earlier["before"], after=earlier["after"], proof=earlier["proof"])
    elif step == "restore" or not item["unconfirmed"]:
        # The ledger has heard otherwise before; of what an earlier run has left, that it is well now.
        done[name]["revised"] = True
        if earlier is not None:
            done[name]["before"] = earlier["before"]
