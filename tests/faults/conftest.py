# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A lab in which all is proved, the case of each test, and its row (JSON, one a line) in the file of CERTFLEET_FAULT_ROWS."""

from __future__ import annotations

import json
import os
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

from ..integration.machines import Lab, on, robot, strict_verification
from ..integration.playbook import run_playbook, site
from . import targets
from .ca_case import CACase
from .ca_room import Room
from .case import AT_ONCE, Case, UnsafeError

_REPORT = pytest.StashKey[pytest.TestReport]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Keep how the test itself ended, for its row; one that did not come so far gets a row here."""
    report = yield
    if report.when == "call":
        item.stash[_REPORT] = report
        if call.excinfo is not None and not call.excinfo.errisinstance(UnsafeError):
            report.user_properties.append(("broken", call.excinfo.exconly()))
    elif report.failed:
        _write({"name": _name(item), "fault": _title(item), "unsafe": f"the test's {report.when} failed"})
    return report


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    """The running lab, all proved at the beginning, and with its own names again at the end."""
    lab = Lab()
    robot("all", "unset")
    anchors = lab.info["anchors"]
    endpoints = [endpoint for endpoint in lab.endpoints if "proxy" not in endpoint]
    if not anchors or not all("0 (ok)" in strict_verification(item, Path(anchors)) for item in endpoints):
        for done in (run_playbook("playbooks/enrol.yml"), site(extra=AT_ONCE)):
            assert done.rc == 0, done.output
    yield lab
    robot("all", "unset")
    restored = run_playbook(
        "playbooks/certificates.yml",
        limit="fleet:robot-1",
        extra={**AT_ONCE, "mir_robot_hold": 1, "mir_fleet_hold": 1},
    )
    assert restored.rc == 0, restored.output


@pytest.fixture
def case(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Case]:
    """The fault of this test: its name is the test's, its title the first line of the test's docstring."""
    case = Case(_name(request.node), _title(request.node), folder=tmp_path)
    yield case
    case.end()
    _write(case.row(_failure(request.node)))


@pytest.fixture(scope="session")
def room() -> Iterator[Room]:
    """Room for a CA beside the lab's, on the same host; the role has brought there what the modules need."""
    if "no" in on("ca", "sh", "-c", "python3 -c 'import cryptography' 2>/dev/null || echo no"):
        done = run_playbook("playbooks/ca.yml")
        assert done.rc == 0, done.output
    room = Room()
    room.install()
    yield room
    room.remove()


@pytest.fixture
def ca_case(request: pytest.FixtureRequest, room: Room) -> Iterator[CACase]:
    """The same for a fault of the CA itself."""
    case = CACase(_name(request.node), _title(request.node), room=room)
    yield case
    _write(case.row(_failure(request.node)))


@pytest.fixture
def web(lab: Lab) -> targets.Service:
    """nginx under systemd."""
    return targets.web()


@pytest.fixture
def fleet(lab: Lab) -> targets.Product:
    """Traefik in a container."""
    return targets.fleet(lab.endpoint("fleet"))


@pytest.fixture
def a_robot(lab: Lab) -> Iterator[targets.Product]:
    """A robot that behaves well unless a test says otherwise."""
    yield targets.robot(lab.endpoint("robot-1"))
    robot("robot-1", "unset")


def _name(item: pytest.Item) -> str:
    return item.name.removeprefix("test_").replace("[", "-").rstrip("]")


def _title(item: pytest.Item) -> str:
    documented = str(getattr(item, "function", item).__doc__ or item.name).strip().splitlines()[0]
    parameters: dict[str, Any] = getattr(getattr(item, "callspec", None), "params", {})
    return documented.format(**parameters) if parameters else documented


def _failure(item: pytest.Item) -> str | None:
    """Why the fault was not survived, or None."""
    report = item.stash.get(_REPORT, None)
    if report is not None and not report.failed:
        return None
    broken = dict(report.user_properties).get("broken") if report else "it did not run"
    said = f"the test failed: {broken}" if broken else str(report.longrepr.reprcrash.message)
    failure = said.partition("UnsafeError: ")[2] or said
    return failure.strip().splitlines()[0]


def _write(row: dict[str, Any]) -> None:
    path = os.environ.get("CERTFLEET_FAULT_ROWS")
    if path:
        with Path(path).open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(row) + "\n")
