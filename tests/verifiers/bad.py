# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What every verifier has to reject. What the collection would never sign is signed here with its keys, past its checks."""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from ansible_collections.certfleet.tls.plugins.module_utils._x509.build import new_serial, sign_leaf
from ansible_collections.certfleet.tls.plugins.module_utils._x509.keys import key_to_pem
from ansible_collections.certfleet.tls.plugins.module_utils._x509.profiles import BUILT_IN

from .case import CLIENT, SERVER, Case
from .issued import BOTH, IPV4, IPV6, LIMITS
from .plant import DAY, Order, Plant, key_of
from .reasons import REASONS

FOREIGN = {
    "foreign DNS": "DNS:m1.elsewhere.example",
    "foreign IPv4": "IP:198.19.0.1",
    "foreign IPv6": "IP:2001:db8::1",
}
INSIDE = {"foreign DNS": "DNS:m1.plant.example", "foreign IPv4": "IP:198.18.0.1", "foreign IPv6": "IP:2001:2::1"}


def everything(plant: Plant, folder: Path) -> list[Case]:
    """All cases that have to be rejected. The plant has made its authorities; the folder is for another one's."""
    cases = [
        *foreign_names(plant),
        *leaves_as_authorities(plant),
        *wrong_times(folder),
        *wrong_usages(plant),
        *wrong_peers(plant),
    ]
    return [replace(case, because=REASONS[case.kind]) for case in cases]


def foreign_names(plant: Plant) -> Iterator[Case]:
    """Under every form of name constraints, a name that is not permitted: alone, and beside one that is."""
    limited = {f"limited-{form}": limits for form, limits in LIMITS.items()}
    # That the company signed, and that was reissued.
    limited |= dict.fromkeys(("company-deep", "widened"), LIMITS["all"])
    for authority, limits in limited.items():
        permitted = _permitted(limits)
        for kind, foreign in FOREIGN.items():
            names = {foreign} if INSIDE[kind] in permitted else {foreign, INSIDE[kind]}
            for name in sorted(names):
                yield from _signed_past_checks(plant, authority, (name,), kind=kind, name=name)
                # The one that is connected to is permitted.
                yield from _signed_past_checks(plant, authority, (permitted[0], name), kind=kind, name=permitted[0])


def leaves_as_authorities(plant: Plant) -> Iterator[Case]:
    """A leaf that signs, and an issuing CA that makes a further one below itself."""
    names = ("DNS:victim.plant.example",)
    # Its subject must not be empty: otherwise what it signs looks self-signed.
    (thief,) = plant.produce(
        Order("thief", ("DNS:thief.plant.example",), profile="server_client", common_name="thief.plant.example")
    )
    by_leaf = _leaf(_load(thief.chain[0]), key_of("ec-p256"), names)
    below = _sub_authority(_load(plant.chain("fleet")[0]), plant.issuing_key("fleet"))
    by_sub = _leaf(below, key_of("ec-p384"), names)
    chains = {
        "signed by a leaf": (_pem(by_leaf), *thief.chain),
        "signed by a CA below the issuing CA": (_pem(by_sub), _pem(below), *plant.chain("fleet")),
    }
    for title, chain in chains.items():
        for purpose in BOTH:
            name = names[0] if purpose == SERVER else ""
            yield Case(title, chain, thief.anchors, _key("ec-p256"), purpose, name, kind="leaf as CA")


def wrong_times(folder: Path) -> Iterator[Case]:
    """Issued by the collection, whose clock stood elsewhere."""
    for kind, days in {"expired": -30, "not yet valid": 30}.items():
        plant = Plant(folder / kind.replace(" ", "-"))
        # Its CA is in force now: only the leaf is not.
        plant.now += min(days, 0) * DAY
        plant.create()
        plant.now += max(days, 0) * DAY
        order = Order(kind.replace(" ", "-"), ("DNS:late.plant.example",), profile="server_client", lifetime=7 * DAY)
        (leaf,) = plant.produce(order)
        yield from leaf.cases(purposes=BOTH, kind=kind)


def wrong_usages(plant: Plant) -> Iterator[Case]:
    """A client's leaf as a server's, and the reverse."""
    name = ("DNS:usage.plant.example",)
    client, server = plant.produce(
        Order("client-only", name, profile="client"), Order("server-only", ("DNS:u2.plant.example",), profile="server")
    )
    yield client.case(name=name[0], kind="wrong usage")
    yield server.case(purpose=CLIENT, kind="wrong usage")


def wrong_peers(plant: Plant) -> Iterator[Case]:
    """Those of another authority, and a server that is not the one that was meant."""
    names = ("DNS:peer.plant.example", "IP:198.18.2.99", "IP:2001:2::99")
    (leaf,) = plant.produce(Order("peer", names, "rsa", profile="server_client"))
    for purpose in BOTH:
        name = names[0] if purpose == SERVER else ""
        stranger = leaf.case(purpose=purpose, name=name, kind="other authority", anchors=plant.anchors("fleet"))
        yield stranger
        yield replace(stranger, title=f"{stranger.title} with its chain", chain=(leaf.chain[0], *plant.chain("fleet")))
    for name in ("DNS:other.plant.example", "IP:198.18.2.98", "IP:2001:2::98"):
        yield leaf.case(name=name, kind="other name")


def _permitted(limits: Mapping[str, Any]) -> list[str]:
    networks = limits.get("networks", [])
    given = {"foreign DNS": limits.get("domains"), "foreign IPv4": IPV4 in networks, "foreign IPv6": IPV6 in networks}
    return [INSIDE[kind] for kind, is_given in given.items() if is_given]


def _signed_past_checks(
    plant: Plant, authority: str, names: tuple[str, ...], *, kind: str, name: str
) -> Iterator[Case]:
    issuer = _load(plant.chain(authority)[0])
    leaf = _leaf(issuer, plant.issuing_key(authority), names)
    chain = (_pem(leaf), *plant.chain(authority))
    title = f"{authority}: {' '.join(names)}"
    yield Case(title, chain, plant.anchors(authority), _key("ec-p256"), SERVER, name, kind=kind)
    yield Case(title, chain, plant.anchors(authority), _key("ec-p256"), CLIENT, kind=kind)


def _leaf(issuer: x509.Certificate, issuer_key: Any, names: tuple[str, ...]) -> x509.Certificate:
    begin = int(issuer.not_valid_before_utc.timestamp())
    return sign_leaf(
        key_of("ec-p256").public_key(),
        issuer=issuer,
        issuer_key=issuer_key,
        profile=BUILT_IN["server_client"],
        common_name=None,
        names=names,
        serial=new_serial(),
        not_before=begin,
        not_after=begin + 90 * DAY,
    )


def _sub_authority(issuer: x509.Certificate, issuer_key: Any) -> x509.Certificate:
    """A CA that is fine in itself; its issuer's path length (0) does not allow it."""
    key = key_of("ec-p384").public_key()
    issuer_id = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    bits = dict.fromkeys(("content_commitment", "data_encipherment", "encipher_only", "decipher_only"), False)
    bits |= dict.fromkeys(("digital_signature", "key_encipherment", "key_agreement"), False)
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "one CA too many")]))
        .issuer_name(issuer.subject)
        .public_key(key)
        .serial_number(new_serial())
        .not_valid_before(issuer.not_valid_before_utc)
        .not_valid_after(issuer.not_valid_before_utc + datetime.timedelta(days=365))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.KeyUsage(**bits, key_cert_sign=True, crl_sign=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(issuer_id), critical=False)
        .sign(issuer_key, hashes.SHA256())
    )


def _load(pem: str) -> x509.Certificate:
    return x509.load_pem_x509_certificate(pem.encode())


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def _key(key_type: str) -> str:
    return key_to_pem(key_of(key_type)).decode()
