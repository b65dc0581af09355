# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A service's paths read a wholly old or a wholly new pair, wherever a run is killed, and the next run converges."""

from __future__ import annotations

import contextlib
import errno
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.certfleet.tls.plugins.module_utils._host.errors import HostError
from ansible_collections.certfleet.tls.plugins.module_utils._host.generations import Generations
from ansible_collections.certfleet.tls.plugins.module_utils._host.where import Where

from .interruption import Killed, struck


@pytest.fixture(autouse=True)
def quick() -> Iterator[None]:
    """No flushing to the disk: several thousand runs are made here."""
    with struck(None):
        yield


Files = dict[str, "bytes | None"]


def contents(label: str) -> dict[str, bytes]:
    """A pair whose halves say to which pair they belong."""
    return {"certificate": f"certificate {label}".encode(), "key": f"key {label}".encode()}


def is_pair(certificate: str, key: str) -> bool:
    """Whether two files belong together, by what contents() wrote."""
    return Path(certificate).read_bytes().split()[1:] == Path(key).read_bytes().split()[1:]


class Place:
    """A service's files in one or two folders."""

    def __init__(self, base: Path, *, apart: bool = False) -> None:
        self.base = base
        certificate = base / ("certs" if apart else "tls") / "cert.pem"
        key = base / ("private" if apart else "tls") / "key.pem"
        self.paths = {"certificate": certificate, "key": key}
        for path in self.paths.values():
            path.parent.mkdir(parents=True, exist_ok=True)
        self.where = Where(str(certificate), str(key))

    @property
    def store(self) -> Generations:
        """As a new process sees it."""
        return Generations("https", self.where, is_pair=is_pair)

    def read(self) -> Files:
        """What the service would read now."""
        return {role: path.read_bytes() if path.exists() else None for role, path in self.paths.items()}

    def install(self, label: str, *, proved: bool = True) -> None:
        """A whole run with this pair."""
        store = self.store
        with store.holding():
            promotion = store.promote(store.add(contents(label)))
            if not proved:
                store.restore(promotion)
            store.settle()
            store.prune(keep_staged=not proved)


def nothing(place: Place) -> None:
    """A new service."""


def regular_files(place: Place) -> None:
    for role, content in contents("old").items():
        place.paths[role].write_bytes(content)


def links_of_others(place: Place) -> None:
    (place.base / "elsewhere").mkdir()
    for role, content in contents("old").items():
        (place.base / "elsewhere" / role).write_bytes(content)
        place.paths[role].symlink_to(place.base / "elsewhere" / role)


def ours(place: Place) -> None:
    place.install("old")


def key_alone(place: Place) -> None:
    place.paths["key"].write_bytes(b"key old")


def certificate_deleted(place: Place) -> None:
    place.install("old")
    place.paths["certificate"].unlink()


def links_deleted(place: Place) -> None:
    place.install("old")
    for path in place.paths.values():
        path.unlink()


def key_replaced(place: Place) -> None:
    place.install("old")
    place.paths["key"].unlink()
    place.paths["key"].write_bytes(b"key stray")


def both_replaced(place: Place) -> None:
    place.install("older")
    for role, content in contents("old").items():
        place.paths[role].unlink()
        place.paths[role].write_bytes(content)


STARTS = [nothing, regular_files, links_of_others, ours, key_alone, certificate_deleted, links_deleted, key_replaced]
STARTS.append(both_replaced)
NEW: Files = {**contents("new")}


def changes_of(start: Callable[[Place], None], apart: bool, proved: bool) -> int:
    """How many changes of the file system a whole run makes."""
    with tempfile.TemporaryDirectory() as folder:
        place = Place(Path(folder), apart=apart)
        start(place)
        with struck(None) as seen:
            place.install("new", proved=proved)
        return len(seen)


PLACES = [(start, False) for start in STARTS] + [(regular_files, True), (ours, True), (certificate_deleted, True)]


@pytest.mark.parametrize("proved", [True, False], ids=["proved", "not proved"])
@pytest.mark.parametrize(
    ("start", "apart"), PLACES, ids=[f"{start.__name__}{' apart' if apart else ''}" for start, apart in PLACES]
)
def test_killed_anywhere_the_paths_read_old_or_new_as_a_whole(
    start: Callable[[Place], None], proved: bool, apart: bool, tmp_path: Path
) -> None:
    count = changes_of(start, apart, proved)
    assert count > 15
    for number in range(count):
        place = Place(tmp_path / str(number), apart=apart)
        start(place)
        old = place.read()
        whole: Files = {**contents("old")}
        with pytest.raises(Killed), struck(number):
            place.install("new", proved=proved)
        # A pair that an outsider had broken may come back mended, where a run that failed goes back.
        allowed = [old, NEW] if proved else [old, NEW, whole]
        assert place.read() in allowed, f"killed before change {number}"
        place.install("next")
        assert place.read() == {**contents("next")}
        store = Path(place.store.root)
        assert {path.name for path in store.iterdir()} == {"current", os.readlink(store / "current")}
        left = {
            path.name for path in [*place.paths["key"].parent.iterdir(), *place.paths["certificate"].parent.iterdir()]
        }
        assert left == {"cert.pem", "key.pem", store.name}


@pytest.mark.parametrize("start", STARTS, ids=lambda start: start.__name__)
def test_killed_anywhere_a_later_run_that_fails_goes_back_to_the_old(
    start: Callable[[Place], None], tmp_path: Path
) -> None:
    for number in range(changes_of(start, False, True)):
        place = Place(tmp_path / str(number))
        start(place)
        old = place.read()
        with pytest.raises(Killed), struck(number):
            place.install("new")
        is_committed = place.read() == NEW and not place.store.is_unfinished()
        place.install("next", proved=False)
        mended = {**contents("old")} if start in (certificate_deleted, links_deleted, key_replaced) else old
        assert place.read() == (NEW if is_committed else mended), f"killed before change {number}"


@pytest.mark.parametrize("start", STARTS, ids=lambda start: start.__name__)
def test_a_full_disk_leaves_old_or_new_as_a_whole(start: Callable[[Place], None], tmp_path: Path) -> None:
    for number in range(changes_of(start, False, True)):
        place = Place(tmp_path / str(number))
        start(place)
        old = place.read()
        full = struck(number, lambda: OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
        with pytest.raises(OSError, match="No space"), full:
            place.install("new")
        assert place.read() in (old, NEW), f"full at change {number}"
        place.install("next")
        assert place.read() == {**contents("next")}


@pytest.mark.parametrize("start", STARTS, ids=lambda start: start.__name__)
def test_going_back_restores_what_was_there(start: Callable[[Place], None], tmp_path: Path) -> None:
    place = Place(tmp_path)
    start(place)
    old, links = place.read(), {role: path.is_symlink() for role, path in place.paths.items()}
    place.install("new", proved=False)
    if start in (certificate_deleted, links_deleted, key_replaced):
        assert place.read() == {**contents("old")}
    else:
        assert place.read() == old
    if start is links_of_others:
        assert links == {role: path.is_symlink() for role, path in place.paths.items()}
        assert "elsewhere" in str(place.paths["key"].readlink())
    if start is nothing:
        assert not any(path.is_symlink() for path in place.paths.values())


def test_links_are_relative_and_lead_through_one_link(tmp_path: Path) -> None:
    place = Place(tmp_path, apart=True)
    place.install("new")
    assert str(place.paths["key"].readlink()) == ".certfleet-https/current/key.pem"
    assert str(place.paths["certificate"].readlink()) == "../private/.certfleet-https/current/certificate.pem"


def test_links_are_right_where_a_folder_is_reached_through_a_link(tmp_path: Path) -> None:
    place = Place(tmp_path, apart=True)
    real = tmp_path / "deep" / "er" / "certs"
    real.parent.mkdir(parents=True)
    place.paths["certificate"].parent.rename(real)
    place.paths["certificate"].parent.symlink_to(real)
    place.install("new")
    assert place.read() == NEW


def test_modes_and_owners_of_adopted_files_come_back(tmp_path: Path) -> None:
    place = Place(tmp_path)
    regular_files(place)
    place.paths["key"].chmod(0o640)
    os.chown(place.paths["key"], os.getuid(), os.getgid())
    place.install("new", proved=False)
    assert place.paths["key"].stat().st_mode & 0o777 == 0o640


def test_an_unfinished_promotion_is_seen_only_while_its_pair_is_in_place(tmp_path: Path) -> None:
    place = Place(tmp_path)
    place.install("old")
    store = place.store
    with store.holding():
        promotion = store.promote(store.add(contents("new")))
        assert store.is_unfinished()
        store.restore(promotion)
        assert not store.is_unfinished()
        store.settle()
    assert store.unfinished() is None


def test_folders_are_never_created_silently(tmp_path: Path) -> None:
    where = Where(str(tmp_path / "gone/cert.pem"), str(tmp_path / "gone/key.pem"))
    with (
        pytest.raises(HostError, match="does not exist"),
        Generations("https", where, is_pair=is_pair).holding(),
    ):
        raise AssertionError("the folder was made")
    assert not (tmp_path / "gone").exists()


def test_a_folder_that_is_someone_elses_is_refused(tmp_path: Path) -> None:
    place = Place(tmp_path)
    (tmp_path / "trap").mkdir()
    Path(place.store.root).symlink_to(tmp_path / "trap")
    with pytest.raises(HostError, match="something else"):
        place.install("new")
    assert list((tmp_path / "trap").iterdir()) == []


def test_a_marker_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    place = Place(tmp_path)
    place.install("old")
    Path(place.store.root, "unfinished").write_text("{half")
    with pytest.raises(HostError, match="cannot be understood"):
        place.install("new")
    assert place.read() == {**contents("old")}


STEP = st.sampled_from(["install", "fail", "kill", "kill failing", "delete certificate", "replace key", "replace both"])


@given(st.lists(st.tuples(STEP, st.integers(0, 45)), max_size=8))
def test_any_history_leaves_paths_that_one_run_repairs(history: list[tuple[str, int]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        place = Place(Path(folder))
        for turn, (step, number) in enumerate(history):
            before, label = place.read(), f"run{turn}"
            if step in ("install", "fail"):
                place.install(label, proved=step == "install")
            elif step.startswith("kill"):
                with struck(number):
                    with contextlib.suppress(Killed):
                        place.install(label, proved=step == "kill")
            elif step == "delete certificate":
                place.paths["certificate"].unlink(missing_ok=True)
            else:
                for role in ("key",) if step == "replace key" else ("key", "certificate"):
                    place.paths[role].unlink(missing_ok=True)
                    place.paths[role].write_bytes(contents(f"stray{turn}")[role])
            after = place.read()
            was_pair = (
                None not in before.values() and len({(value or b"").split()[1] for value in before.values()}) == 1
            )
            if was_pair and step in ("install", "fail", "kill", "kill failing"):
                assert len({(value or b"- -").split()[1] for value in after.values()}) == 1, f"mixed after {step}"
        place.install("last")
        assert place.read() == {**contents("last")}
