# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One authority: what is wanted, what is there, and its creation. What is there is checked and never replaced."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .._x509.build import build_issuing, build_root, ca_name
from .._x509.crypto import serialization, x509
from .._x509.duration import parse_duration
from .._x509.keys import check_key_type, key_to_pem, new_key
from .._x509.parse import Leaf, describe, iso, to_leaf
from .errors import CAError
from .issue import BACKDATE
from .known import check_known
from .ledger import Entry, Ledger, Signed
from .local import open_key, read_pair
from .lock import WAIT, locked
from .passphrase import Passphrase
from .store import Store

_TEXT = re.compile(r'[^\x00-\x1f\x7f,"\\+<>;=]{1,64}\Z')
PARTS = ("root", "issuing")
LONGEST = 100 * 365 * 86400


@dataclass(frozen=True)
class Certificate:
    """The root or the issuing CA that is wanted; the lifetime in seconds."""

    common_name: str
    lifetime: int
    key_type: str


@dataclass(frozen=True)
class Wish:
    """The authority that is wanted."""

    name: str
    organization: str | None
    root: Certificate
    issuing: Certificate

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> Wish:
        """Check and normalise a module's options. Raises CAError or X509Error."""
        name, organization = str(options["name"]), str(options.get("organization") or "") or None
        if organization:
            _check_text(organization, where=f"authority '{name}', organization")
        parts = {part: _certificate(options.get(part) or {}, authority=name, part=part) for part in PARTS}
        return cls(name, organization, parts["root"], parts["issuing"])

    def describe(self) -> dict[str, Any]:
        """For the diff: what can be told before there are keys."""
        return {
            part: {
                "common_name": certificate.common_name,
                **({"organization": self.organization} if self.organization else {}),
                "key": certificate.key_type,
                "lifetime": f"{certificate.lifetime // 86400} days",
            }
            for part, certificate in zip(PARTS, (self.root, self.issuing))
        }


@dataclass
class Found:
    """What is there of an authority: nothing (C(leaves) is None), or a whole one; what is due, and the diff of that."""

    leaves: tuple[Leaf, Leaf] | None = None
    due: list[str] = field(default_factory=list)
    before: dict[str, Any] = field(default_factory=dict)
    after: dict[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    def needs(self, sentence: str, *, what: str, before: str, after: str) -> None:
        """Add something that is due."""
        self.due.append(sentence)
        self.before[what], self.after[what] = before, after


def look(wish: Wish, *, store: Store, passphrase: Passphrase, generate: bool, now: int) -> Found:
    """Check everything that is there. Raises CAError for half a CA, a foreign one, a wrong passphrase."""
    if not store.exists(wish.name):
        return _to_be_created(wish, store=store, passphrase=passphrase, generate=generate)
    root, issuing = read_pair(store, wish.name)
    for part, leaf in zip(PARTS, (root, issuing)):
        open_key(store, wish.name, part, passphrase, spki=leaf.spki)
    found = Found((root, issuing), warnings=_differences(wish, root, issuing, now=now))
    with Ledger.open(store.ledger) as ledger:
        check_known(ledger, wish.name, (root.fingerprint, issuing.fingerprint))
        interrupted = not ledger.knows_authority(wish.name)
    if interrupted:
        said = f"finish the creation of the authority '{wish.name}', which was interrupted"
        found.needs(said, what="creation", before="interrupted", after="finished")
    for path, (is_now, wanted) in store.deviations(wish.name).items():
        found.needs(
            f"close {path} to others (mode {is_now:04o}, should be {wanted:04o})",
            what=path,
            before=f"mode {is_now:04o}",
            after=f"mode {wanted:04o}",
        )
    return found


def predict(wish: Wish, *, store: Store, passphrase: Passphrase, generate: bool) -> Found:
    """What look() can tell without the library: whether the authority would be created."""
    if not store.exists(wish.name):
        return _to_be_created(wish, store=store, passphrase=passphrase, generate=generate)
    return Found(
        warnings=[f"authority '{wish.name}': it is there, but cannot be checked until cryptography is installed."]
    )


def ensure(wish: Wish, *, store: Store, passphrase: Passphrase, generate: bool, now: int, wait: float = WAIT) -> Found:
    """Create the authority where there is none, and repair modes; returns what is there then, with what was due."""
    try:
        found = look(wish, store=store, passphrase=passphrase, generate=generate, now=now)
    except CAError:
        # Another process may be making it right now: what it has half done for a moment is told from damage under its lock.
        if not os.path.isdir(store.directory):
            raise
    else:
        if not found.due:
            return found
    store.make()
    with locked(store.directory, wait=wait):
        # Another process may have been faster.
        found = look(wish, store=store, passphrase=passphrase, generate=generate, now=now)
        if found.leaves is None:
            _provide_passphrase(passphrase, store=store)
            found.leaves = _create(wish, store=store, secret=passphrase.get(), now=now)
        with Ledger.open(store.ledger) as ledger:
            ledger.store((Signed(leaf.serial, leaf.fingerprint, leaf.pem) for leaf in found.leaves), now=now)
        store.close_to_others(wish.name)
    return found


def to_result(found: Found, name: str) -> dict[str, Any]:
    """The authority as the module returns it: its public half, parsed and as PEM."""
    if found.leaves is None:
        return {"name": name}
    parsed = {part: describe(leaf) for part, leaf in zip(PARTS, found.leaves)}
    return {"name": name, "anchors": found.leaves[0].pem, "chain": found.leaves[1].pem, **parsed}


def _create(wish: Wish, *, store: Store, secret: bytes, now: int) -> tuple[Leaf, Leaf]:
    root_key, issuing_key = new_key(wish.root.key_type), new_key(wish.issuing.key_type)
    not_before, root_end = now - BACKDATE, now + wish.root.lifetime
    root = build_root(
        root_key,
        common_name=wish.root.common_name,
        organization=wish.organization,
        not_before=not_before,
        not_after=root_end,
    )
    issuing = build_issuing(
        issuing_key.public_key(),
        root=root,
        root_key=root_key,
        subject=ca_name(wish.issuing.common_name, wish.organization),
        not_before=not_before,
        not_after=min(now + wish.issuing.lifetime, root_end),
    )
    leaves = to_leaf(root), to_leaf(issuing)
    # The ledger is only ever made together with the first authority: later it must be there.
    if not store.names() and not store.has_ledger():
        Ledger.create(store.ledger)
    with Ledger.open(store.ledger) as ledger:
        ledger.reserve([_entry(wish.name, part, leaf, issuer=leaves[0]) for part, leaf in zip(PARTS, leaves)], now=now)
    store.publish(
        wish.name,
        {
            "root.pem": _pem(root),
            "root.key": key_to_pem(root_key, secret),
            "issuing.pem": _pem(issuing),
            "issuing.key": key_to_pem(issuing_key, secret),
        },
    )
    return leaves


def _entry(authority: str, part: str, leaf: Leaf, *, issuer: Leaf) -> Entry:
    return Entry(
        serial=leaf.serial,
        authority=authority,
        issuer=issuer.spki,
        identity="",
        name=part,
        profile=part,
        common_name=leaf.common_name,
        names=(),
        spki=leaf.spki,
        not_before=leaf.not_before,
        not_after=leaf.not_after,
        fingerprint=leaf.fingerprint,
        pem=leaf.pem,
        why=("created",),
    )


def _to_be_created(wish: Wish, *, store: Store, passphrase: Passphrase, generate: bool) -> Found:
    _refuse_second(wish.name, store=store)
    if passphrase.missing and (not generate or store.names()):
        # Nothing can be created without one; and a new one beside keys that have another would only confuse.
        passphrase.get()
    return Found(
        due=[f"create the authority '{wish.name}'"],
        before={"authority": "absent"},
        after={"authority": wish.name, **wish.describe()},
    )


def _provide_passphrase(passphrase: Passphrase, *, store: Store) -> None:
    if passphrase.missing:
        passphrase.generate()
    for authority in store.names()[:1]:
        # One passphrase opens all authorities: another one is found out now, not when the first is needed again.
        _root, issuing = read_pair(store, authority)
        open_key(store, authority, "issuing", passphrase, spki=issuing.spki)


def _refuse_second(authority: str, *, store: Store) -> None:
    """An authority that the ledger knows and the disk does not has been lost: a second one of its name is none."""
    if not store.names() and not store.has_ledger():
        return
    with Ledger.open(store.ledger) as ledger:
        if ledger.knows_authority(authority):
            raise CAError(
                f"Half a CA: the ledger {store.ledger} knows the authority '{authority}', but {store.path(authority)} is gone. "
                "Nothing was made anew, since machines trust the one that was there. Restore the folder from your backup.",
                code="half_ca",
            )


def _differences(wish: Wish, root: Leaf, issuing: Leaf, *, now: int) -> list[str]:
    """Where the authority is not what is asked for. It is kept: another root is a rollover, an act of its own."""
    said: list[str] = []
    for part, leaf, wanted in zip(PARTS, (root, issuing), (wish.root, wish.issuing)):
        subject = f"CN={wanted.common_name}" + (f",O={wish.organization}" if wish.organization else "")
        pairs = (("subject", leaf.subject, subject), ("key type", leaf.key, wanted.key_type))
        said.extend(
            f"authority '{wish.name}': its {part} CA has the {what} '{has}', asked for is '{wants}'. It is kept as it is."
            for what, has, wants in pairs
            if has != wants
        )
        if leaf.not_after <= now:
            said.append(f"authority '{wish.name}': its {part} CA has expired ({iso(leaf.not_after)}).")
    return said


def _certificate(options: Mapping[str, Any], *, authority: str, part: str) -> Certificate:
    where = f"authority '{authority}', {part}"
    common_name = str(options.get("common_name") or f"{authority} {part} CA")
    lifetime = parse_duration(options["lifetime"], where=f"{where}, lifetime")
    if lifetime > LONGEST:
        raise CAError(
            f"{where}: a lifetime of more than 100 years. Nothing was changed. Shorten it.", code="bad_request"
        )
    return Certificate(
        common_name=_check_text(common_name, where=f"{where}, common_name"),
        lifetime=lifetime,
        key_type=check_key_type(str(options["key_type"]), where=where),
    )


def _check_text(text: str, *, where: str) -> str:
    if not _TEXT.match(text):
        raise CAError(
            f"{where}: '{text}' is longer than 64 or has a comma, quote, sign of a distinguished name or control character. "
            "Nothing was changed. Shorten or simplify it.",
            code="bad_request",
        )
    return text


def _pem(certificate: x509.Certificate) -> bytes:
    pem: bytes = certificate.public_bytes(serialization.Encoding.PEM)
    return pem
