# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is seen of a device and done to it, in the words of the flow: entries of request and deploy."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from ansible_collections.certfleet.tls.plugins.filter.subject_alt_names import subject_alt_names
from ansible_collections.certfleet.tls.plugins.module_utils._device.errors import DeviceError
from ansible_collections.certfleet.tls.plugins.module_utils._device.inspection import Finding, OwnPair
from ansible_collections.certfleet.tls.plugins.module_utils._x509.build import build_csr
from ansible_collections.certfleet.tls.plugins.module_utils._x509.judge import Judgement, Known, with_history
from ansible_collections.certfleet.tls.plugins.module_utils._x509.keys import key_to_pem, new_key, spki_of
from ansible_collections.certfleet.tls.plugins.module_utils._x509.parse import Leaf, describe
from ansible_collections.certfleet.tls.plugins.module_utils._x509.spec import CertificateSpec

from ._seal import seal

if TYPE_CHECKING:
    # It brings the HTTP client along, which request has no use for: a larger parent forks more slowly.
    from ansible_collections.certfleet.tls.plugins.module_utils._device.delivery import Delivered

_SHOWN = ("subject", "issuer", "names", "key", "not_before", "not_after", "fingerprint")


def with_defaults(item: Mapping[str, Any], *, host: str, address: str) -> dict[str, Any]:
    """A user's description with what follows from the host: its names, and the deviations of its API put in their places."""
    wanted = dict(item)
    prove = wanted.get("prove")
    where = str(prove.get("address") or address) if isinstance(prove, Mapping) else address
    if not wanted.get("subject_alt_names") and not wanted.get("pair"):
        wanted["subject_alt_names"] = subject_alt_names([host, where])
    api = wanted.get("api")
    if isinstance(api, Mapping) and isinstance(api.get("options"), Mapping):
        wanted["api"] = {**{field: api[field] for field in api if field != "options"}, **api["options"]}
    return wanted


def request_entry(spec: CertificateSpec, finding: Finding, known: Known) -> dict[str, Any]:
    """The entry of one certificate in the result of device_request, before a key is made for it."""
    failure = known.failures.get(spec.name)
    met, judgement = finding.met, with_history(finding.judgement or Judgement("none", ()), failure)
    leaf = met.leaf if met else None
    entry: dict[str, Any] = {
        "id": spec.id,
        "identity": spec.identity,
        "name": spec.name,
        "verdict": judgement.verdict,
        "reasons": [{"code": reason.code, "message": reason.message} for reason in judgement.reasons],
        "notes": list(judgement.notes),
        "authority": spec.authority,
        "profile": spec.profile,
        "current": describe(leaf) if leaf and met and met.recognised and not leaf.self_signed else None,
        "served": {**(describe(leaf) if leaf else {}), "trusted": met.seen.trusted, "said": met.seen.said}
        if met
        else None,
    }
    if failure:
        entry.update(failures=failure.count, last_outcome=failure.outcome, spec=_how(spec))
    if judgement.verdict == "none" and leaf and leaf.fingerprint in known.unrecorded.get(spec.name, ()):
        entry["unrecorded"] = True  # a run has brought it into service and could not tell the ledger
    if spec.shared_names:
        entry["shared_names"] = list(spec.shared_names)  # also where nothing is due: others may ask for the name
    if judgement.verdict != "none":
        entry.update(
            common_name=spec.common_name,
            names=list(spec.names),
            lifetime=spec.lifetime,
            renew_before=spec.renew_before,
            spki=None,
            spec=_how(spec),
        )
    return entry


def _how(spec: CertificateSpec) -> dict[str, Any]:
    """What deploy and clients need besides the pair."""
    return {"prove": dict(spec.prove or {}), "on_failure": spec.on_failure}


def with_new_key(entry: dict[str, Any], spec: CertificateSpec) -> dict[str, Any]:
    """The entry with a CSR for a key that was just made; the key itself is sealed."""
    key = new_key(spec.key_type)
    entry["csr"] = build_csr(key, common_name=spec.common_name, names=spec.names)
    entry["spki"] = spki_of(key.public_key())
    entry["sealed"] = _sealed(spec, key_to_pem(key).decode())
    return entry


def with_own_pair(entry: dict[str, Any], spec: CertificateSpec, own: OwnPair) -> dict[str, Any]:
    """The entry with a user's own pair; its key is sealed."""
    pair = own.pair
    entry["names"], entry["spki"] = list(pair.leaf.names), pair.leaf.spki
    entry["spec"].update(certificate=pair.leaf.pem, chain=pair.chain_pem, anchors=own.anchors)
    entry["sealed"] = _sealed(spec, pair.key_pem)
    return entry


def _sealed(spec: CertificateSpec, key_pem: str) -> str:
    # The whole description of the API is sealed, since its headers may hold secrets as well.
    return seal({"key_pem": key_pem, "api": _plain(spec.api)}, context=spec.id)


def _plain(value: Any) -> Any:
    """Without Ansible's subclasses, in which texts are marked, encrypted or lazy."""
    if isinstance(value, Mapping):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value if value is None or isinstance(value, (bool, int, float)) else str(value)


def deploy_entry(entry: Mapping[str, Any], done: Delivered) -> dict[str, Any]:
    """The entry of one certificate in the result of device_deploy."""
    return {
        "id": entry["id"],
        "outcome": done.outcome,
        "before": describe(done.before) if done.before else None,
        "after": describe(done.after) if done.after else None,
        "proof": done.proof,
        "said": done.said,
        "reasons": list(entry.get("reasons") or ()),
    }


def diff_of(name: str, before: Leaf | None, after: Leaf | None, reasons: Iterable[str] = ()) -> dict[str, str]:
    """Parsed fields of both certificates and the reasons; never PEM."""
    return {
        "before_header": name,
        "after_header": name,
        "before": _lines(before),
        "after": _lines(after) + "".join(f"reason: {reason}\n" for reason in reasons),
    }


def _lines(leaf: Leaf | None) -> str:
    if leaf is None:
        return "nothing\n"
    fields = describe(leaf)
    return "".join(
        f"{name}: {', '.join(fields[name]) if isinstance(fields[name], list) else fields[name]}\n" for name in _SHOWN
    )


def refuse_delegation(task: Any) -> None:
    """Raise DeviceError for a task that was delegated."""
    if task.delegate_to:
        raise DeviceError(
            f"{task.action} works in the controller's own process, so that no key and no login passes through another "
            "machine; it cannot be delegated. Remove delegate_to."
        )
