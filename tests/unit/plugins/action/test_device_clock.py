# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""device_request: what time a robot believes it is, asked only where a certificate is to be issued to it."""

from __future__ import annotations

import pytest

from .device_fleet import Fleet, codes, verdict
from .test_device_deferral import closed


@pytest.mark.parametrize("seconds", [0, 1700, -1700])
def test_a_clock_within_the_limit(fleet: Fleet, seconds: int) -> None:
    fleet.emulator.control("robot-1", "set", f"clock={seconds}")
    requested = fleet.request()
    assert (verdict(requested), codes(requested)) == ("issue", ["missing"])
    assert requested["certificates"][0]["notes"] == []
    assert (fleet.clock_was_read(), fleet.requests()) == (1, [])


@pytest.mark.parametrize(("seconds", "said"), [(2000, "ahead of the controller's"), (-2000, "behind the controller's")])
@pytest.mark.parametrize("check", [False, True])
def test_a_clock_beyond_it_is_refused_before_a_key_is_made(fleet: Fleet, seconds: int, said: str, check: bool) -> None:
    fleet.emulator.control("robot-1", "set", f"clock={seconds}")
    requested = fleet.request(check=check)
    assert (verdict(requested), codes(requested)) == ("refuse", ["clock"])
    (entry,) = requested["certificates"]
    assert said in entry["reasons"][0]["message"]
    assert "sealed" not in entry
    done = fleet.deploy(requested, {})
    assert [item["outcome"] for item in done["certificates"]] == ["refused"]
    assert fleet.requests() == []


def test_the_limit_is_a_variable(fleet: Fleet) -> None:
    fleet.emulator.control("robot-1", "set", "clock=2000")
    assert verdict(fleet.request(tls_clock_limit="1h")) == "issue"


def test_a_device_that_does_not_tell_gets_its_certificate_and_a_note(fleet: Fleet) -> None:
    fleet.emulator.control("robot-1", "set", "date=off")
    requested = fleet.request()
    assert verdict(requested) == "issue"
    assert requested["certificates"][0]["notes"] == ["its clock could not be compared: it answers without a date"]


def test_nobody_is_asked_where_nothing_is_issued(fleet: Fleet) -> None:
    fleet.converge()
    fleet.emulator.forget_log()
    fleet.emulator.control("robot-1", "set", "clock=100000")
    assert verdict(fleet.request()) == "none"
    assert fleet.emulator.handshakes("robot-1", 1) == [True]
    assert fleet.emulator.log("request", "robot-1") == []


def test_nor_what_waits_or_is_not_known(fleet: Fleet) -> None:
    fleet.emulator.control("robot-1", "set", "clock=100000")
    (entry,) = fleet.request(tls_change_windows=closed())["certificates"]
    assert (entry["verdict"], entry["deferred"]["code"]) == ("issue", "window")
    fleet.emulator.control("robot-1", "set", "impostor=on")
    assert codes(fleet.request()) == ["untrusted"]
    assert fleet.emulator.log("request", "robot-1") == []
