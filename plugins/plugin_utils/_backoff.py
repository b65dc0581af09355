# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How long a certificate is left alone after its deploys have gone wrong: longer each time, but never until it is too late."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ansible_collections.certfleet.tls.plugins.module_utils._x509.duration import parse_duration
from ansible_collections.certfleet.tls.plugins.module_utils._x509.errors import X509Error

from ._engine import EngineError

_LARGEST_FACTOR = 100.0
# With any factor above 1 the longest pause is reached much earlier, or hardly ever.
_LARGEST_EXPONENT = 100


@dataclass(frozen=True)
class Backoff:
    """Seconds after the first failure, how many times longer after each further one, and the most that it becomes."""

    first: int = 3600
    factor: float = 4.0
    most: int = 7 * 86400

    def pause(self, count: int, *, left: int | None) -> int:
        """Seconds to wait after O(count) failures in a row.

        O(left): how many seconds the leaf in service had left when the last one happened. At least half of them stay for further
        attempts, unless that is less than the shortest pause.
        """
        pause = min(self.most, self.first * self.factor ** min(max(count - 1, 0), _LARGEST_EXPONENT))
        return int(pause if left is None else min(pause, max(self.first, left // 2)))


def read_backoff(value: Any) -> Backoff:
    """The variable C(tls_backoff); fields that are left out have their defaults. Raises EngineError, naming the field."""
    if value in (None, ""):
        return Backoff()
    if not isinstance(value, Mapping):
        raise EngineError("tls_backoff is no dictionary. Write it as {first: 1h, factor: 4, most: 7d}.")
    strange = sorted(str(field) for field in value if field not in ("first", "factor", "most"))
    if strange:
        raise EngineError(f"tls_backoff has no field {', '.join(strange)}. Its fields are first, factor, most.")
    usual = Backoff()
    first = _seconds(value, "first", usual.first)
    most = _seconds(value, "most", max(usual.most, first))
    if most < first:
        raise EngineError("tls_backoff.most is shorter than tls_backoff.first. Make it at least as long.")
    return Backoff(first, _factor(value.get("factor", usual.factor)), most)


def _seconds(value: Mapping[str, Any], field: str, default: int) -> int:
    if value.get(field) is None:
        return default
    try:
        return parse_duration(value[field], where=f"tls_backoff.{field}")
    except X509Error as exc:
        raise EngineError(str(exc)) from exc


def _factor(value: Any) -> float:
    try:
        factor = float(value)
    except (TypeError, ValueError):
        factor = 0.0
    if not 1 <= factor <= _LARGEST_FACTOR:
        raise EngineError(f"tls_backoff.factor is {value!r}. Give a number from 1 to {_LARGEST_FACTOR:.0f}.")
    return factor
