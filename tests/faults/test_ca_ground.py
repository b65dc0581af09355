# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Half a CA, a foreign one, a damaged ledger, a bad disk: whatever is asked of it then is refused with a reason, nothing is made anew,
nothing is lost, and once the ground is good again all goes on."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from .ca_case import CACase
from .ca_ground import (
    FLEET,
    LEDGER,
    damage_page,
    leave_files,
    leave_room,
    other_ca,
    own_disk,
    pages_of_ledger,
    read_only,
    sql,
)
from .ca_room import BACKUPS, CA, SECRET, Answer, Room, shell
from .case import UnsafeError

EXTENT = pytest.mark.parametrize("extent", ["some", pytest.param("every", marks=pytest.mark.slow)])


def asked_of(room: Room) -> dict[str, Callable[[], Answer]]:
    """What a site asks of its CA, by the module's name, in this order."""
    outcome = {"identity": "robot-0", "name": "https", "outcome": "failed", "said": "a test"}
    return {
        "ca_authority": room.authority,
        "ca_info": room.info,
        "ca_issue": lambda: room.issue("robot-1"),
        "ca_record": lambda: room.module("ca_record", outcomes=[outcome]),
        "ca_identity": lambda: room.module("ca_identity", identity="robot-1", to="robot-2", state="renamed"),
        "ca_revoke": lambda: room.module("ca_revoke", identity="robot-0"),
        "ca_crl": room.crl,
        "ca_backup": lambda: room.module("ca_backup", passphrase_file=SECRET, folder=BACKUPS),
    }


def refused(case: CACase, *words: str, code: str | None, by: tuple[str, ...] = (), but: tuple[str, ...] = ()) -> None:
    """Every module (or those O(by) name) says so and leaves everything as it is."""
    for name, ask in asked_of(case.room).items():
        if by and name not in by:
            continue
        answer = ask()
        try:
            case.told(answer, *words, code=code)
        except UnsafeError as exc:
            raise UnsafeError(f"{name}: {exc}") from exc
    case.unharmed(but=but, whole=False)


def goes_on(case: CACase, *, wholly: bool = False) -> None:
    """As it was before the fault, it works; O(wholly): all that a site asks of it."""
    case.unharmed()
    asked = asked_of(case.room)
    answers = [ask() for name, ask in asked.items() if wholly or name in ("ca_authority", "ca_issue")]
    state = case.converges(*answers)
    expected = (["robot-2"], ["robot-0"]) if wholly else (["robot-0", "robot-1"], [])
    if (state.of("issued"), state.of("revoked")) != expected:
        raise UnsafeError(f"in force are {state.of('issued')}, revoked {state.of('revoked')}")


@pytest.mark.parametrize(
    "file", [*(pytest.param(file, marks=pytest.mark.slow) for file in ("root.pem", "issuing.pem")), "issuing.key"]
)
def test_half_a_ca(ca_case: CACase, room: Room, file: str) -> None:
    """half a CA: {file} is gone"""
    room.create()
    ca_case.begin()
    shell(f"rm {FLEET}/{file}")
    # What has happened to a machine can be noted all the same.
    modules = ("ca_authority", "ca_info", "ca_issue", "ca_crl", "ca_backup")
    gone = (f"authorities/fleet/{file}",)
    refused(ca_case, "Half a CA", file, "Nothing was made anew", code="half_ca", by=modules, but=gone)
    ca_case.begin_again()
    goes_on(ca_case)


@pytest.mark.slow
def test_authority_gone(ca_case: CACase, room: Room) -> None:
    """half a CA: the folder of its only authority is gone, the ledger is there"""
    room.create()
    before = ca_case.begin()
    gone = tuple(path for path in before.files if path.startswith("authorities/fleet/"))
    others = ("ca_info", "ca_issue", "ca_record", "ca_crl", "ca_backup")
    shell(f"rm -r {FLEET}")
    refused(ca_case, "Half a CA", "Nothing was made anew", code="half_ca", by=("ca_authority",), but=gone)
    refused(
        ca_case,
        "only a ledger",
        "restore it from your backup",
        code="missing",
        by=others,
        but=gone,
    )
    ca_case.begin_again()
    goes_on(ca_case)


def test_ledger_gone(ca_case: CACase, room: Room) -> None:
    """the ledger is gone"""
    room.create()
    ca_case.begin()
    shell(f"rm {LEDGER}")
    refused(ca_case, "The ledger is not there", "Nothing was made anew", code="ledger_missing")
    ca_case.begin_again()
    goes_on(ca_case)


def test_foreign_key(ca_case: CACase, room: Room) -> None:
    """the issuing CA's key is that of another CA"""
    room.create()
    room.keep("other")
    another_ca(room)
    ca_case.begin()
    shell(f"cp {other_ca('other')}/authorities/fleet/issuing.key {FLEET}/")
    # The same passphrase opens it: it is only not the certificate's.
    key = "authorities/fleet/issuing.key"
    refused(
        ca_case, "is not the key of", code="half_ca", by=("ca_authority", "ca_issue", "ca_crl", "ca_backup"), but=(key,)
    )
    ca_case.begin_again()
    goes_on(ca_case)


@pytest.mark.slow
def test_foreign_authority(ca_case: CACase, room: Room) -> None:
    """the authority's folder is that of another CA, with the same name and passphrase"""
    room.create()
    room.keep("other")
    another_ca(room)
    before = ca_case.begin()
    shell(f"cp -a {other_ca('other')}/authorities/fleet/. {FLEET}/")
    foreign = tuple(path for path in before.files if path.startswith("authorities/fleet/"))
    refused(
        ca_case,
        "Foreign CA: the ledger does not know",
        "Nothing was changed",
        code="foreign_ca",
        by=("ca_authority", "ca_info", "ca_issue", "ca_crl", "ca_backup"),
        but=foreign,
    )
    ca_case.begin_again()
    goes_on(ca_case)


def test_wrong_passphrase(ca_case: CACase, room: Room) -> None:
    """another passphrase than that of the keys"""
    room.create()
    ca_case.begin()
    shell(f"echo another-one > {SECRET}")
    modules = ("ca_authority", "ca_issue", "ca_crl", "ca_backup")
    refused(ca_case, "cannot be opened", "Nothing was changed", code="wrong_passphrase", by=modules)
    ca_case.begin_again()
    goes_on(ca_case)


@pytest.mark.slow
def test_passphrase_gone(ca_case: CACase, room: Room) -> None:
    """the passphrase's file is gone"""
    room.create()
    ca_case.begin()
    shell(f"rm {SECRET}")
    modules = ("ca_authority", "ca_issue", "ca_crl", "ca_backup")
    refused(ca_case, "nothing is made anew in its place", code="passphrase", by=modules)
    assert not shell(f"ls {SECRET} 2>/dev/null || true"), "a passphrase was made"
    ca_case.begin_again()
    goes_on(ca_case)


def test_newer_ledger(ca_case: CACase, room: Room) -> None:
    """a ledger that a newer version has written"""
    room.create()
    ca_case.begin()
    sql("UPDATE schema_version SET version = 99")
    refused(ca_case, "was written by a newer certfleet", "99", "Nothing was changed", code="ledger_newer")
    ca_case.begin_again()
    goes_on(ca_case)


@pytest.mark.slow
def test_ledger_of_something_else(ca_case: CACase, room: Room) -> None:
    """a file in the ledger's place that is none"""
    room.create()
    ca_case.begin()
    for spoil in (f": > {LEDGER}", f"head -c 8192 /dev/urandom > {LEDGER}", f"truncate -s 20000 {LEDGER}"):
        shell(spoil)
        refused(ca_case, "ledger", "backup", code="ledger")
        ca_case.begin_again()
    goes_on(ca_case)


@EXTENT
def test_damaged_page(ca_case: CACase, room: Room, extent: str) -> None:
    """{extent} pages of the ledger overwritten, one in turn"""
    room.create()
    ca_case.begin()
    pages = range(0, pages_of_ledger(), 4 if extent == "some" else 1)
    calls = noticed = 0
    for number in pages:
        for how in ("/dev/zero", "/dev/urandom") if extent == "every" else ("/dev/zero",):
            damage_page(number, how=how)
            for module in ("ca_issue", "ca_info"):
                answer = asked_of(room)[module]()
                calls += 1
                # What a call does not touch it cannot notice; then it has worked.
                if answer.failed or answer.refused:
                    noticed += 1
                    ca_case.told(answer, code="ledger")
            ca_case.unharmed(whole=False)
            ca_case.begin_again()
    if noticed < len(pages) // 3:
        raise UnsafeError(f"of {len(pages)} damages only {noticed} were noticed")
    ca_case.afterwards(f"{noticed} of {calls} calls met the damage, and nothing else was lost")
    goes_on(ca_case)


@pytest.mark.parametrize(
    ("what", "step"),
    [("space", 5), ("files", 1), pytest.param("space", 1, marks=pytest.mark.slow)],
    ids=["space", "files", "space-by-page"],
)
def test_full_disk(ca_case: CACase, room: Room, what: str, step: int) -> None:
    """a disk that has no {what} left, and a little more each time until an issue succeeds"""
    room.create()
    leave = leave_room if what == "space" else leave_files
    with own_disk():
        ca_case.begin()
        for left in range(0, 200, step):
            ca_case.begin_again()
            leave(left)
            answer = room.issue("robot-1")
            leave(None)
            if not answer.failed and not answer.refused:
                break
            ca_case.told(answer, "space")
            ca_case.unharmed()
            ca_case.converges(room.issue("robot-1"))
        assert left > 0, "there was no fault"
        ca_case.begin_again()
        ca_case.afterwards(f"whole after each of {left // step} attempts")
        goes_on(ca_case)


def test_read_only_disk(ca_case: CACase, room: Room) -> None:
    """a disk that can only be read"""
    room.create()
    ca_case.begin()
    with read_only():
        refused(ca_case, "writable", code=None)
        ca_case.unharmed()
    goes_on(ca_case, wholly=True)


def another_ca(room: Room) -> None:
    """Another CA in the same place, with the same passphrase."""
    shell(f"find {CA} -mindepth 1 -delete; rm -f {SECRET}-*.ca")
    for answer in (room.authority(), room.issue("robot-0")):
        assert not answer.failed and not answer.refused, answer
