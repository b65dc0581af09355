# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""When a run, or one run after another, must not go on to further hosts: too many have failed already.

The count is of certificates: those that this run has failed with, and those that the ledger says have failed in the last days
and have not been put right since.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ._engine import DEPLOY_VARIABLE, GOOD_OUTCOMES, REQUEST_VARIABLE, EngineError

DEFAULT_BUDGET = 5
DEFAULT_WINDOW = "7d"
# Outcomes that say that a change went wrong (design.md); what was not tried has not failed.
FAILURES = frozenset({"rolled_back", "failed", "kept", "removed"})
_SHOWN = 5


@dataclass(frozen=True)
class Progress:
    """How far this run has come: ids of certificates (identity/name) that were brought in, and that failed.

    C(proved): on some host that the run went on to, something was due and all of it is well now. What was well before proves nothing.
    """

    good: frozenset[str] = field(default_factory=frozenset)
    failed: frozenset[str] = field(default_factory=frozenset)
    proved: bool = False

    @classmethod
    def of(cls, registered: Iterable[Mapping[str, Any]]) -> Progress:
        """Read it from what the hosts of a wave's play have registered; it holds only hosts on which something was found due."""
        good: set[str] = set()
        failed: set[str] = set()
        proved = False
        for variables in registered:
            entries = (variables.get(REQUEST_VARIABLE) or {}).get("certificates") or ()
            due = {str(entry["id"]) for entry in entries if entry["verdict"] != "none"}
            done = [
                entry
                for entry in (variables.get(DEPLOY_VARIABLE) or {}).get("certificates") or ()
                if str(entry["id"]) in due
            ]
            well = {str(entry["id"]) for entry in done if entry["outcome"] in GOOD_OUTCOMES}
            bad = {str(entry["id"]) for entry in done if entry["outcome"] in FAILURES}
            good, failed = good | well, failed | bad
            # Nothing is due any more where another run was faster.
            overtaken = bool(entries) and not due and not any(map(_has_open_end, entries))
            proved = proved or (not bad and (bool(well) or overtaken))
        return cls(frozenset(good - failed), frozenset(failed), proved)


def _has_open_end(entry: Mapping[str, Any]) -> bool:
    """Whether a certificate with which nothing is wrong is in a wave for what an earlier run has left."""
    return bool(entry.get("unconfirmed") or entry.get("failures"))


def budget_of(value: Any, *, hosts: int) -> int:
    """How many certificates may have failed: a number, or a share of the hosts such as C("10%"). Raises EngineError."""
    text = str(DEFAULT_BUDGET if value is None else value).strip()
    number = text[:-1].strip() if text.endswith("%") else text
    if not number.isdigit():
        raise EngineError(
            f"tls_failure_budget is '{text}'. Give how many certificates may fail, as a number or as a share such as 10%."
        )
    return hosts * int(number) // 100 if text.endswith("%") else int(number)


def pause_of(progress: Progress, *, lately: Collection[str], budget: int, canary: bool) -> str | None:
    """Why nothing further should be begun now, or None.

    O(lately): ids that the ledger knows to have failed. O(canary): this run goes in waves, so that its first host answers for
    all others.
    """
    if canary and progress.failed and not progress.proved:
        return f"the first that this run tried went wrong ({_shown(progress.failed)}), so the others were left alone"
    failed = progress.failed | (set(lately) - progress.good)
    if len(failed) <= budget:
        return None
    return (
        f"{len(failed)} certificates have failed lately ({_shown(failed)}), more than tls_failure_budget ({budget}) allows;"
        " find out why, then run again for these hosts, or raise the budget"
    )


def _shown(ids: Collection[str]) -> str:
    names = sorted(ids)
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
