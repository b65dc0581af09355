# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the engine writes to the CA after a deploy, or when keys are pinned. Needs the standard library alone."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from .errors import CAError
from .ledger import Ledger, Outcome, Pin
from .lock import WAIT, locked
from .store import Store

_DIGEST = re.compile(r"[0-9a-f]{64}\Z")
# Longer explanations of a failure are in the run's own output.
_LONGEST = 2000


def record(
    outcomes: Iterable[Mapping[str, Any]],
    pins: Iterable[Mapping[str, Any]],
    *,
    store: Store,
    now: int,
    wait: float = WAIT,
) -> dict[str, int]:
    """Write all of it to the ledger, or nothing. Returns how many outcomes and how many new pins there were."""
    read_outcomes, read_pins = [_outcome(item) for item in outcomes], [_pin(item) for item in pins]
    store.require()
    if not read_outcomes and not read_pins:
        return {"recorded": 0, "pinned": 0}
    with locked(store.directory, wait=wait), Ledger.open(store.ledger) as ledger:
        ledger.refuse_frozen()
        return {"recorded": len(read_outcomes), "pinned": ledger.record(read_outcomes, read_pins, now=now)}


def _outcome(item: Mapping[str, Any]) -> Outcome:
    fingerprint = _digest(item, "fingerprint") if item.get("fingerprint") else None
    return Outcome(
        identity=_word(item, "identity"),
        name=_word(item, "name"),
        outcome=_word(item, "outcome"),
        reasons=tuple(str(reason) for reason in item.get("reasons") or ()),
        fingerprint=fingerprint,
        said=str(item.get("said") or "")[:_LONGEST],
        revised=bool(item.get("revised")),
    )


def _pin(item: Mapping[str, Any]) -> Pin:
    return Pin(identity=_word(item, "identity"), spki=_digest(item, "spki"), why=str(item.get("why") or "")[:_LONGEST])


def _word(item: Mapping[str, Any], field: str) -> str:
    value = str(item.get(field) or "")
    if not value or any(character.isspace() for character in value):
        raise CAError(
            f"'{field}' is missing or holds white space in {_shown(item)}. Nothing was recorded.", code="bad_record"
        )
    return value


def _digest(item: Mapping[str, Any], field: str) -> str:
    value = str(item.get(field) or "").lower().replace(":", "")
    if not _DIGEST.match(value):
        raise CAError(
            f"'{field}' is no SHA-256 in {_shown(item)}: write 64 hexadecimal digits. Nothing was recorded.",
            code="bad_record",
        )
    return value


def _shown(item: Mapping[str, Any]) -> str:
    """Which entry it is, without what it says."""
    return f"the entry of '{item.get('identity') or '?'}/{item.get('name') or '?'}'"
