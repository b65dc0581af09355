# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Backups: what is in them, of which moment, and that the CA goes on meanwhile."""

from __future__ import annotations

import errno
import os
import resource
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from ansible_collections.certfleet.tls.plugins.module_utils._ca import sealed_archive
from ansible_collections.certfleet.tls.plugins.module_utils._ca.backup import backups_in
from ansible_collections.certfleet.tls.plugins.module_utils._ca.errors import CAError
from ansible_collections.certfleet.tls.plugins.module_utils._ca.freezing import bring_to
from ansible_collections.certfleet.tls.plugins.module_utils._ca.ledger_copy import Moment
from ansible_collections.certfleet.tls.plugins.module_utils._ca.lock import locked
from ansible_collections.certfleet.tls.plugins.module_utils._ca.passphrase import Passphrase
from ansible_collections.certfleet.tls.plugins.module_utils._ca.store import Store
from ansible_collections.certfleet.tls.tests.unit.child_process import in_child

from .backups import CHEAP, back_up, drill, files, ledger, members, other_place, restore_to, seal_members
from .workshop import DAY, Workshop, request


@pytest.fixture(autouse=True)
def cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sealed_archive, "COST", CHEAP)


def test_there_and_back(workshop: Workshop) -> None:
    workshop.create("clients")
    workshop.install(workshop.issue_one())
    workshop.issue_one("robot-2")
    before, rows = files(workshop.store), ledger(workshop)
    written = back_up(workshop)
    place = other_place(workshop)
    done = restore_to(place, written.file)
    assert (done.changed, done.before, done.warnings) == (True, "absent", ())
    assert (files(place.store), ledger(place)) == (before, rows)
    assert place.sql("PRAGMA integrity_check") == [("ok",)]
    assert sorted(done.content.authorities) == ["clients", "fleet"]
    assert done.content.manifest.certificates["issued"] == 2
    assert workshop.create().leaves == place.create().leaves
    assert place.create().due == []
    # What is in force is known there, and new ones can be issued.
    assert [place.issue_one(name)["issued"] for name in ("robot-1", "robot-2", "robot-3")] == [False, False, True]


def test_it_is_private_and_says_nothing_to_strangers(workshop: Workshop) -> None:
    workshop.issue_one("robot-4711")
    written = back_up(workshop)
    path = Path(written.file)
    assert (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    data = path.read_bytes()
    assert (len(data), written.size) == (written.size, len(data))
    assert (
        subprocess.run(["sha256sum", path], capture_output=True, text=True, check=True).stdout.split()[0]
        == written.sha256
    )
    for word in (b"CERTIFICATE", b"SQLite", b"robot-4711", b"fleet/", workshop.passphrase().get()):
        assert word not in data
    # Nor is anything left beside it, or in the CA's folder; and the passphrase is not in it.
    assert sorted(os.listdir(path.parent)) == sorted([path.name, "lock"])
    assert os.listdir(os.path.join(workshop.store.directory, ".backup")) == ["lock"]
    inside = members(written.file, workshop.passphrase().get())
    assert sorted(inside) == sorted(["manifest.json", "ledger.sqlite", *files(workshop.store)])
    assert workshop.passphrase().get() not in b"".join(inside.values())


def test_it_can_be_opened_as_the_guide_says(workshop: Workshop) -> None:
    """With the program in the guide alone, and tar."""
    workshop.issue_one()
    file = back_up(workshop).file
    guide = (
        next(path for path in Path(__file__).parents if (path / "galaxy.yml").is_file()) / "docs/docsite/rst/backup.rst"
    )
    block = guide.read_text(encoding="utf-8").rpartition(".. code-block:: python\n")[2]
    program = workshop.folder / "open_backup.py"
    program.write_text(textwrap.dedent(block))
    opened = subprocess.run(
        [sys.executable, program, workshop.passphrase_file, file], capture_output=True, check=True, timeout=60
    )
    place = workshop.folder / "by-hand"
    place.mkdir()
    subprocess.run(["tar", "--extract", "--gzip", f"--directory={place}"], input=opened.stdout, check=True, timeout=60)
    by_hand = Workshop(workshop.folder)
    by_hand.store = Store(str(place))
    assert (files(by_hand.store), ledger(by_hand)) == (files(workshop.store), ledger(workshop))


def test_it_is_of_one_moment_and_issuing_does_not_wait_for_it(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the ledger is copied, which takes as long as it takes: leaves, an outcome, a whole further authority."""
    workshop.issue_one()
    copy, rows = Moment.copy, ledger(workshop)

    def slow_copy(moment: Moment, path: str) -> None:
        assert workshop.issue(request("robot-2"), wait=0)["certificates"]["robot-2/https"]["issued"]
        workshop.create("late")
        copy(moment, path)
        assert workshop.issue(request("robot-3"), wait=0)["certificates"]["robot-3/https"]["issued"]

    monkeypatch.setattr(Moment, "copy", slow_copy)
    written = back_up(workshop)
    monkeypatch.undo()
    monkeypatch.setattr(sealed_archive, "COST", CHEAP)
    assert (sorted(drill(workshop, written.file).authorities), written.manifest.certificates["issued"]) == (
        ["fleet"],
        1,
    )
    place = other_place(workshop)
    restore_to(place, written.file)
    assert ledger(place) == rows
    assert workshop.states() == ["issued"] * 3


def test_backups_while_others_issue_and_make_authorities(workshop: Workshop) -> None:
    """Really at once, in processes of their own: each backup can be opened and is whole."""
    stop = workshop.folder / "stop"

    def issue_many() -> None:
        for number in range(2000):
            workshop.issue_one(f"robot-{number}")
            if number % 10 == 0:
                workshop.create(f"authority-{number}")
            if stop.exists():
                return

    child = os.fork()
    if child == 0:
        status = 1
        try:
            issue_many()
            status = 0
        finally:
            os._exit(status)
    written = [back_up(workshop)]
    try:
        while len({item.manifest.certificates["issued"] for item in written}) < 3 and len(written) < 300:
            written.append(back_up(workshop))
    finally:
        stop.touch()
        status = os.waitpid(child, 0)[1]
    assert status == 0
    counts = [item.manifest.certificates["issued"] for item in written]
    assert counts == sorted(counts)
    assert len(set(counts)) == 3, counts
    # The other process may have ended its last one just before the last backup.
    assert counts[-1] <= len(workshop.states())
    assert all(item.manifest.certificates["reserved"] == 0 for item in written)
    for item in written:
        assert drill(workshop, item.file).manifest == item.manifest


def leave_strays(store: Store) -> list[str]:
    """What editors, and people in a hurry, leave in a CA's folder; the paths that are no part of a CA."""
    top = Path(store.directory)
    fleet = top / "authorities/fleet"
    (fleet / "policy.json~").write_text("{}")
    (fleet / "old").mkdir()
    (fleet / "old/issuing.pem").write_text("an old one")
    (fleet / "gone.pem").symlink_to("/nowhere/at/all")
    os.mkfifo(fleet / "pipe")
    (top / "authorities/README").write_text("Do not touch.")
    (top / "authorities/empty").mkdir()
    (top / "authorities/notes").mkdir()
    (top / "authorities/notes/to-do.txt").write_text("Have it signed.")
    (top / "pending").mkdir()
    (top / "pending/sent.eml").write_text("Please sign.")
    strays = ("fleet/policy.json~", "fleet/old", "fleet/gone.pem", "fleet/pipe", "README", "empty")
    return [*(str(top / "authorities" / name) for name in strays), str(top / "pending/sent.eml")]


def test_what_is_no_part_of_a_ca_is_left_out_and_named(workshop: Workshop) -> None:
    workshop.issue_one()
    before = files(workshop.store)
    strays = leave_strays(workshop.store)
    written = back_up(workshop, keep=1)
    assert sorted(text.partition(" is not in the backup")[0] for text in written.warnings) == sorted(strays)
    assert sorted(drill(workshop, written.file).authorities) == ["fleet"]
    place = other_place(workshop)
    restore_to(place, written.file)
    assert files(place.store) == {**before, "authorities/notes/to-do.txt": b"Have it signed."}
    assert place.create().due == []


@pytest.mark.parametrize("what", ["page", "write"])
def test_what_cannot_be_restored_takes_no_good_one_s_place(
    workshop: Workshop, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page of the ledger that nobody reads meanwhile; a disk that keeps something else than it was given."""
    workshop.issue_one()
    first = back_up(workshop, keep=1).file
    workshop.now += DAY
    write = os.write

    def careless(descriptor: int, data: bytes) -> int:
        return write(descriptor, bytes([data[0] ^ 1]) + bytes(data[1:]) if len(data) > 1000 else data)

    if what == "page":
        (page,) = workshop.sql("SELECT rootpage FROM sqlite_master WHERE name = 'acts'")[0]
        (size,) = workshop.sql("PRAGMA page_size")[0]
        workshop.sql("PRAGMA wal_checkpoint(TRUNCATE)")
        with open(workshop.store.ledger, "r+b") as stream:
            stream.seek((page - 1) * size)
            stream.write(bytes(size))
    else:
        monkeypatch.setattr(os, "write", careless)
    with pytest.raises(CAError) as caught:
        back_up(workshop, keep=1)
    code, said = {
        "page": ("ledger", "No backup was written, and none was removed"),
        "write": ("bad_backup", "was not read back as it was written"),
    }[what]
    assert (caught.value.code, said in str(caught.value)) == (code, True), caught.value
    assert backups_in(str(workshop.folder / "backups")) == [first]
    assert sorted(os.listdir(workshop.folder / "backups")) == sorted([os.path.basename(first), "lock"])


def test_only_the_newest_are_kept(workshop: Workshop) -> None:
    folder = workshop.folder / "backups"
    written = []
    for _number in range(5):
        workshop.now += DAY
        written.append(back_up(workshop, keep=3).file)
        (folder / "certfleet-of-somebody.backup").touch()
    assert backups_in(str(folder)) == written[:1:-1]
    assert (folder / "certfleet-of-somebody.backup").exists()
    workshop.now += DAY
    assert back_up(workshop, keep=1).removed == tuple(written[:1:-1])


def test_the_one_just_written_is_kept_although_a_clock_ran_ahead(workshop: Workshop) -> None:
    workshop.now += 400 * DAY
    ahead = back_up(workshop)
    workshop.now -= 400 * DAY
    written = back_up(workshop, keep=1)
    assert (written.removed, backups_in(str(workshop.folder / "backups"))) == ((ahead.file,), [written.file])


def test_the_ledger_remembers_backups_and_where_it_comes_from(workshop: Workshop) -> None:
    written = back_up(workshop)
    assert workshop.sql("SELECT act, said FROM acts") == [("backed_up", f"{written.file}, sha256 {written.sha256}")]
    workshop.now += DAY
    written = back_up(workshop)
    place = other_place(workshop)
    restore_to(place, written.file)
    acts = place.sql("SELECT act, said FROM acts ORDER BY id")
    assert [act for act, _said in acts] == ["backed_up", "restored"]
    assert written.manifest.id in acts[-1][1]
    assert [row[0] for row in place.sql("SELECT name FROM conditions")] == ["restored"]


def test_a_passphrase_of_its_own(workshop: Workshop, tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.write_text("another one\n")
    own.chmod(0o600)
    secret = Passphrase(file=str(own), of="the backups")
    written = back_up(workshop, secret=secret)
    assert list(drill(workshop, written.file, secret=secret).authorities) == ["fleet"]
    with pytest.raises(CAError, match="gives another passphrase than it was sealed with") as caught:
        drill(workshop, written.file)
    assert caught.value.code == "wrong_passphrase"
    with pytest.raises(CAError, match="The passphrase of the backups is not there") as caught:
        back_up(workshop, secret=Passphrase(file=str(tmp_path / "none"), of="the backups"))
    assert caught.value.code == "passphrase"


def test_what_waits_for_the_company_s_signature_is_in_it(workshop: Workshop) -> None:
    pending = Path(workshop.store.directory, "pending", "plant")
    pending.mkdir(parents=True)
    key = Path(workshop.store.path("fleet", "issuing.key")).read_bytes()
    (pending / "issuing.key").write_bytes(key)
    (pending / "issuing.csr").write_bytes(b"csr")
    written = back_up(workshop)
    place = other_place(workshop)
    restore_to(place, written.file)
    assert files(place.store)["pending/plant/issuing.key"] == key
    (pending / "issuing.key").write_bytes(key.replace(b"A", b"B"))
    with pytest.raises(CAError, match=r"pending/plant/issuing\.key") as caught:
        drill(workshop, back_up(workshop).file)
    assert caught.value.code == "wrong_passphrase"


def test_a_root_that_signs_for_other_machines(workshop: Workshop) -> None:
    for file in ("issuing.pem", "issuing.key"):
        os.unlink(workshop.store.path("fleet", file))
    found = drill(workshop, back_up(workshop).file).authorities["fleet"]
    assert (found["keys"], "issuing" in found) == (["root"], False)
    os.unlink(workshop.store.path("fleet", "root.key"))
    with pytest.raises(CAError) as caught:
        drill(workshop, back_up(workshop).file)
    assert caught.value.code == "files"


def test_without_a_ca_or_its_ledger_there_is_nothing_to_back_up(empty: Workshop, tmp_path: Path) -> None:
    with pytest.raises(CAError) as caught:
        back_up(empty, secret=Passphrase(file=None, command=["echo", "x"]))
    assert caught.value.code == "missing"
    assert list(tmp_path.iterdir()) == []
    empty.create()
    os.unlink(empty.store.ledger)
    with pytest.raises(CAError) as caught:
        back_up(empty)
    assert (caught.value.code, backups_in(str(tmp_path / "backups"))) == ("ledger_missing", [])


def test_one_after_the_other(workshop: Workshop) -> None:
    folder = str(workshop.folder / "backups")
    os.mkdir(folder)
    for held in (folder, workshop.store.directory):
        with locked(held), pytest.raises(CAError) as caught:
            back_up(workshop, wait=0.1)
        assert caught.value.code == "locked"
        assert backups_in(folder) == []


@pytest.mark.parametrize("where", ["ledger", "archive"])
def test_a_disk_that_is_full_leaves_the_older_backups_and_nothing_half(
    workshop: Workshop, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = back_up(workshop, keep=1).file

    def full_while_copying() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (os.stat(workshop.store.ledger).st_size // 2, resource.RLIM_INFINITY))
        with pytest.raises(CAError, match="The ledger in use was not changed"):
            back_up(workshop, keep=1)

    def full_while_sealing() -> None:
        written = [0]
        write = os.write

        def limited(descriptor: int, data: bytes) -> int:
            written[0] += 1
            if written[0] > 1:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return write(descriptor, data)

        monkeypatch.setattr(os, "write", limited)
        with pytest.raises(CAError, match="No space left on device"):
            back_up(workshop, keep=1)

    assert in_child({"ledger": full_while_copying, "archive": full_while_sealing}[where]) == 0
    assert backups_in(str(workshop.folder / "backups")) == [first]
    assert sorted(os.listdir(workshop.folder / "backups")) == sorted([os.path.basename(first), "lock"])
    assert os.listdir(os.path.join(workshop.store.directory, ".backup")) == ["lock"]
    assert back_up(workshop, keep=1).removed == (first,)


def test_a_frozen_ca_is_backed_up_as_it_is(workshop: Workshop) -> None:
    bring_to(workshop.store, state="frozen", to="ca-2", although_moved=False, now=workshop.now)
    before = workshop.sql("SELECT * FROM acts")
    written = back_up(workshop)
    assert written.manifest.frozen
    assert workshop.sql("SELECT * FROM acts") == before


def test_a_backup_of_something_else_is_refused(workshop: Workshop) -> None:
    secret = workshop.passphrase().get()
    good = members(back_up(workshop).file, secret)
    workshop.create("clients")
    two = members(back_up(workshop).file, secret)
    key = "authorities/fleet/issuing.key"
    bad: dict[str, tuple[dict[str, bytes | str], str, str]] = {
        "no ledger": ({name: data for name, data in good.items() if name != "ledger.sqlite"}, "bad_backup", "holds no"),
        "no manifest": ({name: data for name, data in good.items() if name != "manifest.json"}, "bad_backup", "holds no"),
        "manifest": ({**good, "manifest.json": b"[]"}, "bad_backup", "manifest.json is none"),
        "climbs": ({**good, "authorities/../../x": b""}, "bad_backup", "no part of a CA"),
        "absolute": ({**good, "/etc/x": b""}, "bad_backup", "no part of a CA"),
        "link": ({**good, "authorities/fleet/x": "/etc/passwd"}, "bad_backup", "no part of a CA"),
        "other key": ({**good, key: two["authorities/clients/issuing.key"]}, "half_ca", "is not the key of"),
        "no key": ({name: data for name, data in good.items() if name != key}, "half_ca", "lacks issuing.key"),
        "lost folder": ({**good, "ledger.sqlite": two["ledger.sqlite"]}, "half_ca", "the ledger knows clients"),
        "old ledger": ({**two, "ledger.sqlite": good["ledger.sqlite"]}, "foreign_ca", "does not know"),
        "damaged": ({**good, "ledger.sqlite": good["ledger.sqlite"][:9000] + bytes(3000) + good["ledger.sqlite"][12000:]},
                    "ledger", "damaged"),
        "no archive": ({}, "bad_backup", "holds no"),
    }  # fmt: skip
    for what, (content, code, said) in bad.items():
        file = seal_members(workshop.folder / "bad.backup", content, secret)
        with pytest.raises(CAError) as caught:
            drill(workshop, file)
        assert (caught.value.code, said in str(caught.value)) == (code, True), (what, str(caught.value))
        place = other_place(workshop)
        with pytest.raises(CAError):
            restore_to(place, file)
        assert os.listdir(place.store.directory) == ["lock"], what
    assert drill(workshop, seal_members(workshop.folder / "bad.backup", dict(good), secret))


def test_a_ledger_of_a_newer_release(workshop: Workshop) -> None:
    secret = workshop.passphrase().get()
    now = workshop.sql("SELECT version FROM schema_version")[0][0]
    workshop.sql("UPDATE schema_version SET version = 99")
    inside = Path(workshop.store.ledger).read_bytes()
    workshop.sql("UPDATE schema_version SET version = ?", now)
    content = {**members(back_up(workshop).file, secret), "ledger.sqlite": inside}
    with pytest.raises(CAError, match="newer certfleet") as caught:
        drill(workshop, seal_members(workshop.folder / "new.backup", dict(content), secret))
    assert caught.value.code == "ledger_newer"


def test_the_drill_touches_nothing(workshop: Workshop) -> None:
    workshop.issue_one()
    file = back_up(workshop).file
    top = Path(workshop.store.directory)
    before = {path: (path.stat().st_mtime_ns, path.is_file() and path.read_bytes()) for path in top.glob("**/*")}
    drill(workshop, file)
    assert {
        path: (path.stat().st_mtime_ns, path.is_file() and path.read_bytes()) for path in top.glob("**/*")
    } == before


def test_backups_of_another_ca_in_the_same_folder_are_left_alone(make_workshop: Callable[[], Workshop]) -> None:
    """Such as those of an offline root on the same machine, or of two plants on one share."""
    one, other = make_workshop(), make_workshop()
    folder = str(one.folder / "shared")
    kept = back_up(one, folder=folder, keep=1).file
    other.now += DAY
    first = back_up(other, folder=folder, keep=1).file
    other.now += DAY
    assert back_up(other, folder=folder, keep=1).removed == (first,)
    assert Path(kept).exists()
