# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How the verifiers did: counts by what was shown, what was not as it has to be, and what does not count and why."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from .case import Case, Verdict, Verifier


@dataclass
class Answers:
    """Of one verifier. C(excused): why cases do not count for it, and how many."""

    verifier: str
    version: str
    verdicts: dict[int, Verdict] = field(default_factory=dict)
    excused: Counter[str] = field(default_factory=Counter)

    def count(self, cases: Iterable[Case]) -> tuple[int, int]:
        """(how many are answered as they have to be, of how many that count)."""
        asked = [case for case in cases if id(case) in self.verdicts]
        return sum(self.fault(case) is None for case in asked), len(asked)

    def fault(self, case: Case) -> str | None:
        """What is wrong with the answer to a case; None when it is right, or does not count."""
        verdict = self.verdicts.get(id(case))
        if verdict is None:
            return None
        if case.is_good:
            return None if verdict.accepted else f"rejected: {verdict.said}"
        if verdict.accepted:
            return "accepted"
        if not re.search(case.because[self.verifier], verdict.said):
            return f"rejected, but for another reason: {verdict.said}"
        return None


def ask(verifier: Verifier, cases: Sequence[Case], folder: Path) -> Answers:
    """Its answers to all cases that it checks."""
    own = folder / verifier.name
    own.mkdir()
    answers = Answers(verifier.name, verifier.version)
    asked = []
    for case in cases:
        excuse = verifier.excuse(case)
        if excuse:
            answers.excused[excuse] += 1
        else:
            asked.append(case)
    answers.verdicts = {id(case): verdict for case, verdict in zip(asked, verifier.verify(asked, own), strict=True)}
    return answers


def table(title: str, groups: Mapping[str, Sequence[Case]], answers: Sequence[Answers]) -> list[str]:
    """One row a group, one column a verifier, and their sums."""
    width = max(len(name) for name in (*groups, title))
    lines = [f"{title:<{width}}" + "".join(f"{answer.verifier:>12}" for answer in answers)]
    lines.append("-" * len(lines[0]))
    every = [case for cases in groups.values() for case in cases]
    for name, cases in (*groups.items(), ("all", every)):
        lines.append(f"{name:<{width}}" + "".join(f"{_cell(*answer.count(cases)):>12}" for answer in answers))
    return lines


def faults(cases: Iterable[Case], answers: Sequence[Answers]) -> list[str]:
    """A line for each answer that is not as it has to be."""
    return [
        f"{answer.verifier}: {case.kind}, {case.purpose}: {case.title}: {fault}"
        for case in cases
        for answer in answers
        if (fault := answer.fault(case))
    ]


def _cell(right: int, of: int) -> str:
    return f"{right} of {of}" if of else "-"
