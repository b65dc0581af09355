# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One writer at a time: waiting is bounded, and concurrent issuers do not undo each other's work."""

from __future__ import annotations

import os
import resource
import signal
from pathlib import Path

import pytest

from ansible_collections.certfleet.tls.plugins.module_utils._ca.authority import ensure
from ansible_collections.certfleet.tls.plugins.module_utils._ca.errors import CAError
from ansible_collections.certfleet.tls.plugins.module_utils._ca.lock import locked
from ansible_collections.certfleet.tls.plugins.module_utils._ca.store import Store
from ansible_collections.certfleet.tls.tests.unit.child_process import in_child

from .workshop import Workshop, request, wish


class Clock:
    """Time passes only by sleeping."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def test_waiting_is_bounded_and_the_holder_is_named(workshop: Workshop) -> None:
    clock = Clock()
    with locked(workshop.store.directory):
        with pytest.raises(
            CAError, match=rf"Another process \(id {os.getpid()}\) has been writing to the CA for 60 s"
        ) as refused:
            with locked(workshop.store.directory, clock=clock, sleep=clock.sleep):
                raise AssertionError("two held the lock at once")
        assert refused.value.code == "locked"
        assert 60 <= clock.now < 61
    with locked(workshop.store.directory, wait=0):
        assert clock.now < 61


def test_issuing_waits_for_the_lock(workshop: Workshop) -> None:
    with locked(workshop.store.directory), pytest.raises(CAError, match="is locked"):
        workshop.issue(request(), wait=0.05)
    assert workshop.states() == []


def test_lock_of_a_killed_process_is_free(workshop: Workshop) -> None:
    ready, held = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            with locked(workshop.store.directory):
                os.write(held, b"!")
                signal.pause()
        finally:
            os._exit(1)
    assert os.read(ready, 1) == b"!"
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    assert workshop.issue_one()["issued"]


def test_a_full_disk_where_there_is_no_lock_yet_is_explained(tmp_path: Path) -> None:
    """The file can be made, which takes no block, but nothing be written into it."""

    def on_a_full_disk() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
        with pytest.raises(CAError, match="Could not write the lock") as refused, locked(str(tmp_path)):
            raise AssertionError("it was not held")
        assert refused.value.code == "files"

    assert in_child(on_a_full_disk) == 0
    with locked(str(tmp_path), wait=0):
        assert (tmp_path / "lock").read_text() == f"{os.getpid()}\n"


def test_concurrent_issuers_sign_each_certificate_once(workshop: Workshop) -> None:
    """Each asks for its own certificates, and all of them for the same ones as well."""
    children = []
    for number in range(4):
        child = os.fork()
        if child == 0:
            status = 1
            try:
                own = [request(f"robot-{number}-{item}") for item in range(20)]
                answers = workshop.issue(*own, *(request(f"common-{item}") for item in range(20)))["certificates"]
                status = 0 if all("error" not in answer for answer in answers.values()) else 2
            finally:
                os._exit(status)
        children.append(child)
    assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [0] * 4
    assert workshop.states() == ["issued"] * 100
    assert workshop.sql(
        "SELECT count(DISTINCT identity), count(DISTINCT serial) FROM certificates WHERE identity != ''"
    ) == [(100, 100)]


def test_of_concurrent_issuers_one_gets_the_name(workshop: Workshop) -> None:
    """Eight processes, each with many certificates of its own, and one name that all of them want."""
    children = []
    for number in range(8):
        child = os.fork()
        if child == 0:
            status = 1
            try:
                wanted = request(f"robot-{number}", name="line", names=["DNS:line.example"])
                own = [request(f"robot-{number}", name=f"certificate-{item}") for item in range(25)]
                answers = workshop.issue(*own, wanted)["certificates"]
                mine = answers.pop(wanted["id"])
                refused = mine.get("error", {}).get("code")
                status = {None: 10, "name_held": 20}[refused] if all("error" not in a for a in answers.values()) else 2
            finally:
                os._exit(status)
        children.append(child)
    statuses = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    assert sorted(statuses) == [10] + [20] * 7
    assert workshop.states() == ["issued"] * (8 * 25 + 1)
    assert workshop.sql("SELECT count(DISTINCT serial) FROM certificates WHERE identity != ''") == [(8 * 25 + 1,)]
    assert workshop.sql("SELECT identity FROM holders WHERE name = 'DNS:line.example'") == [
        (f"robot-{statuses.index(10)}",)
    ]


def test_concurrent_creators_make_one_authority(empty: Workshop) -> None:
    children = []
    for _number in range(4):
        child = os.fork()
        if child == 0:
            status = 1
            try:
                empty.create()
                status = 0
            finally:
                os._exit(status)
        children.append(child)
    assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [0] * 4
    assert empty.sql("SELECT count(*) FROM certificates") == [(2,)]
    assert empty.create().due == []


def test_a_creator_that_is_overtaken_while_it_looks_sees_no_damage(empty: Workshop) -> None:
    class Overtaken(Store):
        """Right after it has seen that there is no authority, another process makes it."""

        def exists(self, authority: str) -> bool:
            found = super().exists(authority)
            if not found:
                Workshop(empty.folder).create()
            return found

    store = Overtaken(empty.store.directory)
    found = ensure(wish("fleet"), store=store, passphrase=empty.passphrase(), generate=True, now=empty.now)
    assert found.due == []
    assert empty.sql("SELECT count(*) FROM certificates") == [(2,)]
