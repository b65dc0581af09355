# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What whoever judges is told of leaves that identify nobody."""

from __future__ import annotations

from .test_ledger import issue_many, told
from .workshop import DAY, Workshop


def test_of_revoked_leaves_that_have_ended_only_those_are_told_that_identify_nobody(workshop: Workshop) -> None:
    serials = [answer["serial"] for answer in issue_many(workshop, 8)]
    for serial, reason, gone_at in zip(serials, ("superseded", "key_compromise", "superseded"), (None, None, 1)):
        workshop.sql(
            "UPDATE certificates SET state = 'revoked', revocation_reason = ?, gone_at = ? WHERE serial = ?",
            reason,
            gone_at,
            serial,
        )
    assert [serial for serial, _state in told(workshop)] == [*serials[:4:-1], *serials[2::-1]]
    workshop.now += 90 * DAY
    assert [serial for serial, _state in told(workshop)] == [*serials[:4:-1], serials[2], serials[1]]
    leaves = workshop.info("robot-1")["identities"]["robot-1"]["leaves"]
    assert [leaf.get("gone") for leaf in leaves] == [None, None, None, True, None]
