# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A robot that cannot be reached but through the gateway: by its HTTP proxy, and by its sshd as a jump host."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.certfleet.tls.tests.unit.proxies import ssh_processes, wait_for

from .machines import Lab, log_mark, on, requests_since, robot, served
from .playbook import Run, run_playbook, site

ROBOT = "robot-4"
PROXY = "http://198.19.0.30:8888"
JUMP_HOST = {
    "device_proxy": "ssh://operator@198.19.0.30",
    "device_proxy_ssh_options": "{{ __lab_ssh_options }}",
}
Overlay = Callable[[dict[str, Any]], Path]


@pytest.fixture(scope="module")
def enrolled(factory: Lab) -> Run:
    """The robot's built-in key is pinned."""
    return run_playbook("playbooks/enrol.yml", limit=ROBOT)


@pytest.fixture
def without_http_proxy() -> Iterator[None]:
    """The gateway's tinyproxy is off, and no ssh is left behind by what runs meanwhile."""
    before = ssh_processes()
    on("gateway", "systemctl", "stop", "tinyproxy")
    try:
        yield
    finally:
        on("gateway", "systemctl", "start", "tinyproxy")
    assert wait_for(lambda: ssh_processes() <= before, 2)


def only_robot(overlay: Overlay, **variables: Any) -> Run:
    return site(limit=ROBOT, overlay=overlay({ROBOT: variables}))


def uploads_since(mark: int) -> list[tuple[str, int]]:
    return [(item["method"], item["status"]) for item in requests_since(mark) if item["authorization"]]


def test_enrolled_issued_uploaded_and_proved_through_the_proxy(lab: Lab, enrolled: Run, overlay: Overlay) -> None:
    endpoint = lab.endpoint(ROBOT)
    assert endpoint["proxy"] == PROXY
    assert served(endpoint)
    assert not served({**endpoint, "proxy": ""})  # there is no other way
    assert enrolled.rc == 0, enrolled.output
    assert "expected by the inventory, pinned" in enrolled.output
    mark = log_mark()
    run = only_robot(overlay)
    assert run.rc == 0, run.output
    assert run.proved == (1, 1)
    assert "installed" in run.row(ROBOT)
    assert uploads_since(mark) == [("POST", 201)]
    mark = log_mark()
    again = only_robot(overlay)
    assert (again.rc, again.changed, again.proved) == (0, {}, (1, 1)), again.output
    assert uploads_since(mark) == []
    assert "CONNECT 198.19.1.14:443" in on("gateway", "journalctl", "--no-pager", "-t", "tinyproxy")


@pytest.mark.usefixtures("enrolled", "without_http_proxy")
def test_the_same_through_the_jump_host(overlay: Overlay) -> None:
    robot(ROBOT, "factory")
    mark = log_mark()
    run = only_robot(overlay, **JUMP_HOST)
    assert run.rc == 0, run.output
    assert run.proved == (1, 1)
    assert "installed" in run.row(ROBOT)
    assert uploads_since(mark) == [("POST", 201)]
    again = only_robot(overlay, **JUMP_HOST)
    assert (again.rc, again.changed, again.proved) == (0, {}, (1, 1)), again.output


@pytest.mark.usefixtures("enrolled", "without_http_proxy")
def test_a_robot_whose_proxy_is_off_is_absent_and_the_proxy_is_named(overlay: Overlay) -> None:
    run = only_robot(overlay)
    assert run.rc == 0, run.output
    assert run.standings["absent"] == {ROBOT}
    assert f"absent: The proxy {PROXY} is away, so 198.19.1.14:443" in run.row(ROBOT)


@pytest.mark.usefixtures("enrolled")
@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"device_proxy": "http://198.19.0.10:22"}, "http://198.19.0.10:22 answers, but not as an HTTP proxy does"),
        ({"mir_robot_port": 8443}, f"The proxy {PROXY} does not allow a tunnel to 198.19.1.14:8443 (403"),
        ({"mir_robot_address": "198.19.1.11"}, "the peer is not known: 198.19.1.11:443 (through"),
        ({**JUMP_HOST, "device_proxy_ssh_options": ["-F", "/dev/null", "-o", "UserKnownHostsFile=/dev/null"]},
         "does not show the key that is known for it"),
        ({"device_proxy": "socks5://198.19.0.30:1080"}, "this kind of proxy is not known"),
    ],
    ids=["no_proxy_there", "not_allowed", "another_robot", "unknown_jump_host", "unknown_kind"],
)  # fmt: skip
def test_a_proxy_that_somebody_must_correct_fails_the_robot(
    overlay: Overlay, variables: dict[str, Any], said: str
) -> None:
    mark = log_mark()
    run = only_robot(overlay, **variables)
    assert run.failed == {ROBOT}, run.output
    assert said in " ".join(run.output.split())
    assert uploads_since(mark) == []
