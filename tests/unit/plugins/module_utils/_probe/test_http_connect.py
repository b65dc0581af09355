# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Endpoints behind a real HTTP proxy on loopback."""

from __future__ import annotations

import socket
import struct
import time

import pytest

from ansible_collections.certfleet.tls.plugins.module_utils._probe.chain import served_chain
from ansible_collections.certfleet.tls.plugins.module_utils._probe.connection import TunnelError, way_to
from ansible_collections.certfleet.tls.plugins.module_utils._probe.errors import ProbeError
from ansible_collections.certfleet.tls.plugins.module_utils._probe.plain_http import plain_http
from ansible_collections.certfleet.tls.plugins.module_utils._probe.prove import prove
from ansible_collections.certfleet.tls.plugins.module_utils._probe.tls import Seen, fingerprint_of, look
from ansible_collections.certfleet.tls.plugins.module_utils._probe.tunnel import Proxy, parse_proxy
from ansible_collections.certfleet.tls.plugins.module_utils._x509.parse import parse_certificate
from ansible_collections.certfleet.tls.tests.unit.proxies import ConnectProxy
from ansible_collections.certfleet.tls.tests.unit.tls_peers import (
    HttpPeer,
    Peer,
    SilentPeer,
    TestAuthority,
    TlsPeer,
    free_port,
)


@pytest.fixture(scope="module")
def ours() -> TestAuthority:
    return TestAuthority("Ours")


def through(url: str) -> Proxy:
    proxy = parse_proxy(url, where="test")
    assert proxy is not None
    return proxy


def look_through(url: str, port: int, anchors: str, *, address: str = "127.0.0.1", timeout: float = 5) -> Seen:
    with way_to(through(url)) as via:
        return look(address, port, anchors=anchors, timeout=timeout, via=via)


def answering(answer: bytes) -> Seen:
    with ConnectProxy(answer) as proxy:
        return look_through(proxy.url, 443, TestAuthority().anchors, address="198.19.0.44")


def test_the_proxy_carries_a_handshake_and_sees_nothing_else(ours: TestAuthority) -> None:
    pair = ours.pair("IP:127.0.0.1")
    with TlsPeer(pair) as peer, ConnectProxy() as proxy:
        seen = look_through(proxy.url, peer.port, ours.anchors)
        assert proxy.asked == [f"127.0.0.1:{peer.port}"]
    assert seen.trusted, seen.said
    assert f"(through {proxy.url})" in seen.said
    assert (
        proxy.received[0] == f"CONNECT 127.0.0.1:{peer.port} HTTP/1.1\r\nHost: 127.0.0.1:{peer.port}\r\n\r\n".encode()
    )
    assert proxy.received[1][:2] == b"\x16\x03"  # a TLS record


def test_ipv6_on_both_sides(ours: TestAuthority) -> None:
    with TlsPeer(ours.pair("IP:::1"), address="::1") as peer, ConnectProxy(address="::1") as proxy:
        seen = look_through(proxy.url, peer.port, ours.anchors, address="[::1]")
        assert proxy.asked == [f"[::1]:{peer.port}"]
    assert seen.trusted, seen.said


def test_a_proxy_that_leads_elsewhere_is_found_out(ours: TestAuthority) -> None:
    stranger = TestAuthority("Theirs").pair("IP:127.0.0.1")
    with TlsPeer(stranger) as peer, ConnectProxy() as proxy:
        seen = look_through(proxy.url, peer.port, ours.anchors)
    assert (seen.trusted, seen.failure) == (False, "chain")


def test_plain_http_and_the_whole_chain_go_through_as_well(ours: TestAuthority) -> None:
    pair = ours.pair("IP:127.0.0.1", "DNS:robot-4.plant.example")
    with TlsPeer(pair) as peer, HttpPeer(b"HTTP/1.1 200 OK\r\n\r\n") as http, ConnectProxy() as proxy:
        with way_to(through(proxy.url)) as via:
            assert plain_http("127.0.0.1", http.port, via=via)["status"] == 200
            chain = served_chain("127.0.0.1", peer.port, server_name="robot-4.plant.example", via=via)
            with pytest.raises(ProbeError, match="shows no chain"):
                served_chain("127.0.0.1", free_port(), via=via)
    assert [parse_certificate(pem).fingerprint for pem in chain] == [
        pair.leaf.fingerprint,
        parse_certificate(ours.chain).fingerprint,
    ]


@pytest.mark.parametrize(
    ("status", "failure", "said"),
    [
        ("403 Filtered", "proxy_refuses", "does not allow a tunnel to 198.19.0.44:443 (403 Filtered)"),
        ("407 Proxy Authentication Required", "proxy_refuses", "wants a login (407"),
        ("500 Unable to connect", "unreachable", "is there, but cannot reach 198.19.0.44:443 (500 Unable to connect)"),
        ("502 Bad Gateway", "unreachable", "is there, but cannot reach 198.19.0.44:443 (502 Bad Gateway)"),
        ("503 Service Unavailable", "unreachable", "(503 Service Unavailable)"),
        ("504 Gateway Timeout", "timeout", "waits for 198.19.0.44:443 in vain (504 Gateway Timeout)"),
        ("429 Slow down", "proxy_away", "too much to do (429 Slow down)"),
        ("405 Method Not Allowed", "proxy_refuses", "gives no tunnel to 198.19.0.44:443 (405 Method Not Allowed)"),
        ("301 Moved", "proxy_refuses", "(301 Moved)"),
        ("100 Continue", "proxy_refuses", "(100 Continue)"),
    ],
)
def test_each_answer_has_its_words(status: str, failure: str, said: str) -> None:
    seen = answering(f"HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n".encode())
    assert (seen.failure, seen.leaf) == (failure, None)
    assert said in seen.said


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-OpenSSH_9.2p1\r\n",
        b"HTTP/2 200\r\n\r\n",
        b"HTTP/1.1 20 OK\r\n\r\n",
        b"HTTP/1.1 200 OK",
        b"HTTP/1.1 200 OK\r\n" + 2000 * b"X-Long: and no end\r\n",
    ],
)
def test_what_is_no_http_proxy(answer: bytes) -> None:
    seen = answering(answer)
    assert seen.failure == "proxy_refuses"
    assert "not as an HTTP proxy does" in seen.said


def test_an_answer_cannot_write_to_the_terminal() -> None:
    seen = answering(b"HTTP/1.1 403 \x1b[31mred\x07 " + 500 * b"x" + b"\r\n\r\n")
    assert "\x1b" not in seen.said
    assert len(seen.said) < 300


def test_a_proxy_that_is_away(ours: TestAuthority) -> None:
    port = free_port()
    seen = look_through(f"http://127.0.0.1:{port}", 443, ours.anchors, address="198.19.0.44")
    assert seen.failure == "proxy_away"
    assert seen.said == (
        f"The proxy http://127.0.0.1:{port} is away, so 198.19.0.44:443 could not be looked at: "
        f"127.0.0.1:{port} refuses connections: nothing listens there."
    )
    seen = look_through("http://no-such-host.invalid:8888", 443, ours.anchors)
    assert (seen.failure, "no-such-host.invalid cannot be resolved" in seen.said) == ("proxy_away", True)


def test_a_proxy_that_hangs_up(ours: TestAuthority) -> None:
    with Peer() as proxy:
        seen = look_through(f"http://127.0.0.1:{proxy.port}", 443, ours.anchors)
    assert seen.failure == "proxy_away"
    assert "cuts the connection before an answer" in seen.said


def test_a_server_of_another_kind_that_greets_and_cuts(ours: TestAuthority) -> None:
    class Greeting(Peer):
        def talk(self, connection: socket.socket) -> None:
            connection.sendall(b"SSH-2.0-OpenSSH_9.2p1\r\n")
            connection.recv(1)
            time.sleep(0.1)  # the greeting arrives; closing with something unread is then a reset
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    with Greeting() as proxy:
        seen = look_through(f"http://127.0.0.1:{proxy.port}", 443, ours.anchors)
    assert seen.failure == "proxy_refuses"
    assert "not as an HTTP proxy does" in seen.said


def test_a_proxy_that_hangs_costs_the_timeout_and_no_more(ours: TestAuthority) -> None:
    with SilentPeer() as proxy:
        begin = time.monotonic()
        seen = look_through(f"http://127.0.0.1:{proxy.port}", 443, ours.anchors, timeout=0.3)
        assert time.monotonic() - begin < 1.5
    assert seen.failure == "timeout"
    assert "does not answer in time" in seen.said


def test_an_endpoint_that_is_silent_is_not_the_proxys_fault(ours: TestAuthority) -> None:
    with SilentPeer() as peer, ConnectProxy() as proxy:
        seen = look_through(proxy.url, peer.port, ours.anchors, timeout=0.4)
    assert seen.failure == "timeout"
    assert seen.said == f"127.0.0.1:{peer.port} (through {proxy.url}) does not answer in time."


@pytest.mark.parametrize("address", ["198.19.0.44 ", "x\r\nX-Injected: y", "-oProxyCommand=x", "a/b", ""])
def test_an_address_cannot_smuggle_anything_into_the_request(ours: TestAuthority, address: str) -> None:
    with ConnectProxy() as proxy, way_to(through(proxy.url)) as via:
        assert via is not None
        with pytest.raises(ProbeError, match="neither an address nor a host name"):
            via.connect(address, 443, deadline=time.monotonic() + 1)
        assert proxy.connections == 0


def test_what_the_endpoint_says_first_is_not_swallowed() -> None:
    class Greeting(Peer):
        def talk(self, connection: socket.socket) -> None:
            connection.sendall(b"HTTP/1.1 200 OK\r\nVia: test\r\n\r\nhello from the endpoint")
            connection.recv(1)

    with Greeting() as proxy, way_to(through(f"http://127.0.0.1:{proxy.port}")) as via:
        assert via is not None
        with via.connect("127.0.0.1", 443, deadline=time.monotonic() + 2) as connection:
            assert connection.recv(100) == b"hello from the endpoint"


def test_a_proof_outlasts_a_moment_without_the_proxy(ours: TestAuthority) -> None:
    pair = ours.pair("IP:127.0.0.1")
    proxy = ConnectProxy()
    with proxy, TlsPeer(pair) as peer:
        now, answers = [0.0], iter([b"", b"HTTP/1.1 429 Busy\r\n\r\n", b"HTTP/1.1 429 Busy\r\n\r\n"])

        def sleep(seconds: float) -> None:
            now[0] += seconds
            proxy.answer = next(answers, b"")

        def proof(hold: float) -> dict[str, object]:
            return prove(
                address="127.0.0.1",
                port=peer.port,
                server_name=None,
                anchors=ours.anchors,
                fingerprint=fingerprint_of(pair.certificate),
                hold=hold,
                timeout=5,
                sleep=sleep,
                clock=lambda: now[0],
                proxy=through(proxy.url),
            )

        held = proof(3)
        assert (held["ok"], held["held"]) == (True, 4.0)  # the looks at 2 and 3 s told nothing
        answers = iter(20 * [b"HTTP/1.1 429 Busy\r\n\r\n"])
        lost = proof(3)
    assert (lost["ok"], lost["leaf"]) == (False, False)
    assert "The proxy" in str(lost["said"])


def test_tunnel_errors_are_errors_of_a_connection() -> None:
    assert isinstance(TunnelError("proxy_away", "x"), OSError)
