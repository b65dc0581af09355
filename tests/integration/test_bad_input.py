# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bad input and missing parts: a clear error that names host, item, cause and next step; nothing half-done; others unharmed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .machines import Lab, log_mark, on, requests_since, robot, served
from .playbook import site

Overlay = Callable[[dict[str, Any]], Path]
CA = "/var/lib/certfleet/authorities/fleet"


def test_a_name_that_is_neither_dns_nor_ip(converged: Lab, overlay: Overlay) -> None:
    run = site(limit="mir_robots", overlay=overlay({"robot-1": {"mir_robot_subject_alt_names": ["robot-1"]}}))
    assert run.failed == {"robot-1"}
    assert "robot-1, certificate 'https': the name 'robot-1' is neither DNS nor IP. Write DNS:" in " ".join(
        run.output.split()
    )
    assert run.proved is not None
    assert run.proved[1] == len(converged.robots)
    assert converged.endpoints


def test_wrong_login(converged: Lab, overlay: Overlay) -> None:
    robot("robot-1", "factory")
    built_in = served(converged.endpoint("robot-1"))
    run = site(limit="mir_robots", overlay=overlay({"robot-1": {"mir_robot_password": "wrong-but-never-printed"}}))
    assert run.failed == {"robot-1"}
    assert "login" in run.output
    assert "wrong-but-never-printed" not in run.output
    assert "failed (missing)" in run.row("robot-1")
    assert run.proved == (len(converged.robots) - 1, len(converged.robots))
    assert served(converged.endpoint("robot-1")) == built_in
    assert site(limit="robot-1").proved == (1, 1)


def test_no_https_while_http_answers(converged: Lab) -> None:
    robot("robot-2", "set", "https=off")
    try:
        mark = log_mark()
        run = site(limit="mir_robots")
        assert run.failed == {"robot-2"}
        assert "no HTTPS: software below 2.10, or switched off" in " ".join(run.output.split())
        assert [item for item in requests_since(mark) if item["authorization"]] == []
        assert run.proved == (len(converged.robots) - 1, len(converged.robots))
    finally:
        robot("robot-2", "unset")
    assert converged.endpoints


def test_half_a_ca(converged: Lab) -> None:
    before = on("ca", "sh", "-c", f"cd {CA} && sha256sum *")
    on("ca", "mv", f"{CA}/issuing.key", "/root/issuing.key")
    try:
        run = site(limit="robot-1")
        assert run.rc != 0
        said = " ".join(run.output.split())
        assert "issuing.key" in said
        assert "never" in said or "Restore" in said
    finally:
        on("ca", "mv", "/root/issuing.key", f"{CA}/issuing.key")
    assert on("ca", "sh", "-c", f"cd {CA} && sha256sum *") == before
    assert converged.endpoints


def test_wrong_passphrase_stops_nobody_who_needs_no_new_certificate(converged: Lab) -> None:
    before = on("ca", "sh", "-c", f"cd {CA} && sha256sum *")
    on(
        "ca",
        "sh",
        "-c",
        "cp -a /etc/certfleet/passphrase /root/passphrase && echo another-one > /etc/certfleet/passphrase",
    )
    on("fleet", "chmod", "0644", "/mir_persistence/certificate/key.pem")
    try:
        run = site(limit="mir_fleet:mir_robots")
        assert run.rc != 0
        assert "passphrase" in run.output
        assert "another-one" not in run.output
        assert "installed (mode_changed)" in run.row("fleet")
        assert run.proved == (len(converged.endpoints), len(converged.endpoints))
    finally:
        on("ca", "mv", "/root/passphrase", "/etc/certfleet/passphrase")
    assert on("ca", "sh", "-c", f"cd {CA} && sha256sum *") == before
    again = site(limit="mir_fleet")
    assert (again.rc, again.changed) == (0, {}), again.output


@pytest.mark.parametrize(("host", "said"), [("ca", "cannot be reached"), ("client", "absent: client")])
def test_a_ca_or_a_client_that_is_away_harms_nobody(converged: Lab, overlay: Overlay, host: str, said: str) -> None:
    run = site(overlay=overlay({host: {"ansible_host": "198.19.0.98"}}))
    assert run.rc == 0, run.output
    assert run.failed == set()
    assert said in " ".join(run.output.partition("\nendpoint ")[2].split())
    # Without the CA's anchors the controller cannot judge what only it can reach.
    unseen = len(converged.info["behind_proxy"]) if host == "ca" else 0
    assert run.proved == (len(converged.endpoints) - unseen, len(converged.endpoints))


def test_variables_of_the_inventory_may_be_templates(converged: Lab, overlay: Overlay) -> None:
    variables = {
        "tls_ca_host": "{{ groups['lab_linux'] | first }}",
        "tls_identity": "{{ inventory_hostname | upper | lower }}",
        "__address": "198.19.1.12",
        "ansible_host": "{{ __address }}",
        "tls_endpoints": [{"address": "198.19.0.20", "server_name": "fleet.plant.example", "name": "fleet-again"}],
    }
    run = site(limit="robot-2", overlay=overlay({"robot-2": variables}))
    assert (run.rc, run.changed, run.proved) == (0, {}, (2, 2)), run.output
    assert converged.endpoints


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"mir_fleet_dir": "/nowhere"}, "/nowhere/mir_persistence/certificate"),
        ({"mir_fleet_container": "missing_traefik"}, "missing_traefik"),
        ({"mir_fleet_file_owner": "nobody-here"}, "nobody-here"),
        ({"tls_ca_host": "gateway"}, "names the CA host 'gateway'"),
    ],
)
def test_what_is_missing_on_a_host_is_named(
    converged: Lab, overlay: Overlay, variables: dict[str, Any], said: str
) -> None:
    before = served(converged.endpoint("fleet"))
    run = site(limit="mir_fleet:mir_robots", overlay=overlay({"fleet": variables}))
    assert run.failed == {"fleet"}, run.output
    assert said in " ".join(run.output.split())
    assert served(converged.endpoint("fleet")) == before
    for name in ("fleet-old", *sorted(converged.robots)):
        assert "chain, name and time right" in run.row(name)


def test_an_api_with_a_missing_field(converged: Lab, overlay: Overlay) -> None:
    variables = {"mir_robot_api": {"name": "mine"}, "tls_certificate_apis": {"mine": {"login": {"scheme": "basic"}}}}
    run = site(limit="mir_robots", overlay=overlay({"robot-3": variables}))
    assert run.failed == {"robot-3"}
    said = " ".join(run.output.split())
    assert "mine" in said
    assert "upload" in said
    assert run.proved is not None
    assert converged.endpoints


def test_what_cannot_be_reached_is_absent_and_harms_nobody(converged: Lab, overlay: Overlay) -> None:
    ghosts = {
        "robot-9": {
            "groups": ["mir_robots"],
            "ansible_host": "198.19.1.99",
            "mir_robot_username": "x",
            "mir_robot_password": "y",
        },
        "fleet-9": {"groups": ["mir_fleet", "lab_linux"], "ansible_host": "198.19.0.99", "mir_fleet_deploy": "files"},
    }
    run = site(overlay=overlay(ghosts))
    assert run.rc == 0, run.output
    assert run.failed == set()
    assert "absent" in run.row("robot-9")
    assert "absent" in run.row("fleet-9")
    assert run.proved == (len(converged.endpoints), len(converged.endpoints) + 2)
    strict = site(
        limit="robot-9:robot-1",
        overlay=overlay(ghosts | {"robot-9": {**ghosts["robot-9"], "groups": ["mir_robots"]}}),
        extra={"tls_absent_fails": True},
    )
    assert strict.rc != 0
