# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pairs are checked as a whole before anything is sent."""

from __future__ import annotations

import base64
import time

import pytest

from ansible_collections.certfleet.tls.plugins.module_utils._device.errors import DeviceError
from ansible_collections.certfleet.tls.plugins.module_utils._device.pair import (
    check_pair,
    fill_body,
    read_pair,
    roots_in,
)
from ansible_collections.certfleet.tls.tests.unit.tls_peers import Pair, TestAuthority


@pytest.fixture(scope="module")
def ours() -> TestAuthority:
    return TestAuthority("Ours")


def check(given: Pair, ours: TestAuthority, *, server_name: str = "robot-1.plant.example", chain: bool = True) -> bool:
    pair = read_pair(given.certificate, given.chain if chain else "", given.key, where="robot-1")
    check_pair(pair, anchors=ours.anchors, server_name=server_name, where="robot-1")
    return True


@pytest.mark.parametrize(
    ("name", "server_name"),
    [
        ("DNS:robot-1.plant.example", "robot-1.plant.example"),
        ("DNS:robot-1.plant.example", "ROBOT-1.plant.example."),
        ("DNS:*.plant.example", "robot-1.plant.example"),
        ("IP:198.18.0.11", "198.18.0.11"),
        ("IP:2001:2::b", "2001:2:0::b"),
    ],
)
def test_a_right_pair(ours: TestAuthority, name: str, server_name: str) -> None:
    assert check(ours.pair(name), ours, server_name=server_name)


def test_roots_are_not_sent(ours: TestAuthority) -> None:
    given = ours.pair("DNS:robot-1.plant.example")
    pair = read_pair(given.certificate + given.chain + ours.anchors, "", given.key, where="robot-1")
    assert pair.chain_pem == given.chain
    assert roots_in(given.certificate + given.chain + ours.anchors, where="robot-1") == ours.anchors
    assert given.key not in repr(pair)


def test_a_self_signed_leaf_is_its_own_anchor(ours: TestAuthority) -> None:
    given = ours.pair("DNS:robot-1.plant.example")
    pair = read_pair(given.certificate, "", given.key, where="robot-1")
    check_pair(pair, anchors=given.certificate, server_name="robot-1.plant.example", where="robot-1")


def test_a_key_of_another_certificate(ours: TestAuthority) -> None:
    one, other = ours.pair("IP:198.18.0.11"), ours.pair("IP:198.18.0.11")
    with pytest.raises(DeviceError, match="robot-1: the private key does not belong to the certificate"):
        read_pair(one.certificate, "", other.key, where="robot-1")


@pytest.mark.parametrize(("begin", "end"), [(-20, -10), (10, 20)])
def test_wrong_dates(ours: TestAuthority, begin: int, end: int) -> None:
    with pytest.raises(DeviceError, match="is not now"):
        check(ours.pair("DNS:robot-1.plant.example", not_before=begin, not_after=end), ours)


def test_the_clock_can_be_given(ours: TestAuthority) -> None:
    given = ours.pair("DNS:robot-1.plant.example", not_before=-20, not_after=-10)
    pair = read_pair(given.certificate, given.chain, given.key, where="robot-1")
    check_pair(
        pair,
        anchors=ours.anchors,
        server_name="robot-1.plant.example",
        where="robot-1",
        clock=lambda: time.time() - 15 * 86400,
    )


@pytest.mark.parametrize(
    ("name", "server_name"),
    [
        ("DNS:robot-2.plant.example", "robot-1.plant.example"),
        ("DNS:*.plant.example", "a.robot-1.plant.example"),
        ("IP:198.18.0.12", "198.18.0.11"),
        ("DNS:robot-1.plant.example", "198.18.0.11"),
    ],
)
def test_a_name_that_clients_do_not_find(ours: TestAuthority, name: str, server_name: str) -> None:
    with pytest.raises(DeviceError, match="clients connect to"):
        check(ours.pair(name), ours, server_name=server_name)


def test_an_incomplete_chain_and_a_foreign_one(ours: TestAuthority) -> None:
    with pytest.raises(DeviceError, match="chain is not complete"):
        check(ours.pair("DNS:robot-1.plant.example"), ours, chain=False)
    with pytest.raises(DeviceError, match="chain is not complete"):
        check(TestAuthority("Theirs").pair("DNS:robot-1.plant.example"), ours)


@pytest.mark.parametrize(("certificate", "key"), [("", "key"), ("certificate", "")])
def test_files_without_pem(ours: TestAuthority, certificate: str, key: str) -> None:
    given = ours.pair("DNS:robot-1.plant.example")
    with pytest.raises(DeviceError, match="robot-1"):
        read_pair(given.certificate if certificate else "x", "", given.key if key else "x", where="robot-1")


def test_bodies_are_filled_wherever_a_part_stands(ours: TestAuthority) -> None:
    given = ours.pair("DNS:robot-1.plant.example")
    pair = read_pair(given.certificate, given.chain, given.key, where="robot-1")
    template = {
        "cert": {"base64_pem": "fullchain"},
        "nested": [{"pem": "key"}, {"pem": "certificate"}, {"pem": "chain"}, 7],
        "apply": True,
        "other": {"pem": "key", "more": 1},
    }
    body = fill_body(template, pair)
    assert base64.b64decode(body["cert"]).decode() == given.certificate + given.chain
    assert body["nested"] == [given.key, given.certificate, given.chain, 7]
    assert body["apply"] is True
    assert body["other"] == {"pem": "key", "more": 1}
