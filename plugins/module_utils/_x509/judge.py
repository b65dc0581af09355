# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The verdict on one certificate: an ordered chain of small checks, each with a reason of its own.

Verdicts, worst first: C(refuse > issue > install > reload > none).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from .constraints import Constraints, constraints_of
from .errors import X509Error
from .lifespan import renewal_due_at
from .parse import Leaf, is_issued_by, iso, parse_bundle
from .profiles import BUILT_IN
from .revocation_reasons import COMPROMISING
from .spec import CertificateSpec

VERDICTS = ("refuse", "issue", "install", "reload", "none")
_FAILURE_TEXTS = ("first_at", "last_at", "outcome", "said")
# What went wrong last time is told in a sentence; the whole of it is in the ledger.
_LONGEST_STORY = 300


@dataclass(frozen=True)
class Reason:
    """Why something is due: a code of design.md and a sentence for people."""

    code: str
    message: str


@dataclass(frozen=True)
class Served:
    """What a client saw at the endpoint. C(trusted): chain, name and time are right by the fleet's anchors alone.

    C(failure), where it is not: C(chain), C(name), C(time), or what kept the client from a handshake.
    """

    leaf: Leaf | None
    trusted: bool
    said: str = ""
    failure: str | None = None


@dataclass(frozen=True)
class Staged:
    """A key (and maybe a certificate) that an earlier run left ready on the host."""

    spki: str
    leaf: Leaf | None


@dataclass(frozen=True)
class Have:
    """What is there now. C(kind) is C(host) (files) or C(device) (only what it serves can be seen)."""

    kind: str
    leaf: Leaf | None = None
    leaf_error: str | None = None
    chain: tuple[str, ...] = ()
    key_spki: str | None = None
    key_error: str | None = None
    deviations: tuple[str, ...] = ()
    staged: Staged | None = None
    served: Served | None = None
    unfinished: bool = False


@dataclass(frozen=True)
class Failure:
    """Deploys of a certificate that went wrong, C(count) in a row. Times as in results; C(outcome) and C(said) of the last one."""

    count: int
    first_at: str
    last_at: str
    outcome: str
    said: str = ""


@dataclass(frozen=True)
class Known:
    """What the CA knows: about the authority, and about this identity. Without a CA C(available) is false.

    C(failures): what went wrong and was not put right, by the certificate's name. C(unrecorded): fingerprints of leaves, by the name of
    their certificate, that are in force and not known to have been brought into service. C(compromised): fingerprints and SPKIs of leaves
    whose key somebody else may have; C(gone): those of machines that had this identity before. C(profiles): the usages of each
    profile that the authority has; empty: the built-in ones.
    """

    available: bool
    message: str = ""
    issuing: Leaf | None = None
    chain: tuple[str, ...] = ()
    anchors: str | None = None
    pins: frozenset[str] = frozenset()
    leaves: Mapping[str, str] = field(default_factory=dict)
    unrecorded: Mapping[str, frozenset[str]] = field(default_factory=dict)
    compromised: frozenset[str] = frozenset()
    gone: frozenset[str] = frozenset()
    decommissioned: bool = False
    failures: Mapping[str, Failure] = field(default_factory=dict)
    profiles: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @classmethod
    def from_ca_info(cls, ca: Mapping[str, Any] | None, *, identity: str, authority: str) -> Known:
        """Pick one identity's part of the result of M(certfleet.tls.ca_info)."""
        if not ca or not ca.get("available", True):
            return cls(available=False, message=str((ca or {}).get("message") or "the CA was not asked"))
        of_authority = (ca.get("authorities") or {}).get(authority) or {}
        of_identity = (ca.get("identities") or {}).get(identity) or {}
        problem = (ca.get("problems") or {}).get(authority)
        chain = parse_bundle(str(of_authority.get("chain") or ""), where=f"authority '{authority}'")
        return cls(
            available=True,
            message="" if chain else str(problem or f"the CA has no authority '{authority}' yet"),
            issuing=chain[0] if chain else None,
            chain=tuple(leaf.fingerprint for leaf in chain),
            anchors=str(of_authority["anchors"]) if of_authority.get("anchors") else None,
            pins=frozenset(str(pin) for pin in of_identity.get("pins") or ()),
            leaves={str(leaf["fingerprint"]): str(leaf["state"]) for leaf in of_identity.get("leaves") or ()},
            unrecorded=_unrecorded(of_identity),
            compromised=_marks(of_identity, lambda leaf: leaf.get("revocation_reason") in COMPROMISING),
            gone=_marks(of_identity, lambda leaf: bool(leaf.get("gone"))),
            decommissioned=bool(of_identity.get("decommissioned")),
            failures={
                str(name): Failure(int(item["count"]), *(str(item[part]) for part in _FAILURE_TEXTS))
                for name, item in (of_identity.get("failures") or {}).items()
            },
            profiles={
                str(name): tuple(sorted(map(str, usages)))
                for name, usages in (of_authority.get("profiles") or {}).items()
            },
        )

    @property
    def constraints(self) -> Constraints:
        """The names that the authority may certify; false when there are no limits. Read when asked for: mostly nobody asks."""
        found = constraints_of(self.issuing.pem) if self.issuing else None
        return found or Constraints()

    def usages_of(self, profile: str, *, where: str) -> tuple[str, ...] | None:
        """What a profile is good for; None when only the CA could tell. Raises X509Error for one that its authority does not have."""
        has = self.profiles or {name: built_in.usages for name, built_in in BUILT_IN.items()}
        if profile not in has and self.issuing is not None:
            raise X509Error(
                f"{where}: its authority has no profile '{profile}', there are {', '.join(sorted(has))}. Correct the profile, or "
                "describe it in tls_ca_authorities and run playbooks/ca.yml."
            )
        return has.get(profile)

    def recognises(self, served: Served) -> bool:
        """Whether this peer may be spoken to: validated, pinned, or serving a leaf of its own, for repair also an expired or revoked
        one. Never with a key that somebody else may have."""
        if served.leaf is None:
            return served.trusted
        if self.suspects(served.leaf):
            return False
        return served.trusted or served.leaf.spki in self.pins or served.leaf.fingerprint in self.leaves

    def suspects(self, leaf: Leaf) -> bool:
        """Whether somebody else may have this leaf's key, also when the leaf validates."""
        return self.suspicion(leaf) is not None

    def suspicion(self, leaf: Leaf) -> str | None:
        """Why this leaf identifies nobody, with the next step: its key was revoked for that, or belongs to the machine that was here
        before. That one may have been enrolled anew: no pin is older than its end."""
        marks = {leaf.fingerprint, leaf.spki}
        if marks & self.compromised:
            return _compromised_text(leaf)
        return _gone_text(leaf) if marks & self.gone and leaf.spki not in self.pins else None

    @property
    def strange(self) -> frozenset[str]:
        """Fingerprints and SPKIs of keys that this identity must not use."""
        return self.compromised | (self.gone - self.pins)


@dataclass(frozen=True)
class Judgement:
    """The worst verdict that a check asked for, all reasons in order, and remarks."""

    verdict: str
    reasons: tuple[Reason, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Case:
    spec: CertificateSpec
    have: Have
    known: Known
    leaf: Leaf | None
    usages: tuple[str, ...] | None
    now: int


_Finding = tuple[str, Reason]  # (verdict, reason) of one check


def judge(spec: CertificateSpec, have: Have, known: Known, *, now: int) -> Judgement:
    """Compare desired, on disk and served. Pure: the clock is O(now), unix seconds.

    Raises X509Error for a profile that there is not.
    """
    usages = known.usages_of(spec.profile, where=spec.id)
    case = _Case(spec, have, known, _leaf_to_judge(have, known), usages, now)
    notes = () if known.available and known.issuing else (f"judged without the CA: {known.message}",)
    findings = list(_findings(_CHECKS[have.kind], case))
    verdict = min((found for found, _reason in findings), key=VERDICTS.index, default="none")
    if verdict in ("refuse", "issue"):
        # What a new pair mends anyway is no reason of its own.
        findings = [finding for finding in findings if finding[0] == verdict]
    reasons = [reason for _verdict, reason in findings]
    barred = _not_permitted(case) if verdict == "issue" else None
    if barred:
        return refused(Judgement(verdict, tuple(reasons), notes), barred)
    if verdict == "issue" and _staged_fits(case):
        verdict = "install"
        reasons.append(
            Reason(
                "staged", "a pair that an earlier run could not bring into service is still staged: it is tried again"
            )
        )
    return Judgement(verdict, tuple(reasons), notes)


def refused(judgement: Judgement, why: Reason) -> Judgement:
    """The judgement of a certificate that must not be issued now; what it is due for is told as well."""
    due = "; ".join(f"{reason.code}: {reason.message}" for reason in judgement.reasons)
    return replace(judgement, verdict="refuse", reasons=(Reason(why.code, f"{why.message} It is due ({due})."),))


def with_history(judgement: Judgement, failure: Failure | None) -> Judgement:
    """The judgement, whose first reason also says what went wrong the last time, where something is due again."""
    if failure is None or not judgement.reasons or judgement.verdict in ("none", "refuse"):
        return judgement
    first, *others = judgement.reasons
    often = "once," if failure.count == 1 else f"{failure.count} times in a row since {failure.first_at}, last"
    said = " ".join(failure.said.split()) or "no reason given"
    if len(said) > _LONGEST_STORY:
        said = f"{said[: _LONGEST_STORY - 1]}…"
    story = f"{first.message}; this has failed {often} {failure.last_at} ({failure.outcome}): {said}"
    return replace(judgement, reasons=(Reason(first.code, story), *others))


def _findings(checks: tuple[Callable[[_Case], _Finding | None], ...], case: _Case) -> Iterator[_Finding]:
    """What the checks say, in their order. What a foreign certificate says about itself is of no interest."""
    is_foreign = False
    for check in checks:
        finding = None if is_foreign and check in _CONTENT_CHECKS else check(case)
        if finding is not None:
            is_foreign = is_foreign or finding[1].code == "issuer_changed"
            yield finding


def _leaf_to_judge(have: Have, known: Known) -> Leaf | None:
    """A device's leaf is judged only if the authority issued it; a built-in certificate counts as none at all."""
    if have.kind == "host":
        return have.leaf
    leaf = have.served.leaf if have.served else None
    if leaf is None or leaf.self_signed:
        return None
    if known.issuing and not is_issued_by(leaf, known.issuing) and leaf.fingerprint not in known.leaves:
        return None
    return leaf


def _staged_fits(case: _Case) -> bool:
    staged = case.have.staged
    if staged is None or staged.leaf is None or not case.known.issuing:
        return False
    trial = replace(case, have=Have("host", leaf=staged.leaf, key_spki=staged.spki), leaf=staged.leaf)
    return not any(True for _finding in _findings(_LEAF_CHECKS, trial))


def _untrusted(case: _Case) -> _Finding | None:
    served = case.have.served
    if served is None or not case.known.available or case.known.recognises(served):
        return None
    suspicion = case.known.suspicion(served.leaf) if served.leaf else None
    if suspicion:
        return "refuse", Reason("untrusted", suspicion)
    spki = served.leaf.spki if served.leaf else "nothing"
    seen = (served.said or "its certificate does not validate").rstrip(".")
    return "refuse", Reason(
        "untrusted",
        f"the peer is not known: {seen}; it serves the key {spki}, which is "
        f"not pinned for '{case.spec.identity}'. Nothing was sent. If the device is yours and new, or has its own "
        "certificate back, compare this fingerprint on site and pin it with playbooks/enrol.yml.",
    )


def _marks(of_identity: Mapping[str, Any], is_meant: Callable[[Mapping[str, Any]], bool]) -> frozenset[str]:
    """Fingerprints and SPKIs of an identity's leaves."""
    leaves = [leaf for leaf in of_identity.get("leaves") or () if is_meant(leaf)]
    return frozenset(str(leaf[mark]) for leaf in leaves for mark in ("fingerprint", "spki"))


def _unrecorded(of_identity: Mapping[str, Any]) -> dict[str, frozenset[str]]:
    """A leaf of before, which was superseded, is none of them: somebody who puts it back by hand puts it beside a newer one."""
    leaves = [
        leaf for leaf in of_identity.get("leaves") or () if leaf["state"] == "issued" and not leaf.get("installed")
    ]
    return {
        str(name): frozenset(str(leaf["fingerprint"]) for leaf in leaves if leaf.get("name") == name)
        for name in {leaf.get("name") for leaf in leaves}
    }


def _gone_text(leaf: Leaf) -> str:
    return (
        f"the peer serves the key {leaf.spki}, which belongs to the machine that was replaced or decommissioned: it may be the old one. "
        "Nothing was sent. If it is the right one all the same, compare this fingerprint on site, put it into the inventory as "
        "tls_expected_spki, and pin it with playbooks/enrol.yml."
    )


def _compromised_text(leaf: Leaf) -> str:
    return (
        f"the peer serves the key {leaf.spki}, which is revoked because somebody else may have it: whoever answers may be anybody. "
        "Nothing was sent. Remove the certificate on the device itself, on site, compare the fingerprint of the one that it serves "
        "then, and pin that with playbooks/enrol.yml."
    )


def _not_permitted(case: _Case) -> Reason | None:
    """Names that the issuing CA may not certify: no client would accept them, so not even a key is made."""
    limits = case.known.constraints
    outside = limits.outside(case.spec.names, case.spec.common_name)
    if not outside:
        return None
    return Reason(
        "not_permitted",
        f"authority '{case.spec.authority}' may not certify {', '.join(outside)} (it may: {_limits_text(limits)}). Nothing was "
        "staged or sent. Correct the names, or add the domain or network to tls_ca_domains or tls_ca_networks and run playbooks/ca.yml.",
    )


def _limits_text(limits: Constraints) -> str:
    parts = [", ".join(limits.domains) or "no domain", ", ".join(limits.networks) or "no network"]
    parts += [f"any {kind} name" for kind in limits.unlimited]
    return "; ".join(parts) + (f", but not {', '.join(limits.excluded)}" if limits.excluded else "")


def _missing(case: _Case) -> _Finding | None:
    if case.leaf is not None or case.have.leaf_error:
        return None
    if case.have.kind == "host":
        return "issue", Reason("missing", "there is no certificate yet")
    served = case.have.served.leaf if case.have.served else None
    what = "self-signed" if served and served.self_signed else f"issued by {served.issuer}" if served else "none"
    return "issue", Reason(
        "missing", f"the certificate that is served is not from authority '{case.spec.authority}' ({what})"
    )


def _unreadable(case: _Case) -> _Finding | None:
    said = case.have.leaf_error or case.have.key_error
    return ("issue", Reason("unreadable", said)) if said else None


def _key_mismatch(case: _Case) -> _Finding | None:
    if case.have.kind != "host" or case.leaf is None or case.have.key_error or case.have.key_spki == case.leaf.spki:
        return None
    if case.have.key_spki is None:
        return "issue", Reason("missing", "there is no private key to the certificate")
    return "issue", Reason("key_mismatch", "the private key on disk does not belong to the certificate")


def _key_policy(case: _Case) -> _Finding | None:
    if case.leaf is None or case.leaf.key == case.spec.key_type:
        return None
    return "issue", Reason("key_policy", f"the key is {case.leaf.key}, wanted is {case.spec.key_type}")


def _profile_changed(case: _Case) -> _Finding | None:
    if case.leaf is None or case.usages is None or case.leaf.usages == case.usages:
        return None
    is_now = ", ".join(case.leaf.usages) or "none"
    return "issue", Reason("profile_changed", f"the usages are {is_now}; profile '{case.spec.profile}' wants others")


def _names_changed(case: _Case) -> _Finding | None:
    if case.leaf is None:
        return None
    gone, added = set(case.leaf.names) - set(case.spec.names), set(case.spec.names) - set(case.leaf.names)
    changes = [f"+{name}" for name in sorted(added)] + [f"-{name}" for name in sorted(gone)]
    if case.leaf.common_name != case.spec.common_name:
        changes.append(f"common name {case.leaf.common_name or 'none'} -> {case.spec.common_name or 'none'}")
    return ("issue", Reason("names_changed", f"the names differ: {' '.join(changes)}")) if changes else None


def _issuer_changed(case: _Case) -> _Finding | None:
    if case.leaf is None or not _is_foreign(case.leaf, case.known):
        return None
    by = "self-signed" if case.leaf.self_signed else f"issued by {case.leaf.issuer}"
    return "issue", Reason(
        "issuer_changed", f"the certificate is {by}, not from authority '{case.spec.authority}' as it is now"
    )


def _is_foreign(leaf: Leaf, known: Known) -> bool:
    return leaf.self_signed or (known.issuing is not None and not is_issued_by(leaf, known.issuing))


def _revoked(case: _Case) -> _Finding | None:
    if case.leaf is None or case.known.leaves.get(case.leaf.fingerprint) != "revoked":
        return None
    return "issue", Reason("revoked", f"the ledger has revoked serial {case.leaf.serial}")


def _expiring(case: _Case) -> _Finding | None:
    if case.leaf is None or case.now < renewal_due_at(case.leaf, case.spec.renew_before):
        return None
    tense = "expired" if case.now > case.leaf.not_after else "expires"
    return "issue", Reason(
        "expiring",
        f"{tense} {iso(case.leaf.not_after)}, due for renewal since {iso(renewal_due_at(case.leaf, case.spec.renew_before))}",
    )


def _chain_changed(case: _Case) -> _Finding | None:
    if case.leaf is None or not case.known.chain or case.have.chain == case.known.chain:
        return None
    return "install", Reason(
        "chain_changed", "the intermediate certificates beside the leaf are not those of the authority"
    )


def _mode_changed(case: _Case) -> _Finding | None:
    if not case.have.deviations:
        return None
    return "install", Reason("mode_changed", "; ".join(case.have.deviations))


def _unproved(case: _Case) -> _Finding | None:
    if not case.have.unfinished:
        return None
    return "install", Reason("unproved", "an earlier run brought a pair into place and ended before it was proved")


def _not_served(case: _Case) -> _Finding | None:
    served = case.have.served
    if served is None or case.leaf is None:
        return None
    if served.leaf is None:
        return "reload", Reason("not_served", f"the files are right, but nothing is served: {served.said}")
    if served.leaf.fingerprint == case.leaf.fingerprint:
        if served.failure != "chain" or case.known.anchors is None:
            return None
        # Loaded before the intermediates were there, for example.
        return "reload", Reason(
            "not_served", f"the files are right, but clients do not accept what is served: {served.said}"
        )
    return "reload", Reason(
        "not_served",
        f"the files are right, but the service still serves another certificate (serial {served.leaf.serial})",
    )


_CONTENT_CHECKS = (_key_policy, _profile_changed, _names_changed, _revoked, _expiring)
_LEAF_CHECKS = (_unreadable, _key_mismatch, _issuer_changed, *_CONTENT_CHECKS)
_CHECKS: dict[str, tuple[Callable[[_Case], _Finding | None], ...]] = {
    "host": (_missing, *_LEAF_CHECKS, _chain_changed, _mode_changed, _unproved, _not_served),
    "device": (_untrusted, _missing, *_LEAF_CHECKS),
}
