# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A client's view of real TLS servers on loopback."""

from __future__ import annotations

import hashlib
import ssl
import time

import pytest

from ansible_collections.certfleet.tls.plugins.module_utils._probe.errors import ProbeError
from ansible_collections.certfleet.tls.plugins.module_utils._probe.tls import fingerprint_of, look
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


@pytest.fixture(scope="module")
def theirs() -> TestAuthority:
    return TestAuthority("Theirs")


def test_a_right_certificate_takes_one_handshake_and_nothing_is_sent(ours: TestAuthority) -> None:
    pair = ours.pair("IP:127.0.0.1")
    with TlsPeer(pair) as peer:
        seen = look("127.0.0.1", peer.port, anchors=ours.anchors)
    assert seen.trusted
    assert seen.failure is None
    assert (seen.chain, seen.name, seen.time) == (True, True, True)
    assert seen.leaf is not None
    assert fingerprint_of(seen.leaf) == pair.leaf.fingerprint
    assert seen.protocol == "TLSv1.3"
    assert seen.cipher
    assert peer.connections == 1
    assert peer.received in ([], [b""])


def test_ipv6_with_and_without_brackets(ours: TestAuthority) -> None:
    with TlsPeer(ours.pair("IP:::1"), address="::1") as peer:
        assert look("::1", peer.port, anchors=ours.anchors).trusted
        seen = look("[::1]", peer.port, anchors=ours.anchors)
    assert seen.trusted
    assert f"[::1]:{peer.port} " in seen.said


def test_the_name_to_verify_may_differ_from_the_address(ours: TestAuthority) -> None:
    with TlsPeer(ours.pair("DNS:robot-1.plant.example")) as peer:
        assert look("127.0.0.1", peer.port, server_name="robot-1.plant.example", anchors=ours.anchors).trusted
        wrong = look("127.0.0.1", peer.port, server_name="robot-2.plant.example", anchors=ours.anchors)
    assert (wrong.trusted, wrong.failure) == (False, "name")
    assert (wrong.chain, wrong.name, wrong.time) == (True, False, True)
    assert "robot-2.plant.example" in wrong.said


def test_a_common_name_alone_is_no_name(ours: TestAuthority) -> None:
    with TlsPeer(ours.pair("IP:127.0.0.1", common_name="robot-1.plant.example")) as peer:
        seen = look("127.0.0.1", peer.port, server_name="robot-1.plant.example", anchors=ours.anchors)
    assert seen.failure == "name"


@pytest.mark.parametrize(("begin", "end"), [(-20, -10), (10, 20)])
def test_wrong_dates(ours: TestAuthority, begin: int, end: int) -> None:
    pair = ours.pair("IP:127.0.0.1", not_before=begin, not_after=end)
    with TlsPeer(pair) as peer:
        seen = look("127.0.0.1", peer.port, anchors=ours.anchors)
    assert (seen.trusted, seen.failure) == (False, "time")
    assert (seen.chain, seen.name, seen.time) == (True, True, False)
    assert seen.leaf is not None
    assert fingerprint_of(seen.leaf) == pair.leaf.fingerprint


def test_wrong_name_and_expired_says_both(ours: TestAuthority) -> None:
    with TlsPeer(ours.pair("DNS:other.example", not_before=-20, not_after=-10)) as peer:
        seen = look("127.0.0.1", peer.port, anchors=ours.anchors)
    assert (seen.failure, seen.chain, seen.name, seen.time) == ("name", True, False, False)
    assert "expired" in seen.said


def test_another_authority_and_a_missing_intermediate_are_chain_failures(
    ours: TestAuthority, theirs: TestAuthority
) -> None:
    pair = theirs.pair("IP:127.0.0.1")
    with TlsPeer(pair) as peer:
        foreign = look("127.0.0.1", peer.port, anchors=ours.anchors)
    with TlsPeer(ours.pair("IP:127.0.0.1"), chain=False) as peer:
        incomplete = look("127.0.0.1", peer.port, anchors=ours.anchors)
    assert (foreign.failure, incomplete.failure) == ("chain", "chain")
    assert foreign.leaf is not None
    assert fingerprint_of(foreign.leaf) == pair.leaf.fingerprint


def test_the_systems_own_trust_does_not_count(
    ours: TestAuthority,
    theirs: TestAuthority,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bundle = tmp_path_factory.mktemp("system") / "bundle.pem"
    bundle.write_text(theirs.anchors, encoding="ascii")
    monkeypatch.setenv("SSL_CERT_FILE", str(bundle))
    with TlsPeer(theirs.pair("IP:127.0.0.1")) as peer:
        assert look("127.0.0.1", peer.port, anchors=ours.anchors).failure == "chain"


def test_without_anchors_the_leaf_is_learnt_and_not_trusted(ours: TestAuthority) -> None:
    with TlsPeer(ours.pair("IP:127.0.0.1")) as peer:
        seen = look("127.0.0.1", peer.port, anchors=None)
    assert seen.leaf is not None
    assert (seen.trusted, seen.failure) == (False, None)
    assert "not verified" in seen.said


def test_plain_http_on_the_port(ours: TestAuthority) -> None:
    with HttpPeer(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n") as peer:
        seen = look("127.0.0.1", peer.port, anchors=ours.anchors)
    assert (seen.failure, seen.leaf) == ("not_tls", None)


def test_a_closed_port_is_refused(ours: TestAuthority) -> None:
    seen = look("127.0.0.1", free_port(), anchors=ours.anchors)
    assert (seen.failure, seen.leaf) == ("refused", None)
    assert "refuses" in seen.said


def test_a_peer_that_hangs_up_is_closed(ours: TestAuthority) -> None:
    with Peer() as peer:
        assert look("127.0.0.1", peer.port, anchors=ours.anchors).failure == "closed"


def test_a_hanging_peer_costs_the_timeout_and_no_more(ours: TestAuthority) -> None:
    with SilentPeer() as peer:
        begin = time.monotonic()
        seen = look("127.0.0.1", peer.port, anchors=ours.anchors, timeout=0.3)
        assert time.monotonic() - begin < 1.5
    assert seen.failure == "timeout"


def test_a_server_that_wants_a_client_certificate_still_shows_its_own(ours: TestAuthority) -> None:
    with TlsPeer(ours.pair("IP:127.0.0.1"), client_ca=ours.anchors) as peer:
        assert look("127.0.0.1", peer.port, anchors=ours.anchors).trusted


def test_a_name_that_does_not_resolve_is_unreachable(ours: TestAuthority) -> None:
    seen = look("no-such-host.invalid", 443, anchors=ours.anchors)
    assert seen.failure == "unreachable"
    assert "no-such-host.invalid" in seen.said


@pytest.mark.parametrize("anchors", ["", "nonsense", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"])
def test_bad_anchors_are_an_error(anchors: str) -> None:
    with pytest.raises(ProbeError, match="anchors"):
        look("127.0.0.1", 443, anchors=anchors)


@pytest.mark.parametrize("port", [0, 65536])
def test_bad_ports_are_an_error(port: int) -> None:
    with pytest.raises(ProbeError, match="no TCP port"):
        look("127.0.0.1", port, anchors=None)


def test_bad_server_names_are_an_error(ours: TestAuthority) -> None:
    with TlsPeer(ours.pair("IP:127.0.0.1")) as peer, pytest.raises(ProbeError, match="server name"):
        look("127.0.0.1", peer.port, server_name=".plant.example", anchors=ours.anchors)


def test_as_dict_has_all_fields(ours: TestAuthority) -> None:
    fields = look("127.0.0.1", free_port(), anchors=ours.anchors).as_dict()
    wanted = {"address", "port", "leaf", "trusted", "failure", "said", "protocol", "cipher", "chain", "name", "time"}
    assert set(fields) == wanted


def test_fingerprint_is_that_of_the_first_certificate(ours: TestAuthority) -> None:
    pair = ours.pair("IP:127.0.0.1")
    expected = hashlib.sha256(ssl.PEM_cert_to_DER_cert(pair.certificate)).hexdigest()
    assert fingerprint_of(f"subject=somebody\n{pair.certificate}{pair.chain}") == expected


@pytest.mark.parametrize("text", ["", "-----BEGIN CERTIFICATE-----\nA\n-----END CERTIFICATE-----\n"])
def test_no_certificate_has_no_fingerprint(text: str) -> None:
    with pytest.raises(ProbeError, match="PEM certificate"):
        fingerprint_of(text)
