# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which hosts a run goes on with, in which order, and how many at a time."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.errors import AnsibleFilterError

from ansible_collections.certfleet.tls.plugins.filter.due_hosts import NOBODY, due_hosts
from ansible_collections.certfleet.tls.plugins.filter.wave_sizes import CANARY_FIRST, wave_sizes


class HostVars(dict[str, Any]):
    """As Ansible's: raw_get answers what a host has."""

    def raw_get(self, host: str) -> Any:
        return self[host]


def host(**request: Any) -> dict[str, Any]:
    return {"__tls_certificate_request": request}


def test_only_hosts_with_something_due_go_on_and_known_troubles_come_last() -> None:
    hosts = HostVars(
        a=host(due=True, certificates=[{"verdict": "issue", "failures": 2}]),
        b=host(due=False, certificates=[{"verdict": "none"}]),
        c=host(due=True, certificates=[{"verdict": "issue", "failures": 0}]),
        d=host(absent=True),
        e={},
        f=host(due=False, certificates=[{"verdict": "none", "unconfirmed": True}]),
        g=host(due=False, certificates=[{"verdict": "issue", "failures": 3, "deferred": {"code": "backoff"}}]),
    )
    assert due_hosts(hosts, "abcdefg") == ["c", "a", "f"]


def test_what_was_found_right_after_a_failure_is_told_to_the_ledger() -> None:
    assert due_hosts(HostVars(a=host(due=False, certificates=[{"verdict": "none", "failures": 1}])), ["a"]) == ["a"]


def test_what_the_ledger_does_not_know_to_be_in_service_is_told_to_it() -> None:
    assert due_hosts(HostVars(a=host(due=False, certificates=[{"verdict": "none", "unrecorded": True}])), ["a"]) == [
        "a"
    ]


def test_where_nothing_is_due_no_host_matches() -> None:
    assert due_hosts(HostVars(a=host(due=False)), ["a"]) == NOBODY


def test_where_only_the_syntax_is_checked_no_host_has_variables() -> None:
    assert (due_hosts({}, ["a"]), wave_sizes({}, ["a"])) == (NOBODY, list(CANARY_FIRST))


@pytest.mark.parametrize(
    ("given", "sizes"),
    [
        (None, list(CANARY_FIRST)),
        ([1, "10%"], [1, "10%"]),
        (3, [1, 3]),
        ("50%", [1, "50%"]),
        ([], list(CANARY_FIRST)),
        (["2"], [1, 2]),
    ],
)
def test_sizes_are_those_of_the_inventory(given: Any, sizes: list[Any]) -> None:
    assert wave_sizes(HostVars(a={}, b={"tls_waves": given}), ["a", "b"]) == sizes


@pytest.mark.parametrize("given", [[0], ["few"], [1, "-5"], ["0%"]])
def test_other_sizes_are_errors_that_say_what_to_write(given: Any) -> None:
    with pytest.raises(AnsibleFilterError, match="tls_waves"):
        wave_sizes(HostVars(a={"tls_waves": given}), ["a"])
