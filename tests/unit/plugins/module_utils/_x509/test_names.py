# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Names: normal form, order, and errors that say what to write instead."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.certfleet.tls.plugins.module_utils._x509.errors import X509Error
from ansible_collections.certfleet.tls.plugins.module_utils._x509.names import (
    from_general_names,
    parse_names,
    to_general_names,
)

LABELS = st.from_regex(r"[a-z][a-z0-9-]{0,10}[a-z0-9]", fullmatch=True)
NAMES = st.one_of(
    st.lists(LABELS, min_size=1, max_size=4).map(lambda labels: "DNS:" + ".".join(labels)),
    st.ip_addresses().map(lambda address: f"IP:{address}"),
)


@pytest.mark.parametrize(
    ("given_names", "expected"),
    [
        (["DNS:Robot-1.Plant.Example."], ("DNS:robot-1.plant.example",)),
        (["IP:2001:0002::0001", "DNS:b", "DNS:a", "DNS:a"], ("DNS:a", "DNS:b", "IP:2001:2::1")),
        (["dns: a.b ", "ip:198.18.0.1"], ("DNS:a.b", "IP:198.18.0.1")),
        (["DNS:*.plant.example"], ("DNS:*.plant.example",)),
        ([], ()),
    ],
)
def test_names_take_their_normal_form(given_names: list[str], expected: tuple[str, ...]) -> None:
    assert parse_names(given_names, where="robot-1") == expected


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("robot-1", "neither DNS nor IP"),
        ("URI:https://robot-1", "neither DNS nor IP"),
        ("email:a@b.c", "neither DNS nor IP"),
        ("IP:198.18.0", "no IP address"),
        ("IP:198.18.0.0/24", "no IP address"),
        ("IP:[::1]", "no IP address"),
        ("DNS:", "no DNS name"),
        ("DNS:a..b", "no DNS name"),
        ("DNS:-a.b", "no DNS name"),
        ("DNS:a b", "no DNS name"),
        ("DNS:*.example", "no DNS name"),
        ("DNS:a.*.example", "no DNS name"),
        ("DNS:" + "a" * 64, "no DNS name"),
        ("DNS:bücher.example", "no DNS name"),
        ("DNS:198.18.0.1", "looks like an address"),
        ("DNS:a\n.b", "no DNS name"),
    ],
)
def test_a_bad_name_is_named_with_its_host(name: str, said: str) -> None:
    with pytest.raises(X509Error) as caught:
        parse_names([name], where="robot-7")
    assert said in str(caught.value)
    assert str(caught.value).startswith("robot-7:")


def test_a_text_is_not_taken_for_a_list() -> None:
    with pytest.raises(X509Error, match="not a list"):
        parse_names("DNS:a", where="robot-1")


@given(st.lists(NAMES, max_size=8))
def test_normal_form_is_stable_and_survives_a_certificate(names: list[str]) -> None:
    once = parse_names(names, where="x")
    assert parse_names(reversed(once), where="x") == once
    assert from_general_names(to_general_names(once)) == once


@given(st.ip_addresses(v=6))
def test_every_spelling_of_an_address_is_the_same_name(address: ipaddress.IPv6Address) -> None:
    assert parse_names([f"IP:{address.exploded}"], where="x") == parse_names([f"IP:{address.compressed}"], where="x")
