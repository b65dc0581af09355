# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""SIGKILL before every write of what changes an authority: the old or the new one, whole, and the next run ends it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.certfleet.tls.plugins.module_utils._ca.local import read_chain
from ansible_collections.certfleet.tls.plugins.module_utils._x509.build import build_issuing, build_root, ca_name
from ansible_collections.certfleet.tls.plugins.module_utils._x509.constraints import Constraints
from ansible_collections.certfleet.tls.plugins.module_utils._x509.crypto import serialization, x509
from ansible_collections.certfleet.tls.plugins.module_utils._x509.keys import load_key, new_key

from .interruption import files, killed_at_every_step
from .workshop import DAY, NOW, Workshop

LIMITS: dict[str, Any] = {"domains": ["plant.example"], "networks": ["198.18.0.0/15"]}
ELSEWHERE: dict[str, Any] = {"root": {"location": "elsewhere"}, **LIMITS}
ROOT_KEY = new_key("ec-p256")
ROOT = build_root(ROOT_KEY, subject=ca_name("company"), not_before=NOW - DAY, not_after=NOW + 5000 * DAY)


def sign(request: str, *, days: int = 1000) -> str:
    """What the root elsewhere sends back."""
    csr = x509.load_pem_x509_csr(request.encode())
    signed = build_issuing(
        csr.public_key(),
        root=ROOT,
        root_key=ROOT_KEY,
        subject=csr.subject,
        not_before=NOW - DAY,
        not_after=NOW + days * DAY,
        constraints=Constraints.parse(**LIMITS, where="test"),
    )
    return "".join(item.public_bytes(serialization.Encoding.PEM).decode() for item in (signed, ROOT))


def check_whole(workshop: Workshop) -> None:
    """The authority as it is can be used: its files belong together, the ledger knows them, it issues."""
    chain = read_chain(workshop.store, "fleet")
    load_key(files(workshop.store.path("fleet"))["issuing.key"], workshop.passphrase().get())
    known = [row[0] for row in workshop.sql("SELECT fingerprint FROM certificates WHERE identity = ''")]
    assert {chain.root.fingerprint, chain.issuing.fingerprint} <= set(known)
    assert len(known) == len(set(known))
    assert "issued" in workshop.issue_one()
    assert workshop.sql("PRAGMA integrity_check") == [("ok",)]


def leftovers(workshop: Workshop) -> list[str]:
    found = [path.name for path in Path(workshop.store.directory).rglob(".new-*")]
    # A second name of the ledger itself.
    return [name for name in found if name != ".new-ledger.sqlite"]


def test_reissue_and_policy(make_workshop: Callable[[], Workshop]) -> None:
    steps, seen = 0, set()
    for workshop, killed in killed_at_every_step(make_workshop, lambda workshop: workshop.create(**LIMITS)):
        steps += 1
        before = files(workshop.store.path("fleet"))
        seen.add((before.get("policy.json") is not None, b"".join(before["issuing.pem"].splitlines()[1:2])))
        check_whole(workshop)
        again = workshop.create(**LIMITS)
        assert killed or again.due == []
        assert workshop.create(**LIMITS).due == []
        assert leftovers(workshop) == []
        after = files(workshop.store.path("fleet"))
        assert [after[name] for name in ("root.pem", "root.key", "issuing.key")] == [
            before[name] for name in ("root.pem", "root.key", "issuing.key")
        ]
        states = [row[0] for row in workshop.sql("SELECT state FROM certificates WHERE name = 'issuing' ORDER BY id")]
        # A signature that was killed before its file was in its place stays reserved for ever.
        assert (states[0], states[-1], states.count("issued")) == ("superseded", "issued", 1)
    assert steps > 30
    assert len(seen) > 2


@pytest.fixture
def make_waiting(make_empty: Callable[[], Workshop]) -> Callable[[], Workshop]:
    def make() -> Workshop:
        workshop = make_empty()
        workshop.create(**ELSEWHERE)
        return workshop

    return make


def pending(workshop: Workshop, file: str) -> str:
    return str(workshop.store.read_pending("fleet", file))


def test_request_of_a_new_authority(make_empty: Callable[[], Workshop]) -> None:
    steps = 0
    for workshop, killed in killed_at_every_step(make_empty, lambda workshop: workshop.create(**ELSEWHERE)):
        steps += 1
        left = files(workshop.store.pending_path("fleet"))
        assert sorted(left) in ([], ["issuing.csr", "issuing.key"])
        assert killed or left
        assert workshop.create(**ELSEWHERE).request is not None
        assert not left or files(workshop.store.pending_path("fleet")) == left
        assert leftovers(workshop) == []
        assert len(workshop.create(**ELSEWHERE, chain=sign(pending(workshop, "issuing.csr"))).due) == 1
    assert steps > 20


def test_adoption(make_waiting: Callable[[], Workshop]) -> None:
    chains: dict[Path, str] = {}

    def make() -> Workshop:
        workshop = make_waiting()
        chains[workshop.folder] = sign(pending(workshop, "issuing.csr"))
        return workshop

    def adopt(workshop: Workshop) -> object:
        return workshop.create(**ELSEWHERE, chain=chains[workshop.folder])

    steps, cleanings = 0, 0
    for workshop, killed in killed_at_every_step(make, adopt):
        steps += 1
        there = workshop.store.exists("fleet")
        key = files(workshop.store.path("fleet")).get("issuing.key") or pending(workshop, "issuing.key").encode()
        if there:
            check_whole(workshop)
        cleanings += there and workshop.store.pending_names() == ["fleet"]
        adopt(workshop)
        assert killed or there
        assert workshop.create(**ELSEWHERE).due == []
        check_whole(workshop)
        assert files(workshop.store.path("fleet"))["issuing.key"] == key
        assert workshop.store.pending_names() == leftovers(workshop) == []
        states = workshop.sql("SELECT name, state FROM certificates WHERE identity = '' ORDER BY id")
        assert states == [("root", "issued"), ("issuing", "issued")]
    assert steps > 30
    assert cleanings > 0


def test_adoption_of_a_renewal(make_waiting: Callable[[], Workshop]) -> None:
    renewed: dict[Path, str] = {}

    def make() -> Workshop:
        workshop = make_waiting()
        request = pending(workshop, "issuing.csr")
        workshop.create(**ELSEWHERE, chain=sign(request))
        workshop.now = NOW + 950 * DAY
        workshop.create(**ELSEWHERE)
        renewed[workshop.folder] = sign(pending(workshop, "issuing.csr"), days=3000)
        return workshop

    def adopt(workshop: Workshop) -> object:
        return workshop.create(**ELSEWHERE, chain=renewed[workshop.folder])

    steps = 0
    for workshop, killed in killed_at_every_step(make, adopt):
        steps += 1
        check_whole(workshop)
        adopt(workshop)
        assert workshop.create(**ELSEWHERE).due == []
        assert read_chain(workshop.store, "fleet").not_after == NOW + 3000 * DAY
        assert workshop.store.pending_names() == leftovers(workshop) == []
        states = workshop.sql("SELECT name, state FROM certificates WHERE identity = '' ORDER BY id")
        assert states == [("root", "issued"), ("issuing", "superseded"), ("issuing", "issued")]
        assert killed or workshop.sql("SELECT count(*) FROM acts") == [(2,)]
    assert steps > 25
