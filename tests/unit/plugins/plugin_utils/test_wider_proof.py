# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What clients say of a new certificate, and which endpoints they are asked to look at."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.certfleet.tls.plugins.plugin_utils._wider_proof import (
    accepted_since,
    batch_endpoints,
    not_accepted_yet,
    wider_verdicts,
)

GOOD = {"trusted": True, "failure": None, "fingerprint": "new", "expected": "new", "said": "fine"}
OTHER = {**GOOD, "fingerprint": "old"}
STRANGER = {"trusted": False, "failure": "chain", "fingerprint": "new", "expected": "new", "said": "unknown issuer"}
SILENT = {"trusted": False, "failure": "refused", "said": "nothing listens", "expected": "new"}
FAR = {"trusted": False, "failure": "timeout", "said": "no answer", "expected": "new"}


class HostVars(dict[str, Any]):
    """As Ansible's: raw_get answers what a host has."""

    def raw_get(self, host: str) -> Any:
        return self[host]


def variables(
    *, outcome: str | None = "installed", unconfirmed: bool = False, ticket: str = "of this request", **prove: Any
) -> dict[str, Any]:
    spec = {"prove": {"address": "198.18.0.9", **prove}}
    entry = {
        "id": "web/https",
        "verdict": "issue",
        "spec": spec,
        "unconfirmed": unconfirmed,
        "current": {"fingerprint": "kept"},
    }
    request = {"certificates": [entry], "ticket": "of this request"}
    found: dict[str, Any] = {"inventory_hostname": "web", "__tls_certificate_request": request}
    if outcome:
        done = {"id": "web/https", "outcome": outcome, "after": {"fingerprint": "new"}}
        found["__tls_certificate_deploy"] = {"certificates": [done], "ticket": ticket}
    return found


def looks(**seen: Any) -> dict[str, Any]:
    results = [
        {"__tls_client": client, **({"endpoints": [{"name": "web/https", **what}]} if what else {"reachable": False})}
        for client, what in seen.items()
    ]
    return {"__tls_certificate_look": {"results": results}}


@pytest.mark.parametrize(
    ("title", "seen", "ok"),
    [
        ("all accept it", looks(a=GOOD, b=GOOD), True),
        ("one does not", looks(a=GOOD, b=STRANGER), False),
        ("another leaf is served to clients", looks(a=OTHER), False),
        ("nothing listens for clients", looks(a=SILENT), False),
        ("one has no way there", looks(a=GOOD, b=FAR), True),
        ("none has a way there", looks(a=FAR, b=FAR), None),
        ("the clients are off", looks(a=None), None),
        ("there are no clients", {}, None),
    ],
)
def test_verdict(title: str, seen: dict[str, Any], ok: bool | None) -> None:
    assert wider_verdicts({**variables(), **seen})["web/https"].ok is ok, title


def test_what_a_client_says_reaches_the_operator() -> None:
    said = wider_verdicts({**variables(), **looks(a=GOOD, pc=STRANGER)})["web/https"].said
    assert said == "clients do not accept it: pc: unknown issuer"


def test_a_managing_system_that_thinks_worse_of_a_device_counts() -> None:
    view = {"__tls_certificate_view": {"devices": {"web": {"worse": True, "said": "Fleet has lost it"}}}}
    verdict = wider_verdicts({**variables(), **looks(a=GOOD), **view})["web/https"]
    assert (verdict.ok, verdict.said) == (False, "Fleet has lost it")


@pytest.mark.parametrize("outcome", ["rolled_back", "failed", "refused"])
def test_only_what_is_new_is_judged(outcome: str) -> None:
    assert wider_verdicts({**variables(outcome=outcome), **looks(a=GOOD)}) == {}


def test_what_an_earlier_run_left_unconfirmed_is_judged_by_the_certificate_in_place() -> None:
    found = variables(outcome=None, unconfirmed=True)
    task_vars = {"hostvars": HostVars(web=found), "ansible_play_batch": ["web"], "inventory_hostname": "web"}
    assert batch_endpoints(task_vars) == [
        {"name": "web/https", "expected": "kept", "address": "198.18.0.9", "port": 443, "server_name": "198.18.0.9"}
    ]


def test_what_an_earlier_use_of_the_role_has_deployed_is_no_answer_to_this_request() -> None:
    assert wider_verdicts({**variables(ticket="of another"), **looks(a=GOOD)}) == {}


@pytest.mark.parametrize(("seen", "accepted"), [(looks(a=GOOD), 1), (looks(a=STRANGER), 0), ({}, 0)])
def test_what_was_kept_although_not_accepted_is_asked_about_again(seen: dict[str, Any], accepted: int) -> None:
    found = {**variables(outcome=None), **seen}
    entry = found["__tls_certificate_request"]["certificates"][0]
    entry.update(verdict="none", failures=2, last_outcome="kept", current={"fingerprint": "new"})
    assert len(accepted_since(found, "web")) == accepted
    assert len(not_accepted_yet(found, "web")) == 1 - accepted


@pytest.mark.parametrize("trusted", [True, False])
def test_what_was_kept_behind_a_proxy_is_judged_by_the_only_client_that_gets_there(trusted: bool) -> None:
    found = {**variables(outcome=None, proxy="http://198.18.0.1:8888"), **looks(a=None)}
    entry = found["__tls_certificate_request"]["certificates"][0]
    entry.update(verdict="none", failures=1, last_outcome="kept", served={"trusted": trusted})
    assert len(accepted_since(found, "web")) == int(trusted)


def test_where_nobody_is_named_who_could_be_asked_nothing_is_waited_for() -> None:
    verdict = wider_verdicts({**variables(), "__tls_certificate_look": {"results": [], "skipped": True}})["web/https"]
    assert verdict.ok is True


def test_outside_its_window_nothing_goes_back() -> None:
    found = {**variables(outcome=None, unconfirmed=True), **looks(a=STRANGER)}
    entry = found["__tls_certificate_request"]["certificates"][0]
    assert wider_verdicts(found)["web/https"].ok is False
    entry["window_opens"] = "2027-01-01T22:00:00Z"
    verdict = wider_verdicts(found)["web/https"]
    assert verdict.ok is None and "2027-01-01T22:00:00Z" in verdict.said


def test_a_client_behind_a_firewall_that_refuses_does_not_outvote_one_that_got_through() -> None:
    assert wider_verdicts({**variables(), **looks(a=GOOD, b=SILENT)})["web/https"].ok is True


def test_an_endpoint_that_only_a_proxy_leads_to_is_nothing_for_clients() -> None:
    found = variables(proxy="http://198.18.0.1:8888")
    assert batch_endpoints({"hostvars": HostVars(web=found), "ansible_play_batch": ["web"]}) == []
