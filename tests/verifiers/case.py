# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A question to a verifier, and its answer: `Case(...)` says what is shown to it and what it ought to say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

SERVER, CLIENT, CRL = "server", "client", "CRL"
ISSUED = "issued"


@dataclass(frozen=True)
class Case:
    """One certificate (or CRL) as one peer sees it. All certificates and keys are PEM.

    C(kind) is C(issued) for what has to be accepted, else what is wrong with it. C(chain) is what the peer sends: the leaf first.
    C(name) is what a client connects to, C(DNS:…) or C(IP:…), and empty for a client's certificate. C(because) holds, by
    verifier, what it has to say about what is wrong, as a regular expression: rejected for another reason proves nothing.
    """

    title: str
    chain: tuple[str, ...]
    anchors: str
    key: str = ""
    purpose: str = SERVER
    name: str = ""
    kind: str = ISSUED
    crls: tuple[str, ...] = ()
    because: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_good(self) -> bool:
        return self.kind == ISSUED


@dataclass(frozen=True)
class Verdict:
    """What a verifier says of a case."""

    accepted: bool
    said: str = ""


class Verifier(Protocol):
    """A program or library that checks certificates."""

    @property
    def name(self) -> str: ...

    @property
    def version(self) -> str: ...

    def excuse(self, case: Case) -> str | None:
        """Why, by its documentation, this is nothing that it checks; None when it does."""

    def verify(self, cases: Sequence[Case], folder: Path) -> list[Verdict]:
        """One verdict a case, in their order. The folder is its own, for the files that it needs."""


def write(folder: Path, name: str, *pems: str) -> Path:
    """A PEM file of these."""
    path = folder / name
    path.write_text("".join(pems), encoding="ascii")
    return path
