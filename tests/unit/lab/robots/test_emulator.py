# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The emulator itself: what it claims to do, tests of everything else rely on."""

from __future__ import annotations

import base64
import time
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.certfleet.tls.plugins.module_utils._probe.plain_http import plain_http
from ansible_collections.certfleet.tls.plugins.module_utils._probe.tls import look
from ansible_collections.certfleet.tls.tests.unit.emulated_devices import PASSWORD, Emulator
from ansible_collections.certfleet.tls.tests.unit.lab.robots.device_client import HEADERS, LOGIN, ask, served, upload
from ansible_collections.certfleet.tls.tests.unit.tls_peers import Pair, TestAuthority


@pytest.fixture(scope="module")
def ours() -> TestAuthority:
    return TestAuthority("Ours")


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Any:
    devices = [{"name": "robot-1"}, {"name": "robot-2"}, {"name": "fleet", "profile": "fleet"}]
    with Emulator(tmp_path_factory.mktemp("emulator"), *devices) as emulator:
        yield emulator


@pytest.fixture
def emulator(running: Emulator) -> Any:
    running.forget_log()
    yield running
    running.control("all", "factory")


def test_upload_serves_at_once_for_this_robot_only_and_removal_goes_back(
    emulator: Emulator, ours: TestAuthority
) -> None:
    before, pair = served(emulator), ours.pair(f"IP:{emulator.address('robot-1')}")
    assert upload(emulator, pair) == (201, {})
    seen = look(emulator.address("robot-1"), emulator.https_port, anchors=ours.anchors)
    assert seen.trusted, seen.said
    assert served(emulator, "robot-2") == before
    assert ask(emulator, "robot-1", "DELETE", "/api/v2.0.0/ssl/cert") == (204, "")
    assert served(emulator) == before
    assert ask(emulator, "robot-1", "DELETE", "/api/v2.0.0/ssl/cert")[0] == 404


def test_a_restart_keeps_what_was_uploaded(tmp_path: Path, ours: TestAuthority) -> None:
    with Emulator(tmp_path, {"name": "robot-1"}) as emulator:
        built_in = served(emulator)
        upload(emulator, ours.pair("IP:127.0.0.1"))
        uploaded = served(emulator)
        emulator.stop()
        emulator.start()
        assert served(emulator) == uploaded
        assert not emulator.control("robot-1", "factory")["uploaded"]
        assert served(emulator) == built_in


@pytest.mark.parametrize("login", ["", "Basic bm9ib2R5OnNlY3JldA==", LOGIN])
def test_wrong_logins(emulator: Emulator, login: str) -> None:
    headers = {"Authorization": login, "Accept-Language": "en_US"}
    assert ask(emulator, "robot-1", "GET", "/api/v2.0.0/status", headers=headers)[0] == 401
    emulator.control("robot-1", "set", "login_status=403")
    assert ask(emulator, "robot-1", "GET", "/api/v2.0.0/status", headers=headers)[0] == 403


def test_the_language_is_required(emulator: Emulator) -> None:
    headers = {"Authorization": HEADERS["Authorization"]}
    assert ask(emulator, "robot-1", "GET", "/api/v2.0.0/status", headers=headers)[0] == 400


@pytest.mark.parametrize(
    ("place", "path", "status"),
    [(0, "/api/v2.0.0/status", 200), (0, "/v2.0.0/status", 404), (1, "/v2.0.0/status", 200), (2, "/", 400)],
)
def test_plain_http_is_open(emulator: Emulator, place: int, path: str, status: int) -> None:
    assert ask(emulator, "robot-1", "GET", path, http_port=emulator.http_ports[place])[0] == status


def test_status_of_a_robot_and_of_a_fleet(emulator: Emulator) -> None:
    status = ask(emulator, "robot-1", "GET", "/api/v2.0.0/status")[1]
    assert (status["state_id"], status["state_text"]) == (3, "Ready")
    assert isinstance(ask(emulator, "fleet", "GET", "/api/v2.0.0/status")[1], list)
    emulator.control("robot-1", "set", "state_id=5")
    assert ask(emulator, "robot-1", "GET", "/api/v2.0.0/status")[1]["state_text"] == "Executing"
    emulator.control("robot-1", "set", "status=no_state")
    assert "state_id" not in ask(emulator, "robot-1", "GET", "/api/v2.0.0/status")[1]
    emulator.control("robot-1", "set", "status=error")
    assert ask(emulator, "robot-1", "GET", "/api/v2.0.0/status")[0] == 500


@pytest.mark.parametrize(
    ("switches", "status", "applied"),
    [
        (["upload_status=200"], 200, True),
        (["upload_status=204"], 204, True),
        (["upload=ignore"], 201, False),
        (["upload=error"], 500, False),
        (["upload=error_applied"], 500, True),
        (["conflict=always"], 409, False),
        (["conflict=applied"], 409, True),
        (["software=2.7.0"], 404, False),
    ],
)
def test_what_an_upload_may_do(
    emulator: Emulator, ours: TestAuthority, switches: list[str], status: int, applied: bool
) -> None:
    emulator.control("robot-1", "set", *switches)
    pair = ours.pair("IP:127.0.0.1")
    assert upload(emulator, pair)[0] == status
    assert (served(emulator) == pair.leaf.fingerprint) == applied


def test_the_same_pair_again_may_be_a_conflict(emulator: Emulator, ours: TestAuthority) -> None:
    emulator.control("robot-1", "set", "conflict=same")
    pair = ours.pair("IP:127.0.0.1")
    assert upload(emulator, pair)[0] == 201
    assert upload(emulator, pair)[0] == 409
    assert upload(emulator, ours.pair("IP:127.0.0.1"))[0] == 201


def test_a_key_of_another_certificate(emulator: Emulator, ours: TestAuthority) -> None:
    one, other = ours.pair("IP:127.0.0.1"), ours.pair("IP:127.0.0.1")
    mixed = Pair(one.certificate, other.key, one.chain)
    assert upload(emulator, mixed)[0] == 400
    emulator.control("robot-1", "set", "mismatch=accept")
    assert upload(emulator, mixed)[0] == 201
    assert look(emulator.address("robot-1"), emulator.https_port, anchors=None).failure == "closed"


def test_the_new_leaf_may_come_late_and_go_again(emulator: Emulator, ours: TestAuthority) -> None:
    emulator.control("robot-1", "set", "delay=0.4", "revert=0.6")
    before, pair = served(emulator), ours.pair("IP:127.0.0.1")
    upload(emulator, pair)
    begin, seen = time.monotonic(), [served(emulator)]
    while time.monotonic() - begin < 5 and seen[-2:] != [pair.leaf.fingerprint, before]:
        leaf = served(emulator)
        if leaf != seen[-1]:
            seen.append(leaf)
    assert seen == [before, pair.leaf.fingerprint, before]


@pytest.mark.parametrize(
    ("shape", "expected"),
    [("nested", {"error": {"message": "Wrong user name or password"}}), ("empty", "")],
)
def test_shapes_of_errors(emulator: Emulator, shape: str, expected: Any) -> None:
    emulator.control("robot-1", "set", f"error_body={shape}")
    assert ask(emulator, "robot-1", "GET", "/api/v2.0.0/status", headers={}) == (401, expected)


def test_an_impostor_has_another_key(emulator: Emulator) -> None:
    before = served(emulator)
    emulator.control("robot-1", "set", "impostor=on")
    assert served(emulator) != before
    emulator.control("robot-1", "unset", "impostor")
    assert served(emulator) == before


def test_ports_close_and_open_again(emulator: Emulator) -> None:
    address = emulator.address("robot-1")
    emulator.control("robot-1", "set", "https=off")
    assert look(address, emulator.https_port, anchors=None).failure == "refused"
    assert plain_http(address, emulator.http_ports[0])["answers"]
    emulator.control("robot-1", "set", "power=off")
    assert not plain_http(address, emulator.http_ports[0])["answers"]
    emulator.control("robot-1", "set", "power=on", "https=hang")
    assert look(address, emulator.https_port, anchors=None, timeout=0.3).failure == "timeout"
    emulator.control("robot-1", "unset")
    assert look(address, emulator.https_port, anchors=None).leaf


def test_the_log_tells_what_was_asked_but_no_secret(emulator: Emulator, ours: TestAuthority) -> None:
    pair = ours.pair("IP:127.0.0.1")
    upload(emulator, pair)
    served(emulator, "robot-2")
    entry = emulator.log("request", "robot-1")[-1]
    assert (entry["scheme"], entry["method"], entry["path"]) == ("https", "POST", "/api/v2.0.0/ssl/cert")
    assert (entry["authorization"], entry["status"]) == (True, 201)
    assert emulator.log("request", "robot-2") == []
    assert emulator.handshakes("robot-2", 1) == [True]
    text = emulator.log_text()
    assert PASSWORD not in text
    assert LOGIN not in text
    assert base64.b64encode(pair.key.encode()).decode()[:40] not in text


def test_wrong_words_for_control(emulator: Emulator) -> None:
    for words, said in (
        (("robot-9", "status"), "no device"),
        (("robot-1", "set", "https=maybe"), "none of"),
        (("robot-1", "set", "nonsense=1"), "no switch"),
        (("robot-1", "set", "delay=soon"), "no float"),
        (("robot-1", "unset", "nonsense"), "no switch"),
    ):
        done = emulator.run_control(*words)
        assert done.returncode == 1
        assert said in done.stderr


def test_a_thousand_robots_listen_within_seconds(tmp_path: Path, ours: TestAuthority) -> None:
    devices = [{"name": f"robot-{number}"} for number in range(1, 1001)]
    emulator = Emulator(tmp_path, *devices, bind="wildcard")
    begin = time.monotonic()
    with emulator:
        started = time.monotonic() - begin
        pair = ours.pair("IP:127.0.0.1")
        assert upload(emulator, pair, "robot-777")[0] == 201
        assert served(emulator, "robot-777") == pair.leaf.fingerprint
        assert served(emulator, "robot-1000") != pair.leaf.fingerprint
    assert started < 10
