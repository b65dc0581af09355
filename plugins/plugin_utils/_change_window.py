# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The hours in which a host may be changed, as its owner writes them, on the clock of the plant.

A window opens once on each of its days, on the day's own clock: C(from) is the first moment that this clock shows that time, C(to)
the last. So in the night when clocks go back it is an hour longer, and one that lies in the hour that is left out does not open.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, timezone, tzinfo
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from ._engine import EngineError

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_FIELDS = ("days", "from", "to", "timezone")
_TIME = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])\Z")
_WHOLE_DAY = 24 * 60
# A weekly window may fall into an hour that is left out; it opens the week after.
_LOOK_AHEAD = 15


@dataclass(frozen=True)
class Window:
    """Some hours of some days (0 is Monday). C(begin) and C(end) are minutes; one that ends before it begins passes midnight."""

    days: frozenset[int]
    begin: int
    end: int
    zone: tzinfo

    def openings(self, first: date, days: int) -> Iterator[tuple[int, int]]:
        """(begin, end) in unix seconds of those that open on one of the next days; the end no longer belongs to it."""
        for number in range(days):
            day = first + timedelta(days=number)
            if day.weekday() not in self.days:
                continue
            end_day = day + timedelta(days=1) if self.end <= self.begin else day
            begin, end = self._moment(day, self.begin, fold=0), self._moment(end_day, self.end, fold=1)
            if begin < end:
                yield begin, end

    def _moment(self, day: date, minutes: int, *, fold: int) -> int:
        """When the clock shows that time of that day: the first time or (fold 1) the last, or when it jumps over it."""
        if minutes == _WHOLE_DAY:
            day, minutes = day + timedelta(days=1), 0
        wall = datetime.combine(day, time(minutes // 60, minutes % 60))
        moment = int(wall.replace(tzinfo=self.zone, fold=fold).timestamp())
        if self._wall(moment) == wall:
            return moment
        # It is left out. Read with the offset before the jump it lies behind it, and the other way round.
        late, early = (int(wall.replace(tzinfo=self.zone, fold=side).timestamp()) for side in (0, 1))
        while late - early > 1:
            middle = (early + late) // 2
            early, late = (middle, late) if self._wall(middle) < wall else (early, middle)
        return late

    def _wall(self, moment: int) -> datetime:
        return datetime.fromtimestamp(moment, tz=self.zone).replace(tzinfo=None)


def opens_at(windows: Sequence[Window], now: int) -> int:
    """When one of the windows is open: O(now) if it is already, or when the next one opens. Without windows always. Unix seconds."""
    moments = [moment for window in windows for moment in _from(window, now)]
    return min(moments, default=now)


def _from(window: Window, now: int) -> Iterator[int]:
    yesterday = datetime.fromtimestamp(now, tz=window.zone).date() - timedelta(days=1)
    for begin, end in window.openings(yesterday, _LOOK_AHEAD):
        if now < end:
            yield max(begin, now)
            return


def read_windows(value: Any) -> tuple[Window, ...]:
    """The variable C(tls_change_windows). Raises EngineError, naming item and field."""
    if value in (None, ""):
        return ()
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise EngineError(
            'tls_change_windows is no list. Write one entry for each window, such as {from: "22:00", to: "05:00"}.'
        )
    return tuple(_window(item, f"tls_change_windows[{number}]") for number, item in enumerate(value))


def _window(item: Any, where: str) -> Window:
    if not isinstance(item, Mapping):
        raise EngineError(f"{where} is no dictionary. Its fields are {', '.join(_FIELDS)}.")
    strange = sorted(str(field) for field in item if field not in _FIELDS)
    if strange:
        raise EngineError(f"{where} has no field {', '.join(strange)}. Its fields are {', '.join(_FIELDS)}.")
    begin = _minutes(item.get("from", "00:00"), f"{where}.from", whole_day=False)
    end = _minutes(item.get("to", "24:00"), f"{where}.to", whole_day=True)
    if begin == end:
        raise EngineError(
            f'{where} begins and ends at the same time. For a whole day write from: "00:00" and to: "24:00".'
        )
    return Window(
        _days(item.get("days"), f"{where}.days"), begin, end, _zone(item.get("timezone"), f"{where}.timezone")
    )


def _days(value: Any, where: str) -> frozenset[int]:
    if value is None:
        return frozenset(range(7))
    named = [str(day).strip().lower() for day in value] if isinstance(value, (list, tuple)) else []
    if not named or not set(named) <= set(DAYS):
        raise EngineError(f"{where} is {value!r}. Write a list of {', '.join(DAYS)}; left out, it is all of them.")
    return frozenset(DAYS.index(day) for day in named)


def _minutes(value: Any, where: str, *, whole_day: bool) -> int:
    found = _TIME.match(value) if isinstance(value, str) else None
    if found:
        return int(found[1]) * 60 + int(found[2])
    if whole_day and value == "24:00":
        return _WHOLE_DAY
    # YAML reads 22:00 without quotes as the number 1320.
    hint = ", in quotes" if isinstance(value, int) else ""
    raise EngineError(f'{where} is {value!r}. Write hours and minutes as "22:00"{hint}.')


def _zone(value: Any, where: str) -> tzinfo:
    name = str(value or "UTC")
    if name == "UTC":
        return timezone.utc  # works where no time zones are installed
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as exc:
        raise EngineError(
            f"{where}: the controller knows no time zone '{name}'. Write one such as Europe/Berlin; if it is right, install tzdata "
            "on the controller."
        ) from exc
