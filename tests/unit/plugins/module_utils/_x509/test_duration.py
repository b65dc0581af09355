# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Spans of time as users write them."""

from __future__ import annotations

import pytest

from ansible_collections.certfleet.tls.plugins.module_utils._x509.duration import parse_duration, span_text
from ansible_collections.certfleet.tls.plugins.module_utils._x509.errors import X509Error


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90d", 7776000),
        ("12h30m", 45000),
        ("1 d 1 s", 86401),
        (3600, 3600),
        ("3600", 3600),
        ("10y", 315360000),
        ("2W", 1209600),
        ("100y", 100 * 365 * 86400),
        ("0000000000000090d", 7776000),
    ],
)
def test_spans(text: str, seconds: int) -> None:
    assert parse_duration(text, where="x") == seconds


@pytest.mark.parametrize("text", ["", "d", "-1d", "0", "0d", "90 days", "1.5h", "9d!", None])
def test_what_is_no_span_is_said_with_its_place(text: str) -> None:
    with pytest.raises(X509Error, match=r"robot-1, lifetime: "):
        parse_duration(text, where="robot-1, lifetime")


@pytest.mark.parametrize("text", ["101y", "9999y", "100y1s", 10**20, "9" * 5000, "1y" * 101])
def test_no_span_is_longer_than_a_hundred_years(text: str | int) -> None:
    with pytest.raises(X509Error, match=r"^robot-1, lifetime: '.{1,41}' is more than 100 years"):
        parse_duration(text, where="robot-1, lifetime")


def test_what_is_no_span_is_found_out_at_once() -> None:
    """Whatever its length: a pattern that tried each way to cut the digits into numbers would never end."""
    with pytest.raises(X509Error, match="is no span of time"):
        parse_duration("1" * 60 + "x", where="robot-1, lifetime")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (40, "40 s"),
        (1800, "30 min"),
        (7500, "2 h 5 min"),
        (7205, "2 h"),
        (3 * 86400 + 60, "3 d"),
        (90061, "1 d 1 h"),
    ],
)
def test_spans_for_people(seconds: int, text: str) -> None:
    assert span_text(seconds) == text
