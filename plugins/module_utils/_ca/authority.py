# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One authority: a look at what is there, and its creation. What is there is checked and never replaced.

What may change about an authority that is there is its policy, and the issuing CA's certificate (renewal.py, adoption.py).
"""

from __future__ import annotations

import functools
import os
from dataclasses import replace
from typing import Any

from .._x509.build import build_issuing, build_root, ca_name
from .._x509.constraints import Constraints, constraints_of
from .._x509.crypto import serialization, x509
from .._x509.keys import key_to_pem, new_key
from .._x509.lifespan import BACKDATE
from .._x509.parse import Leaf, describe, iso, to_leaf
from .adoption import look_at_leftover, look_at_new, look_at_signed
from .clock import UNCOMPARED, Clock
from .durable import replace_file
from .errors import CAError
from .freezing import standing_of
from .known import check_known
from .ledger import Ledger
from .local import Chain, decrypt_key, open_key, read_chain
from .lock import WAIT, locked
from .marker import lacks_marker, leave_marker, marker_path, refuse_vanished
from .own_certificates import enter, is_settled, refuse_lost, settle
from .passphrase import Passphrase
from .policy import POLICY_FILE, policy_files, read_policy
from .renewal import look_at_issuing
from .store import PENDING_KEY, ROOT_KEY, Store
from .wish import PARTS, Found, Wish

__all__ = ["Found", "Wish", "ensure", "look", "predict", "to_result"]


def look(wish: Wish, *, store: Store, passphrase: Passphrase, generate: bool, now: int) -> Found:
    """Check everything that is there. Raises CAError for half a CA, a foreign one, a wrong passphrase."""
    if not store.exists(wish.name):
        absent = _look_at_absent(wish, store=store, passphrase=passphrase, generate=generate, now=now)
        absent.warnings.extend(wish.remarks)
        return absent
    chain = read_chain(store, wish.name)
    _check_keys(wish, chain, store=store, passphrase=passphrase)
    found = Found(chain)
    look_at_leftover(found, wish, store=store)
    with Ledger.read(store.ledger) as ledger:
        check_known(ledger, wish.name, (chain.root.fingerprint, chain.issuing.fingerprint))
        if not is_settled(ledger, chain):
            _look_at_unsettled(found, wish, chain, store=store, now=now)
        is_answered = False
        if wish.signed:
            chain, is_answered = look_at_signed(found, wish, chain, store=store, ledger=ledger, now=now)
        look_at_issuing(
            found, wish, chain, is_answered=is_answered, store=store, passphrase=passphrase, ledger=ledger, now=now
        )
        if standing_of(ledger).frozen is None:
            _look_at_marker(found, store=store, passphrase=passphrase, now=now)
    found.warnings.extend(_differences(wish, chain, now=now) + wish.remarks)
    if store.has_root_key(wish.name) and not wish.is_root_here:
        found.warnings.append(
            f"authority '{wish.name}': its root is to be elsewhere, but {store.path(wish.name, ROOT_KEY)} is still here. Restore a "
            "backup of this CA where the root is to be, hold a ceremony there (the guide on an offline root has the steps), and then "
            "remove the file here."
        )
    _look_at_policy(found, wish, store=store)
    _look_at_modes(found, wish, store=store)
    return found


def predict(wish: Wish, *, store: Store, passphrase: Passphrase, generate: bool) -> Found:
    """What look() can tell without the library: whether the authority would be created."""
    there = store.exists(wish.name)
    if not there and not wish.is_root_here and wish.name in store.pending_names():
        there = True
    if there:
        return Found(
            warnings=[f"authority '{wish.name}': it is there, but cannot be checked until cryptography is installed."]
        )
    return _look_at_absent(wish, store=store, passphrase=passphrase, generate=generate, now=0)


def ensure(
    wish: Wish,
    *,
    store: Store,
    passphrase: Passphrase,
    generate: bool,
    now: int,
    clock: Clock = UNCOMPARED,
    wait: float = WAIT,
) -> Found:
    """Do what is due; returns what is there then, with what was due."""
    # Before the folders are made below a disk that is not mounted.
    refuse_vanished(store, passphrase)
    try:
        found = look(wish, store=store, passphrase=passphrase, generate=generate, now=now)
    except CAError:
        # Another process may be making it right now: what it has half done for a moment is told from damage under its lock.
        if not os.path.isdir(store.directory):
            raise
    else:
        if not found.due:
            return found
        clock.refuse_wrong(now=now)
    store.make()
    with locked(store.directory, wait=wait):
        # Another process may have been faster.
        found = look(wish, store=store, passphrase=passphrase, generate=generate, now=now)
        if found.due:
            clock.refuse_wrong(now=now)
        if found.due and store.has_ledger():
            with Ledger.open(store.ledger) as ledger:
                ledger.refuse_frozen()
        if found.due and found.chain is None:
            _provide_passphrase(passphrase, store=store)
        for act in found.acts:
            act()
        leave_marker(store, passphrase, now=now)
        after = look(wish, store=store, passphrase=passphrase, generate=False, now=now)
    return replace(after, due=found.due, before=found.before, after=found.after)


def to_result(found: Found, name: str) -> dict[str, Any]:
    """The authority as the module returns it: its public half, parsed and as PEM."""
    if found.chain is None:
        return {"name": name}
    root, issuing = found.chain.root, found.chain.issuing
    limits = constraints_of(issuing.pem) or Constraints()
    return {
        "name": name,
        "anchors": root.pem,
        "chain": "".join(leaf.pem for leaf in found.chain.sent),
        "root": describe(root),
        "issuing": {**describe(issuing), "domains": list(limits.domains), "networks": list(limits.networks)},
    }


def _look_at_absent(wish: Wish, *, store: Store, passphrase: Passphrase, generate: bool, now: int) -> Found:
    refuse_vanished(store, passphrase)
    refuse_lost(store, wish.name, what="a CA")
    if passphrase.missing and (not generate or store.names() or store.pending_names()):
        # Nothing can be created without one; and a new one beside keys that have another would only confuse.
        passphrase.get()
    if not wish.is_root_here:
        return look_at_new(wish, store=store, passphrase=passphrase, now=now)
    if store.read_pending(wish.name, PENDING_KEY) is not None:
        raise CAError(
            f"Authority '{wish.name}' waits for a chain from elsewhere ({store.pending_path(wish.name)}), but its root is wanted "
            "here. Nothing was changed. Say root: {location: elsewhere}, or remove that folder if nobody has signed its CSR.",
            code="bad_request",
        )
    found = Found()
    found.needs(
        f"create the authority '{wish.name}'",
        what="authority",
        before="absent",
        after=wish.name,
        act=functools.partial(_create, wish, store=store, passphrase=passphrase, now=now),
    )
    found.after.update(wish.describe())
    return found


def _look_at_unsettled(found: Found, wish: Wish, chain: Chain, *, store: Store, now: int) -> None:
    def finish() -> None:
        with Ledger.open(store.ledger) as ledger:
            settle(ledger, wish.name, chain, now=now)

    found.needs(
        f"finish the last change of the authority '{wish.name}', which was interrupted",
        what="last change",
        before="interrupted",
        after="finished",
        act=finish,
    )


def _look_at_policy(found: Found, wish: Wish, *, store: Store) -> None:
    is_now = read_policy(store, wish.name)
    if is_now == wish.policy:
        return
    before, after = is_now.to_dict(), wish.policy.to_dict()
    changed = [part for part in after if before[part] != after[part]]
    found.needs(
        f"change what authority '{wish.name}' signs: {', '.join(changed)}",
        what="policy",
        before={part: before[part] for part in changed},
        after={part: after[part] for part in changed},
        act=functools.partial(replace_file, store.path(wish.name, POLICY_FILE), wish.policy.to_json()),
    )


def _look_at_marker(found: Found, *, store: Store, passphrase: Passphrase, now: int) -> None:
    if lacks_marker(store, passphrase):
        path = str(marker_path(store, passphrase))
        found.needs(
            f"note in {path} that there is a CA in {store.directory}",
            what=path,
            before="absent",
            after=f"a CA in {store.directory}",
            act=functools.partial(leave_marker, store, passphrase, now=now),
        )


def _look_at_modes(found: Found, wish: Wish, *, store: Store) -> None:
    for path, (is_now, wanted) in store.deviations(wish.name).items():
        found.needs(
            f"close {path} to others (mode {is_now:04o}, should be {wanted:04o})",
            what=path,
            before=f"mode {is_now:04o}",
            after=f"mode {wanted:04o}",
            act=functools.partial(store.close_to_others, wish.name),
        )


def _check_keys(wish: Wish, chain: Chain, *, store: Store, passphrase: Passphrase) -> None:
    open_key(store, wish.name, "issuing", passphrase, spki=chain.issuing.spki)
    if store.has_root_key(wish.name):
        open_key(store, wish.name, "root", passphrase, spki=chain.root.spki)
    elif wish.is_root_here:
        raise CAError(
            f"Half a CA: the authority '{wish.name}' in {store.path(wish.name)} lacks {ROOT_KEY}. Nothing was made anew, since that "
            "would replace a CA that machines trust. Restore the file from your backup, or say root: {location: elsewhere} if it "
            "is kept elsewhere on purpose.",
            code="half_ca",
        )


def _create(wish: Wish, *, store: Store, passphrase: Passphrase, now: int) -> None:
    root_key, issuing_key = new_key(wish.root.key_type), new_key(wish.issuing.key_type)
    not_before, root_end = now - BACKDATE, now + wish.root.lifetime
    root = build_root(
        root_key,
        subject=ca_name(wish.root.common_name, wish.organization),
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
        constraints=wish.policy.constraints,
    )
    chain = Chain(to_leaf(issuing), (), to_leaf(root))
    secret = passphrase.get()
    # The ledger is only ever made together with the first authority: later it must be there.
    if not store.names() and not store.has_ledger():
        Ledger.create(store.ledger)
    with Ledger.open(store.ledger) as ledger:
        enter(ledger, wish.name, chain, why="created", now=now)
        store.publish(
            wish.name,
            {
                "root.pem": _pem(root),
                "root.key": key_to_pem(root_key, secret),
                "issuing.pem": _pem(issuing),
                "issuing.key": key_to_pem(issuing_key, secret),
                **policy_files(wish.policy),
            },
        )
        settle(ledger, wish.name, chain, now=now)


def _provide_passphrase(passphrase: Passphrase, *, store: Store) -> None:
    if passphrase.missing:
        passphrase.generate()
    # One passphrase opens all keys: another one is found out now, not when the first is needed again.
    for authority in store.names()[:1]:
        open_key(store, authority, "issuing", passphrase, spki=read_chain(store, authority).issuing.spki)
    for authority in store.pending_names():
        sealed = store.read_pending(authority, PENDING_KEY)
        if sealed is not None:
            decrypt_key(
                sealed, path=store.pending_path(authority, PENDING_KEY), authority=authority, passphrase=passphrase
            )


def _differences(wish: Wish, chain: Chain, *, now: int) -> list[str]:
    """Where the authority is not what is asked for. It is kept: another root is a rollover, an act of its own."""
    said: list[str] = []
    for part, leaf, wanted in zip(PARTS, (chain.root, chain.issuing), (wish.root, wish.issuing)):
        subject = f"CN={wanted.common_name}" + (f",O={wish.organization}" if wish.organization else "")
        # Who signs elsewhere decides on names there.
        pairs: tuple[tuple[str, str, str], ...] = (("subject", leaf.subject, subject),) if wish.is_root_here else ()
        if wish.is_root_here or part == "issuing":
            pairs += (("key type", leaf.key, wanted.key_type),)
        said.extend(
            f"authority '{wish.name}': its {part} CA has the {what} '{has}', asked for is '{wants}'. It is kept as it is."
            for what, has, wants in pairs
            if has != wants
        )
        said.extend(_ended(wish, part, leaf, now=now))
    return said


def _ended(wish: Wish, part: str, leaf: Leaf, *, now: int) -> list[str]:
    return (
        [f"authority '{wish.name}': its {part} CA has expired ({iso(leaf.not_after)})."]
        if leaf.not_after <= now
        else []
    )


def _pem(certificate: x509.Certificate) -> bytes:
    pem: bytes = certificate.public_bytes(serialization.Encoding.PEM)
    return pem
