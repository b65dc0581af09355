# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The CA's processes are killed at their writes: no signature that the ledger does not know, no serial twice, nothing half-written,
and the next run succeeds."""

from __future__ import annotations

import pytest

from .ca_case import CACase
from .ca_kills import Check, Module, few, killed_at, listed
from .ca_room import CA, Answer, Room, State, shell

EXTENT = pytest.mark.parametrize("extent", ["some", pytest.param("every", marks=pytest.mark.slow)])


def loop(case: CACase, module: Module, extent: str, *, check: Check, but: tuple[str, ...] = ()) -> None:
    """Kill it at some of its writes, or at all."""
    events = listed(case, module)
    killed_at(case, module, few(events) if extent == "some" else events, but=but, check=check)


@EXTENT
def test_authority_killed(ca_case: CACase, room: Room, extent: str) -> None:
    """SIGKILL of ca_authority at {extent} write, flush and rename of a creation"""
    room.begin()
    shell(f"mkdir -m 0700 {CA} {CA}/../secret")
    ca_case.begin()

    def check(answer: Answer, state: State) -> None:
        assert room.authority().said["due"] == [], "it was not finished"
        assert [path for path in state.files if path.startswith("authorities/")], "there is no authority"

    loop(ca_case, lambda strace: room.authority(strace=strace), extent, check=check)


@EXTENT
def test_issue_killed(ca_case: CACase, room: Room, extent: str) -> None:
    """SIGKILL of ca_issue at {extent} write and flush of three certificates"""
    room.create()
    ca_case.begin()
    names = ["robot-1", "robot-2", "robot-3"]

    def check(answer: Answer, state: State) -> None:
        assert state.of("issued") == ["robot-0", *names], "not each has exactly one certificate in force"
        told = {item["serial"] for item in answer.certificates.values()}
        assert all(state.serials[serial][1] == "issued" for serial in told)

    loop(ca_case, lambda strace: room.issue(*names, strace=strace), extent, check=check)


@EXTENT
def test_record_killed(ca_case: CACase, room: Room, extent: str) -> None:
    """SIGKILL of ca_record at {extent} write and flush of an outcome"""
    room.create()
    newer = room.issue("robot-0", lifetime=91 * 86400)
    fingerprint = next(iter(newer.certificates.values()))["fingerprint"]
    ca_case.begin()
    outcome = {"identity": "robot-0", "name": "https", "outcome": "installed", "fingerprint": fingerprint}

    def check(answer: Answer, state: State) -> None:
        assert answer.said["recorded"] == 1

    loop(ca_case, lambda strace: room.module("ca_record", strace=strace, outcomes=[outcome]), extent, check=check)
