# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Proofs of real servers; only the waiting is replaced by a clock that tests turn."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.certfleet.tls.plugins.module_utils._probe.prove import prove
from ansible_collections.certfleet.tls.tests.unit.tls_peers import Pair, Peer, TestAuthority, TlsPeer


class Clock:
    """Time that only passes when somebody sleeps."""

    def __init__(self) -> None:
        self.now = 0.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


@pytest.fixture(scope="module")
def ours() -> TestAuthority:
    return TestAuthority("Ours")


def proof_of(peer: Peer, ours: TestAuthority, expected: Pair, **more: Any) -> tuple[dict[str, Any], Clock]:
    clock = Clock()
    settings: dict[str, Any] = {"hold": 3, "timeout": 5, "by": "controller", "server_name": None, **more}
    proof = prove(
        address="127.0.0.1",
        port=peer.port,
        anchors=ours.anchors,
        fingerprint=expected.leaf.fingerprint,
        sleep=clock.sleep,
        clock=clock,
        **settings,
    )
    return proof, clock


def test_served_at_once_and_held(ours: TestAuthority) -> None:
    pair = ours.pair("IP:127.0.0.1")
    with TlsPeer(pair) as peer:
        proof, clock = proof_of(peer, ours, pair)
    assert proof["ok"]
    assert (proof["leaf"], proof["chain"], proof["name"], proof["time"]) == (True, True, True, True)
    assert (proof["by"], proof["endpoint"]) == ("controller", f"127.0.0.1:{peer.port}")
    assert clock.slept == [1, 1, 1]
    assert peer.connections == 4


def test_waits_until_the_new_leaf_is_there(ours: TestAuthority) -> None:
    old, new = ours.pair("IP:127.0.0.1"), ours.pair("IP:127.0.0.1")
    with TlsPeer(old, old, new) as peer:
        proof, clock = proof_of(peer, ours, new)
    assert proof["ok"]
    assert clock.now == 5


def test_the_old_leaf_that_stays_is_no_proof(ours: TestAuthority) -> None:
    old, new = ours.pair("IP:127.0.0.1"), ours.pair("IP:127.0.0.1")
    with TlsPeer(old) as peer:
        proof, clock = proof_of(peer, ours, new)
    assert not proof["ok"]
    assert (proof["leaf"], proof["chain"]) == (False, True)
    assert "another certificate" in proof["said"]
    assert clock.now == 5


def test_falling_back_during_the_hold_is_no_proof(ours: TestAuthority) -> None:
    old, new = ours.pair("IP:127.0.0.1"), ours.pair("IP:127.0.0.1")
    with TlsPeer(new, new, old) as peer:
        proof, _clock = proof_of(peer, ours, new)
    assert not proof["ok"]
    assert "after 2 s no more" in proof["said"]


def test_a_service_that_dies_during_the_hold_is_no_proof(ours: TestAuthority) -> None:
    pair = ours.pair("IP:127.0.0.1")
    peer = TlsPeer(pair)
    clock = Clock()

    def sleep(seconds: float) -> None:
        clock.sleep(seconds)
        if clock.now == 2:
            peer.stop()

    with peer:
        proof = prove(
            address="127.0.0.1",
            port=peer.port,
            server_name=None,
            anchors=ours.anchors,
            fingerprint=pair.leaf.fingerprint,
            hold=3,
            sleep=sleep,
            clock=clock,
        )
    assert not proof["ok"]
    assert not proof["leaf"]
    assert "refuses" in proof["said"]


def test_the_right_leaf_under_a_wrong_name_is_no_proof(ours: TestAuthority) -> None:
    pair = ours.pair("DNS:robot-1.plant.example")
    with TlsPeer(pair) as peer:
        proof, _clock = proof_of(peer, ours, pair, timeout=0)
    assert (proof["ok"], proof["leaf"], proof["chain"], proof["name"]) == (False, True, True, False)


def test_no_hold_takes_one_look(ours: TestAuthority) -> None:
    pair = ours.pair("IP:127.0.0.1")
    with TlsPeer(pair) as peer:
        proof, clock = proof_of(peer, ours, pair, hold=0)
    assert proof["ok"]
    assert clock.slept == []
