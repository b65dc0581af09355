# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Spans of time as users write them."""

from __future__ import annotations

import re

from .errors import X509Error

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400, "y": 365 * 86400}
_SHOWN = 40
_TERM = re.compile(r"(\d+)\s*([smhdwy]?)")
_WHOLE = re.compile(r"(?=\d)(?:\d+\s*[smhdwy]\s*)*\d*\Z", re.ASCII)
# Dates have an end, and what lasts longer than its authority is no plan but a slip.
LONGEST = 100 * _UNITS["y"]
# So many digits are longer than that in any unit; int() itself refuses thousands of them.
_DIGITS = len(str(LONGEST))


def parse_duration(value: str | int, *, where: str) -> int:
    """C(90d), C(12h30m), C(10y) or plain seconds, as seconds (a year is 365 days).

    Zero and negative spans are errors, and so is one of more than 100 years.
    """
    text = str(value).strip().lower()
    if not _WHOLE.match(text):
        raise X509Error(f"{where}: '{value}' is no span of time. Write a number and a unit: 90d, 12h, 30m, 10y.")
    terms = [(number.lstrip("0") or "0", unit) for number, unit in _TERM.findall(text)]
    is_short = all(len(number) <= _DIGITS for number, _unit in terms)
    seconds = sum(int(number) * _UNITS[unit or "s"] for number, unit in terms) if is_short else LONGEST + 1
    if seconds > LONGEST:
        shown = f"{text[:_SHOWN]}…" if len(text) > _SHOWN else text
        raise X509Error(f"{where}: '{shown}' is more than 100 years, the longest span that there can be. Shorten it.")
    if seconds <= 0:
        raise X509Error(f"{where}: '{value}' is no time at all. Write a span longer than a second, such as 90d.")
    return seconds


def span_text(seconds: int) -> str:
    """A span for people, in its two largest units: C(2 h 5 min), C(3 d), C(40 s)."""
    parts = []
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        count, seconds = divmod(seconds, size)
        if count:
            parts.append(f"{count} {unit}")
        elif parts:
            break
    return " ".join(parts[:2]) or "0 s"
