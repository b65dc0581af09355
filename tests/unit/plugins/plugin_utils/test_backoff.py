# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How long a certificate rests after its failures."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.certfleet.tls.plugins.plugin_utils._backoff import Backoff, read_backoff
from ansible_collections.certfleet.tls.plugins.plugin_utils._engine import EngineError

HOUR, DAY = 3600, 86400


def test_by_default_it_grows_from_an_hour_to_a_week() -> None:
    pauses = [read_backoff(None).pause(count, left=None) for count in range(1, 8)]
    assert pauses == [HOUR, 4 * HOUR, 16 * HOUR, 64 * HOUR, 7 * DAY, 7 * DAY, 7 * DAY]


@pytest.mark.parametrize(
    ("left", "expected"), [(30 * DAY, 7 * DAY), (4 * DAY, 2 * DAY), (90 * 60, HOUR), (0, HOUR), (-DAY, HOUR)]
)
def test_half_of_what_the_leaf_has_left_stays_for_further_attempts(left: int, expected: int) -> None:
    assert Backoff().pause(9, left=left) == expected


BACKOFFS = st.builds(
    lambda first, factor, longer: Backoff(first, factor, first + longer),
    st.integers(1, DAY),
    st.floats(1, 100),
    st.integers(0, 365 * DAY),
)
COUNTS = st.integers(1, 10**9)
LEFT = st.none() | st.integers(-DAY, 3650 * DAY)


@given(backoff=BACKOFFS, count=COUNTS, more=st.integers(0, 10**6), left=LEFT)
def test_a_further_failure_never_shortens_the_pause(backoff: Backoff, count: int, more: int, left: int | None) -> None:
    assert backoff.pause(count, left=left) <= backoff.pause(count + more, left=left)


@given(backoff=BACKOFFS, count=COUNTS, left=LEFT)
def test_the_pause_has_bounds(backoff: Backoff, count: int, left: int | None) -> None:
    pause = backoff.pause(count, left=left)
    assert backoff.first <= pause <= backoff.most
    if left is not None and left >= 2 * backoff.first:
        assert pause <= left / 2
    assert backoff.pause(1, left=left) == backoff.first


def test_fields_that_are_left_out_have_their_defaults() -> None:
    assert read_backoff({}) == read_backoff("") == Backoff(HOUR, 4, 7 * DAY)
    assert read_backoff({"first": "30m"}) == Backoff(1800, 4, 7 * DAY)
    assert read_backoff({"first": "10d"}) == Backoff(10 * DAY, 4, 10 * DAY)
    assert read_backoff({"first": 60, "factor": "1.5", "most": "2h"}) == Backoff(60, 1.5, 2 * HOUR)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("1h", "tls_backoff is no dictionary"),
        ({"begin": "1h"}, "has no field begin"),
        ({"first": "soon"}, r"tls_backoff\.first: 'soon' is no span of time"),
        ({"first": "2h", "most": "1h"}, r"most is shorter than tls_backoff\.first"),
        ({"factor": 0.5}, r"factor is 0\.5"),
        ({"factor": "nan"}, "factor is 'nan'"),
        ({"factor": None}, "factor is None"),
        ({"factor": 1000}, "from 1 to 100"),
    ],
)
def test_a_wrong_backoff_is_an_error_that_names_the_field(value: Any, said: str) -> None:
    with pytest.raises(EngineError, match=said):
        read_backoff(value)
