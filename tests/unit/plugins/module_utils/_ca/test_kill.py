# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""SIGKILL before every write of a creation, an issue and a record: nothing half-written, no signature that nobody knows."""

from __future__ import annotations

import os
from collections.abc import Callable

from ansible_collections.certfleet.tls.plugins.module_utils._ca.record import record
from ansible_collections.certfleet.tls.plugins.module_utils._x509.keys import load_key

from .interruption import files, killed_at_every_step
from .workshop import Workshop, request


def test_creation(make_empty: Callable[[], Workshop]) -> None:
    steps = 0
    for workshop, _killed in killed_at_every_step(make_empty, lambda workshop: workshop.create()):
        steps += 1
        left = files(workshop.store.path("fleet"))
        assert sorted(left) in ([], ["issuing.key", "issuing.pem", "root.key", "root.pem"])
        workshop.create()
        assert workshop.create().due == []
        if left:
            assert files(workshop.store.path("fleet")) == left
        assert workshop.store.names() == os.listdir(workshop.store.authorities) == ["fleet"]
        assert workshop.passphrase_file.parent.stat().st_mode & 0o777 == 0o700
        load_key(files(workshop.store.path("fleet"))["root.key"], workshop.passphrase().get())
        assert workshop.issue_one()["issued"]
    assert steps > 40


def test_issue(make_workshop: Callable[[], Workshop]) -> None:
    batch = [request(f"robot-{number}") for number in range(3)]
    steps = 0
    for workshop, killed in killed_at_every_step(make_workshop, lambda workshop: workshop.issue(*batch)):
        steps += 1
        signed = (workshop.folder / "signed").read_text().split() if (workshop.folder / "signed").exists() else []
        known = [row[0] for row in workshop.sql("SELECT serial FROM certificates WHERE identity != ''")]
        assert set(signed) <= set(known)
        assert len(set(signed)) == len(signed)
        assert workshop.sql("PRAGMA integrity_check") == [("ok",)]
        before = workshop.states()
        assert before in ([], ["reserved"] * 3, ["issued"] * 3)
        answers = workshop.issue(*batch)["certificates"]
        assert [answers[item["id"]]["issued"] for item in batch] == [before != ["issued"] * 3] * 3
        assert workshop.states().count("issued") == 3
        assert killed or before == ["issued"] * 3
    assert steps > 15


def test_issue_beside_refusals(make_workshop: Callable[[], Workshop]) -> None:
    """Names are held exactly by what is issued, and a refusal is remembered exactly as long as nothing was."""
    name = "DNS:line-1.plant.example"
    batch = [request("first", names=[name]), request("second", names=[name]), request("late")]

    def make() -> Workshop:
        workshop = make_workshop()
        workshop.issue_one("late", csr="nonsense")
        return workshop

    def kept(workshop: Workshop) -> tuple[list[str], list[str], list[str]]:
        issued = [
            row[0]
            for row in workshop.sql("SELECT identity FROM certificates WHERE state = 'issued' AND identity != ''")
        ]
        holding = [row[0] for row in workshop.sql("SELECT DISTINCT identity FROM holders ORDER BY identity")]
        refused = [row[0] for row in workshop.sql("SELECT identity FROM refusals ORDER BY identity")]
        return issued, holding, refused

    before, after = ([], [], ["late"]), (["first", "late"], ["first", "late"], ["second"])
    steps = 0
    for workshop, killed in killed_at_every_step(make, lambda workshop: workshop.issue(*batch)):
        steps += 1
        assert kept(workshop) in (before, after)
        assert killed or kept(workshop) == after
        answers = workshop.issue(*batch)["certificates"]
        assert answers["second/https"]["error"]["code"] == "name_held"
        assert kept(workshop) == after
    assert steps > 15


def test_record(make_workshop: Callable[[], Workshop]) -> None:
    outcome = {"identity": "robot-1", "name": "https", "outcome": "installed"}
    pin = {"identity": "robot-1", "spki": "ab" * 32}

    def work(workshop: Workshop) -> None:
        fingerprint = workshop.sql("SELECT max(fingerprint) FROM certificates WHERE identity = 'robot-1'")[0][0]
        record([{**outcome, "fingerprint": fingerprint}] * 2, [pin], store=workshop.store, now=workshop.now)

    def make() -> Workshop:
        workshop = make_workshop()
        workshop.issue_one()
        return workshop

    steps = 0
    for workshop, killed in killed_at_every_step(make, work):
        steps += 1
        counts = workshop.sql("SELECT (SELECT count(*) FROM outcomes), (SELECT count(*) FROM pins)")[0]
        assert counts in ((0, 0), (2, 1))
        assert killed or counts == (2, 1)
        work(workshop)
        assert workshop.info("robot-1")["identities"]["robot-1"]["pins"] == ["ab" * 32]
    assert steps > 8
