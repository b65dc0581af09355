# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The table at the end: what people read, and what counts as proved."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.certfleet.tls.plugins.plugin_utils._report import Row, as_text, row_of

ENDPOINT = {"name": "robot-1", "address": "198.19.1.11", "port": 443}
OLD = {"issuer": "CN=MiR", "self_signed": True, "not_after": "2036-01-01T00:00:00Z", "fingerprint": "old"}
NEW = {"issuer": "CN=fleet issuing", "self_signed": False, "not_after": "2027-02-20T00:00:00Z", "fingerprint": "new"}
DUE = {
    "certificates": [
        {"id": "robot-1/https", "verdict": "issue", "reasons": [{"code": "missing", "message": "m"}], "served": OLD}
    ]
}
FINE = {"certificates": [{"id": "robot-1/https", "verdict": "none", "reasons": [], "served": NEW, "current": NEW}]}
DONE = {"certificates": [{"id": "robot-1/https", "outcome": "installed", "after": NEW}]}
SEEN = {"name": "robot-1", "trusted": True, "fingerprint": "new"}


def row(request: Any, deploy: Any, seen: Any, *, check_mode: bool = False) -> Row:
    return row_of(ENDPOINT, request=request, deploy=deploy, seen=seen, client="pc", check_mode=check_mode)


@pytest.mark.parametrize(
    ("title", "request_result", "deploy", "seen", "state"),
    [
        ("deployed and accepted", DUE, DONE, SEEN, "proved"),
        ("nothing due and accepted", FINE, None, SEEN, "proved"),
        ("accepted, but not what was deployed", DUE, DONE, {**SEEN, "fingerprint": "old"}, "unproved"),
        ("accepted, but not what was judged", FINE, None, {**SEEN, "fingerprint": "old"}, "unproved"),
        ("not accepted", DUE, DONE, {**SEEN, "trusted": False, "failure": "name", "said": "mismatch"}, "unproved"),
        ("nobody looked", DUE, DONE, None, "unseen"),
        (
            "absent",
            {"certificates": [], "absent": True, "said": "timed out"},
            None,
            {"name": "robot-1", "trusted": False},
            "absent",
        ),
        ("not reached by the run, but accepted", None, None, SEEN, "proved"),
        (
            "request failed",
            {"failed": True, "msg": "no DNS name"},
            None,
            {"name": "robot-1", "trusted": False},
            "unproved",
        ),
    ],
)
def test_what_counts_as_proved(title: str, request_result: Any, deploy: Any, seen: Any, state: str) -> None:
    assert row(request_result, deploy, seen).state == state, title


def test_a_row_reads_as_a_sentence() -> None:
    made = row(DUE, DONE, SEEN)
    assert made.endpoint == "robot-1 198.19.1.11:443"
    assert made.before == "self-signed, until 2036-01-01"
    assert made.after == "installed (missing), until 2027-02-20"
    assert made.proof == "pc: chain, name and time right"


def test_the_last_line_counts_all_endpoints() -> None:
    rows = [row(DUE, DONE, SEEN), row(DUE, DONE, None), row({"absent": True, "said": "gone"}, None, None)]
    text = as_text(rows)
    assert text.splitlines()[-1] == "proved: 1/3 endpoints (absent: 1)"
    assert as_text(rows[:1]).splitlines()[-1] == "proved: 1/1 endpoints"
    columns = [line.index("self-signed") for line in text.splitlines() if "self-signed" in line]
    assert len(set(columns)) == 1


def test_check_mode_says_what_is_due() -> None:
    assert row(DUE, None, None, check_mode=True).after == "due: issue (missing)"


def test_what_the_run_did_not_come_to_is_said() -> None:
    assert row(DUE, None, None).after == "not tried: issue (missing)"


def test_a_deferral_says_why_and_until_when() -> None:
    entry = {**DUE["certificates"][0], "deferred": {"code": "backoff", "message": "m", "until": "2027-01-01T00:00:00Z"}}
    made = row({"certificates": [entry]}, None, None)
    assert made.after == "deferred (backoff until 2027-01-01T00:00:00Z): issue (missing)"


def test_ipv6_is_written_so_that_the_port_can_be_seen() -> None:
    made = row_of({**ENDPOINT, "address": "2001:2::1"}, request=None, deploy=None, seen=None, client="pc")
    assert made.endpoint == "robot-1 [2001:2::1]:443"


def test_machines_without_an_endpoint_are_listed_when_they_are_absent() -> None:
    lines = as_text([row(DUE, DONE, SEEN)], {"gateway": "timed out"}).splitlines()
    assert lines[-3:] == ["absent: gateway: timed out", "", "proved: 1/1 endpoints"]
