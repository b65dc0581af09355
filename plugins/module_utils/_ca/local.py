# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Signatures from keys on this host's disk: the embedded default."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .._x509.build import sign_leaf
from .._x509.constraints import Constraints, constraints_of
from .._x509.crypto import hashes, serialization
from .._x509.errors import X509Error
from .._x509.keys import load_key, spki_of
from .._x509.parse import Leaf, is_issued_by, load_certificate, parse_bundle, parse_certificate
from .._x509.profiles import choose_profile
from .errors import CAError
from .ledger import Signed
from .orders import Order
from .passphrase import Passphrase
from .policy import Policy, read_policy
from .store import Published, Store


@dataclass(frozen=True)
class Chain:
    """An authority's own certificates, each signed by the next: issuing CA, intermediates C(above) it (mostly none), root."""

    issuing: Leaf
    above: tuple[Leaf, ...]
    root: Leaf

    @property
    def sent(self) -> tuple[Leaf, ...]:
        """What servers send along with their leaf."""
        return (self.issuing, *self.above)

    @property
    def not_before(self) -> int:
        """When the last of them begins: before that nothing below it is valid."""
        return max(leaf.not_before for leaf in (*self.sent, self.root))

    @property
    def not_after(self) -> int:
        """When the first of them ends: then nothing below it is valid any more."""
        return min(leaf.not_after for leaf in (*self.sent, self.root))


class LocalIssuer:
    """An authority whose issuing key lies here. The key is decrypted when the first signature is asked for."""

    def __init__(self, store: Store, authority: str, passphrase: Passphrase) -> None:
        self._published = store.read(authority)
        self._store = store
        self._passphrase = passphrase
        self._chain = _checked_chain(store, self._published)
        self._certificate = load_certificate(self._chain.issuing.pem)
        self._policy = read_policy(store, authority)
        # A chain that others signed may lack the limits that were asked for: they hold all the same.
        limits = constraints_of(self._certificate) or self._policy.constraints
        self._constraints = limits or None
        self._key: Any = None

    @property
    def name(self) -> str:
        return self._published.name

    @property
    def fingerprints(self) -> tuple[str, ...]:
        """Of all the authority's own certificates: the ledger must know them."""
        return tuple(self._published.fingerprints.values())

    @property
    def chain(self) -> str:
        """The intermediates that a server sends along, PEM."""
        return self._published.chain

    @property
    def spki(self) -> str:
        """The key that signs."""
        return self._chain.issuing.spki

    @property
    def not_before(self) -> int:
        """No leaf is valid before this."""
        return self._chain.not_before

    @property
    def not_after(self) -> int:
        """No leaf may outlive this."""
        return self._chain.not_after

    @property
    def policy(self) -> Policy:
        """What it signs."""
        return self._policy

    @property
    def constraints(self) -> Constraints | None:
        """The names that it may certify; None: all."""
        return self._constraints

    def unlock(self) -> None:
        """Decrypt the issuing key, before anything is reserved for it."""
        if self._key is None:
            self._key = open_key(self._store, self.name, "issuing", self._passphrase, spki=self.spki)

    def sign(self, order: Order, *, serial: str, not_before: int, not_after: int) -> Signed:
        """One leaf."""
        certificate = sign_leaf(
            order.public_key,
            issuer=self._certificate,
            issuer_key=self._key,
            profile=choose_profile(order.profile, self._policy.profiles, where=order.id),
            common_name=order.common_name,
            names=order.names,
            serial=int(serial, 16),
            not_before=not_before,
            not_after=not_after,
        )
        pem = certificate.public_bytes(serialization.Encoding.PEM).decode()
        return Signed(serial, certificate.fingerprint(hashes.SHA256()).hex(), pem)


def open_key(store: Store, authority: str, part: str, passphrase: Passphrase, *, spki: str) -> Any:
    """The private key of O(part) (root or issuing), checked to belong to the certificate with that SPKI."""
    path = store.path(authority, f"{part}.key")
    key = decrypt_key(store.read_text(authority, f"{part}.key"), path=path, authority=authority, passphrase=passphrase)
    if spki_of(key.public_key()) != spki:
        raise CAError(
            f"Half a CA: {path} is not the key of {store.path(authority, part)}.pem. Nothing was changed. Restore the pair that "
            "belongs together from your backup.",
            code="half_ca",
        )
    return key


def decrypt_key(pem: str, *, path: str, authority: str, passphrase: Passphrase) -> Any:
    """The private key in the text of an authority's key file; O(path) is for messages."""
    if "ENCRYPTED" not in pem.partition("\n")[0]:
        raise CAError(
            f"Half a CA: {path} is no encrypted private key. Nothing was changed. Restore it from your backup, then run again.",
            code="half_ca",
        )
    secret = passphrase.get()
    try:
        return load_key(pem, secret, where=path)
    except X509Error as exc:
        raise CAError(
            f"The key of authority '{authority}', {path}, cannot be opened: {passphrase.source} gives another passphrase than it "
            "was encrypted with, or the file is damaged. Nothing was changed. Put the right passphrase there, or restore the key "
            "from your backup.",
            code="wrong_passphrase",
        ) from exc


def read_chain(store: Store, authority: str) -> Chain:
    """An authority's own certificates, checked to belong together."""
    return _checked_chain(store, store.read(authority))


def read_pair(store: Store, authority: str) -> tuple[Leaf, Leaf]:
    """(root, issuing) of an authority, checked to belong together."""
    chain = read_chain(store, authority)
    return chain.root, chain.issuing


def _checked_chain(store: Store, published: Published) -> Chain:
    authority, said = published.name, None
    try:
        root = parse_certificate(published.anchors, where=store.path(authority, "root.pem"))
        sent = parse_bundle(published.chain, where=store.path(authority, "issuing.pem"))
    except X509Error as exc:
        raise CAError(
            f"Half a CA: {exc} Nothing was changed. Restore the file from your backup.", code="half_ca"
        ) from exc
    if not root.is_ca or not is_issued_by(root, root):
        said = "root.pem is no root certificate"
    elif not all(leaf.is_ca and is_issued_by(leaf, issuer) for leaf, issuer in zip(sent, [*sent[1:], root])):
        said = "issuing.pem is no CA certificate that root.pem signed"
    if said:
        raise CAError(
            f"Half a CA: in {store.path(authority)}, {said}. Nothing was changed. Restore the files that belong together from "
            "your backup.",
            code="half_ca",
        )
    return Chain(sent[0], tuple(sent[1:]), root)
