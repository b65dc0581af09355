# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The CA's processes are killed at their writes: no signature that the ledger does not know, no serial twice, nothing half-written,
and the next run succeeds."""

from __future__ import annotations

from typing import Any

import pytest

from .ca_case import CACase
from .ca_kills import Check, Module, Whole, few, killed_at, listed
from .ca_room import BACKUPS, CA, DAY, SECRET, Answer, Room, State, shell

EXTENT = pytest.mark.parametrize("extent", ["some", pytest.param("every", marks=pytest.mark.slow)])
# Unit tests kill all of them at every write as well; on the real host a quick look at three of them is enough for each run.
EVERY = pytest.mark.parametrize("extent", [pytest.param("every", marks=pytest.mark.slow)])


def loop(case: CACase, module: Module, extent: str, *, check: Check, whole: Whole | None = None) -> None:
    """Kill it at some of its writes, or at all."""
    events = listed(case, module)
    killed_at(case, module, few(events) if extent == "some" else events, whole=whole or case.unharmed, check=check)


@EVERY
def test_authority_killed(ca_case: CACase, room: Room, extent: str) -> None:
    """SIGKILL of ca_authority at {extent} write, flush and rename of a creation"""
    room.begin()
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


@EVERY
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


@EVERY
def test_renewal_killed(ca_case: CACase, room: Room, extent: str) -> None:
    """SIGKILL of ca_authority at {extent} write, flush and rename of the issuing CA's renewal, with new limits and profiles"""
    room.begin()
    made = room.authority(clock=f"-{4 * 365 + 300}d")
    assert not made.failed, str(made)
    issued = room.issue("robot-0", lifetime=30 * DAY)
    assert not issued.refused, str(issued)
    before = ca_case.begin()
    wished = {"networks": ["198.18.0.0/15"], "domains": ["plant.example"], "profiles_allowed": ["server"]}
    replaced = tuple(f"authorities/fleet/{name}" for name in ("issuing.pem", "policy.json"))

    def check(answer: Answer, state: State) -> None:
        assert room.authority(**wished).said["due"] == [], "it was not finished"
        key = "authorities/fleet/issuing.key"
        assert state.files[key] == before.files[key], "the issuing CA's key was replaced"
        assert state.files[replaced[0]] != before.files[replaced[0]], "the issuing CA was not renewed"
        # Whoever sends the old chain along is still believed, and what was signed before is, with the new one.
        openssl = (
            f"openssl verify -CAfile {CA}/authorities/fleet/root.pem -untrusted {CA}/authorities/fleet/issuing.pem"
        )
        leaf = next(iter(issued.certificates.values()))["certificate"]
        assert "OK" in shell(f"{openssl} /dev/stdin", given=leaf)

    loop(
        ca_case,
        lambda strace: room.authority(strace=strace, **wished),
        extent,
        check=check,
        whole=lambda: ca_case.unharmed(but=replaced, turned=("",)),
    )


@EVERY
def test_revoke_killed(ca_case: CACase, room: Room, extent: str) -> None:
    """SIGKILL of ca_revoke at {extent} write and flush"""
    room.create()
    ca_case.begin()

    def check(answer: Answer, state: State) -> None:
        assert len(answer.said["revoked"]) + len(answer.said["already"]) == 1
        assert state.of("revoked") == ["robot-0"]

    loop(
        ca_case,
        lambda strace: room.module("ca_revoke", strace=strace, identity="robot-0", reason="superseded"),
        extent,
        check=check,
        whole=lambda: ca_case.unharmed(turned=("robot-0",)),
    )


@EXTENT
def test_crl_killed(ca_case: CACase, room: Room, extent: str) -> None:
    """SIGKILL of ca_crl at {extent} write, flush and rename of a CRL that replaces one"""
    room.create()
    issued = room.issue("robot-1")
    first = room.crl()
    assert not first.failed, str(first)
    assert not issued.refused, str(issued)
    revoked = room.module("ca_revoke", identity="robot-0")
    assert not revoked.failed, str(revoked)
    before = ca_case.begin()
    path = "authorities/fleet/crl.pem"
    (serial,) = [serial for serial, (identity, _state) in before.serials.items() if identity == "robot-0"]
    after_the_kill: list[int] = []

    def whole() -> None:
        state = ca_case.unharmed(but=(path, "authorities/fleet/root-crl.pem"))
        number, serials = state.crls[path]
        assert (number == before.crls[path][0]) == (serial not in serials), "neither the old CRL nor the new one"
        after_the_kill[:] = [number]

    def check(answer: Answer, state: State) -> None:
        number, serials = state.crls[path]
        assert serials == [serial], "the revoked certificate is not on the CRL"
        assert number > before.crls[path][0], "the number has not risen"
        assert number >= after_the_kill[0], "the number has fallen"

    loop(ca_case, lambda strace: room.crl(strace=strace), extent, check=check, whole=whole)


@EVERY
def test_rename_killed(ca_case: CACase, room: Room, extent: str) -> None:
    """SIGKILL of ca_identity at {extent} write and flush of a machine's renaming"""
    room.create()
    before = ca_case.begin()

    def whole() -> None:
        state = ca_case.unharmed(turned=("robot-0",))
        assert state.of("issued") in (["robot-0"], ["robot-9"])
        assert set(state.serials) == set(before.serials)

    def check(answer: Answer, state: State) -> None:
        assert state.of("issued") == ["robot-9"]

    loop(
        ca_case,
        lambda strace: room.module("ca_identity", strace=strace, identity="robot-0", to="robot-9", state="renamed"),
        extent,
        check=check,
        whole=whole,
    )


@EXTENT
def test_backup_killed(ca_case: CACase, room: Room, extent: str) -> None:
    """SIGKILL of ca_backup at {extent} write, flush and rename of a backup that takes the place of an older one"""
    room.create()
    first = backup(room)
    assert not first.failed, str(first)
    ca_case.begin()
    tried: set[str] = set()

    def drill() -> list[str]:
        # Each is tried once; one that is not finished has a name that nobody looks for.
        names = [name for name in backups() if name.endswith(".backup") and not name.startswith(".")]
        for digest, _space, path in (
            line.partition("  ") for line in shell(f"cd {BACKUPS}; sha256sum {' '.join(names)}").splitlines()
        ):
            answer = backup(room, state="verified", file=f"{BACKUPS}/{path}") if digest not in tried else None
            assert answer is None or not answer.failed, f"{path} is not whole: {answer}"
            tried.add(digest)
        return names

    def whole() -> None:
        ca_case.unharmed()
        assert drill(), "the last backup is gone"

    def check(answer: Answer, state: State) -> None:
        assert drill() == backups() == [answer.said["file"].rpartition("/")[2]], (
            "more than one is left, or a part of one"
        )

    loop(ca_case, lambda strace: backup(room, strace=strace, keep=1), extent, check=check, whole=whole)


@EVERY
def test_restore_killed(ca_case: CACase, room: Room, extent: str) -> None:
    """SIGKILL of ca_backup at {extent} write, flush and rename of a restore"""
    room.create()
    made = backup(room)
    assert not made.failed, str(made)
    was = room.look()
    shell(f"find {CA} -mindepth 1 -delete")
    ca_case.begin()

    def whole() -> None:
        # Either it is whole, or it says that it is not; it never works with a part of it.
        answer = room.info()
        state = room.look()
        assert not answer.failed or answer.code, f"ca_info ended without a word: {answer}"
        assert answer.failed or state.problems == [], state.problems

    def check(answer: Answer, state: State) -> None:
        assert state.serials == was.serials
        assert not room.issue("robot-1").refused

    loop(ca_case, lambda strace: backup(room, strace=strace, state="restored"), extent, check=check, whole=whole)


def backups() -> list[str]:
    """What lies where backups do, besides the lock of who writes them."""
    return [name for name in shell(f"ls -A {BACKUPS}").split() if name != "lock"]


def backup(room: Room, **options: Any) -> Answer:
    """ca_backup; the backups lie beside the CA."""
    return room.module("ca_backup", passphrase_file=SECRET, folder=BACKUPS, **options)
