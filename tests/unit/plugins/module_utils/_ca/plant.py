# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A plant over the years: machines with certificates, a real CA, and a job that runs once a day by a clock of its own."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ansible_collections.certfleet.tls.plugins.module_utils._x509.build import build_csr
from ansible_collections.certfleet.tls.plugins.module_utils._x509.judge import Have, Judgement, Known, Served, judge
from ansible_collections.certfleet.tls.plugins.module_utils._x509.keys import new_key, spki_of
from ansible_collections.certfleet.tls.plugins.module_utils._x509.lifespan import BACKDATE
from ansible_collections.certfleet.tls.plugins.module_utils._x509.parse import (
    Leaf,
    is_issued_by,
    parse_bundle,
    parse_certificate,
)
from ansible_collections.certfleet.tls.plugins.module_utils._x509.spec import CertificateSpec

from .workshop import DAY, NOW, Workshop


def request_of(spec: CertificateSpec, key: Any, *reasons: str) -> dict[str, Any]:
    """What the flow sends to the CA for a spec; the CSR asks for what is wanted, and its key type is the spec's."""
    return {
        "id": spec.id,
        "identity": spec.identity,
        "name": spec.name,
        "authority": spec.authority,
        "profile": spec.profile,
        "common_name": spec.common_name,
        "names": list(spec.names),
        "shared_names": list(spec.shared_names),
        "lifetime": spec.lifetime,
        "renew_before": spec.renew_before,
        "csr": build_csr(key, common_name=spec.common_name, names=spec.names),
        "spki": spki_of(key.public_key()),
        "reasons": list(reasons),
    }


def known_of(workshop: Workshop, spec: CertificateSpec) -> Known:
    """What ca_info tells the judge."""
    return Known.from_ca_info(workshop.info(spec.identity), identity=spec.identity, authority=spec.authority)


def seen_on_host(leaf: Leaf | None, *, spki: str | None, chain: tuple[str, ...]) -> Have:
    """A host whose files are right, and are served."""
    return Have("host", leaf=leaf, key_spki=spki, chain=chain, served=Served(leaf, True) if leaf else None)


@dataclass
class Machine:
    """One machine, what lies on it, and what the runs have done to it: days and their reasons."""

    spec: CertificateSpec
    leaf: Leaf | None = None
    chain: tuple[str, ...] = ()
    issued_on: list[int] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)
    chains_on: list[int] = field(default_factory=list)

    def judged(self, known: Known, *, now: int) -> Judgement:
        """What a look at it says."""
        have = seen_on_host(self.leaf, spki=self.leaf.spki if self.leaf else None, chain=self.chain)
        return judge(self.spec, have, known, now=now)


class Plant:
    """All of it. C(options) are those of the authority."""

    def __init__(self, folder: Path, *, machines: int, certificate: dict[str, Any], **options: Any) -> None:
        self.ca, self.options, self.day = Workshop(folder), options, 0
        self.notes: list[str] = []
        self.warnings: list[str] = []
        self.reissued_on: list[int] = []
        self.machines = []
        for number in range(machines):
            name = f"robot-{number}"
            wanted = {"name": "https", "subject_alt_names": [f"DNS:{name}.plant.example"], **certificate}
            spec = CertificateSpec.from_dict({**wanted, "where": {}}, identity=name, where=name)
            self.machines.append(Machine(spec))

    def run(self) -> None:
        """The job of one day: the CA first, then whatever is due, in one batch. Then it is tomorrow."""
        now = self.ca.now = NOW + self.day * DAY
        found = self.ca.create(**self.options)
        self.warnings += found.warnings
        self.reissued_on += [self.day] if found.due and self.day else []
        ca, requests = self.ca.info(*(machine.spec.identity for machine in self.machines)), []
        by_id: dict[str, Machine] = {}
        for machine in self.machines:
            known = Known.from_ca_info(ca, identity=machine.spec.identity, authority="fleet")
            judgement = machine.judged(known, now=now)
            codes = [reason.code for reason in judgement.reasons]
            if judgement.verdict == "issue":
                requests.append(request_of(machine.spec, new_key(machine.spec.key_type), *codes))
                by_id[machine.spec.id] = machine
                machine.reasons += codes
            elif codes:
                assert codes == ["chain_changed"], codes
                machine.chain = known.chain
                machine.chains_on.append(self.day)
        if requests:
            self._issue(requests, by_id, now=now)
        self.day += 1

    def _issue(self, requests: list[dict[str, Any]], by_id: dict[str, Machine], *, now: int) -> None:
        answer = self.ca.issue(*requests)
        chain = parse_bundle(answer["chains"]["fleet"])
        for key, item in answer["certificates"].items():
            machine, leaf = by_id[key], parse_certificate(item["certificate"])
            assert item["issued"]
            assert is_issued_by(leaf, chain[0])
            assert leaf.not_before == now - min(BACKDATE, machine.spec.lifetime // 10)
            assert leaf.not_after <= chain[0].not_after
            self.notes += item["notes"]
            machine.leaf, machine.chain = leaf, tuple(link.fingerprint for link in chain)
            machine.issued_on.append(self.day)

    def renewals(self) -> Counter[int]:
        """How many certificates were renewed on each day."""
        return Counter(day for machine in self.machines for day in machine.issued_on[1:])
