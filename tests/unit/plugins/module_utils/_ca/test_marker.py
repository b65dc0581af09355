# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A CA's folder that is empty since its disk is not mounted: nothing is made in it."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.certfleet.tls.plugins.module_utils._ca import sealed_archive
from ansible_collections.certfleet.tls.plugins.module_utils._ca.authority import ensure, look, predict
from ansible_collections.certfleet.tls.plugins.module_utils._ca.ceremony import Ceremony
from ansible_collections.certfleet.tls.plugins.module_utils._ca.errors import CAError
from ansible_collections.certfleet.tls.plugins.module_utils._ca.freezing import bring_to
from ansible_collections.certfleet.tls.plugins.module_utils._ca.passphrase import Passphrase
from ansible_collections.certfleet.tls.plugins.module_utils._ca.root_signing import hold
from ansible_collections.certfleet.tls.plugins.module_utils._ca.root_signing import predict as predict_root

from .backups import CHEAP, back_up, other_place, restore_to
from .workshop import Workshop, wish


def unmount(workshop: Workshop) -> None:
    """The folder that the disk was mounted on is there, and empty."""
    shutil.move(workshop.store.directory, workshop.folder / "disk")
    os.mkdir(workshop.store.directory)


def mount(workshop: Workshop) -> None:
    os.rmdir(workshop.store.directory)
    shutil.move(workshop.folder / "disk", workshop.store.directory)


def markers(workshop: Workshop) -> list[Path]:
    return sorted(workshop.passphrase_file.parent.glob("*.ca"))


def refused(workshop: Workshop, name: str = "fleet") -> str:
    """In check mode with and without the library, and really; nothing is made anywhere."""
    wanted = wish(name)
    asked: dict[str, Any] = {"store": workshop.store, "passphrase": workshop.passphrase(), "generate": True}
    before = sorted(workshop.folder.rglob("*"))
    said = set()
    for attempt in (
        lambda: look(wanted, now=workshop.now, **asked),
        lambda: predict(wanted, **asked),
        lambda: ensure(wanted, now=workshop.now, **asked),
    ):
        with pytest.raises(CAError) as caught:
            attempt()
        assert caught.value.code == "lost_ca"
        said.add(str(caught.value))
    assert sorted(workshop.folder.rglob("*")) == before
    (sentence,) = said
    return sentence


@pytest.mark.parametrize("has_folder", [True, False])
@pytest.mark.parametrize("has_passphrase", [True, False])
def test_where_there_has_been_a_ca_none_is_made(workshop: Workshop, has_folder: bool, has_passphrase: bool) -> None:
    made = workshop.create().leaves
    (marker,) = markers(workshop)
    assert json.loads(marker.read_text())["directory"] == workshop.store.directory
    assert marker.stat().st_mode & 0o777 == 0o600
    unmount(workshop)
    if not has_folder:
        os.rmdir(workshop.store.directory)
    if not has_passphrase:
        workshop.passphrase_file.rename(workshop.folder / "kept")
    for name in ("fleet", "another"):
        said = refused(workshop, name)
        for word in (workshop.store.directory, str(marker), "Nothing was made anew", "mounted", "restore.yml"):
            assert word in said
    if not has_folder:
        os.mkdir(workshop.store.directory)
    if not has_passphrase:
        (workshop.folder / "kept").rename(workshop.passphrase_file)
    mount(workshop)
    again = workshop.create()
    assert (again.due, again.leaves) == ([], made)


def test_who_removes_the_note_gets_another_ca(workshop: Workshop) -> None:
    made = workshop.create().leaves
    unmount(workshop)
    markers(workshop)[0].unlink()
    other = workshop.create()
    assert (len(other.due), other.leaves == made, len(markers(workshop))) == (1, False, 1)


def test_a_ca_in_another_folder_is_another_one(workshop: Workshop) -> None:
    """With the same passphrase."""
    place = other_place(workshop)
    assert place.create().due == ["create the authority 'fleet'"]
    assert len(markers(workshop)) == 2
    unmount(workshop)
    refused(workshop)
    assert place.create().due == []


def test_a_ca_from_before_gets_its_note_once(workshop: Workshop) -> None:
    (marker,) = markers(workshop)
    marker.unlink()
    foreseen = look(wish(), store=workshop.store, passphrase=workshop.passphrase(), generate=False, now=workshop.now)
    assert not marker.exists()
    first, second = workshop.create(), workshop.create()
    assert (foreseen.due, second.due) == (first.due, [])
    assert first.due == [f"note in {marker} that there is a CA in {workshop.store.directory}"]
    marker.unlink()
    # One that has moved away has no need of it, and refuses changes.
    bring_to(workshop.store, state="frozen", to="ca-2", although_moved=False, now=workshop.now)
    assert workshop.create().due == []


def test_where_a_note_has_no_place_there_is_none(empty: Workshop) -> None:
    command = Passphrase(file=str(empty.passphrase_file), command=["/bin/echo", "something"])
    for due in (["create the authority 'fleet'"], []):
        found = ensure(wish(), store=empty.store, passphrase=command, generate=False, now=empty.now)
        assert (found.due, markers(empty)) == (due, [])


def test_a_restore_puts_it_there_and_is_not_hindered_by_it(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sealed_archive, "COST", CHEAP)
    file, place = back_up(workshop).file, other_place(workshop)
    restore_to(place, file)
    assert len(markers(workshop)) == 2
    assert place.create().due == []
    # One that was cut short just before.
    (marker,) = (
        path for path in markers(workshop) if json.loads(path.read_text())["directory"] == place.store.directory
    )
    marker.unlink()
    assert [restore_to(place, file).changed, marker.exists(), restore_to(place, file).changed] == [True, True, False]
    unmount(workshop)
    assert restore_to(workshop, file).changed


def test_a_root_that_has_been_there_is_not_made_anew(empty: Workshop) -> None:
    ceremony = Ceremony.from_options(
        {"name": "fleet", "state": "present", "root": {"lifetime": "20y", "key_type": "ec-p256"},
         "issuing": {"lifetime": "5y"}, "crl_lifetime": "1y", "reason": "unspecified"}
    )  # fmt: skip
    asked: dict[str, Any] = {"store": empty.store, "passphrase": empty.passphrase(), "generate": True, "now": empty.now}
    hold(ceremony, **asked)
    assert len(markers(empty)) == 1
    unmount(empty)
    for attempt in (predict_root, hold):
        with pytest.raises(CAError) as caught:
            attempt(ceremony, **asked)
        assert caught.value.code == "lost_ca"
    assert os.listdir(empty.store.directory) == []
    mount(empty)
    assert hold(ceremony, **asked).due == []
