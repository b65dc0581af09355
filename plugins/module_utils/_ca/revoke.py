# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Take certificates back by serial, by the machine that has them, or by the certificate itself."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from .._x509.errors import X509Error
from .._x509.parse import Leaf, is_issued_by, parse_certificate
from .._x509.revocation_reasons import COMPROMISING
from .errors import CAError
from .inquiries import iso
from .ledger import Entry, Ledger, Signed, to_entry
from .local import read_chain
from .lock import WAIT, locked
from .own_certificates import entry_of
from .policy import read_policy
from .revocation import check_reason, leaves_with_keys, revoke_entries
from .store import Store

# Whose a certificate is that the ledger does not know, and of which nothing else tells it.
NOBODY = "?"


@dataclass(frozen=True)
class Target:
    """What is to be revoked: all of C(identity) (and C(name)), or one by C(serial) or C(certificate) (PEM)."""

    reason: str
    identity: str = ""
    name: str = ""
    serial: str = ""
    certificate: Leaf | None = None

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> Target:
        """Check and normalise a module's options. Raises CAError."""
        certificate, serial = options.get("certificate"), options.get("serial")
        if not (certificate or serial or options.get("identity")):
            # An empty identity is that of the authorities themselves.
            raise CAError(
                "Nothing says which certificates are meant. Nothing was revoked. Give 'identity', 'serial' or 'certificate'.",
                code="bad_request",
            )
        leaf = _read(str(certificate)) if certificate else None
        return cls(
            reason=check_reason(str(options.get("reason") or "unspecified")),
            identity=str(options.get("identity") or ""),
            name=str(options.get("name") or ""),
            serial=leaf.serial if leaf else _to_serial(str(serial)) if serial else "",
            certificate=leaf,
        )


@dataclass
class Effect:
    """C(entries): what is to be revoked; C(revoked): of these what changes. C(entered): one of them that the ledger did not know."""

    entries: list[Entry]
    revoked: list[Entry] = field(default_factory=list)
    entered: Entry | None = None
    warnings: list[str] = field(default_factory=list)

    @property
    def already(self) -> list[Entry]:
        """What was revoked before."""
        return [entry for entry in self.entries if entry not in self.revoked]


def look(target: Target, *, store: Store, now: int) -> Effect:
    """What would be revoked. Takes no lock."""
    store.require()
    with Ledger.read(store.ledger) as ledger:
        return _foresee(target, store, ledger, now=now)


def revoke(target: Target, *, store: Store, now: int, wait: float = WAIT) -> Effect:
    """Revoke it in the ledger, all or nothing; returns what was revoked. A CRL is made by crl.py."""
    store.require()
    with locked(store.directory, wait=wait), Ledger.open(store.ledger) as ledger:
        ledger.refuse_frozen()
        effect = _foresee(target, store, ledger, now=now)
        if effect.entered:
            _enter(ledger, effect.entered, now=now)
            # Now it has an id.
            again = _foresee(target, store, ledger, now=now)
            effect.entries, effect.revoked = again.entries, again.revoked
        with ledger.transaction():
            revoke_entries(ledger, [entry.id for entry in effect.revoked], reason=target.reason, now=now)
            for entry in effect.revoked:
                ledger.run(
                    "INSERT INTO acts (at, act, identity, said) VALUES (?, 'revoked', ?, ?)",
                    (
                        now,
                        entry.identity,
                        f"{entry.name} of {entry.authority}, serial {entry.serial} ({target.reason})",
                    ),
                )
    return effect


def describe(entry: Entry) -> dict[str, str]:
    """One certificate for results."""
    return {
        "identity": entry.identity,
        "name": entry.name,
        "authority": entry.authority,
        "serial": entry.serial,
        "fingerprint": str(entry.fingerprint),
        "not_after": iso(entry.not_after),
    }


def _foresee(target: Target, store: Store, ledger: Ledger, *, now: int) -> Effect:
    if not target.serial:
        return _effect(_of_identity(target, ledger), target, ledger, now=now)
    entry = ledger.find_serial(target.serial)
    if entry is not None and entry.state != "reserved":
        return _effect([_checked(entry, target)], target, ledger, now=now)
    if target.certificate is None:
        raise CAError(
            f"The ledger knows no certificate with the serial {target.serial}. Nothing was revoked. If a backup that is older than "
            "the certificate was restored, give the certificate itself (PEM); otherwise correct the serial.",
            code="not_found",
        )
    unknown = _unknown(target.certificate, target, store, ledger)
    if entry is not None:
        # Its serial was reserved when the backup was made.
        unknown = replace(unknown, identity=entry.identity, name=entry.name)
    warnings = []
    if unknown.identity == NOBODY:
        warnings.append(
            f"The certificate with the serial {unknown.serial} is revoked, but nothing tells whose it is, so no machine learns that it "
            "needs another one. Where it is still in service, give 'identity' and 'name' as well."
        )
    effect = _effect([unknown], target, ledger, now=now)
    effect.entered, effect.warnings = unknown, warnings
    return effect


def _effect(entries: list[Entry], target: Target, ledger: Ledger, *, now: int) -> Effect:
    """Which of them change: those that others still take; and all whose key somebody else may have, whichever machine has them, since
    they identify it."""
    if target.reason in COMPROMISING:
        of_keys = leaves_with_keys(ledger, (entry.spki for entry in entries))
        meant = [*entries, *(entry for entry in of_keys if entry not in entries)]
        return Effect(meant, [entry for entry in meant if entry.revocation_reason not in COMPROMISING])
    named = bool(target.serial)
    return Effect(
        [entry for entry in entries if named or entry.state == "revoked" or entry.not_after >= now],
        [entry for entry in entries if entry.state != "revoked" and (named or entry.not_after >= now)],
    )


def _of_identity(target: Target, ledger: Ledger) -> list[Entry]:
    rows = ledger.run(
        "SELECT * FROM certificates WHERE identity = ? AND state != 'reserved' AND ? IN (name, '') ORDER BY id",
        (target.identity, target.name),
    )
    if not rows:
        what = f"'{target.name}' of '{target.identity}'" if target.name else f"of '{target.identity}'"
        raise CAError(
            f"The ledger knows no certificate {what}. Nothing was revoked. See what it knows with playbooks/inquire.yml "
            "(-e tls_inquire=all), and correct the identity or the name.",
            code="not_found",
        )
    return [to_entry(row) for row in rows]


def _checked(entry: Entry, target: Target) -> Entry:
    if not entry.identity:
        raise CAError(
            f"The serial {entry.serial} is that of the certificate '{entry.name}' of authority '{entry.authority}' itself. Nothing was "
            "revoked: with it, every certificate of the authority would end. An issuing CA is revoked by its root, with ca_root.",
            code="own_certificate",
        )
    is_meant = target.identity in ("", entry.identity) and target.name in ("", entry.name)
    same = target.certificate is None or target.certificate.fingerprint == entry.fingerprint
    if not is_meant or not same:
        raise CAError(
            f"The serial {entry.serial} is that of the certificate '{entry.name}' of '{entry.identity}' (fingerprint "
            f"{entry.fingerprint}), not of the one that was given. Nothing was revoked. Correct serial, identity and name.",
            code="mismatch",
        )
    return entry


def _unknown(leaf: Leaf, target: Target, store: Store, ledger: Ledger) -> Entry:
    """The entry for a certificate that was lost with an older backup: only if an authority's key really signed it."""
    for authority in store.names():
        chain = read_chain(store, authority)
        if is_issued_by(leaf, chain.issuing):
            break
    else:
        raise CAError(
            f"No authority here has signed the certificate with the serial {leaf.serial} ({leaf.subject or leaf.names}, issued by "
            f"{leaf.issuer}). Nothing was revoked. Revoke it where it was issued.",
            code="foreign_certificate",
        )
    profiles = read_policy(store, authority).profiles
    fits = (profile.name for profile in profiles.values() if set(profile.usages) == set(leaf.usages))
    identity, name = _holder(leaf, target, authority, ledger)
    return entry_of(
        leaf,
        authority=authority,
        issuer=chain.issuing.spki,
        identity=identity,
        name=name,
        profile=next(fits, "server"),
        why="restored",
    )


def _holder(leaf: Leaf, target: Target, authority: str, ledger: Ledger) -> tuple[str, str]:
    """(identity, name) as given, or of the newest certificate for the same key or the same names."""
    rows = ledger.run(
        "SELECT identity, name FROM certificates WHERE identity != '' AND (spki = ? OR (authority = ? AND names = ? AND common_name IS ?))"
        " AND ? IN (identity, '') AND ? IN (name, '') ORDER BY spki = ? DESC, id DESC LIMIT 1",
        (leaf.spki, authority, json.dumps(leaf.names), leaf.common_name, target.identity, target.name, leaf.spki),
    )
    found = (str(rows[0][0]), str(rows[0][1])) if rows else (NOBODY, NOBODY)
    return target.identity or found[0], target.name or found[1]


def _enter(ledger: Ledger, entry: Entry, *, now: int) -> None:
    """Reserved and stored like any other, unless its serial is reserved already."""
    if ledger.find_serial(entry.serial) is None:
        ledger.reserve([entry], now=now)
    ledger.store([Signed(entry.serial, str(entry.fingerprint), str(entry.pem))], now=now)


def _read(pem: str) -> Leaf:
    try:
        return parse_certificate(pem)
    except X509Error as exc:
        raise CAError(f"{exc} Nothing was revoked. Give one certificate in PEM.", code="bad_request") from exc


def _to_serial(text: str) -> str:
    """Hexadecimal digits, as openssl, browsers and this collection write them."""
    digits = text.strip().lower().replace(":", "")
    try:
        return f"{int(digits, 16):x}"
    except ValueError as exc:
        raise CAError(
            f"'{text}' is no serial. Write its hexadecimal digits, as openssl x509 -serial shows them. Nothing was revoked.",
            code="bad_request",
        ) from exc
