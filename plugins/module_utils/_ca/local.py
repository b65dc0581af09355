# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Signatures from keys on this host's disk: the embedded default."""

from __future__ import annotations

from typing import Any

from .._x509.build import sign_leaf
from .._x509.crypto import hashes, serialization
from .._x509.errors import X509Error
from .._x509.keys import load_key, spki_of
from .._x509.parse import Leaf, is_issued_by, load_certificate, to_leaf
from .errors import CAError
from .ledger import Signed
from .orders import Order
from .passphrase import Passphrase
from .store import Store


class LocalIssuer:
    """An authority whose issuing key lies here. The key is decrypted when the first signature is asked for."""

    def __init__(self, store: Store, authority: str, passphrase: Passphrase) -> None:
        self._published = store.read(authority)
        self._store = store
        self._passphrase = passphrase
        self._certificate = _load(store, authority, "issuing", self._published.chain)
        self._issuing = to_leaf(self._certificate)
        root = to_leaf(_load(store, authority, "root", self._published.anchors))
        check_chain(store, authority, root=root, issuing=self._issuing)
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
        return self._issuing.spki

    @property
    def not_after(self) -> int:
        """No leaf may outlive this."""
        return self._issuing.not_after

    def unlock(self) -> None:
        """Decrypt the issuing key, before anything is reserved for it."""
        if self._key is None:
            self._key = open_key(self._store, self.name, "issuing", self._passphrase, spki=self._issuing.spki)

    def sign(self, order: Order, *, serial: str, not_before: int, not_after: int) -> Signed:
        """One leaf."""
        certificate = sign_leaf(
            order.public_key,
            issuer=self._certificate,
            issuer_key=self._key,
            profile=order.profile,
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
    pem = store.read_text(authority, f"{part}.key")
    if "ENCRYPTED" not in pem.partition("\n")[0]:
        raise CAError(
            f"Half a CA: {path} is no encrypted private key. Nothing was changed. Restore it from your backup, then run again.",
            code="half_ca",
        )
    secret = passphrase.get()
    try:
        key = load_key(pem, secret, where=path)
    except X509Error as exc:
        raise CAError(
            f"The key of authority '{authority}', {path}, cannot be opened: {passphrase.source} gives another passphrase than it "
            "was encrypted with, or the file is damaged. Nothing was changed. Put the right passphrase there, or restore the key "
            "from your backup.",
            code="wrong_passphrase",
        ) from exc
    if spki_of(key.public_key()) != spki:
        raise CAError(
            f"Half a CA: {path} is not the key of {store.path(authority, part)}.pem. Nothing was changed. Restore the pair that "
            "belongs together from your backup.",
            code="half_ca",
        )
    return key


def check_chain(store: Store, authority: str, *, root: Leaf, issuing: Leaf) -> None:
    """Raise CAError unless these two are a root and an issuing CA that it signed."""
    said = None
    if not root.is_ca or not is_issued_by(root, root):
        said = "root.pem is no root certificate"
    elif not issuing.is_ca or not is_issued_by(issuing, root):
        said = "issuing.pem is no CA certificate that root.pem signed"
    if said:
        raise CAError(
            f"Half a CA: in {store.path(authority)}, {said}. Nothing was changed. Restore the files that belong together from "
            "your backup.",
            code="half_ca",
        )


def read_pair(store: Store, authority: str) -> tuple[Leaf, Leaf]:
    """(root, issuing) of an authority, checked to belong together."""
    published = store.read(authority)
    root = to_leaf(_load(store, authority, "root", published.anchors))
    issuing = to_leaf(_load(store, authority, "issuing", published.chain))
    check_chain(store, authority, root=root, issuing=issuing)
    return root, issuing


def _load(store: Store, authority: str, part: str, pem: str) -> Any:
    path = store.path(authority, f"{part}.pem")
    try:
        return load_certificate(pem, where=path)
    except X509Error as exc:
        raise CAError(
            f"Half a CA: {exc} Nothing was changed. Restore the file from your backup.", code="half_ca"
        ) from exc
