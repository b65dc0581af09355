# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the action plugins of the flow hand to each other: request -> issue -> deploy -> record.

The big registered results (a whole batch's) are read straight from the variables of the task. As a task argument they
would be templated once per host, which is quadratic in the size of the batch.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from ansible.errors import AnsibleError
from ansible.module_utils.parsing.convert_bool import boolean

from ._references import resolve

CA_VARIABLE = "__tls_certificate_ca"
REQUEST_VARIABLE = "__tls_certificate_request"
ISSUE_VARIABLE = "__tls_certificate_issue"
DEPLOY_VARIABLE = "__tls_certificate_deploy"
RECORD_VARIABLE = "__tls_certificate_record"
TRUST_VARIABLE = "__tls_trust"
CRL_VARIABLE = "__tls_crl"
CRL_FILES_VARIABLE = "__tls_crl_files"
ENROL_VARIABLE = "__tls_certificate_enrol"

# Outcomes of deploy that the operator must hear of; the others are fine (design.md, Outcomes).
BAD_OUTCOMES = frozenset({"rolled_back", "failed", "kept", "removed", "refused"})
GOOD_OUTCOMES = frozenset({"unchanged", "reloaded", "installed"})


class EngineError(AnsibleError):
    """A step was called without what an earlier step must have given it."""


class NotIssuedError(EngineError):
    """The CA gave no certificate: nothing was tried, so nothing has failed on the host."""


# Variables that the steps read themselves; an inventory may hold templates in them.
_OWN_VARIABLES = (
    "tls_identity",
    "tls_ca_host",
    "ansible_host",
    "tls_certificate_fails",
    "tls_certificate_keeps_previous",
    "tls_certificate_watchdog",
    "tls_certificate_watchdog_limit",
)


def plain_variables(task_vars: Mapping[str, Any] | None, templar: Any) -> dict[str, Any]:
    """The variables of a task, with those that the steps read themselves resolved (others stay as they are: raw)."""
    variables = dict(task_vars or {})
    for name in _OWN_VARIABLES:
        if isinstance(variables.get(name), str):
            variables[name] = resolve(variables[name], variables, templar)
    return variables


def identity_of(task_vars: Mapping[str, Any]) -> str:
    """Who this host is for the ledger: C(tls_identity), or its name in the inventory."""
    return str(task_vars.get("tls_identity") or task_vars["inventory_hostname"])


def read_ca(task_vars: Mapping[str, Any], args: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The result of ca_info: the task's C(ca), or what the role registered. A host that names another CA is an error."""
    given = args.get("ca")
    ca = given if given is not None else task_vars.get(CA_VARIABLE)
    wanted = task_vars.get("tls_ca_host")
    spoken_to = (ca or {}).get("ca_host")
    if wanted and spoken_to and str(wanted) != str(spoken_to):
        raise EngineError(
            f"{task_vars['inventory_hostname']}: this machine names the CA host '{wanted}' (tls_ca_host), but this run speaks to "
            f"'{spoken_to}'. Nothing was done to it. One run speaks to one CA host: run again for the machines of each CA, "
            "or give them the same tls_ca_host."
        )
    return ca


def read_requests(task_vars: Mapping[str, Any], args: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """This host's entries of the request step."""
    given = args.get("certificates")
    if given is None:
        given = (task_vars.get(REQUEST_VARIABLE) or {}).get("certificates")
    if given is None:
        raise EngineError(
            "There is no result of a request step to work on. Run host_request or device_request before, or give 'certificates'."
        )
    return list(given)


def read_issued(task_vars: Mapping[str, Any], args: Mapping[str, Any]) -> Mapping[str, Any]:
    """The result of ca_issue for the whole batch; empty when nothing had to be issued."""
    given = args.get("issued")
    return (given if given is not None else task_vars.get(ISSUE_VARIABLE)) or {}


def issued_for(issued: Mapping[str, Any], entry: Mapping[str, Any]) -> tuple[str, str]:
    """(leaf PEM, chain PEM) for a requested certificate. Raises NotIssuedError with the CA's own words."""
    item = (issued.get("certificates") or {}).get(entry["id"])
    if item is None:
        raise NotIssuedError(
            f"{entry['id']}: the CA was not asked for this certificate. Run again; nothing was changed."
        )
    if "error" in item:
        raise NotIssuedError(f"{entry['id']}: not issued ({item['error']['code']}): {item['error']['message']}")
    return str(item["certificate"]), str((issued.get("chains") or {}).get(item["authority"], ""))


def batch_hosts(task_vars: Mapping[str, Any]) -> list[str]:
    """The hosts of the current batch that are still in the run."""
    return [str(name) for name in task_vars.get("ansible_play_batch") or [task_vars["inventory_hostname"]]]


def batch_variables(task_vars: Mapping[str, Any], *names: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """For each host of the batch the named variables that it has. Only what is a template is templated."""
    hostvars = task_vars["hostvars"]
    for host in batch_hosts(task_vars):
        raw = hostvars.raw_get(host)
        found = {name: raw[name] for name in names if raw.get(name) is not None}
        for name, value in found.items():
            if isinstance(value, str) and "{" in value:
                found[name] = hostvars[host][name]
        yield host, found


def raw_variables(task_vars: Mapping[str, Any], hosts: Iterable[str], *names: str) -> Iterator[dict[str, Any]]:
    """For each of the hosts the named variables that it has, as they were registered."""
    for host in hosts:
        raw = task_vars["hostvars"].raw_get(host)
        yield {name: raw[name] for name in names if raw.get(name) is not None}


def request_result(entries: Sequence[dict[str, Any]], *, check_mode: bool, plans: bool = False) -> dict[str, Any]:
    """What both request actions return; C(changed) says that something is due, so that handlers go on with this host.

    What is deferred waits, and is no failure. Where nothing but refusals is left, the task fails: there is nothing to go on with.
    O(plans): only the answer is wanted; another play asks again and goes on, so C(due) alone says it. In check mode no other play
    does, and C(changed) is the prediction.
    """
    wanting = [entry for entry in entries if entry["verdict"] != "none"]
    refused = [entry for entry in wanting if entry["verdict"] == "refuse"]
    due = any(entry["verdict"] != "refuse" and not entry.get("deferred") for entry in wanting)
    result: dict[str, Any] = {
        "certificates": list(entries),
        "due": due,
        "absent": False,
        "changed": due and (check_mode or not plans),
    }
    # What clients have yet to confirm gets outcomes as well.
    if not plans and (due or any(entry.get("unconfirmed") for entry in entries)):
        result["ticket"] = uuid.uuid4().hex
    if wanting:
        result["diff"] = [_diff(entry) for entry in wanting]
        result["msg"] = "; ".join(_sentence(entry, would=check_mode or plans) for entry in wanting)
    if refused and not due:
        result["failed"] = True
    return result


def _sentence(entry: Mapping[str, Any], *, would: bool) -> str:
    """C(robot-1/https: would issue (expiring: …)), and why that waits."""
    deferred = entry.get("deferred")
    verb = "would " if would or deferred else ""
    waits = f", deferred ({deferred['code']}): {deferred['message']}" if deferred else ""
    return f"{entry['id']}: {verb}{entry['verdict']} ({reasons_text(entry)}){waits}"


def settle(result: dict[str, Any], action: Any, task_vars: Mapping[str, Any]) -> dict[str, Any]:
    """A failed request as the run wants it: the host fails now, or (C(tls_certificate_fails) is false) in the report.

    Ansible's own ignore_errors would do, but as an expression it costs each host a template.
    """
    if not result.get("failed"):
        return result
    result = {
        "certificates": [],
        "due": False,
        "absent": False,
        "changed": False,
        **result,
        "problems": [str(result["msg"])],
    }
    if not boolean(task_vars.get("tls_certificate_fails", True)):
        action._display.error(f"{task_vars['inventory_hostname']}: {result['msg']}", wrap_text=False)
        result["failed"] = False
    return result


def failure(exc: Exception, host: str) -> dict[str, Any]:
    """A failed result whose message names the host."""
    said = str(exc)
    return {"failed": True, "msg": said if said.startswith(host) else f"{host}: {said}"}


def absent_result(said: str) -> dict[str, Any]:
    """A host or device that cannot be reached: listed, tried again next time, and no failure."""
    return {"certificates": [], "due": False, "absent": True, "changed": False, "said": said, "msg": f"absent: {said}"}


def ticket_of(task_vars: Mapping[str, Any]) -> str:
    """The ticket of this host's request, which deploy puts on its answer."""
    return str((task_vars.get(REQUEST_VARIABLE) or {}).get("ticket") or "")


def is_open(variables: Mapping[str, Any]) -> bool:
    """Whether a host's request waits for its deploy.

    A host that an earlier use of the role has dealt with keeps its results for the rest of the run; they must not be taken for new.
    """
    ticket = ticket_of(variables)
    return bool(ticket) and (variables.get(DEPLOY_VARIABLE) or {}).get("ticket") != ticket


def unrecorded(variables: Mapping[str, Any]) -> tuple[list[dict[str, Any]], list[str]]:
    """(outcomes of a host that the ledger has not heard of, what to mark as heard).

    The deploy that has answered the request is heard of once, and once more when the wider proof has passed over it: then of those
    outcomes alone that it has revised. C(revised) of an entry says that the ledger must take the earlier one back.
    """
    request, deploy = variables.get(REQUEST_VARIABLE) or {}, variables.get(DEPLOY_VARIABLE) or {}
    heard = (variables.get(RECORD_VARIABLE) or {}).get("tickets") or ()
    entries, new = _found_right(request, heard)
    ticket = request.get("ticket")
    if not ticket or deploy.get("ticket") != ticket:
        return entries, new
    marks = [ticket, f"{ticket}/confirmed"] if deploy.get("confirmed") else [ticket]
    unheard = [mark for mark in marks if mark not in heard]
    if not unheard:
        return entries, new
    # An earlier run has recorded what waits for its confirmation since.
    earlier = {str(entry["id"]) for entry in request.get("certificates") or () if entry.get("unconfirmed")}
    entries += [
        {**entry, "revised": bool(entry.get("revised")) and (ticket in heard or str(entry["id"]) in earlier)}
        for entry in deploy.get("certificates") or ()
        if entry.get("revised") or ticket not in heard
    ]
    return entries, new + unheard


def _found_right(request: Mapping[str, Any], heard: Sequence[str]) -> tuple[list[dict[str, Any]], list[str]]:
    """Certificates that the ledger believes to have failed, or has never heard of as in service, and the request step has found to be
    as wanted.

    The connection was lost and the host finished its deploy, for example, or somebody has repaired it; or the run was cut short
    between deploy and record.
    """
    right = {
        f"{entry['id']}/right": entry
        for entry in request.get("certificates") or ()
        if (entry.get("failures") or entry.get("unrecorded"))
        and entry["verdict"] == "none"
        and not entry.get("unconfirmed")
        # That somebody did not accept it is not put right by its being there still: clients are asked again.
        and entry.get("last_outcome") != "kept"
    }
    new = [mark for mark in right if mark not in heard]
    outcome = {"outcome": "unchanged", "said": "found as it should be", "revised": False}
    return [{"id": right[mark]["id"], "after": right[mark].get("current"), **outcome} for mark in new], new


def deploy_result(entries: Sequence[dict[str, Any]], *, ticket: str) -> dict[str, Any]:
    """What both deploy actions return. C(problems) holds a sentence for each outcome that the operator must hear of, C(untried) one
    for each certificate that was due and could not be begun (which is no failure of the host, and counts against no budget).

    The task itself does not fail: the ledger records the outcome first, then the role fails the host.
    """
    problems = [_outcome_text(entry) for entry in entries if entry["outcome"] in BAD_OUTCOMES]
    changed = any(entry["outcome"] in {"installed", "reloaded", "rolled_back", "kept", "removed"} for entry in entries)
    untried = [_outcome_text(entry) for entry in entries if entry["outcome"] == "not_tried"]
    result: dict[str, Any] = {
        "certificates": list(entries),
        "problems": problems,
        "untried": untried,
        "changed": changed,
        "ticket": ticket,
    }
    return {**result, "warnings": untried} if untried else result


def _outcome_text(entry: Mapping[str, Any]) -> str:
    return f"{entry['id']}: {entry['outcome']}: {entry.get('said') or 'no reason given'}"


def reasons_text(entry: Mapping[str, Any]) -> str:
    """C(expiring: expires …; names_changed: …), for messages and tables."""
    return "; ".join(f"{reason['code']}: {reason['message']}" for reason in entry.get("reasons") or ())


def _diff(entry: Mapping[str, Any]) -> dict[str, str]:
    before = entry.get("current") or (entry.get("served") or {})
    after = {
        "verdict": entry["verdict"],
        "reasons": [f"{reason['code']}: {reason['message']}" for reason in entry["reasons"]],
        "authority": entry["authority"],
        "profile": entry["profile"],
    }
    if entry.get("deferred"):
        after["deferred"] = entry["deferred"]["message"]
    if entry.get("notes"):
        after["notes"] = list(entry["notes"])
    if entry["verdict"] == "issue":
        after["names"] = list(entry.get("names") or ())
        after["key"] = "a new one"
    shown = {
        field: before.get(field)
        for field in ("subject", "issuer", "names", "key", "not_before", "not_after", "fingerprint")
    }
    header = str(entry["id"])
    return {
        "before_header": header,
        "after_header": header,
        "before": _lines({key: value for key, value in shown.items() if value}.items()) or "nothing\n",
        "after": _lines(after.items()),
    }


def _lines(fields: Iterable[tuple[str, Any]]) -> str:
    lines = []
    for key, value in fields:
        if isinstance(value, (list, tuple)):
            lines.append(f"{key}:")
            lines.extend(f"  - {item}" for item in value)
        else:
            lines.append(f"{key}: {value}")
    return "".join(f"{line}\n" for line in lines)
