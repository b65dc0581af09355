# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A root at work: it is made once, signs issuing CAs and CRLs, and takes issuing CAs back. It may be on a machine without a network.

Its folder is that of a CA (store.py) without an issuing CA, or a CA's own that has the root's key.
"""

from __future__ import annotations

import os
from contextlib import suppress

from .._x509.build import build_issuing, build_root, ca_name
from .._x509.constraints import Constraints, constraints_of
from .._x509.crl import parse_crls
from .._x509.crypto import serialization, x509
from .._x509.errors import X509Error
from .._x509.keys import key_to_pem, new_key
from .._x509.lifespan import BACKDATE
from .._x509.parse import Leaf, describe, is_issued_by, iso, load_certificate, to_leaf
from .._x509.revocation_reasons import COMPROMISING
from .ceremony import Ceremony, Held, Request
from .crl import FILES, Issuer, Standing, publish_crl, standing_of
from .durable import explained, replace_file
from .errors import CAError
from .known import check_known
from .ledger import Entry, Ledger, Signed, to_entry
from .local import open_key
from .lock import WAIT, locked
from .marker import leave_marker, refuse_vanished
from .own_certificates import describe_limits, entry_of, refuse_lost
from .passphrase import Passphrase
from .revocation import restore_revocations, revoke_entries
from .store import Store


def hold(
    ceremony: Ceremony, *, store: Store, passphrase: Passphrase, generate: bool, now: int, wait: float = WAIT
) -> Held:
    """Do what is asked for, as far as it is not done yet."""
    refuse_vanished(store, passphrase)
    if not ceremony.makes and _read_root(store, ceremony.wish.name) is None:
        _refuse_making(ceremony, store)
    store.make()
    with locked(store.directory, wait=wait):
        root = _read_root(store, ceremony.wish.name)
        held = Held()
        if root is None:
            _refuse_making(ceremony, store)
            _need_root(held, ceremony)
            root = _create(ceremony, store=store, secret=_provide(passphrase, store, generate), now=now)
            leave_marker(store, passphrase, now=now)
        with Ledger.open(store.ledger) as ledger:
            ledger.refuse_frozen()
            # Its creation may have been cut short.
            ledger.store([Signed(root.serial, root.fingerprint, root.pem)], now=now)
            _Root(ceremony, held, root, ledger, store=store, passphrase=passphrase, now=now).act()
        store.close_to_others(ceremony.wish.name)
    return held


def predict(ceremony: Ceremony, *, store: Store, passphrase: Passphrase, generate: bool, now: int) -> Held:
    """What hold() would do. Changes nothing, takes no lock."""
    refuse_vanished(store, passphrase)
    held, root = Held(), _read_root(store, ceremony.wish.name)
    if root is not None:
        with Ledger.read(store.ledger) as ledger:
            _Root(ceremony, held, root, ledger, store=store, passphrase=passphrase, now=now).foresee()
        return held
    _refuse_making(ceremony, store)
    if passphrase.missing and (not generate or store.names()):
        passphrase.get()
    _need_root(held, ceremony)
    held.needs("sign the root's CRL: there is none yet", what="crl", before="absent", after="a CRL")
    return held


class _Root:
    """The root that is there, with its ledger open: first all that is due is found, then it is done."""

    def __init__(
        self,
        ceremony: Ceremony,
        held: Held,
        root: Leaf,
        ledger: Ledger,
        *,
        store: Store,
        passphrase: Passphrase,
        now: int,
    ) -> None:
        self._ceremony, self._held, self._root, self._ledger, self._now = ceremony, held, root, ledger, now
        self._name = ceremony.wish.name
        check_known(ledger, self._name, [root.fingerprint])
        self._certificate = load_certificate(root.pem)
        self._key = open_key(store, self._name, "root", passphrase, spki=root.spki)
        path = store.path(self._name, FILES["root"])
        self._crl_issuer = Issuer(self._name, "root", root, path, ceremony.wish.policy.crl_lifetime)
        request, limits = ceremony.request, ceremony.limits
        self._limits = (request.limits if request and limits is None else limits) or Constraints()
        self._end = min(now + ceremony.wish.issuing.lifetime, root.not_after)

    def foresee(self) -> None:
        """Find what is due."""
        if self._root.not_after <= self._now:
            self._held.warnings.append(
                f"the root '{self._name}' has ended {iso(self._root.not_after)}: it signs nothing"
            )
        if self._ceremony.request and self._ceremony.signs:
            self._foresee_signature(self._ceremony.request)
        ids = self._to_revoke()
        if ids:
            shown = ", ".join(entry.serial for entry in self._issued() if entry.id in ids)
            self._held.needs(f"revoke the issuing CA {shown}", what="revoked", before=[], after=shown.split(", "))
        standing = self._standing()
        if standing.due or ids:
            self._held.needs(
                f"sign the root's CRL: {standing.due or 'a revocation is not on it'}",
                what="crl",
                before=f"until {iso(standing.crl.next_update)}" if standing.crl else "absent",
                after=f"until {iso(self._now + self._crl_issuer.lifetime)}",
            )
        elif standing.crl:
            self._foresee_file("crl_path", standing.crl.pem)
            self._held.crl = standing.crl.pem
        self._tell()

    def act(self) -> None:
        """Find what is due, and do it: what is signed is in the ledger before it is in a file."""
        self.foresee()
        if self._ceremony.request and self._ceremony.signs:
            self._sign(self._ceremony.request)
        self._revoke()
        standing = self._standing()
        if standing.due:
            with self._ledger.transaction():
                restore_revocations(self._ledger, standing.missed)
            standing.crl = publish_crl(
                self._ledger,
                self._crl_issuer,
                key=self._key,
                revoked=standing.revoked,
                above=standing.highest,
                now=self._now,
            )
        if standing.crl:
            self._held.crl = standing.crl.pem
            _put(self._ceremony.crl_path, standing.crl.pem)
        self._tell()

    def _foresee_signature(self, request: Request) -> None:
        if self._root.not_after <= self._now:
            raise CAError(
                f"The root '{self._name}' has ended {iso(self._root.not_after)}, nothing below it is valid any more. Nothing was "
                "signed. Make another root under another name.",
                code="issuer_expired",
            )
        if request.spki == self._root.spki:
            raise CAError(
                "The request is for the root's own key. Nothing was signed: an issuing CA has a key of its own.",
                code="bad_csr",
            )
        if any(entry.spki == request.spki and entry.revocation_reason in COMPROMISING for entry in self._issued()):
            raise CAError(
                f"The key of this request ({request.spki}) was revoked as compromised. Nothing was signed. Make a new authority "
                "with a new key on the CA host.",
                code="compromised_key",
            )
        found = self._in_force(request)
        if found is None or found.state == "reserved":
            _need_signature(self._held, request, self._limits, end=self._end)
            if self._end < self._now + self._ceremony.wish.issuing.lifetime:
                self._held.warnings.append(f"the issuing CA ends with its root, {iso(self._end)}")
        else:
            self._held.chain = str(found.pem) + self._root.pem
            self._foresee_file("chain_path", self._held.chain)

    def _foresee_file(self, option: str, text: str) -> None:
        path = str(getattr(self._ceremony, option))
        if path and _read(path) != text:
            self._held.needs(f"write {path}", what=path, before="another one or none", after="written")

    def _in_force(self, request: Request) -> Entry | None:
        """The certificate that answers the request already: with these limits, and at least half as long as a new one would last."""
        half = (self._end - self._now) // 2
        for entry in reversed(self._issued()):
            if entry.spki != request.spki or entry.state not in ("issued", "reserved") or not entry.pem:
                continue
            certificate = load_certificate(entry.pem)
            same = (
                certificate.subject == request.subject
                and (constraints_of(certificate) or Constraints()) == self._limits
            )
            if same and entry.not_after - self._now >= half:
                return entry
        return None

    def _sign(self, request: Request) -> None:
        entry = self._in_force(request)
        if entry is None:
            certificate = build_issuing(
                request.public_key,
                root=self._certificate,
                root_key=self._key,
                subject=request.subject,
                not_before=max(self._now - BACKDATE, self._root.not_before),
                not_after=self._end,
                constraints=self._limits,
            )
            entry = _entry(self._name, "issuing", to_leaf(certificate), issuer=self._root.spki)
            self._ledger.reserve([entry], now=self._now)
        self._held.chain = str(entry.pem) + self._root.pem
        _put(self._ceremony.chain_path, self._held.chain)
        if entry.state == "reserved":
            self._settle(entry)

    def _settle(self, entry: Entry) -> None:
        """The chain is in its place: this one is in force, and no earlier one for the same key needs to be renewed."""
        with self._ledger.transaction():
            self._ledger.run(
                "UPDATE certificates SET state = 'issued', issued_at = ? WHERE serial = ? AND state = 'reserved'",
                (self._now, entry.serial),
            )
            self._ledger.run(
                "UPDATE certificates SET state = 'superseded' WHERE authority = ? AND identity = '' AND name = 'issuing'"
                " AND spki = ? AND state = 'issued' AND serial != ?",
                (self._name, entry.spki, entry.serial),
            )
            said = f"issuing CA of authority '{self._name}', serial {entry.serial}, SPKI {entry.spki}"
            self._ledger.run(
                "INSERT INTO acts (at, act, identity, said) VALUES (?, 'signed', '', ?)", (self._now, said)
            )

    def _to_revoke(self) -> list[int]:
        wanted, worse = self._ceremony.revokes, self._ceremony.reason in COMPROMISING
        if not wanted:
            return []
        issued = self._issued()
        meant = [entry for entry in issued if wanted in (entry.serial, entry.spki)]
        if not meant:
            raise CAError(
                f"The root '{self._name}' has signed no issuing CA with the serial or SPKI {wanted}. Nothing was revoked. Take it "
                "from the module's answer (issued).",
                code="unknown_certificate",
            )
        keys = {entry.spki for entry in meant}
        return [
            entry.id
            # Whoever has the key can use its other certificates as well.
            for entry in (meant if not worse else [entry for entry in issued if entry.spki in keys])
            if entry.pem and (entry.state != "revoked" or (worse and entry.revocation_reason not in COMPROMISING))
        ]

    def _revoke(self) -> None:
        ids = self._to_revoke()
        if not ids:
            return
        said = f"issuing CA of authority '{self._name}': {self._ceremony.revokes}, {self._ceremony.reason}"
        with self._ledger.transaction():
            # One whose signing was cut short may have got into a file all the same.
            for number in ids:
                self._ledger.run(
                    "UPDATE certificates SET state = 'issued', issued_at = ? WHERE id = ? AND state = 'reserved'",
                    (self._now, number),
                )
            revoke_entries(self._ledger, ids, reason=self._ceremony.reason, now=self._now)
            self._ledger.run(
                "INSERT INTO acts (at, act, identity, said) VALUES (?, 'revoked', '', ?)", (self._now, said)
            )

    def _standing(self) -> Standing:
        path = self._ceremony.crl_path
        try:
            # After an older backup the stick may hold a newer one than this folder.
            published = parse_crls(_read(path) or "", where=path) if path else []
        except X509Error:
            published = []
        return standing_of(self._ledger, self._crl_issuer, published=published, now=self._now)

    def _issued(self) -> list[Entry]:
        rows = self._ledger.run(
            "SELECT * FROM certificates WHERE authority = ? AND identity = '' AND name = 'issuing' AND issuer = ? ORDER BY id",
            (self._name, self._root.spki),
        )
        return [to_entry(row, now=self._now) for row in rows]

    def _tell(self) -> None:
        self._held.root = describe(self._root)
        self._held.issued = [_told(entry) for entry in self._issued() if entry.pem]


def _read_root(store: Store, name: str) -> Leaf | None:
    if not os.path.lexists(store.path(name)):
        return None
    for file in ("root.pem", "root.key"):
        if not os.path.isfile(store.path(name, file)):
            raise CAError(
                f"Half a root: {store.path(name)} lacks {file}. Nothing was made anew, since machines trust the one that was there. "
                "Restore it from your backup, or check the option 'directory'.",
                code="half_ca",
            )
    path = store.path(name, "root.pem")
    try:
        root = to_leaf(load_certificate(store.read_text(name, "root.pem"), where=path), where=path)
    except X509Error as exc:
        raise CAError(
            f"Half a root: {exc} Nothing was changed. Restore the file from your backup.", code="half_ca"
        ) from exc
    if not root.is_ca or not is_issued_by(root, root):
        raise CAError(f"Half a root: {path} is no root certificate. Restore it from your backup.", code="half_ca")
    return root


def _refuse_making(ceremony: Ceremony, store: Store) -> None:
    """Raise CAError unless a root may be made here: there was none before, and somebody has asked for one."""
    name = ceremony.wish.name
    refuse_lost(store, name, what="a root")
    if not ceremony.makes:
        raise CAError(
            f"There is no root '{name}' in {store.directory}. Nothing was {'signed' if ceremony.signs else 'revoked'}, and no root was "
            "made. Check the option 'directory' (tls_root_directory), and that its disk is there. If a new root is to be made, do that "
            "first: a ceremony that neither signs nor revokes makes it (state: present).",
            code="missing",
        )


def _create(ceremony: Ceremony, *, store: Store, secret: bytes, now: int) -> Leaf:
    wish = ceremony.wish
    key = new_key(wish.root.key_type)
    certificate = build_root(
        key,
        subject=ca_name(wish.root.common_name, wish.organization),
        not_before=now - BACKDATE,
        not_after=now + wish.root.lifetime,
    )
    root = to_leaf(certificate)
    if not store.names() and not store.has_ledger():
        Ledger.create(store.ledger)
    with Ledger.open(store.ledger) as ledger:
        ledger.refuse_frozen()
        ledger.reserve([_entry(wish.name, "root", root, issuer=root.spki)], now=now)
    pem = certificate.public_bytes(serialization.Encoding.PEM)
    store.publish(wish.name, {"root.pem": pem, "root.key": key_to_pem(key, secret)})
    return root


def _provide(passphrase: Passphrase, store: Store, generate: bool) -> bytes:
    if passphrase.missing and generate and not store.names():
        passphrase.generate()
    secret = passphrase.get()
    for name in store.names()[:1]:
        # One passphrase opens all keys: another one is found out now, not when the first is needed again.
        root = _read_root(store, name)
        if root is not None:
            open_key(store, name, "root", passphrase, spki=root.spki)
    return secret


def _need_root(held: Held, ceremony: Ceremony) -> None:
    after = ceremony.wish.describe().get("root")
    held.needs(f"make the root '{ceremony.wish.name}'", what="root", before="absent", after=after)


def _need_signature(held: Held, request: Request, limits: Constraints, *, end: int) -> None:
    held.needs(
        f"sign the issuing CA '{request.subject.rfc4514_string()}'",
        what="issuing",
        before="absent",
        after={**request.describe(), "limits": describe_limits(limits), "not_after": iso(end)},
    )


def _entry(authority: str, part: str, leaf: Leaf, *, issuer: str) -> Entry:
    why = "created" if part == "root" else "signed"
    return entry_of(leaf, authority=authority, issuer=issuer, name=part, why=why)


def _told(entry: Entry) -> dict[str, object]:
    certificate: x509.Certificate = load_certificate(str(entry.pem))
    return {
        "serial": entry.serial,
        "spki": entry.spki,
        "subject": certificate.subject.rfc4514_string(),
        "limits": describe_limits(constraints_of(certificate)),
        "not_before": iso(entry.not_before),
        "not_after": iso(entry.not_after),
        # A signing that was cut short: it may be on the stick.
        "state": "issued" if entry.state == "reserved" else entry.state,
        **({"revocation_reason": entry.revocation_reason} if entry.revocation_reason else {}),
    }


def _read(path: str) -> str | None:
    with explained("read", path):
        try:
            with open(path, encoding="ascii", errors="replace") as stream:
                return stream.read()
        except FileNotFoundError:
            return None


def _put(path: str, text: str) -> None:
    """A public file; it may be on a stick whose file system knows no modes."""
    if path and _read(path) != text:
        replace_file(path, text.encode())
        with suppress(OSError):
            os.chmod(path, 0o644)
