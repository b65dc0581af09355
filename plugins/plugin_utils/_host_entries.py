# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the host's modules see and do, in the words of the flow: raw values in, entries of request and deploy out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ansible_collections.certfleet.tls.plugins.module_utils._host.errors import HostError
from ansible_collections.certfleet.tls.plugins.module_utils._host.service import Service
from ansible_collections.certfleet.tls.plugins.module_utils._host.watchdog import Settings
from ansible_collections.certfleet.tls.plugins.module_utils._host.where import Where
from ansible_collections.certfleet.tls.plugins.module_utils._x509.errors import X509Error
from ansible_collections.certfleet.tls.plugins.module_utils._x509.judge import (
    Have,
    Judgement,
    Known,
    Served,
    Staged,
    judge,
    with_history,
)
from ansible_collections.certfleet.tls.plugins.module_utils._x509.parse import (
    Leaf,
    describe,
    parse_bundle,
    parse_certificate,
)
from ansible_collections.certfleet.tls.plugins.module_utils._x509.spec import CertificateSpec

from ._engine import NotIssuedError, issued_for

_NOT_FOR_FILES = ("api", "pair", "on_failure")


@dataclass(frozen=True)
class Wish:
    """A wanted certificate: as the judge reads it, and as the module on the host does."""

    spec: CertificateSpec
    argument: dict[str, Any]


def watchdog_of(task_vars: Mapping[str, Any]) -> dict[str, Any]:
    """The watchdog of certificates that say nothing about it, from the role's variables."""
    return {
        "method": task_vars.get("tls_certificate_watchdog") or "systemd",
        "limit": task_vars.get("tls_certificate_watchdog_limit"),
    }


def wishes_of(certificates: Any, *, identity: str, host: str, watchdog: Mapping[str, Any] | None = None) -> list[Wish]:
    """Check all that can be checked before the host is asked. Raises HostError or X509Error, naming host and item.

    O(watchdog): of certificates that say nothing about it.
    """
    if not isinstance(certificates, Sequence) or isinstance(certificates, str):
        raise HostError(f"{host}: 'certificates' is no list. Write one entry for each wanted certificate.")
    wishes = [_wish(item, identity=identity, host=host, watchdog=watchdog or {}) for item in certificates]
    seen: dict[str, str] = {}
    for wish in wishes:
        for what in (f"name '{wish.spec.name}'", *Where.from_dict(wish.spec.where or {}, where=host).paths().values()):
            if what in seen:
                raise HostError(f"{host}: {seen[what]} and {wish.spec.id} have the same {what}. Each needs its own.")
            seen[what] = wish.spec.id
    return wishes


def _wish(item: Any, *, identity: str, host: str, watchdog: Mapping[str, Any]) -> Wish:
    spec = CertificateSpec.from_dict(item, identity=identity, where=host)
    where = f"{host}, {spec.id}"
    strange = [field for field in _NOT_FOR_FILES if item.get(field)]
    if strange or spec.where is None:
        raise HostError(
            f"{where}: {', '.join(strange) or 'api'} is for devices with a REST API. Use device_request, or leave it"
            " out and give 'where'."
        )
    for field in ("where", "reload", "prove", "watchdog"):
        if item.get(field) is not None and not isinstance(item[field], Mapping):
            raise HostError(f"{where}: '{field}' is no dictionary. Write it with its fields.")
    spec = replace(spec, watchdog={**watchdog, **_given(spec.watchdog)})
    longest = Service.of({"identity": spec.identity, "name": spec.name, **_how(spec)}, where=where).longest()
    Settings.from_dict(spec.watchdog, longest=longest, where=where)
    argument = {
        "identity": spec.identity,
        "name": spec.name,
        "authority": spec.authority,
        "profile": spec.profile,
        "common_name": spec.common_name,
        "subject_alt_names": list(spec.names),
        "key": {"type": spec.key_type},
        **_how(spec),
    }
    return Wish(spec, argument)


def _how(spec: CertificateSpec) -> dict[str, Any]:
    """Files, service and endpoint: what deploy needs besides the pair. Empty settings are left to their defaults."""
    parts = {"where": spec.where, "reload": spec.reload, "prove": spec.prove, "watchdog": spec.watchdog}
    return {field: _given(part) for field, part in parts.items() if part}


def _given(part: Mapping[str, Any] | None) -> dict[str, Any]:
    return {option: value for option, value in (part or {}).items() if value not in (None, "")}


def have_of(raw: Mapping[str, Any]) -> Have:
    """What the module saw on the host, parsed."""
    leaf, error = _leaf(raw.get("certificate"), "the certificate on disk")
    staged, staged_error = _leaf((raw.get("staged") or {}).get("certificate"), "the staged certificate")
    return Have(
        kind="host",
        leaf=leaf,
        leaf_error=raw.get("certificate_error") or error,
        chain=_chain(raw.get("chain")),
        key_spki=raw.get("key_spki"),
        key_error=raw.get("key_error"),
        deviations=tuple(str(item) for item in raw.get("deviations") or ()),
        staged=Staged(str(raw["staged"]["spki"]), staged) if raw.get("staged") and not staged_error else None,
        served=_served(raw.get("served")),
        unfinished=bool(raw.get("unfinished")),
    )


def _leaf(pem: Any, what: str) -> tuple[Leaf | None, str | None]:
    try:
        return (parse_certificate(str(pem), where=what), None) if pem else (None, None)
    except X509Error as exc:
        return None, str(exc)


def _chain(pem: Any) -> tuple[str, ...]:
    try:
        return tuple(leaf.fingerprint for leaf in parse_bundle(str(pem or ""), where="the intermediates on disk"))
    except X509Error:
        return ("unreadable",)  # like any other wrong chain, it is replaced


def _served(raw: Any) -> Served | None:
    if not raw:
        return None
    leaf, error = _leaf(raw.get("leaf"), "the served certificate")
    trusted = bool(raw.get("trusted")) and leaf is not None
    return Served(leaf, trusted, error or str(raw.get("said") or ""), failure=raw.get("failure"))


def request_entry(wish: Wish, raw: Mapping[str, Any], known: Known, *, now: int) -> dict[str, Any]:
    """The entry of one certificate in the result of host_request; a staged key and its CSR are filled in later."""
    have = have_of(raw)
    spec = wish.spec
    failure = known.failures.get(spec.name)
    judgement = _with_going_back(with_history(judge(spec, have, known, now=now), failure), raw.get("went_back"))
    entry: dict[str, Any] = {
        "id": spec.id,
        "identity": spec.identity,
        "name": spec.name,
        "verdict": judgement.verdict,
        "reasons": [{"code": reason.code, "message": reason.message} for reason in judgement.reasons],
        "notes": list(judgement.notes),
        "authority": spec.authority,
        "profile": spec.profile,
        "current": describe(have.leaf) if have.leaf else None,
        "served": _describe_served(have.served),
        "unconfirmed": bool(raw.get("unconfirmed")),
    }
    if entry["unconfirmed"] or failure:
        entry["spec"] = _how(spec)  # the confirming step needs it, where clients are asked again
    if failure:
        entry.update(failures=failure.count, last_outcome=failure.outcome)
    if judgement.verdict == "none" and have.leaf and have.leaf.fingerprint in known.unrecorded.get(spec.name, ()):
        entry["unrecorded"] = True  # a run has brought it into service and could not tell the ledger
    if spec.shared_names:
        entry["shared_names"] = list(spec.shared_names)  # also where nothing is due: others may ask for the name
    if judgement.verdict != "none":
        entry.update(
            common_name=spec.common_name,
            names=list(spec.names),
            lifetime=spec.lifetime,
            renew_before=spec.renew_before,
            spki=_spki(judgement, have),
            spec=_how(spec),
        )
    return entry


def _with_going_back(judgement: Judgement, went_back: Mapping[str, Any] | None) -> Judgement:
    """What the host did by itself since the last run explains why something is due."""
    if not went_back:
        return judgement
    said = f"{went_back['at']}: {went_back['why']}".rstrip(".")
    if not judgement.reasons:
        return replace(judgement, notes=(*judgement.notes, said))
    first, *others = judgement.reasons
    return replace(judgement, reasons=(replace(first, message=f"{first.message}; {said}"), *others))


def _describe_served(served: Served | None) -> dict[str, Any] | None:
    if served is None:
        return None
    return {**(describe(served.leaf) if served.leaf else {}), "trusted": served.trusted, "said": served.said}


def _spki(judgement: Judgement, have: Have) -> str | None:
    """The key that goes into service; a new one's is known once it is staged."""
    if judgement.verdict == "issue":
        return None
    is_staged = any(reason.code == "staged" for reason in judgement.reasons)
    return have.staged.spki if is_staged and have.staged else have.key_spki


def obstacles(host: str, entries: Iterable[Mapping[str, Any]], raws: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """A sentence for each certificate that could not be deployed on this host as it is now.

    Also where nothing is due: better heard of today than in the night of the renewal.
    """
    return [
        f"{host}, {entry['id']}: {raws[entry['id']]['blocked']} (due: {', '.join(_codes(entry)) or 'nothing yet'};"
        " nothing was changed)"
        for entry in entries
        if raws[entry["id"]].get("blocked")
    ]


def _codes(entry: Mapping[str, Any]) -> list[str]:
    return [str(reason["code"]) for reason in entry["reasons"]]


def orders_of(
    entries: Iterable[Mapping[str, Any]], issued: Mapping[str, Any], authorities: Mapping[str, Any]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """(what the host is told to do, deploy entries of certificates that it need not hear of)."""
    orders, others = [], []
    for entry in entries:
        if entry["verdict"] == "none" or entry.get("deferred"):
            continue
        authority = authorities.get(entry["authority"]) or {}
        certificate, chain = None, str(authority.get("chain") or "")
        try:
            if entry["verdict"] == "issue":
                certificate, chain = issued_for(issued, entry)
        except NotIssuedError as exc:
            others.append(deploy_entry(entry, outcome="not_tried", said=str(exc)))
            continue
        if entry["verdict"] == "refuse":
            others.append(deploy_entry(entry, outcome="refused", said="; ".join(_messages(entry))))
            continue
        order = {field: entry[field] for field in ("identity", "name", "verdict", "spki")}
        anchors = authority.get("anchors")
        if not anchors and entry["verdict"] != "reload":
            why = "; ".join(entry.get("notes") or ()) or "run again"
            said = (
                f"the anchors of the authority '{entry['authority']}' are not known, so nothing could be proved: {why}"
            )
            others.append(deploy_entry(entry, outcome="not_tried", said=f"{entry['id']}: {said}"))
            continue
        orders.append({**order, **entry["spec"], "certificate": certificate, "chain": chain, "anchors": anchors})
    return orders, others


def _messages(entry: Mapping[str, Any]) -> list[str]:
    return [str(reason["message"]) for reason in entry["reasons"]]


def deploy_entry(
    entry: Mapping[str, Any],
    *,
    outcome: str,
    said: str,
    before: str | None = None,
    after: str | None = None,
    proof: Mapping[str, Any] | None = None,
    unconfirmed: bool = False,
) -> dict[str, Any]:
    """The entry of one certificate in the result of host_deploy; O(before) and O(after) are PEM."""
    return {
        "id": entry["id"],
        "outcome": outcome,
        "before": _describe_pem(before),
        "after": _describe_pem(after),
        "proof": dict(proof) if proof else None,
        "said": said,
        "reasons": list(entry.get("reasons") or ()),
        "unconfirmed": unconfirmed,
    }


def _describe_pem(pem: str | None) -> dict[str, Any] | None:
    leaf, _error = _leaf(pem, "certificate")
    return describe(leaf) if leaf else None
