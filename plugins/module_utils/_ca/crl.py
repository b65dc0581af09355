# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An authority's CRLs: when a new one is due, and its making. Its number is in the ledger before anything is signed with it.

C(crl.pem) in the authority's folder is the issuing CA's, C(root-crl.pem) that of the root (and of what lies between them, where
others sign these).
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from .._x509.crl import Crl, Revoked, build_crl, is_crl_of, parse_crl, read_crls
from .._x509.errors import X509Error
from .._x509.lifespan import backdated
from .._x509.parse import Leaf, iso, load_certificate
from .._x509.revocation_reasons import REASONS
from .durable import replace_file
from .errors import CAError
from .known import check_known
from .ledger import Ledger
from .local import Chain, open_key, read_chain
from .lock import WAIT, locked
from .passphrase import Passphrase
from .policy import CRL_LIFETIME, read_policy
from .revocation import restore_revocations, revoke_entries, revoked_by
from .store import Store

FILES = {"issuing": "crl.pem", "root": "root-crl.pem"}
# How many of its CRLs the ledger keeps for each key: the last number is what counts.
_KEPT = 10


@dataclass(frozen=True)
class Issuer:
    """One key that signs CRLs, where its CRL lies, and for how many seconds one lasts."""

    authority: str
    part: str
    certificate: Leaf
    path: str
    lifetime: int = CRL_LIFETIME


@dataclass
class Standing:
    """One CRL as it is: C(crl) is the one in place, C(due) says why another one is to be signed (None: it is not).

    C(missed): what is on CRLs and not revoked in the ledger, which an older backup has forgotten. C(forgotten): the CA was restored,
    and what its key has revoked since is not known, so that another CRL would take that back.
    """

    issuer: Issuer
    crl: Crl | None
    due: str | None = None
    revoked: tuple[Revoked, ...] = ()
    missed: tuple[Revoked, ...] = ()
    highest: int = 0
    forgotten: bool = False


@dataclass
class Found:
    """What there is for one authority. C(elsewhere): CRLs of those of its chain whose keys are not here.

    C(taken_back): one of them revokes the issuing CA itself, which the ledger does not know yet.
    """

    chain: Chain
    standings: list[Standing] = field(default_factory=list)
    elsewhere: list[Crl] = field(default_factory=list)
    arrived: list[Crl] = field(default_factory=list)
    taken_back: Revoked | None = None
    warnings: list[str] = field(default_factory=list)

    @property
    def due(self) -> list[str]:
        """What is to be done, as sentences."""
        said = [
            f"sign the {standing.issuer.part} CA's CRL: {standing.due}" for standing in self.standings if standing.due
        ]
        said += [f"put the CRL number {crl.number} of {crl.issuer} into place" for crl in self.arrived]
        if self.taken_back:
            said.append(f"note that whoever signed the issuing CA has revoked it ({self.taken_back.reason})")
        return said

    @property
    def forgotten(self) -> bool:
        """Whether the CA was restored, and CRLs of its issuing CA that are out there may know of more revocations."""
        return any(standing.forgotten for standing in self.standings if standing.issuer.part == "issuing")

    @property
    def crls(self) -> list[Crl]:
        """All that a server needs which checks the whole chain, the issuing CA's first."""
        return [standing.crl for standing in self.standings if standing.crl] + self.elsewhere


def look(store: Store, authority: str, *, published: str = "", is_complete: bool = False, now: int) -> Found:
    """How an authority's CRLs stand; changes nothing and opens no key.

    O(published): CRLs (PEM) of this authority that are out in the world, or were signed elsewhere. Others' are left aside.
    O(is_complete): nothing later than these is out there, as far as can be known.
    """
    with Ledger.read(store.ledger) as ledger:
        return _look(store, ledger, authority, published=published, is_complete=is_complete, now=now)


def refresh(
    store: Store,
    authority: str,
    *,
    passphrase: Passphrase,
    published: str = "",
    is_complete: bool = False,
    now: int,
    wait: float = WAIT,
) -> tuple[Found, list[str]]:
    """Sign what is due; returns how the CRLs stand then, and what was done. Takes the lock only where something is due."""
    found = look(store, authority, published=published, is_complete=is_complete, now=now)
    if not found.due:
        return found, []
    with locked(store.directory, wait=wait), Ledger.open(store.ledger) as ledger:
        ledger.refuse_frozen()
        # Another process may have been faster.
        found = _look(store, ledger, authority, published=published, is_complete=is_complete, now=now)
        done = found.due
        for standing in found.standings:
            if standing.due:
                issuer = standing.issuer
                key = open_key(store, authority, issuer.part, passphrase, spki=issuer.certificate.spki)
                with ledger.transaction():
                    restore_revocations(ledger, standing.missed)
                standing.crl = publish_crl(
                    ledger, issuer, key=key, revoked=standing.revoked, above=standing.highest, now=now
                )
                standing.forgotten = False
        if found.taken_back:
            _note_taken_back(ledger, found, authority, now=now)
        if found.arrived:
            replace_file(store.path(authority, FILES["root"]), "".join(crl.pem for crl in found.elsewhere).encode())
        return found, done


def publish_crl(
    ledger: Ledger, issuer: Issuer, *, key: Any, revoked: Sequence[Revoked], above: int = 0, now: int
) -> Crl:
    """Sign one CRL and put it in its place, under the CA's lock: number reserved, signed, file replaced, stored.

    Its number is above O(above) and above all that the ledger knows of. Numbers are not below the time either: so they rise also
    after an older backup has been restored.
    """
    rows = ledger.run("SELECT max(number) FROM crls WHERE issuer = ?", (issuer.certificate.spki,))
    number = max((rows[0][0] or 0) + 1, above + 1, now)
    span = (backdated(now, issuer.lifetime), now + issuer.lifetime)
    with ledger.transaction():
        ledger.run(
            "INSERT INTO crls (issuer, number, authority, part, this_update, next_update, reserved_at) VALUES (?, ?, ?, ?, ?, ?, ?)",
            (issuer.certificate.spki, number, issuer.authority, issuer.part, *span, now),
        )
    pem = build_crl(
        revoked,
        issuer=load_certificate(issuer.certificate.pem),
        issuer_key=key,
        number=number,
        this_update=span[0],
        next_update=span[1],
    )
    replace_file(issuer.path, pem.encode())
    with ledger.transaction():
        ledger.run("UPDATE crls SET pem = ? WHERE issuer = ? AND number = ?", (pem, issuer.certificate.spki, number))
        ledger.run(
            "DELETE FROM crls WHERE issuer = ? AND number NOT IN"
            " (SELECT number FROM crls WHERE issuer = ? ORDER BY number DESC LIMIT ?)",
            (issuer.certificate.spki, issuer.certificate.spki, _KEPT),
        )
    return parse_crl(pem, where=issuer.path)


def standing_of(ledger: Ledger, issuer: Issuer, *, published: Iterable[Crl] = (), now: int) -> Standing:
    """How the CRL of one key stands, compared with the ledger."""
    crl, wrong = _at_hand(issuer)
    known = [item for item in (crl, *published) if item and is_crl_of(item, issuer.certificate)]
    revoked, missed = revoked_by(
        ledger,
        issuer.certificate.spki,
        listed=[entry for item in known for entry in item.revoked],
        until=now - issuer.lifetime,
    )
    numbers = {
        row[0]: row[1]
        for row in ledger.run("SELECT number, pem IS NULL FROM crls WHERE issuer = ?", (issuer.certificate.spki,))
    }
    highest = max(
        [0, *(number for number, is_open in numbers.items() if not is_open), *(item.number for item in known)]
    )
    if crl is not None and numbers.get(crl.number):
        wrong = "the one in place was signed by a run that was cut short before the ledger had it"
    restored_at = _restored_at(ledger, issuer)
    if crl is not None and not wrong and restored_at is not None:
        wrong = "the CA was restored from a backup, and later ones than that in place may have been published"
    due = wrong or _why_due(crl, issuer, revoked=revoked, missed=missed, highest=highest, now=now)
    told = any(item.number >= (crl.number if crl else 0) for item in known if item is not crl)
    return Standing(issuer, crl, due, revoked, missed, highest, forgotten=restored_at is not None and not told)


def _restored_at(ledger: Ledger, issuer: Issuer) -> int | None:
    """When the CA was restored, where this key has signed no CRL since."""
    rows = ledger.run(
        "SELECT at FROM conditions WHERE name = 'restored' AND at >="
        " coalesce((SELECT max(reserved_at) FROM crls WHERE issuer = ? AND pem IS NOT NULL), 0)",
        (issuer.certificate.spki,),
    )
    return int(rows[0][0]) if rows else None


def _hold_back(found: Found, ledger: Ledger, standing: Standing, *, is_complete: bool, now: int) -> None:
    """After a restore no CRL is signed that would take revocations back, unless servers would soon refuse everybody without it.

    Whoever has revoked something since then has been told, and must not wait.
    """
    issuer, crl = standing.issuer, standing.crl
    restored_at = _restored_at(ledger, issuer) or 0
    said = f"authority '{issuer.authority}': the CA was restored from a backup. What its {issuer.part} CA has revoked since is on the CRLs "
    give = "give the last one that was published to ca_crl as 'published' (crl.yml: tls_crl_published), or revoke those certificates again."
    listed = {item.serial for item in crl.revoked} if crl else set()
    is_urgent = any(item.at >= restored_at and item.serial not in listed for item in standing.revoked)
    if is_complete and (
        is_urgent or crl is None or crl.this_update > now or 3 * (crl.next_update - now) < issuer.lifetime
    ):
        found.warnings.append(f"{said}that are out there, and not on the new one, which takes their place: {give}")
        return
    until = f" until {iso(crl.next_update - issuer.lifetime // 3)}" if crl and is_complete else ""
    found.warnings.append(
        f"{said}that are out there, and another one would take their place, so none is signed{until}. crl.yml learns it from servers "
        f"that have one (tls_trust_crls). Where there are none, {give}"
    )
    standing.due = None


def _look(store: Store, ledger: Ledger, authority: str, *, published: str, is_complete: bool, now: int) -> Found:
    given, unread = _read_published(published)
    chain, policy = read_chain(store, authority), read_policy(store, authority)
    check_known(ledger, authority, store.read(authority).fingerprints.values())
    found = Found(chain, warnings=unread)
    for part, certificate in (("issuing", chain.issuing), ("root", chain.root)):
        if os.path.lexists(store.path(authority, f"{part}.key")):
            issuer = Issuer(authority, part, certificate, store.path(authority, FILES[part]), policy.crl_lifetime)
            standing = standing_of(ledger, issuer, published=given, now=now)
            found.standings.append(standing)
            if standing.forgotten:
                _hold_back(found, ledger, standing, is_complete=is_complete, now=now)
    signed_here = [standing.issuer.certificate for standing in found.standings]
    others = [leaf for leaf in (*chain.above, chain.root) if leaf not in signed_here]
    in_place = _in_place(found, store, authority) if others else []
    for leaf in others:
        have, new = _newest(in_place, leaf, now=now), _newest(given, leaf, now=now)
        if new and (have is None or new.number > have.number):
            have = new
            found.arrived.append(new)
        if have:
            found.elsewhere.append(have)
            found.warnings += _ends_soon(have, authority=authority, now=now)
        found.warnings += _not_begun([*in_place, *given], leaf, authority=authority, now=now)
    entry = ledger.find_fingerprint(chain.issuing.fingerprint)
    if entry is not None and entry.state != "revoked":
        signer = (*chain.above, chain.root)[0]
        listed = (item for crl in found.elsewhere if is_crl_of(crl, signer) for item in crl.revoked)
        found.taken_back = next((item for item in listed if item.serial == chain.issuing.serial), None)
    return found


def _note_taken_back(ledger: Ledger, found: Found, authority: str, *, now: int) -> None:
    """Nothing is signed any more by an issuing CA that its own issuer has revoked."""
    entry, item = ledger.find_fingerprint(found.chain.issuing.fingerprint), found.taken_back
    if entry is None or item is None:
        return
    # Others also know reasons that are none for good, such as a hold: until it is lifted, it counts.
    reason = item.reason if item.reason in REASONS else "unspecified"
    with ledger.transaction():
        revoke_entries(ledger, [entry.id], reason=reason, now=now)
        said = f"issuing CA of authority '{authority}', serial {entry.serial}, by whoever signed it ({item.reason})"
        ledger.run("INSERT INTO acts (at, act, identity, said) VALUES (?, 'revoked', '', ?)", (now, said))


def _in_place(found: Found, store: Store, authority: str) -> list[Crl]:
    """The CRLs that were signed elsewhere. A damaged file is as good as none: only others can sign what was in it."""
    text = store.read_optional(authority, FILES["root"]) or ""
    crls, wrong = read_crls(text, where=store.path(authority, FILES["root"]))
    found.warnings += [
        f"authority '{authority}': what was signed elsewhere is damaged and left aside ({said}) Give it to ca_crl as 'published' once more."
        for said in wrong
    ]
    return crls


def _at_hand(issuer: Issuer) -> tuple[Crl | None, str | None]:
    """(the CRL in place, what is wrong with it)."""
    try:
        with open(issuer.path, encoding="ascii", errors="replace") as stream:
            crl = parse_crl(stream.read(), where=issuer.path)
    except FileNotFoundError:
        return None, "there is none yet"
    except OSError as exc:
        raise CAError(
            f"{issuer.path} cannot be read: {exc.strerror}. Nothing was changed. Run with become, and check the disk.",
            code="files",
        ) from exc
    except X509Error as exc:
        return None, f"the one in place is damaged ({exc})"
    if not is_crl_of(crl, issuer.certificate):
        return None, f"the one in place, {issuer.path}, was not signed by this key"
    return crl, None


def _why_due(
    crl: Crl | None, issuer: Issuer, *, revoked: Sequence[Revoked], missed: Sequence[Revoked], highest: int, now: int
) -> str | None:
    """Why a CRL that is right in itself is to be replaced."""
    if crl is None:
        return "there is none yet"
    if crl.number < highest:
        return f"the one in place has the number {crl.number}, a later one was published with {highest}"
    wanted, listed = ({(item.serial, item.reason) for item in entries} for entries in (revoked, crl.revoked))
    if wanted != listed:
        return f"revocations that are not on it: {len(wanted - listed)}, that have left: {len(listed - wanted)}"
    if missed:
        return f"revocations that the ledger, brought back from an older backup, does not know: {len(missed)}"
    if crl.this_update > now:
        return f"it begins only {iso(crl.this_update)}, a clock was wrong when it was signed"
    if now >= crl.next_update:
        return f"it has ended {iso(crl.next_update)}"
    if 3 * (crl.next_update - now) < 2 * issuer.lifetime:
        return f"it ends {iso(crl.next_update)}"
    if crl.next_update - crl.this_update > issuer.lifetime + now - backdated(now, issuer.lifetime):
        return f"it is to last {issuer.lifetime // 86400} days, and lasts until {iso(crl.next_update)}"
    return None


def _read_published(pem: str) -> tuple[list[Crl], list[str]]:
    """(what can be read, warnings about the rest). One that is of no use keeps nobody from the others."""
    found, wrong = read_crls(pem, where="published")
    if pem.strip() and not found:
        said = " ".join(wrong) or "published: there is no CRL in PEM in it."
        raise CAError(f"{said} Nothing was changed. Give CRLs in PEM.", code="bad_request")
    return found, [f"{said} It is left aside. Give another one in its place, or leave it out." for said in wrong]


def _newest(crls: Iterable[Crl], issuer: Leaf, *, now: int) -> Crl | None:
    """One that has begun: servers refuse everybody with another."""
    usable = (crl for crl in crls if crl.this_update <= now and is_crl_of(crl, issuer))
    return max(usable, key=lambda crl: crl.number, default=None)


def _not_begun(crls: Iterable[Crl], issuer: Leaf, *, authority: str, now: int) -> list[str]:
    """Warnings about CRLs that only others can sign."""
    early = {crl.pem: crl for crl in crls if crl.this_update > now and is_crl_of(crl, issuer)}
    return [
        f"authority '{authority}': the CRL number {crl.number} of {crl.issuer} begins only {iso(crl.this_update)}, by the clock here, and "
        "is left aside: a clock is wrong, where it was signed or here. Correct that by NTP, and sign a new one where the key is."
        for crl in early.values()
    ]


def _ends_soon(crl: Crl, *, authority: str, now: int) -> list[str]:
    """A warning in the last third of the life of a CRL that only others can sign."""
    if 3 * (crl.next_update - now) >= crl.next_update - crl.this_update:
        return []
    tense = "has ended" if now >= crl.next_update else "ends"
    said = (
        f"authority '{authority}': the CRL of {crl.issuer} {tense} {iso(crl.next_update)}; its key is not here. From then on servers "
        "that check the whole chain refuse every client. Sign a new one where the key is, and give it to ca_crl as 'published'."
    )
    return [said]
