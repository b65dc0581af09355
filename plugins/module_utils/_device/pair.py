# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A certificate, its chain and its key, checked as a whole before anything is sent anywhere."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from .._x509.errors import X509Error
from .._x509.keys import load_key, spki_of
from .._x509.names import parse_names
from .._x509.parse import Leaf, is_issued_by, iso, parse_bundle
from .description import placeholder
from .errors import DeviceError


@dataclass(frozen=True)
class Pair:
    """What is uploaded. C(chain) are the intermediates, nearest to the leaf first."""

    leaf: Leaf
    chain: tuple[Leaf, ...]
    key_pem: str = field(repr=False)

    @property
    def chain_pem(self) -> str:
        """The intermediates as PEM."""
        return "".join(certificate.pem for certificate in self.chain)


def read_pair(certificate: str, chain: str, key_pem: str, *, where: str) -> Pair:
    """Take a pair apart: leaf first, intermediates after it, roots left out. Raises DeviceError."""
    try:
        found = parse_bundle(f"{certificate}\n{chain}", where=where)
        if not found:
            raise DeviceError(f"{where}: there is no PEM certificate in it. Give the leaf, then its intermediates.")
        key = load_key(key_pem, where=where)
    except X509Error as exc:
        raise DeviceError(str(exc)) from exc
    leaf = found[0]
    if spki_of(key.public_key()) != leaf.spki:
        raise DeviceError(
            f"{where}: the private key does not belong to the certificate. Give the two that belong together."
        )
    return Pair(leaf, tuple(item for item in found[1:] if not item.self_signed), key_pem)


def roots_in(pem: str, *, where: str) -> str:
    """The self-signed certificates of PEM text, as PEM."""
    try:
        return "".join(item.pem for item in parse_bundle(pem, where=where) if item.self_signed)
    except X509Error as exc:
        raise DeviceError(str(exc)) from exc


def check_pair(
    pair: Pair, *, anchors: str, server_name: str, where: str, clock: Callable[[], float] = time.time
) -> None:
    """Raise DeviceError unless a client that trusts the anchors alone would accept the pair under this name."""
    now = clock()
    if not pair.leaf.not_before <= now <= pair.leaf.not_after:
        raise DeviceError(
            f"{where}: the certificate is valid from {iso(pair.leaf.not_before)} to {iso(pair.leaf.not_after)}, which is "
            "not now. Check the clock of this machine, or give a current certificate."
        )
    _check_name(pair.leaf, server_name, where=where)
    _check_chain(pair, anchors, where=where)


def _check_name(leaf: Leaf, server_name: str, *, where: str) -> None:
    for kind in ("IP", "DNS"):
        try:
            wanted = parse_names([f"{kind}:{server_name}"], where=where)[0]
        except X509Error:
            continue
        covered = wanted in leaf.names
        if kind == "DNS" and not covered:
            covered = f"DNS:*.{wanted.partition('.')[2]}" in leaf.names
        if covered:
            return
    raise DeviceError(
        f"{where}: clients connect to '{server_name}', and the certificate carries only {', '.join(leaf.names) or 'no name'}. "
        "Add it to subject_alt_names, or name in server_name what clients verify."
    )


def _check_chain(pair: Pair, anchors: str, *, where: str) -> None:
    trusted = parse_bundle(anchors, where="anchors")
    if any(pair.leaf.fingerprint == anchor.fingerprint for anchor in trusted):
        return
    current = pair.leaf
    for issuer in (*pair.chain, None):
        if any(is_issued_by(current, anchor) for anchor in trusted):
            return
        if issuer is None or not is_issued_by(current, issuer):
            break
        current = issuer
    raise DeviceError(
        f"{where}: the chain is not complete: nothing that was given signed '{current.subject or 'the leaf'}' "
        f"(its issuer is '{current.issuer}'). Add the missing intermediate, or the right CA certificate to ca_path."
    )


def fill_body(template: Any, pair: Pair) -> Any:
    """A description's body with the parts of the pair in their places."""
    found = placeholder(template)
    if found is not None:
        text = _part(pair, found[1])
        return base64.b64encode(text.encode()).decode() if found[0] == "base64_pem" else text
    if isinstance(template, Mapping):
        return {str(name): fill_body(value, pair) for name, value in template.items()}
    if isinstance(template, (list, tuple)):
        return [fill_body(value, pair) for value in template]
    return template


def _part(pair: Pair, part: str) -> str:
    return {
        "certificate": pair.leaf.pem,
        "chain": pair.chain_pem,
        "fullchain": pair.leaf.pem + pair.chain_pem,
        "key": pair.key_pem,
    }[part]
