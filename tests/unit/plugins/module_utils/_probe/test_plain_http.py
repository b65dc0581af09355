# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What ports do with plain HTTP."""

from __future__ import annotations

import time

import pytest

from ansible_collections.certfleet.tls.plugins.module_utils._probe.plain_http import plain_http
from ansible_collections.certfleet.tls.tests.unit.tls_peers import HttpPeer, Peer, SilentPeer, free_port


def test_an_answer_and_nothing_secret_was_asked_with() -> None:
    with HttpPeer(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi") as peer:
        answer = plain_http("127.0.0.1", peer.port)
    assert (answer["answers"], answer["status"], answer["https_redirect"]) == (True, 200, False)
    assert b"Authorization" not in peer.received[0]
    assert peer.received[0].startswith(b"GET / HTTP/1.1\r\nHost: 127.0.0.1:")


@pytest.mark.parametrize(
    ("status", "location", "redirect"),
    [
        (301, "https://robot-1.plant.example/", True),
        (308, "HTTPS://198.18.0.1/api", True),
        (302, "http://robot-1.plant.example/login", False),
        (404, "https://robot-1.plant.example/", False),
        (302, None, False),
    ],
)
def test_redirects(status: int, location: str | None, redirect: bool) -> None:
    field = f"Location: {location}\r\n" if location else ""
    with HttpPeer(f"HTTP/1.1 {status} Any\r\nServer: x\r\n{field}\r\n".encode(), address="::1") as peer:
        answer = plain_http("::1", peer.port)
    assert (answer["status"], answer["location"], answer["https_redirect"]) == (status, location, redirect)


def test_a_port_that_speaks_something_else() -> None:
    with HttpPeer(b"SSH-2.0-OpenSSH_9.2\r\n") as peer:
        answer = plain_http("127.0.0.1", peer.port)
    assert not answer["answers"]
    assert "does not answer with HTTP" in answer["said"]


def test_a_port_that_hangs_up() -> None:
    with Peer() as peer:
        assert not plain_http("127.0.0.1", peer.port)["answers"]


def test_a_closed_port() -> None:
    answer = plain_http("127.0.0.1", free_port())
    assert not answer["answers"]
    assert "refuses" in answer["said"]


def test_a_hanging_port_costs_the_timeout_and_no_more() -> None:
    with SilentPeer() as peer:
        begin = time.monotonic()
        answer = plain_http("127.0.0.1", peer.port, timeout=0.3)
        assert time.monotonic() - begin < 1.5
    assert not answer["answers"]
    assert "in time" in answer["said"]
