# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Uploads that end otherwise than an answer says: connections that are cut, answers that take long, devices that reboot."""

from __future__ import annotations

import http.client
import ssl
import threading
import time
from collections.abc import Iterator

import pytest

from ansible_collections.certfleet.tls.plugins.module_utils._probe.tls import fingerprint_of, look
from ansible_collections.certfleet.tls.tests.unit.emulated_devices import Emulator
from ansible_collections.certfleet.tls.tests.unit.lab.robots.device_client import ask, served, upload
from ansible_collections.certfleet.tls.tests.unit.tls_peers import Pair, TestAuthority


@pytest.fixture(scope="module")
def ours() -> TestAuthority:
    return TestAuthority("Ours")


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    with Emulator(tmp_path_factory.mktemp("emulator"), {"name": "robot-1"}, {"name": "robot-2"}) as emulator:
        yield emulator


@pytest.fixture
def emulator(running: Emulator) -> Iterator[Emulator]:
    yield running
    running.control("all", "factory")


def failure(emulator: Emulator, device: str = "robot-1") -> str | None:
    """Why nothing is served; None where a leaf is."""
    return look(emulator.address(device), emulator.https_port, anchors=None, timeout=2).failure


def state(emulator: Emulator) -> str:
    """The fingerprint that is served, or why nothing is: one look."""
    seen = look(emulator.address("robot-1"), emulator.https_port, anchors=None, timeout=2)
    return fingerprint_of(seen.leaf) if seen.leaf else str(seen.failure)


@pytest.mark.parametrize(
    ("where", "applied"), [("before", False), ("after", True), ("body", False), ("body_applied", True)]
)
def test_a_cut_connection(emulator: Emulator, ours: TestAuthority, where: str, applied: bool) -> None:
    emulator.control("robot-1", "set", f"reset={where}")
    pair = ours.pair("IP:127.0.0.1")
    with pytest.raises((ConnectionError, http.client.HTTPException, ssl.SSLError)):
        upload(emulator, pair)
    assert (served(emulator) == pair.leaf.fingerprint) == applied
    assert ask(emulator, "robot-1", "GET", "/api/v2.0.0/status")[0] == 200


def test_a_body_that_is_cut_is_longer_than_what_was_read(emulator: Emulator, ours: TestAuthority) -> None:
    emulator.forget_log()
    emulator.control("robot-1", "set", "reset=body")
    with pytest.raises((ConnectionError, http.client.HTTPException, ssl.SSLError)):
        upload(emulator, ours.pair("IP:127.0.0.1"))
    entry = emulator.log("request", "robot-1")[-1]
    assert (entry["method"], entry["status"]) == ("POST", 0)
    assert entry["body"] > 100


def test_a_reboot_after_the_upload(emulator: Emulator, ours: TestAuthority) -> None:
    emulator.control("robot-1", "set", "reboot=1")
    before, pair = served(emulator), ours.pair("IP:127.0.0.1")
    begin = time.monotonic()
    assert upload(emulator, pair)[0] == 201
    seen = [before]
    while time.monotonic() - begin < 6 and seen[-1] != pair.leaf.fingerprint:
        now = state(emulator)
        # A handshake that the reboot has cut is neither.
        if now not in (seen[-1], "closed"):
            seen.append(now)
    assert seen == [before, "refused", pair.leaf.fingerprint]
    assert time.monotonic() - begin >= 1
    assert failure(emulator, "robot-2") is None


def test_a_reboot_ends_connections_that_are_open(emulator: Emulator, ours: TestAuthority) -> None:
    emulator.control("robot-1", "set", "reboot=0.5", "answer_delay=0.3")
    ends: list[BaseException | int] = []

    def asks_slowly(device: str) -> None:
        connection = http.client.HTTPConnection(emulator.address(device), emulator.http_ports[0], timeout=3)
        connection.connect()
        try:
            time.sleep(0.7)
            connection.request("GET", "/")
            ends.append(connection.getresponse().status)
        except (OSError, http.client.HTTPException) as exc:
            ends.append(exc)
        finally:
            connection.close()

    for device in ("robot-1", "robot-2"):
        slow = threading.Thread(target=asks_slowly, args=(device,))
        slow.start()
        if device == "robot-1":
            upload(emulator, ours.pair("IP:127.0.0.1"))
        slow.join()
    assert isinstance(ends[0], Exception)
    assert ends[1] == 200


def test_the_factory_ends_a_reboot(emulator: Emulator, ours: TestAuthority) -> None:
    emulator.control("robot-1", "set", "reboot=60")
    upload(emulator, ours.pair("IP:127.0.0.1"))
    deadline = time.monotonic() + 3
    while failure(emulator) is None and time.monotonic() < deadline:
        time.sleep(0.05)
    assert emulator.control("robot-1", "status")["away"]
    emulator.control("robot-1", "factory")
    assert failure(emulator) is None


@pytest.mark.parametrize(("late", "at_once"), [(0.0, True), (0.9, False)])
def test_an_answer_that_takes_long(emulator: Emulator, ours: TestAuthority, late: float, at_once: bool) -> None:
    new_before_answer = False
    emulator.control("robot-1", "set", "answer_delay=0.8", f"delay={late}")
    pair: Pair = ours.pair("IP:127.0.0.1")
    answers: list[int] = []
    waiting = threading.Thread(target=lambda: answers.append(upload(emulator, pair)[0]))
    waiting.start()
    begin = time.monotonic()
    while not answers and time.monotonic() - begin < 5:
        new_before_answer = served(emulator) == pair.leaf.fingerprint and not answers
        if new_before_answer:
            break
    assert new_before_answer == at_once
    waiting.join(timeout=5)
    assert answers == [201]
    time.sleep(0.2)
    assert served(emulator) == pair.leaf.fingerprint
