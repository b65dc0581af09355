# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An authority whose root is elsewhere: a CSR for its issuing CA goes out, the signed chain comes in and is adopted."""

from __future__ import annotations

import functools

from .._x509.build import build_ca_csr, ca_name
from .._x509.constraints import Constraints, constraints_of
from .._x509.crypto import x509
from .._x509.keys import key_to_pem, new_key, spki_of
from .._x509.parse import iso
from .durable import make_folder, publish_folder, remove_folder, replace_file
from .errors import CAError
from .ledger import Ledger
from .local import Chain, decrypt_key
from .own_certificates import describe_limits, enter, refuse_narrowing, settle
from .passphrase import Passphrase
from .policy import policy_files
from .renewal import request_fits
from .signed_chain import check_signed, read_signed, remarks
from .store import PENDING_CSR, PENDING_KEY, Store
from .wish import Found, Wish


def look_at_new(wish: Wish, *, store: Store, passphrase: Passphrase, now: int) -> Found:
    """An authority that is not there yet: its key and CSR, or the chain that was signed for them."""
    found = Found(request_path=store.pending_path(wish.name, PENDING_CSR))
    sealed = store.read_pending(wish.name, PENDING_KEY)
    if sealed is None:
        _look_at_nothing(found, wish, store=store, passphrase=passphrase)
        return found
    key = decrypt_key(
        sealed, path=store.pending_path(wish.name, PENDING_KEY), authority=wish.name, passphrase=passphrase
    )
    spki, subject, limits = spki_of(key.public_key()), _subject(wish), wish.policy.constraints
    chain = read_signed(wish, spki=spki) if wish.signed else None
    if chain is not None:
        check_signed(chain, wish, now=now)
    if chain is not None and (wish.anchor or wish.fingerprint):
        found.warnings.extend(remarks(chain, wish))
        found.needs(
            f"adopt the chain that was signed for authority '{wish.name}' by '{chain.issuing.issuer}'",
            what="authority",
            before="waits for its chain",
            after=_describe(chain),
            act=functools.partial(_adopt, wish, chain, sealed, store=store, now=now),
        )
        return found
    found.request = store.read_pending(wish.name, PENDING_CSR)
    if found.request is None or not request_fits(found.request, spki=spki, subject=subject, limits=limits):
        found.needs(
            f"make the CSR of authority '{wish.name}' anew for the same key, {found.request_path}",
            what=found.request_path,
            before="another CSR" if found.request else "absent",
            after=f"a CSR for {subject.rfc4514_string()}, limits: {describe_limits(limits)}",
            act=functools.partial(_ask_anew, wish, sealed, store=store, passphrase=passphrase),
        )
    found.warnings.append(_waits(wish, found.request_path, spki=spki) if chain is None else _asks_for_root(wish, chain))
    return found


def look_at_signed(
    found: Found, wish: Wish, chain: Chain, *, store: Store, ledger: Ledger, now: int
) -> tuple[Chain, bool]:
    """Compare the chain that is handed in with the one there is; returns the one to go on with, and whether it is a new one."""
    offered = read_signed(wish, spki=chain.issuing.spki)
    if offered.sent == chain.sent and offered.root.fingerprint == chain.root.fingerprint:
        return chain, False
    known = ledger.find_fingerprint(offered.issuing.fingerprint)
    if known is not None and known.state in ("superseded", "revoked"):
        found.warnings.append(
            f"authority '{wish.name}': the chain that is handed in is an older one (serial {offered.issuing.serial}, until "
            f"{iso(offered.issuing.not_after)}) than the one in force. It is left aside: hand in the newer one, or none."
        )
        return chain, False
    if offered.root.fingerprint != chain.root.fingerprint:
        raise CAError(
            f"The chain for authority '{wish.name}' ends in another root ('{offered.root.subject}', {offered.root.fingerprint}) than "
            f"the one that machines trust ('{chain.root.subject}', {chain.root.fingerprint}). Nothing was changed. To change the "
            "root, create an authority with another name, distribute its root, and move the certificates to it.",
            code="rollover",
        )
    if offered.issuing.subject != chain.issuing.subject:
        raise CAError(
            f"The issuing CA that was signed for authority '{wish.name}' is called '{offered.issuing.subject}', the one in force "
            f"'{chain.issuing.subject}': its leaves would not belong to it any more. Nothing was changed. Have it signed with the "
            "subject that the CSR asks for.",
            code="bad_chain",
        )
    check_signed(offered, wish, now=now)
    if chain.not_before <= now and _ends_sooner(offered, chain, ledger=ledger):
        found.warnings.append(
            f"authority '{wish.name}': the chain that is handed in ends {iso(offered.not_after)}, sooner than the one in force, "
            f"{iso(chain.not_after)}, and says the same. It is left aside: hand in the newer one, or none."
        )
        return chain, False
    for limits in _limits_of(offered) - _limits_of(chain):
        # Whoever signed it may have written others than were asked for.
        refuse_narrowing(ledger, wish.name, limits, now=now)
    found.warnings.extend(remarks(offered, wish))
    found.needs(
        f"adopt the renewed chain of authority '{wish.name}'",
        what="chain",
        before=_describe(chain),
        after=_describe(offered),
        act=functools.partial(_adopt_renewed, wish, offered, store=store, now=now),
    )
    return offered, True


def _ends_sooner(offered: Chain, chain: Chain, *, ledger: Ledger) -> bool:
    """Whether it is only an earlier answer, which nobody had adopted: by the same signers, with the same limits."""
    same = offered.above == chain.above and _limits_of(offered) == _limits_of(chain)
    entry = ledger.find_fingerprint(chain.issuing.fingerprint)
    is_revoked = entry is not None and entry.state == "revoked"
    return same and not is_revoked and offered.not_after < chain.not_after


def _limits_of(chain: Chain) -> set[Constraints]:
    found = (constraints_of(leaf.pem) for leaf in (*chain.sent, chain.root))
    return {limits for limits in found if limits}


def look_at_leftover(found: Found, wish: Wish, *, store: Store) -> None:
    """The key of a CSR that was adopted is in its place: the copy that waited is of no use any more."""
    path = store.pending_path(wish.name)
    sealed, request = (store.read_pending(wish.name, file) for file in (PENDING_KEY, PENDING_CSR))
    if wish.name not in store.pending_names() or (sealed is None and request is not None):
        return
    if sealed is not None and sealed != store.read_text(wish.name, "issuing.key"):
        found.warnings.append(
            f"authority '{wish.name}': {path} holds another key than the authority's. It is of no use; remove it by hand."
        )
        return
    found.needs(
        f"remove {path}, whose chain has been adopted",
        what=path,
        before="what waited",
        after="absent",
        act=functools.partial(remove_folder, path),
    )


def _look_at_nothing(found: Found, wish: Wish, *, store: Store, passphrase: Passphrase) -> None:
    if wish.signed:
        raise CAError(
            f"There is a chain for authority '{wish.name}', but no key that it belongs to: no CSR was made here "
            f"({store.pending_path(wish.name)} does not exist). Nothing was changed. Run once without 'chain', have the CSR signed, "
            "and hand in what was signed for it.",
            code="no_request",
        )
    found.needs(
        f"make a key and a CSR for the issuing CA of authority '{wish.name}', {found.request_path}",
        what="authority",
        before="absent",
        after={"awaiting": True, **wish.describe()},
        act=functools.partial(_ask, wish, store=store, passphrase=passphrase),
    )
    found.warnings.append(_waits(wish, found.request_path))


def _waits(wish: Wish, path: str, *, spki: str = "") -> str:
    # Who signs compares it: the file may have been exchanged on its way.
    key = f" (SPKI of its key: {spki})" if spki else ""
    return (
        f"authority '{wish.name}' waits for its chain: have {path}{key} signed by its root (playbooks/root_ceremony.yml, or the "
        "company's CA), and hand in the signed certificate with all above it as 'chain' of the authority. Until then it signs "
        "nothing."
    )


def _asks_for_root(wish: Wish, chain: Chain) -> str:
    # Machines are going to trust it: that it lay in the right folder does not say whose it is.
    return (
        f"authority '{wish.name}' waits: a signed chain is there, and ends in the root '{chain.root.subject}' with the fingerprint "
        f"{chain.root.fingerprint}. Nothing says that this is your root, so the chain was not adopted. Compare the fingerprint with the "
        "one that whoever runs the root tells you by another way (openssl x509 -noout -fingerprint -sha256), then set it as "
        "root.fingerprint of the authority (tls_ca_authorities), or give the root as root_certificate."
    )


def _subject(wish: Wish) -> x509.Name:
    return ca_name(wish.issuing.common_name, wish.organization)


def _describe(chain: Chain) -> dict[str, str]:
    return {
        "issuing": f"{chain.issuing.subject}, until {iso(chain.issuing.not_after)}",
        "serial": chain.issuing.serial,
        "above": ", ".join(leaf.subject for leaf in (*chain.above, chain.root)),
        "root": chain.root.fingerprint,
    }


def _ask(wish: Wish, *, store: Store, passphrase: Passphrase) -> None:
    key = new_key(wish.issuing.key_type)
    make_folder(store.pending)
    publish_folder(
        store.pending_path(wish.name),
        {
            PENDING_KEY: key_to_pem(key, passphrase.get()),
            PENDING_CSR: build_ca_csr(key, subject=_subject(wish), constraints=wish.policy.constraints).encode(),
        },
    )


def _ask_anew(wish: Wish, sealed: str, *, store: Store, passphrase: Passphrase) -> None:
    path = store.pending_path(wish.name, PENDING_KEY)
    key = decrypt_key(sealed, path=path, authority=wish.name, passphrase=passphrase)
    request = build_ca_csr(key, subject=_subject(wish), constraints=wish.policy.constraints)
    replace_file(store.pending_path(wish.name, PENDING_CSR), request.encode())


def _adopt(wish: Wish, chain: Chain, sealed: str, *, store: Store, now: int) -> None:
    if not store.names() and not store.has_ledger():
        Ledger.create(store.ledger)
    with Ledger.open(store.ledger) as ledger:
        enter(ledger, wish.name, chain, why="adopted", now=now)
        store.publish(
            wish.name,
            {
                "root.pem": chain.root.pem.encode(),
                "issuing.pem": _sent(chain),
                "issuing.key": sealed.encode(),
                **policy_files(wish.policy),
            },
        )
        settle(ledger, wish.name, chain, now=now, act=("adopted", _said(wish, chain)))
    remove_folder(store.pending_path(wish.name))


def _adopt_renewed(wish: Wish, chain: Chain, *, store: Store, now: int) -> None:
    with Ledger.open(store.ledger) as ledger:
        enter(ledger, wish.name, chain, why="adopted", now=now)
        replace_file(store.path(wish.name, "issuing.pem"), _sent(chain))
        settle(ledger, wish.name, chain, now=now, act=("adopted", _said(wish, chain)))
    if wish.name in store.pending_names():
        remove_folder(store.pending_path(wish.name))


def _sent(chain: Chain) -> bytes:
    return "".join(leaf.pem for leaf in chain.sent).encode()


def _said(wish: Wish, chain: Chain) -> str:
    return f"chain of authority '{wish.name}', signed by '{chain.issuing.issuer}', root {chain.root.fingerprint}"
