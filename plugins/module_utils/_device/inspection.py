# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Look at a device and say what is due. Nothing but TLS handshakes reaches it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from .._x509.judge import Have, Judgement, Known, Reason, judge
from .._x509.lifespan import renewal_window
from .._x509.parse import iso
from .._x509.spec import CertificateSpec
from .acquaintance import Acquaintance, Met, stranger_text
from .errors import DeviceError
from .no_https import explain_no_leaf
from .pair import Pair, check_pair, read_pair, roots_in
from .settings import Settings


@dataclass(frozen=True)
class Finding:
    """What was seen and decided. C(absent) is set when the device is away; the rest is None then."""

    absent: str = ""
    met: Met | None = None
    judgement: Judgement | None = None


@dataclass(frozen=True)
class OwnPair:
    """A pair that the user brings, and the anchors under which clients accept it."""

    pair: Pair
    anchors: str


def read_own_pair(certificate: str, key: str, *, settings: Settings, known: Known, where: str) -> OwnPair:
    """Check a user's files. Clients trust C(ca_path), else the root in the certificate's file, else the fleet's anchors.

    Raises DeviceError.
    """
    pair = read_pair(certificate, "", key, where=where)
    anchors = settings.ca or roots_in(certificate, where=where) or (known.anchors or "")
    if not anchors:
        raise DeviceError(
            f"{where}: nobody says which CA clients trust for this pair. Set api.ca_path to the CA's certificate (PEM)."
        )
    check_pair(pair, anchors=anchors, server_name=settings.target.server_name, where=where)
    return OwnPair(pair, anchors)


def acquaintance_of(settings: Settings, known: Known, *, own: OwnPair | None) -> Acquaintance:
    """What a device is recognised by. Pins of the specification count for a user's own pair alone: for the fleet's
    certificates the ledger pins."""
    anchors = "\n".join(filter(None, (known.anchors, settings.ca, own.anchors if own else "")))
    return Acquaintance(known, anchors or None, pins=settings.pins if own else frozenset())


def inspect(spec: CertificateSpec, settings: Settings, known: Known, *, now: int) -> Finding:
    """The verdict on a certificate that the CA issues. Raises DeviceError for a device without HTTPS."""
    met = acquaintance_of(settings, known, own=None).meet(settings.target)
    if met.seen.leaf is None:
        return Finding(absent=explain_no_leaf(met.seen, settings.target, settings.api))
    judgement = judge(spec, Have("device", served=met.served), known, now=now)
    # Without the anchors of its authority nobody can tell.
    if judgement.verdict == "none" and known.anchors and met.seen.failure == "chain":
        reason = Reason("chain_changed", f"the leaf is right, but clients cannot verify it: {met.seen.said}")
        judgement = replace(judgement, verdict="issue", reasons=(reason,))
    return Finding(met=met, judgement=judgement)


def inspect_own(
    spec: CertificateSpec, settings: Settings, known: Known, own: OwnPair, *, now: int, check_mode: bool
) -> Finding:
    """The verdict on a user's own pair: none or install, without any CA."""
    met = acquaintance_of(settings, known, own=own).meet(settings.target)
    if met.seen.leaf is None:
        return Finding(absent=explain_no_leaf(met.seen, settings.target, settings.api))
    leaf, notes = own.pair.leaf, _notes_on(own.pair, spec, now)
    if met.leaf is not None and met.leaf.fingerprint == leaf.fingerprint:
        if met.seen.trusted:
            return Finding(met=met, judgement=Judgement("none", (), notes))
        reason = Reason("chain_changed", f"the leaf is right, but clients cannot verify it: {met.seen.said}")
    elif met.recognised:
        reason = Reason(
            "not_served", f"another certificate is served ({met.leaf.issuer if met.leaf else 'unreadable'})"
        )
    elif check_mode and not known.available and not settings.pins and not settings.ca:
        reason = Reason("not_served", "another certificate is served, by a peer that only the CA's ledger may know")
        notes = (*notes, f"judged without the CA: {known.message}")
    else:
        reason = Reason("untrusted", stranger_text(met, identity=spec.identity))
        return Finding(met=met, judgement=Judgement("refuse", (reason,), notes))
    return Finding(met=met, judgement=Judgement("install", (reason,), notes))


def _notes_on(pair: Pair, spec: CertificateSpec, now: int) -> tuple[str, ...]:
    leaf = pair.leaf
    if now < leaf.not_after - renewal_window(leaf, spec.renew_before):
        return ()
    return (f"your own certificate ends {iso(leaf.not_after)}: bring a new one",)
