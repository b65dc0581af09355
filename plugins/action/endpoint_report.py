# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Print the table at the end of a run, and say for each host what there is to complain about."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from ansible.plugins.action import ActionBase

from ansible_collections.certfleet.tls.plugins.plugin_utils._engine import (
    CRL_FILES_VARIABLE,
    DEPLOY_VARIABLE,
    REQUEST_VARIABLE,
    TRUST_VARIABLE,
)
from ansible_collections.certfleet.tls.plugins.plugin_utils._report import Row, as_text, row_of
from ansible_collections.certfleet.tls.plugins.plugin_utils._standing import deferral_of, standing_of, standings_text
from ansible_collections.certfleet.tls.plugins.plugin_utils._wider_proof import not_accepted_yet


class ActionModule(ActionBase):
    """Gather what the run did to each host and what the client saw."""

    _supports_check_mode = True
    _supports_async = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """See the module's documentation."""
        super().run(tmp, task_vars)
        _validation, args = self.validate_argument_spec(
            {
                "endpoints": {"type": "list", "elements": "dict", "required": True},
                "seen": {"type": "list", "elements": "dict", "required": True},
                "client": {"type": "str", "required": True},
                "seen_by_controller": {"type": "list", "elements": "dict", "default": []},
                "absent_fails": {"type": "bool", "default": False},
                "unseen_fails": {"type": "bool", "default": True},
                "problems": {"type": "list", "elements": "str", "default": []},
                "remarks": {"type": "list", "elements": "str", "default": []},
            }
        )
        hostvars = (task_vars or {})["hostvars"]
        check_mode = bool(self._task.check_mode)
        seen = {str(item["name"]): (item, "controller") for item in args["seen_by_controller"]}
        seen.update({str(item["name"]): (item, args["client"]) for item in args["seen"]})
        rows = []
        for endpoint in args["endpoints"]:
            look, by = seen.get(str(endpoint["name"]), (None, str(args["client"])))
            # A host's own further endpoints are somebody else's: they are proved, but not compared with what was deployed.
            variables = hostvars.raw_get(endpoint["host"]) if endpoint.get("product") != "own" else {}
            rows.append(
                row_of(
                    endpoint,
                    request=variables.get(REQUEST_VARIABLE),
                    deploy=variables.get(DEPLOY_VARIABLE),
                    seen=look,
                    client=by,
                    check_mode=check_mode,
                )
            )
        absent = _absent_machines(task_vars or {}, {str(endpoint["host"]) for endpoint in args["endpoints"]})
        remarks = [str(remark) for remark in (*args["remarks"], *args["problems"]) if remark]
        standings, deferrals = _standings(task_vars or {}, args["endpoints"], check_mode=check_mode)
        told = standings_text(standings, {host: str(why["message"]) for host, why in deferrals.items()})
        self._display.display(as_text(rows, absent, remarks, told))
        complaints = _complaints(
            task_vars or {},
            args["endpoints"],
            rows,
            bad={"unproved"}
            | ({"absent"} if args["absent_fails"] else set())
            | ({"unseen"} if args["unseen_fails"] else set()),
            check_mode=check_mode,
            # After a failure it stays a complaint that clients are not content, until an attempt has put it right.
            waiting={host for host, why in deferrals.items() if why["code"] != "backoff"},
        )
        stopped = [host for host, why in deferrals.items() if why["code"] == "budget"]
        if stopped:
            # A window opens and a backoff ends by themselves; a spent budget waits for somebody. One host speaks for all of them.
            why = deferrals[stopped[0]]["message"]
            complaints.setdefault(stopped[0], []).append(f"{len(stopped)} machines were left alone: {why}")
        if args["problems"]:
            # Somebody must fail for what is wrong with the run as a whole; the table is for everybody.
            first = str(((task_vars or {}).get("ansible_play_hosts") or ["localhost"])[0])
            complaints.setdefault(first, []).extend(args["problems"])
        return {**_result(rows, complaints), "standings": _by_standing(standings)}


def _standings(
    task_vars: dict[str, Any], endpoints: list[Any], *, check_mode: bool
) -> tuple[dict[str, str], dict[str, Any]]:
    """(how each machine with certificates came out of the run, why some of them were deferred)."""
    standings, deferrals = {}, {}
    expected = {str(endpoint["host"]) for endpoint in endpoints if endpoint.get("product") != "own"}
    for host in task_vars.get("ansible_play_hosts_all") or ():
        variables = task_vars["hostvars"].raw_get(host)
        request = variables.get(REQUEST_VARIABLE)
        if request is None and host not in expected:
            continue
        standings[str(host)] = standing_of(request, variables.get(DEPLOY_VARIABLE), check_mode=check_mode)
        why = deferral_of(request, variables.get(DEPLOY_VARIABLE))
        if why and standings[str(host)] == "deferred":
            deferrals[str(host)] = why
    return standings, deferrals


def _by_standing(standings: dict[str, str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for host, standing in standings.items():
        found.setdefault(standing.replace(" ", "_"), []).append(host)
    return found


def _absent_machines(task_vars: dict[str, Any], listed: set[str]) -> dict[str, str]:
    """Machines without an endpoint in the table that could not be reached either, and why."""
    absent = {}
    for host in task_vars.get("ansible_play_hosts_all") or ():
        trust = task_vars["hostvars"].raw_get(host).get(TRUST_VARIABLE) or {}
        if host not in listed and trust.get("absent"):
            absent[str(host)] = str(trust.get("said") or "cannot be reached")
    return absent


def _complaints(
    task_vars: dict[str, Any],
    endpoints: list[Any],
    rows: list[Row],
    *,
    bad: set[str],
    check_mode: bool,
    waiting: set[str],
) -> dict[str, list[str]]:
    """By host, what the operator must hear of: a refused request, a bad outcome, an endpoint that no client accepts.

    O(waiting) hosts are known not to have what they should have.
    """
    complaints: dict[str, list[str]] = {}
    for host in task_vars.get("ansible_play_hosts_all") or ():
        variables = task_vars["hostvars"].raw_get(host)
        request, deploy = variables.get(REQUEST_VARIABLE) or {}, variables.get(DEPLOY_VARIABLE) or {}
        trust = variables.get(TRUST_VARIABLE) or {}
        crls = variables.get(CRL_FILES_VARIABLE) or {}
        said = [str(problem) for step in (trust, crls, request, deploy) for problem in step.get("problems") or ()]
        said += not_accepted_yet(variables, str(host))
        said += [str(untried) for untried in deploy.get("untried") or ()]
        if "absent" in bad and not said and trust.get("absent"):
            said = [f"{host}: {trust.get('said') or 'cannot be reached'}"]
        if said:
            complaints[str(host)] = said
    for endpoint, row in zip(endpoints, rows):
        host = str(endpoint["host"])
        waits = host in waiting and endpoint.get("product") != "own"
        if row.state in bad and host not in complaints and not check_mode and not waits:
            complaints[host] = [f"{row.endpoint}: {row.state} ({row.after}; {row.proof})"]
    return complaints


def _result(rows: list[Row], complaints: dict[str, list[str]]) -> dict[str, Any]:
    by_state = {
        state: [row.endpoint for row in rows if row.state == state]
        for state in ("proved", "absent", "unproved", "unseen")
    }
    return {
        "changed": False,
        "rows": [asdict(row) for row in rows],
        "total": len(rows),
        **by_state,
        "complaints": complaints,
    }
