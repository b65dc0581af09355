# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The issuing CA's own life: it is renewed under its root in time, and reissued where its limits change.

Always with the same key and subject: leaves stay valid, and servers only send another chain along.
"""

from __future__ import annotations

import functools

from .._x509.build import build_ca_csr, build_issuing
from .._x509.constraints import Constraints, constraints_of
from .._x509.crypto import x509
from .._x509.keys import spki_of
from .._x509.lifespan import BACKDATE
from .._x509.parse import iso, load_certificate, to_leaf
from .._x509.revocation_reasons import COMPROMISING
from .durable import make_folder, remove_folder, replace_file
from .ledger import Ledger
from .local import Chain, open_key
from .own_certificates import describe_limits, enter, longest_life, refuse_narrowing, settle
from .passphrase import Passphrase
from .policy import read_policy
from .revocation import why_issuer_is_revoked
from .signed_chain import remarks
from .store import PENDING_CSR, PENDING_KEY, Store
from .wish import Found, Wish

# A renewal that gains less is not worth a change of all chains.
LEAST_GAIN = 86400


def look_at_issuing(
    found: Found,
    wish: Wish,
    chain: Chain,
    *,
    is_answered: bool,
    store: Store,
    passphrase: Passphrase,
    ledger: Ledger,
    now: int,
) -> None:
    """Add what is due for the issuing CA's certificate itself: a reissue where the root's key is here, else a request for one.

    O(is_answered): the chain was signed elsewhere just now, and is about to be adopted.
    """
    limits = constraints_of(chain.issuing.pem) or Constraints()
    wanted = wish.policy.constraints
    why = _due_for_renewal(found, wish, chain, ledger=ledger, now=now)
    if not chain.root.not_before <= now < chain.root.not_after:
        # Nothing that it signs is valid now: there is nothing to be done here.
        return
    sentences = [why] if why else []
    revoked = why_issuer_is_revoked(ledger, spki=chain.issuing.spki, fingerprint=chain.issuing.fingerprint)
    if revoked in COMPROMISING:
        # Another certificate for that key would be trusted, whoever has it.
        found.warnings.append(
            f"authority '{wish.name}': the key of its issuing CA was revoked ({revoked}). It signs nothing any more, and gets no "
            "other certificate. Create an authority with another name, and move the certificates to it."
        )
        return
    if revoked and not is_answered:
        sentences.append(f"its certificate was revoked ({revoked})")
    if wish.is_root_here:
        if limits != wanted:
            refuse_narrowing(ledger, wish.name, wanted, now=now)
            sentences.append(f"its limits change from {describe_limits(limits)} to {describe_limits(wanted)}")
        if sentences:
            _reissue_here(found, wish, chain, sentences, store=store, passphrase=passphrase, now=now)
        return
    asked_before = store.read_pending(wish.name, PENDING_CSR)
    if is_answered or store.read_pending(wish.name, PENDING_KEY) is not None:
        # The first request, or this one, has been answered: it is about to be removed.
        asked_before = None
    # Who signed it may have left out the limits on purpose: it is asked again only where the wish has changed since.
    is_new_wish = read_policy(store, wish.name).constraints != wanted
    if limits != wanted and not is_answered and (is_new_wish or asked_before):
        refuse_narrowing(ledger, wish.name, wanted, now=now)
        sentences.append(f"its limits are {describe_limits(limits)}, wanted are {describe_limits(wanted)}")
    elif not is_answered:
        found.warnings.extend(remarks(chain, wish))
    _request_elsewhere(found, wish, chain, sentences, asked_before, store=store, passphrase=passphrase)


def request_fits(request: str, *, spki: str, subject: x509.Name, limits: Constraints) -> bool:
    """Whether a CSR that waits already asks for this."""
    try:
        csr = x509.load_pem_x509_csr(request.encode())
        extensions = [item.value for item in csr.extensions if isinstance(item.value, x509.NameConstraints)]
        wanted = [limits.to_extension()] if limits else []
        return spki_of(csr.public_key()) == spki and csr.subject == subject and extensions == wanted
    except ValueError:
        return False


def _due_for_renewal(found: Found, wish: Wish, chain: Chain, *, ledger: Ledger, now: int) -> str | None:
    """Why the issuing CA is to be renewed, if it is; a warning where that would gain nothing."""
    if chain.not_before > now:
        return _why_not_begun(found, wish, chain, now=now)
    issuing, left = chain.issuing, chain.not_after - now
    half = (issuing.not_after - issuing.not_before) // 2
    # The ledger is only asked when it can matter.
    if left >= half:
        return None
    longest = max(wish.policy.longest_life, longest_life(ledger, wish.name, now=now))
    if left >= longest:
        return None
    if chain.root.not_after > now and _new_end(wish, chain, now=now) - chain.not_after >= LEAST_GAIN:
        tense = "has ended" if left <= 0 else "ends"
        first = min((*chain.sent, chain.root), key=lambda leaf: leaf.not_after)
        what = "it" if first is issuing or first.not_after == issuing.not_after else f"'{first.subject}' above it"
        return f"{what} {tense} {iso(chain.not_after)}, a leaf may live {longest // 86400} days"
    root_end = iso(chain.root.not_after)
    is_over = "has ended, nothing below it is valid any more" if chain.root.not_after <= now else "ends"
    found.warnings.append(
        f"authority '{wish.name}': its root {is_over} ({root_end}), so that renewing its issuing CA gains nothing, and leaves are "
        "cut short. Replace the root: create an authority with another name and move the certificates to it."
    )
    return None


def _why_not_begun(found: Found, wish: Wish, chain: Chain, *, now: int) -> str | None:
    """As _due_for_renewal(), where a clock was wrong when one of the certificates was made."""
    if chain.root.not_before > now:
        found.warnings.append(
            f"authority '{wish.name}': its root begins only {iso(chain.root.not_before)}, nothing below it is valid before. A clock was "
            "wrong when it was made, or is wrong here now: have it kept right by NTP. If it is right, replace the root: create an "
            "authority with another name and move the certificates to it."
        )
        return None
    last = max(chain.sent, key=lambda leaf: leaf.not_before)
    what = "it" if last is chain.issuing else f"'{last.subject}' above it"
    return f"{what} begins only {iso(chain.not_before)}, a clock was wrong when it was made"


def _new_end(wish: Wish, chain: Chain, *, now: int) -> int:
    """When a renewed one would end: not after the root, and not before the one that there is."""
    return max(min(now + wish.issuing.lifetime, chain.root.not_after), chain.issuing.not_after)


def _reissue_here(
    found: Found, wish: Wish, chain: Chain, sentences: list[str], *, store: Store, passphrase: Passphrase, now: int
) -> None:
    end, limits = _new_end(wish, chain, now=now), constraints_of(chain.issuing.pem)
    found.needs(
        f"reissue the issuing CA of authority '{wish.name}' under its key: {'; '.join(sentences)}",
        what="issuing",
        before={"not_after": iso(chain.issuing.not_after), "limits": describe_limits(limits)},
        after={"not_after": iso(end), "limits": describe_limits(wish.policy.constraints)},
        act=functools.partial(_reissue, wish, chain, end, sentences, store=store, passphrase=passphrase, now=now),
    )


def _reissue(
    wish: Wish, chain: Chain, end: int, sentences: list[str], *, store: Store, passphrase: Passphrase, now: int
) -> None:
    root_key = open_key(store, wish.name, "root", passphrase, spki=chain.root.spki)
    old = load_certificate(chain.issuing.pem)
    certificate = build_issuing(
        old.public_key(),
        root=load_certificate(chain.root.pem),
        root_key=root_key,
        subject=old.subject,
        not_before=max(now - BACKDATE, chain.root.not_before),
        not_after=end,
        constraints=wish.policy.constraints,
    )
    renewed = Chain(to_leaf(certificate), (), chain.root)
    said = f"issuing CA of authority '{wish.name}' reissued: {'; '.join(sentences)}"
    with Ledger.open(store.ledger) as ledger:
        enter(ledger, wish.name, renewed, why="renewed", now=now)
        replace_file(store.path(wish.name, "issuing.pem"), renewed.issuing.pem.encode())
        settle(ledger, wish.name, renewed, now=now, act=("renewed", said))


def _request_elsewhere(
    found: Found,
    wish: Wish,
    chain: Chain,
    sentences: list[str],
    asked_before: str | None,
    *,
    store: Store,
    passphrase: Passphrase,
) -> None:
    path = store.pending_path(wish.name, PENDING_CSR)
    if not sentences:
        if asked_before is not None:
            found.needs(
                f"remove {path}: nothing needs to be signed any more",
                what=path,
                before="a CSR",
                after="absent",
                act=functools.partial(remove_folder, store.pending_path(wish.name)),
            )
        return
    subject, limits = load_certificate(chain.issuing.pem).subject, wish.policy.constraints
    found.request_path = path
    if asked_before and request_fits(asked_before, spki=chain.issuing.spki, subject=subject, limits=limits):
        found.request = asked_before
    else:
        found.needs(
            f"make a CSR for the issuing CA of authority '{wish.name}', {path}: {'; '.join(sentences)}",
            what=path,
            before="another CSR" if asked_before else "absent",
            after=f"a CSR, limits: {describe_limits(limits)}",
            act=functools.partial(_ask_again, wish, chain, store=store, passphrase=passphrase),
        )
    found.warnings.append(
        f"authority '{wish.name}': its issuing CA must be signed again, and the root's key is not here: {'; '.join(sentences)}. "
        f"Have {path} (SPKI of its key: {chain.issuing.spki}) signed by its root (playbooks/root_ceremony.yml, or the company's CA) "
        f"before {iso(chain.not_after)}, and hand the chain in as 'chain' of the authority."
    )


def _ask_again(wish: Wish, chain: Chain, *, store: Store, passphrase: Passphrase) -> None:
    key = open_key(store, wish.name, "issuing", passphrase, spki=chain.issuing.spki)
    subject = load_certificate(chain.issuing.pem).subject
    make_folder(store.pending_path(wish.name))
    request = build_ca_csr(key, subject=subject, constraints=wish.policy.constraints)
    replace_file(store.pending_path(wish.name, PENDING_CSR), request.encode())
