# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""All that the verifiers and the lints are shown, made in one folder."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from . import bad, changed, issued, offline, revocations
from .case import Case
from .plant import Plant


@dataclass(frozen=True)
class Material:
    """Cases by what they show, and what the lints look at: PEM -> title, pairs of signer and signee, title -> PEM of a CRL."""

    good: dict[str, list[Case]]
    bad: dict[str, list[Case]]
    certificates: dict[str, str]
    links: set[tuple[str, str]]
    crls: dict[str, str]

    @property
    def cases(self) -> list[Case]:
        """All of them."""
        return [case for group in (*self.good.values(), *self.bad.values()) for case in group]


def make(folder: Path) -> Material:
    """Create the authorities, issue, renew, revoke."""
    plant = Plant(folder / "plant")
    issued.create_authorities(plant)
    steps: dict[str, Callable[[], Iterable[Case]]] = {
        "every key under every key": lambda: issued.all_keys(plant),
        "every profile": lambda: issued.all_profiles(plant),
        "every form of limits": lambda: issued.all_limits(plant),
        "signed by the company": lambda: changed.company_roots(plant, folder),
        "before and after a new network": lambda: changed.widened(plant),
    }
    good = {title: list(step()) for title, step in steps.items()}
    others = changed.renewed(folder)
    good["before and after a renewal"] = [case for cases, _plant in others for case in cases]
    taken_back = revocations.make(plant)
    good["CRLs, and leaves checked with them"] = taken_back.kept
    ceremony = offline.make(plant, folder)
    good["signed by an offline root"] = ceremony.kept
    rejected = bad.everything(plant, folder) + taken_back.revoked + ceremony.revoked
    leaves = [leaf for source in (plant, *(plant for _cases, plant in others)) for leaf in source.issued]
    return Material(
        good,
        {
            kind: [case for case in rejected if case.kind == kind]
            for kind in dict.fromkeys(case.kind for case in rejected)
        },
        issued.certificates(leaves),
        issued.links(leaves),
        {**taken_back.crls, **ceremony.crls},
    )
