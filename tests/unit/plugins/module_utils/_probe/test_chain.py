# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The served chain, seen through the real openssl command."""

from __future__ import annotations

import pytest

from ansible_collections.certfleet.tls.plugins.module_utils._probe.chain import served_chain
from ansible_collections.certfleet.tls.plugins.module_utils._probe.errors import ProbeError
from ansible_collections.certfleet.tls.plugins.module_utils._probe.tls import fingerprint_of
from ansible_collections.certfleet.tls.tests.unit.tls_peers import SilentPeer, TestAuthority, TlsPeer, free_port


@pytest.fixture(scope="module")
def ours() -> TestAuthority:
    return TestAuthority("Ours")


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_leaf_first_then_intermediates(ours: TestAuthority, address: str) -> None:
    pair = ours.pair(f"IP:{address}")
    with TlsPeer(pair, address=address) as peer:
        chain = served_chain(address, peer.port)
    assert [fingerprint_of(pem) for pem in chain] == [pair.leaf.fingerprint, fingerprint_of(pair.chain)]


def test_a_chain_that_lacks_its_intermediate_is_shown_as_it_is(ours: TestAuthority) -> None:
    pair = ours.pair("DNS:robot-1.plant.example")
    with TlsPeer(pair, chain=False) as peer:
        chain = served_chain("127.0.0.1", peer.port, server_name="robot-1.plant.example")
    assert [fingerprint_of(pem) for pem in chain] == [pair.leaf.fingerprint]


def test_nothing_there() -> None:
    with pytest.raises(ProbeError, match="shows no chain"):
        served_chain("127.0.0.1", free_port())


def test_a_hanging_peer() -> None:
    with SilentPeer() as peer, pytest.raises(ProbeError, match="within"):
        served_chain("127.0.0.1", peer.port, timeout=0.5)


def test_without_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(ProbeError, match="openssl is not there"):
        served_chain("127.0.0.1", 443)
