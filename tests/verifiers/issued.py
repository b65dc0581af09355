# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What we issue, as the cases that every verifier has to accept: all keys, profiles, constraints, chains and CRLs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any

from .case import CLIENT, SERVER, Case
from .plant import Issued, Order, Plant

KEY_TYPES = ("ec-p256", "ec-p384", "rsa-2048", "rsa-3072", "rsa-4096", "ed25519")
BOTH = (SERVER, CLIENT)
DOMAINS, IPV4, IPV6 = "plant.example", "198.18.0.0/16", "2001:2::/48"
# Everything that a site can say of its names. Each form is written differently into the certificate, see constraints.py.
LIMITS: dict[str, dict[str, Any]] = {
    "domains": {"domains": [DOMAINS]},
    "ipv4": {"networks": [IPV4]},
    "ipv6": {"networks": [IPV6]},
    "networks": {"networks": [IPV4, IPV6]},
    "domains-ipv4": {"domains": [DOMAINS], "networks": [IPV4]},
    "domains-ipv6": {"domains": [DOMAINS], "networks": [IPV6]},
    "all": {"domains": [DOMAINS], "networks": [IPV4, IPV6]},
}
# root, issuing CA
KEYS = {
    "fleet": ("ec-p256", "ec-p256"),
    "p384": ("ec-p384", "ec-p384"),
    "rsa": ("rsa-2048", "rsa-2048"),
    "rsa-large": ("rsa-4096", "rsa-3072"),
    "mixed": ("rsa-3072", "ec-p384"),
    "ed25519": ("ed25519", "ed25519"),
}
WITH_ADDRESSES = {
    "usages": ["serverAuth", "clientAuth"],
    "crl_urls": ["http://ca.plant.example/fleet.crl"],
    "issuer_urls": ["http://ca.plant.example/fleet.cer"],
    "ocsp_urls": ["http://ocsp.plant.example/"],
    "max_lifetime": "60d",
}


def names_within(limits: Mapping[str, Any], number: int) -> tuple[str, ...]:
    """The names of machine number so-and-so that these limits permit; without any, all three kinds."""
    networks = limits.get("networks", [])
    return (
        *([f"DNS:m{number}.{DOMAINS}"] if not limits or limits.get("domains") else []),
        *([f"IP:198.18.2.{number}"] if not limits or IPV4 in networks else []),
        *([f"IP:2001:2::{number:x}"] if not limits or IPV6 in networks else []),
    )


def create_authorities(plant: Plant) -> None:
    """All authorities, by ensure()."""
    for name, (root, issuing) in KEYS.items():
        profiles: dict[str, Any] = {"profiles": {"with-addresses": WITH_ADDRESSES}} if name == "fleet" else {}
        plant.create(name, root={"key_type": root}, issuing={"key_type": issuing}, **profiles)
    for name, limits in LIMITS.items():
        plant.create(f"limited-{name}", **limits)


def all_keys(plant: Plant) -> Iterator[Case]:
    """Each key of a leaf under each key of an authority."""
    orders = [
        Order(f"{authority}-{key_type}", names_within({}, number), authority=authority, key_type=key_type)
        for authority in KEYS
        for number, key_type in enumerate(KEY_TYPES, start=1)
    ]
    for issued in plant.produce(*orders):
        yield from issued.cases()


def all_profiles(plant: Plant) -> Iterator[Case]:
    """What each profile is good for, and the forms that a subject and its names can have."""
    subject = "Robot 7 (welding)"
    wanted = {
        Order("both", names_within({}, 20), profile="server_client", common_name="both.plant.example"): BOTH,
        Order("addresses", names_within({}, 21), profile="with-addresses", lifetime=30 * 86400): BOTH,
        Order("client-by-name", ("DNS:c1.plant.example",), profile="client"): (CLIENT,),
        Order("client-by-subject", (), profile="client", common_name=subject): (CLIENT,),
        Order("client-with-both", ("IP:198.18.2.22",), profile="client", common_name="thing-22"): (CLIENT,),
        Order("single-label", ("DNS:robot-1",), common_name="robot-1"): (SERVER,),
        Order("many-names", tuple(f"DNS:n{number}.plant.example" for number in range(50))): (SERVER,),
    }
    for key_type in KEY_TYPES[1:]:
        wanted[Order(f"client-{key_type}", (), profile="client", common_name=key_type, key_type=key_type)] = (CLIENT,)
    for authority in tuple(KEYS)[1:]:
        wanted[Order(f"client-of-{authority}", (), authority, profile="client", common_name="thing 1")] = (CLIENT,)
    for issued, purposes in zip(plant.produce(*wanted), wanted.values(), strict=True):
        yield from issued.cases(purposes=purposes)


def all_limits(plant: Plant) -> Iterator[Case]:
    """Names that the constraints permit, one by one and together, and clients whose names are no host's."""
    orders = []
    for name, limits in LIMITS.items():
        authority = f"limited-{name}"
        every = names_within(limits, 30)
        singles = [(text,) for text in names_within(limits, 31)]
        for number, names in enumerate((every, *singles)):
            orders.append(Order(f"{name}-{number}", names, authority, profile="server_client"))
        orders.append(Order(f"{name}-client", (), authority, profile="client", common_name=f"thing-{name}"))
    for issued in plant.produce(*orders):
        yield from issued.cases(purposes=BOTH if issued.order.names else (CLIENT,))


def certificates(issued: list[Issued]) -> dict[str, str]:
    """Every certificate of all chains, once: PEM -> what it is."""
    found: dict[str, str] = {}
    for item in issued:
        for depth, pem in enumerate((*item.chain, item.anchors)):
            found.setdefault(pem, item.title if depth == 0 else f"{item.order.authority}: CA {depth}")
    return found


def links(issued: list[Issued]) -> set[tuple[str, str]]:
    """Every signer with what it signed, but for roots (RFC 5280, 4.2.1.1: those need no authority key identifier)."""
    return {(signer, signee) for item in issued for signee, signer in pairwise((*item.chain, item.anchors))}
