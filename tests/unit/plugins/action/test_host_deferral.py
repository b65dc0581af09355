# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""host_request where something is due, but is only planned, or has to wait: as ansible-playbook runs it."""

from __future__ import annotations

import time
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from ansible_collections.certfleet.tls.plugins.module_utils._x509.parse import iso

from .test_host_actions import Site


def test_what_is_planned_or_has_to_wait_leaves_nothing_on_the_host(tmp_path: Path) -> None:
    site = Site(tmp_path)
    begin = datetime.now(tz=timezone.utc) + timedelta(hours=2)
    window = {"from": f"{begin:%H:%M}", "to": f"{begin + timedelta(hours=1):%H:%M}", "timezone": "{{ zone }}"}
    at = iso(time.time() - 60)
    failure = {"count": 3, "first_at": at, "last_at": at, "outcome": "rolled_back", "said": "it did not start"}
    hosts: dict[str, dict[str, Any]] = {
        "planned": {"tls_certificate_plans": "{{ only_plan }}", "only_plan": True},
        "closed": {"tls_change_windows": "{{ plant }}", "plant": [window], "zone": "UTC"},
        "resting": {},
        "retried": {"tls_retry_now": True},
        "wrong": {"tls_backoff": {"first": "soon"}},
        "free": {},
    }
    for host, variables in hosts.items():
        variables["wanted"] = site.wanted(host)
    failures = {host: {"failures": {"https": failure}} for host in ("resting", "retried")}
    run = site.run("host_request", hosts, certificates="{{ wanted }}", ca={**site.ca, "identities": failures})
    entries = {host: run.results[host]["certificates"][0] for host in hosts if host != "wrong"}
    waiting = {host: entry.get("deferred", {}).get("code") for host, entry in entries.items()}
    assert waiting == {"planned": None, "closed": "window", "resting": "backoff", "retried": None, "free": None}
    due = {host: (run.results[host]["due"], run.results[host]["changed"]) for host in entries}
    assert due == {
        "planned": (True, False),
        "closed": (False, False),
        "resting": (False, False),
        "retried": (True, True),
        "free": (True, True),
    }
    staged = {host for host in hosts if list((tmp_path / host).iterdir())}
    assert staged == {host for host, entry in entries.items() if entry.get("csr")} == {"retried", "free"}
    assert "this has failed 3 times in a row" in entries["resting"]["reasons"][0]["message"]
    assert "closed/https: would issue (missing: " in run.results["closed"]["msg"]
    assert "deferred (window): outside the change windows" in run.results["closed"]["msg"]
    assert "wrong: tls_backoff.first: 'soon' is no span of time" in run.results["wrong"]["msg"]
