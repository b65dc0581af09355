# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Change windows: on ordinary days, past midnight, and in the nights when clocks change."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.certfleet.tls.plugins.plugin_utils._change_window import DAYS, opens_at, read_windows
from ansible_collections.certfleet.tls.plugins.plugin_utils._engine import EngineError

BERLIN = "Europe/Berlin"
ZONES = ["UTC", BERLIN, "America/St_Johns", "Australia/Lord_Howe", "Asia/Kolkata", "Europe/Dublin"]
HOUR, DAY = 3600, 86400


def at(text: str, zone: str = "UTC", fold: int = 0) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone), fold=fold).timestamp())


def is_open(now: int, *windows: dict[str, Any]) -> bool:
    return opens_at(read_windows(list(windows)), now) == now


def test_without_windows_it_is_always_open() -> None:
    assert read_windows(None) == read_windows([]) == read_windows("") == ()
    assert opens_at((), 12345) == 12345


NIGHT = {"days": ["mon", "Tue"], "from": "22:00", "to": "05:00", "timezone": BERLIN}


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        ("2026-11-23T21:59:59", "2026-11-23T22:00:00"),  # a Monday
        ("2026-11-23T22:00:00", "2026-11-23T22:00:00"),
        ("2026-11-24T04:59:59", "2026-11-24T04:59:59"),
        ("2026-11-24T05:00:00", "2026-11-24T22:00:00"),
        ("2026-11-25T04:59:59", "2026-11-25T04:59:59"),  # of Tuesday's window
        ("2026-11-25T05:00:00", "2026-11-30T22:00:00"),
    ],
)
def test_a_window_past_midnight_belongs_to_the_day_on_which_it_opens(now: str, expected: str) -> None:
    assert opens_at(read_windows([NIGHT]), at(now, BERLIN)) == at(expected, BERLIN)


def test_whole_days_and_several_windows() -> None:
    weekend, noon = {"days": ["sat", "sun"]}, {"from": "12:00", "to": "13:00"}
    saturday, monday = at("2026-11-21T00:00:00"), at("2026-11-23T00:00:00")
    assert [is_open(moment, weekend) for moment in (saturday - 1, saturday, monday - 1, monday)] == [
        False,
        True,
        True,
        False,
    ]
    assert opens_at(read_windows([weekend, noon]), monday) == monday + 12 * HOUR


def test_the_hour_that_is_left_out_opens_nothing() -> None:
    # 2026-03-29: 02:00 becomes 03:00
    lost = {"from": "02:00", "to": "03:00", "timezone": BERLIN}
    assert opens_at(read_windows([lost]), at("2026-03-29T00:00:00", BERLIN)) == at("2026-03-30T02:00:00", BERLIN)
    half = {"from": "02:30", "to": "04:00", "timezone": BERLIN}
    assert opens_at(read_windows([half]), at("2026-03-29T00:00:00", BERLIN)) == at("2026-03-29T03:00:00", BERLIN)
    until_half = {"from": "01:00", "to": "02:30", "timezone": BERLIN}
    jump = at("2026-03-29T03:00:00", BERLIN)
    assert [is_open(jump - 1, until_half), is_open(jump, until_half)] == [True, False]


def test_the_hour_that_comes_twice_is_open_twice() -> None:
    # 2026-10-25: 03:00 becomes 02:00
    first, second = at("2026-10-25T02:30:00", BERLIN), at("2026-10-25T02:30:00", BERLIN, fold=1)
    assert second - first == HOUR
    twice = {"from": "02:30", "to": "02:45", "timezone": BERLIN}
    assert all(is_open(moment, twice) for moment in (first, first + HOUR // 2, second, second + 899))
    assert not any(is_open(moment, twice) for moment in (first - 1, second + 900))


def test_a_weekly_window_in_the_lost_hour_opens_a_week_later() -> None:
    lost = {"days": ["sun"], "from": "02:00", "to": "03:00", "timezone": BERLIN}
    assert opens_at(read_windows([lost]), at("2026-03-28T12:00:00", BERLIN)) == at("2026-04-05T02:00:00", BERLIN)


CLOCK = st.integers(0, 24 * 60 - 1).map(lambda minutes: f"{minutes // 60:02}:{minutes % 60:02}")
WINDOW = st.fixed_dictionaries(
    {"from": CLOCK, "to": CLOCK | st.just("24:00"), "timezone": st.sampled_from(ZONES)},
    optional={"days": st.lists(st.sampled_from(DAYS), min_size=1, unique=True)},
).filter(lambda window: window["from"] != window["to"])
MOMENTS = st.integers(at("2026-01-01T00:00:00"), at("2027-12-31T00:00:00")) | st.sampled_from(
    [
        at(f"{day}T{hour:02}:59:59")
        for day in ("2026-03-29", "2026-10-25", "2026-04-05", "2026-11-01")
        for hour in range(24)
    ]
)


def shown_inside(window: dict[str, Any], now: int) -> bool:
    """What somebody says who looks at the plant's clock and at the calendar."""
    wall = datetime.fromtimestamp(now, tz=ZoneInfo(window["timezone"]))
    days, clock = window.get("days", DAYS), f"{wall:%H:%M}"
    today, yesterday = DAYS[wall.weekday()] in days, DAYS[wall.weekday() - 1] in days
    if window["from"] < window["to"]:
        return today and window["from"] <= clock < window["to"]
    return (today and clock >= window["from"]) or (yesterday and clock < window["to"])


def clock_changes(window: dict[str, Any], now: int) -> bool:
    zone = ZoneInfo(window["timezone"])
    offsets = {
        (datetime.fromtimestamp(now, tz=timezone.utc) + timedelta(hours=hours)).astimezone(zone).utcoffset()
        for hours in range(-26, 27)
    }
    return len(offsets) > 1


@given(window=WINDOW, now=MOMENTS)
def test_it_is_open_when_the_clock_says_so(window: dict[str, Any], now: int) -> None:
    inside = shown_inside(window, now)
    if is_open(now, window) != inside:
        # Only in the hour that comes twice: what has opened stays open until the clock shows its end for the last time.
        assert not inside
        assert clock_changes(window, now)


@given(windows=st.lists(WINDOW, min_size=1, max_size=3), now=MOMENTS)
def test_it_is_either_open_or_opens_later_and_not_a_second_before(windows: list[dict[str, Any]], now: int) -> None:
    opening = opens_at(read_windows(windows), now)
    assert is_open(opening, *windows)
    assert now <= opening <= now + 15 * DAY
    if opening > now:
        assert not is_open(opening - 1, *windows)
        assert not is_open((now + opening) // 2, *windows) or (now + opening) // 2 == opening


@given(windows=st.lists(WINDOW, min_size=1, max_size=3), now=MOMENTS)
def test_more_windows_never_close_one(windows: list[dict[str, Any]], now: int) -> None:
    assert is_open(now, *windows) is any(is_open(now, window) for window in windows)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("22:00-05:00", "is no list"),
        ({"from": "22:00"}, "is no list"),
        (["22:00"], r"tls_change_windows\[0\] is no dictionary"),
        (
            [{}, {"begin": "22:00"}],
            r"tls_change_windows\[1\] has no field begin. Its fields are days, from, to, timezone",
        ),
        ([{"from": 1320, "to": "05:00"}], r'\[0\]\.from is 1320. Write hours and minutes as "22:00", in quotes'),
        ([{"from": "24:00"}], r"\[0\]\.from is '24:00'"),
        ([{"to": "25:00"}], r"\[0\]\.to is '25:00'"),
        ([{"to": "5:00"}], r"\[0\]\.to is '5:00'"),
        ([{"from": "05:00", "to": "05:00"}], "begins and ends at the same time"),
        ([{"days": "mon"}], r"\[0\]\.days is 'mon'"),
        ([{"days": ["monday"]}], r"\[0\]\.days is \['monday'\]"),
        ([{"days": []}], r"\[0\]\.days is \[\]"),
        ([{"timezone": "Europe/Berln"}], r"\[0\]\.timezone: the controller knows no time zone 'Europe/Berln'"),
        ([{"timezone": "../../etc/passwd"}], "no time zone"),
        ([{"timezone": "Europe"}], "no time zone"),
    ],
)
def test_a_wrong_window_is_an_error_that_names_item_and_field(value: Any, said: str) -> None:
    with pytest.raises(EngineError, match=said):
        read_windows(value)
