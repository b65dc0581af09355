# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Many at once want something of the CA: each gets all of it, nobody waits for ever."""

from __future__ import annotations

from .ca_case import CACase
from .ca_room import Room

ISSUERS = 8
EACH = 200
# The lock's own patience is a minute; on a busy machine this is a hundred times what it takes.
LONGEST = 60


def test_eight_issuers(ca_case: CACase, room: Room) -> None:
    """8 ca_issue at once, 200 certificates each"""
    room.create()
    ca_case.begin()
    batches = [[f"robot-{issuer}-{number}" for number in range(EACH)] for issuer in range(1, ISSUERS + 1)]
    answers = room.issue_at_once(batches)
    for names, answer in zip(batches, answers, strict=True):
        assert not answer.failed and not answer.refused, str(answer)
        assert [item["issued"] for item in answer.certificates.values()] == [True] * EACH
        assert sorted(answer.certificates) == sorted(f"{name}/https" for name in names)
    state = ca_case.unharmed()
    told = [item["serial"] for answer in answers for item in answer.certificates.values()]
    assert len(set(told)) == ISSUERS * EACH, "a serial was given twice"
    assert {state.serials[serial] for serial in told} == {(name, "issued") for names in batches for name in names}
    slowest = max(answer.seconds for answer in answers)
    assert slowest < LONGEST, f"one waited for {slowest:.0f} s"
    ca_case.note(f"nothing: all {ISSUERS} get what they asked for, the last one after {slowest:.1f} s")
    ca_case.afterwards(f"{len(told)} certificates, all serials different")
    ca_case.converges(room.issue("robot-0"))
