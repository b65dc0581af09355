# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""SIGKILL before every write of a revocation and of a CRL: all or nothing, and no CRL whose number nobody knows."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable

from ansible_collections.certfleet.tls.plugins.module_utils._ca.crl import refresh
from ansible_collections.certfleet.tls.plugins.module_utils._ca.revoke import Target, revoke
from ansible_collections.certfleet.tls.plugins.module_utils._x509.crl import parse_crl

from .interruption import killed_at_every_step
from .workshop import Workshop


def take_back(workshop: Workshop, **options: str) -> None:
    revoke(Target.from_options({"reason": "superseded", **options}), store=workshop.store, now=workshop.now)


def publish(workshop: Workshop) -> list[str]:
    return refresh(workshop.store, "fleet", passphrase=workshop.passphrase(), now=workshop.now)[1]


def test_revocation(make_workshop: Callable[[], Workshop]) -> None:
    def make() -> Workshop:
        workshop = make_workshop()
        for name in ("https", "api"):
            workshop.issue_one(name=name)
        return workshop

    steps = 0
    for workshop, killed in killed_at_every_step(make, lambda workshop: take_back(workshop, identity="robot-1")):
        steps += 1
        before, acts = workshop.states(), workshop.sql("SELECT count(*) FROM acts WHERE act = 'revoked'")
        assert (before, acts) in ((["issued"] * 2, [(0,)]), (["revoked"] * 2, [(2,)]))
        assert killed or before == ["revoked"] * 2
        take_back(workshop, identity="robot-1")
        assert workshop.states() == ["revoked"] * 2
        assert workshop.sql("PRAGMA integrity_check") == [("ok",)]
    assert steps > 8


def test_revocation_of_what_the_ledger_has_forgotten(make_workshop: Callable[[], Workshop]) -> None:
    def make() -> Workshop:
        workshop = make_workshop()
        backup = workshop.folder / "backup"
        shutil.copytree(workshop.store.directory, backup)
        (workshop.folder / "lost.pem").write_text(workshop.issue_one()["certificate"])
        shutil.rmtree(workshop.store.directory)
        shutil.copytree(backup, workshop.store.directory)
        return workshop

    def lost(workshop: Workshop) -> dict[str, str]:
        return {"certificate": (workshop.folder / "lost.pem").read_text(), "identity": "robot-1", "name": "https"}

    steps = 0
    for workshop, killed in killed_at_every_step(make, lambda workshop: take_back(workshop, **lost(workshop))):
        steps += 1
        assert workshop.states() in ([], ["reserved"], ["issued"], ["revoked"])
        assert killed or workshop.states() == ["revoked"]
        take_back(workshop, **lost(workshop))
        assert workshop.states() == ["revoked"]
    assert steps > 12


def test_crl(make_workshop: Callable[[], Workshop]) -> None:
    def make() -> Workshop:
        workshop = make_workshop()
        publish(workshop)
        workshop.issue_one()
        take_back(workshop, identity="robot-1")
        return workshop

    steps, left_behind = 0, 0
    for workshop, killed in killed_at_every_step(make, publish):
        steps += 1
        folder = workshop.store.path("fleet")
        crl = parse_crl(workshop.store.read_text("fleet", "crl.pem"))
        known = [row[0] for row in workshop.sql("SELECT number FROM crls WHERE part = 'issuing'")]
        assert crl.number in known
        assert len(crl.revoked) in (0, 1)
        assert killed or len(crl.revoked) == 1
        done = publish(workshop)
        left_behind += bool(done)
        after = parse_crl(workshop.store.read_text("fleet", "crl.pem"))
        assert len(after.revoked) == 1
        # What may have been seen by somebody is never published again with other contents.
        assert (after.number > crl.number) is bool(done)
        assert after.number >= max(known) or not done
        assert publish(workshop) == []
        assert sorted(os.listdir(folder)) == sorted(
            ["crl.pem", "issuing.key", "issuing.pem", "root-crl.pem", "root.key", "root.pem"]
        )
    assert steps > 15
    assert 0 < left_behind < steps
