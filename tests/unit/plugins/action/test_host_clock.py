# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""host_request on hosts whose clocks are wrong, as ansible-playbook runs it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from .test_host_actions import ROOT, Site

LATER = ROOT / "tests" / "integration" / "later"


def fast_by(seconds: int, folder: Path) -> dict[str, Any]:
    """A host whose modules' clock is so fast."""
    python = folder / f"python{seconds}"
    python.write_text(f'#!/bin/sh\nexec env PYTHONPATH={LATER} SECONDS_LATER={seconds} {sys.executable} "$@"\n')
    python.chmod(0o755)
    return {"ansible_python_interpreter": str(python)}


def test_nothing_is_staged_on_a_host_that_lives_in_another_time(tmp_path: Path) -> None:
    site = Site(tmp_path)
    tools = tmp_path / "tools"
    tools.mkdir()
    hosts: dict[str, dict[str, Any]] = {
        "right": {},
        "fast": fast_by(7290, tools),
        "slow": {**fast_by(-7290, tools), "tls_certificate_fails": False},
        "allowed": {**fast_by(-7290, tools), "tls_clock_limit": "{{ patience }}", "patience": "3h"},
    }
    for host, variables in hosts.items():
        variables["wanted"] = site.wanted(host, shared_names=["DNS:a.example"])
    run = site.run("host_request", hosts, certificates="{{ wanted }}", ca=site.ca)
    entries = {host: run.results[host]["certificates"][0] for host in hosts}
    verdicts = {host: entry["verdict"] for host, entry in entries.items()}
    assert verdicts == {"right": "issue", "fast": "refuse", "slow": "refuse", "allowed": "issue"}
    assert {host for host in hosts if list((tmp_path / host).iterdir())} == {"right", "allowed"}
    assert {host: bool(run.results[host].get("failed")) for host in ("fast", "slow")} == {"fast": True, "slow": False}
    for host, side in (("fast", "ahead of"), ("slow", "behind")):
        (reason,) = entries[host]["reasons"]
        assert reason["code"] == "clock"
        assert f"its clock is 2 h 1 min {side} the controller's" in reason["message"]
    assert entries["right"]["shared_names"] == ["DNS:a.example"]


def test_with_nothing_due_a_clock_is_nobodys_business(tmp_path: Path) -> None:
    site = Site(tmp_path)
    wanted = site.wanted("gateway")
    request = site.run("host_request", {"gateway": {}}, certificates=wanted, ca=site.ca).results["gateway"]
    issued = site.sign(request)
    site.run("host_deploy", {"gateway": {}}, certificates=request["certificates"], issued=issued, ca=site.ca)
    tools = tmp_path / "tools"
    tools.mkdir()
    hosts = {"gateway": {**fast_by(7200, tools), "tls_clock_limit": "no span of time"}}
    again = site.run("host_request", hosts, certificates=wanted, ca=site.ca).results["gateway"]
    assert [entry["verdict"] for entry in again["certificates"]] == ["none"]
