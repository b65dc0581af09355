# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The main job from a fleet as it left the factory: predicted, enrolled, proved, and then left alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from .machines import Lab, log_mark, on, requests_since, served, strict_verification
from .playbook import run_playbook, site

# Fleet 3.x brings files of its own, the others only serve what they were built with.
FIRST_REASON = {"fleet": "issuer_changed"}
LINUX = ("ca", "fleet", "gateway", "client", "web")
BUNDLE = "/etc/ssl/certs/ca-certificates.crt"


def fingerprints(lab: Lab) -> dict[str, str]:
    """What every endpoint serves now."""
    return {endpoint["name"]: served(endpoint) for endpoint in lab.endpoints}


def traefik_started() -> str:
    """When Fleet's Traefik was started the last time."""
    return on("fleet", "docker", "inspect", "--format", "{{.State.StartedAt}}", "fleet_traefik").strip()


def test_1_check_mode_predicts_on_an_untouched_lab(factory: Lab) -> None:
    before = fingerprints(factory)
    run = site("--check", "--diff")
    assert run.rc == 0, run.output
    assert run.proved == (0, len(before))
    for name in before:
        assert f"due: issue ({FIRST_REASON.get(name, 'missing')})" in run.row(name)
    assert "judged without the CA" in run.output
    assert fingerprints(factory) == before
    assert on("ca", "sh", "-c", "ls -d /var/lib/certfleet /etc/certfleet 2>/dev/null || true") == ""
    assert "certfleet" not in on("client", "ls", "/usr/local/share/ca-certificates")


def test_2_a_robot_that_nobody_enrolled_gets_nothing(factory: Lab) -> None:
    before, mark = fingerprints(factory), log_mark()
    run = site(limit="robot-1:robot-2")
    assert run.rc != 0
    assert run.failed == {"robot-1", "robot-2"}
    assert "untrusted" in run.output
    assert "playbooks/enrol.yml" in run.output
    assert fingerprints(factory) == before
    assert [item for item in requests_since(mark) if item["authorization"]] == []


def test_3_enrolment_shows_and_pins(factory: Lab) -> None:
    # Fleet 3.x is no device that is enrolled: its files are those of a host.
    devices = len(factory.endpoints) - 1
    run = run_playbook("playbooks/enrol.yml")
    assert run.rc == 0, run.output
    assert run.output.count("expected by the inventory, pinned") == devices
    again = run_playbook("playbooks/enrol.yml")
    assert again.rc == 0, again.output
    assert again.changed == {}
    assert again.output.count("pinned already") == devices


def test_4_one_run_takes_all_to_proved_https(factory: Lab) -> None:
    run = site()
    assert run.rc == 0, run.output
    assert run.proved == (len(factory.endpoints), len(factory.endpoints))
    for endpoint in factory.endpoints:
        assert f"installed ({FIRST_REASON.get(endpoint['name'], 'missing')})" in run.row(endpoint["name"])
    for host in LINUX:
        counted = on(host, "sh", "-c", f"grep -c BEGIN {BUNDLE}")
        assert int(counted) > 100
        anchors = on("ca", "cat", "/var/lib/certfleet/authorities/fleet/root.pem")
        body = "".join(anchors.split("-----")[2].split())
        assert body in "".join(on(host, "cat", BUNDLE).split())


def test_5_openssl_accepts_every_endpoint(factory: Lab) -> None:
    anchors = Path(factory.info["anchors"])
    for endpoint in factory.endpoints:
        said = strict_verification(endpoint, anchors)
        assert "Verify return code: 0 (ok)" in said, f"{endpoint['name']}: {said}"


def test_6_a_second_run_changes_nothing_and_sends_no_login(factory: Lab) -> None:
    before, mark, started = fingerprints(factory), log_mark(), traefik_started()
    run = site()
    assert run.rc == 0, run.output
    assert run.changed == {}
    assert run.proved == (len(before), len(before))
    assert fingerprints(factory) == before
    assert traefik_started() == started
    assert [item for item in requests_since(mark) if item["authorization"] or item["method"] != "GET"] == []


def test_7_check_mode_shows_nothing_on_a_converged_lab(factory: Lab) -> None:
    run = site("--check", "--diff")
    assert run.rc == 0, run.output
    assert run.changed == {}
    assert "+++" not in run.output
    assert run.proved == (len(factory.endpoints), len(factory.endpoints))


def test_8_limited_to_one_host_it_speaks_of_that_host_alone(factory: Lab) -> None:
    run = site(limit="robot-2")
    assert run.rc == 0, run.output
    assert set(run.recap) == {"robot-2"}
    assert run.proved == (1, 1)
    run = site(limit="fleet")
    assert run.rc == 0, run.output
    assert run.proved == (1, 1)
    assert run.changed == {}


@pytest.mark.usefixtures("factory")
def test_9_module_arguments_are_left_on_no_host() -> None:
    for host in LINUX:
        assert on(host, "sh", "-c", "find / -xdev -name 'AnsiballZ_*' 2>/dev/null || true") == ""
