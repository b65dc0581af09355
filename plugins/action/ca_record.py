# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write what deploy achieved into the CA's ledger, and pins where an operator gave them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ansible.plugins.action import ActionBase

from ansible_collections.certfleet.tls.plugins.plugin_utils._ca_call import CACallError, call_ca, options_of
from ansible_collections.certfleet.tls.plugins.plugin_utils._engine import (
    DEPLOY_VARIABLE,
    ENROL_VARIABLE,
    RECORD_VARIABLE,
    REQUEST_VARIABLE,
    batch_variables,
    unrecorded,
)
from ansible_collections.certfleet.tls.plugins.plugin_utils._wider_proof import (
    LOOK_VARIABLE,
    VIEW_VARIABLE,
    accepted_since,
)


class ActionModule(ActionBase):
    """Gather the batch's outcomes and hand them to the ledger."""

    _supports_check_mode = True
    _supports_async = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """See the module's documentation."""
        super().run(tmp, task_vars)
        task_vars = task_vars or {}
        arguments = options_of(self, "directory", "outcomes", "pins")
        tickets: list[str] = []
        # Once for all: putting a host's variables together takes a while.
        wanted = (REQUEST_VARIABLE, DEPLOY_VARIABLE, RECORD_VARIABLE, ENROL_VARIABLE, LOOK_VARIABLE, VIEW_VARIABLE)
        batch = [{**found, "inventory_hostname": host} for host, found in batch_variables(task_vars, *wanted)]
        if "outcomes" not in arguments and "pins" not in arguments:
            arguments["outcomes"], tickets = _batch_outcomes(batch)
            arguments["pins"] = _batch_pins(batch)
        before = _recorded(batch)
        empty: dict[str, Any] = {"changed": False, "recorded": 0, "pinned": 0, "message": "", "tickets": before}
        if self._task.check_mode or not (arguments.get("outcomes") or arguments.get("pins")):
            return empty
        try:
            answer = call_ca(self, "ca_record", arguments, task_vars)
        except CACallError as exc:
            if arguments.get("pins"):
                return {**empty, "failed": True, "msg": f"Nothing was pinned: {exc}"}
            said = f"The outcomes are not in the ledger: {exc}"
            self._display.warning(said)
            return {**empty, "message": said}
        figures: dict[str, Any] = {
            field: answer[field] for field in ("changed", "recorded", "pinned") if field in answer
        }
        return {**empty, **figures, "tickets": [*before, *tickets]}


def _recorded(batch: Iterable[Mapping[str, Any]]) -> list[str]:
    """What earlier uses of the role have handed to the ledger in this run, for any host of the batch."""
    heard: dict[int, list[str]] = {}
    for found in batch:
        tickets = found.get(RECORD_VARIABLE, {}).get("tickets") or []
        # The hosts of an earlier batch share one result: it is read once.
        heard[id(tickets)] = tickets
    return list(dict.fromkeys(str(ticket) for tickets in heard.values() for ticket in tickets))


def _batch_pins(batch: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [
        {field: str(pin[field]) for field in ("identity", "spki", "why")}
        for found in batch
        for pin in found.get(ENROL_VARIABLE, {}).get("pins") or ()
    ]


def _batch_outcomes(batch: Iterable[Mapping[str, Any]]) -> tuple[list[dict[str, Any]], list[str]]:
    """(outcomes that the ledger has not heard of, and the marks by which that is known later)."""
    outcomes: list[dict[str, Any]] = []
    marks: list[str] = []
    for found in batch:
        entries, new = unrecorded(found)
        heard = (found.get(RECORD_VARIABLE) or {}).get("tickets") or ()
        for entry in accepted_since(found, str(found["inventory_hostname"])):
            mark = f"{entry['id']}/accepted"
            if mark not in heard:
                new = [*new, mark]
                said = {"outcome": "unchanged", "said": "accepted by clients after all", "revised": False}
                entries = [*entries, {"id": entry["id"], "after": entry.get("current"), **said}]
        outcomes += [_outcome(entry) for entry in entries]
        marks += new
    return outcomes, marks


def _outcome(entry: dict[str, Any]) -> dict[str, Any]:
    identity, _slash, name = str(entry["id"]).partition("/")
    return {
        "id": entry["id"],
        "identity": identity,
        "name": name,
        "outcome": entry["outcome"],
        "reasons": [str(reason["code"]) for reason in entry.get("reasons") or ()],
        "fingerprint": (entry.get("after") or {}).get("fingerprint"),
        "said": str(entry.get("said") or ""),
        "revised": entry["revised"],
    }
