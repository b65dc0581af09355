# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Many at once want something of the CA: each gets all of it, nobody waits for ever."""

from __future__ import annotations

import pytest

from .ca_case import CACase
from .ca_room import CA, Room, quoted, shell

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


@pytest.mark.slow
def test_writer_that_hangs(ca_case: CACase, room: Room) -> None:
    """a process that holds the CA's lock and does not go on"""
    room.create()
    ca_case.begin()
    holder = hang_in_lock()
    try:
        answer = room.issue("robot-1")
    finally:
        shell(f"kill {holder}")
    ca_case.told(answer, f"(id {holder}) has been writing to the CA for 60 s", "Nothing was changed", code="locked")
    assert answer.seconds < LONGEST + 30
    ca_case.unharmed()
    ca_case.converges(room.issue("robot-1"))


def hang_in_lock() -> str:
    """The id of a process that holds the lock, as a writer does, and sleeps."""
    script = (
        "import fcntl, os, sys, time; lock = open(sys.argv[1], 'w'); fcntl.flock(lock, fcntl.LOCK_EX); "
        f"print(os.getpid(), file=lock, flush=True); time.sleep({3 * LONGEST})"
    )
    # Without our files: who started it would wait for its end otherwise.
    shell(f": > {CA}/lock; {quoted('python3', '-c', script, f'{CA}/lock')} </dev/null >/dev/null 2>&1 &")
    shell(f"until [ -s {CA}/lock ]; do sleep 0.1; done")
    return shell(f"cat {CA}/lock").strip()
