# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The ledger as JSON lines: all of it, of one moment, whole or not at all."""

from __future__ import annotations

import json
import os
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.certfleet.tls.plugins.module_utils._ca import export as export_module
from ansible_collections.certfleet.tls.plugins.module_utils._ca.errors import CAError
from ansible_collections.certfleet.tls.plugins.module_utils._ca.export import export
from ansible_collections.certfleet.tls.plugins.module_utils._ca.ledger import Ledger
from ansible_collections.certfleet.tls.plugins.module_utils._ca.record import record

from .workshop import DAY, Workshop, request


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.jsonl"


def written(workshop: Workshop, path: Path, *, check: bool = False) -> dict[str, Any]:
    return export(str(path), store=workshop.store, now=workshop.now, check=check)


def lines(path: Path, kind: str) -> list[dict[str, Any]]:
    return [item for item in map(json.loads, path.read_text().splitlines()) if item["kind"] == kind]


def test_the_lines_of_a_small_ledger(workshop: Workshop, path: Path) -> None:
    answer = workshop.issue_one()
    workshop.install(answer)
    record(
        [], [{"identity": "robot-1", "spki": "ab" * 32, "why": "seen on site"}], store=workshop.store, now=workshop.now
    )
    done = written(workshop, path)
    assert done["changed"]
    assert {kind: count for kind, count in done["lines"].items() if count and kind != "holder"} == {
        "certificate": 3,
        "pin": 1,
        "outcome": 1,
    }
    root, issuing, leaf = lines(path, "certificate")
    assert [item["name"] for item in (root, issuing)] == ["root", "issuing"]
    assert {
        key: leaf[key] for key in ("identity", "name", "why", "spki", "serial", "state", "outcome", "not_after")
    } == {
        "identity": "robot-1",
        "name": "https",
        "why": ["missing"],
        "spki": request()["spki"],
        "serial": answer["serial"],
        "state": "issued",
        "outcome": "installed",
        "not_after": "2027-04-15T08:00:00Z",
    }
    assert lines(path, "pin") == [
        {
            "kind": "pin",
            "identity": "robot-1",
            "spki": "ab" * 32,
            "pinned_at": "2027-01-15T08:00:00Z",
            "why": "seen on site",
        }
    ]
    assert "BEGIN" not in path.read_text()
    assert path.stat().st_mode & 0o7777 == 0o600


def test_every_table_of_the_ledger_is_in_it(workshop: Workshop, path: Path) -> None:
    """A table that a later version adds must be thought of here."""
    tables = workshop.sql("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'")
    mentioned = {
        name
        for name in (row[0] for row in tables)
        for sql in export_module._PAGES.values()
        if f"FROM {name} " in " ".join(sql[1].split())
    }
    assert {row[0] for row in tables} - mentioned == {"schema_version"}


def test_every_column_of_a_certificate_is_in_it_but_the_certificate(workshop: Workshop, path: Path) -> None:
    """Also those that a later version adds."""
    workshop.install(workshop.issue_one())
    columns = [row[1] for row in workshop.sql("PRAGMA table_info(certificates)")]
    (row,) = workshop.sql("SELECT * FROM certificates ORDER BY id DESC LIMIT 1")
    written(workshop, path)
    leaf = lines(path, "certificate")[-1]
    expected = {column for column, value in zip(columns, row, strict=True) if value is not None}
    assert set(leaf) == expected - {"pem"} | {"kind", "outcome"}
    assert {leaf[column] for column in leaf if column.endswith("_at")} == {"2027-01-15T08:00:00Z"}


def test_again_changes_nothing_and_a_check_writes_nothing(workshop: Workshop, path: Path) -> None:
    assert written(workshop, path, check=True)["changed"]
    assert not path.exists()
    written(workshop, path)
    before = path.stat()
    assert [written(workshop, path, check=check)["changed"] for check in (False, True)] == [False, False]
    assert path.stat() == before
    for spoil in (lambda: path.chmod(0o644), lambda: path.write_text(path.read_text() + "\n"), workshop.issue_one):
        spoil()
        assert written(workshop, path, check=True)["changed"]
        assert written(workshop, path)["changed"]
        assert not written(workshop, path)["changed"]
    assert path.stat().st_mode & 0o7777 == 0o600
    assert [entry.name for entry in path.parent.iterdir() if entry.name.startswith(".new")] == []


def test_a_large_ledger_comes_in_pages_each_line_once(
    workshop: Workshop, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export_module, "_PAGE", 4)
    requests = [request(f"robot-{number}", names=[f"DNS:r{number}.example"], common_name=None) for number in range(9)]
    workshop.issue(*requests)
    pins = [{"identity": f"robot-{number % 3}", "spki": f"{number:064x}", "why": ""} for number in range(8)]
    record([], pins, store=workshop.store, now=workshop.now)
    done = written(workshop, path)
    assert (done["lines"]["certificate"], done["lines"]["pin"]) == (11, 8)
    assert len(path.read_text().splitlines()) == len(set(path.read_text().splitlines())) == sum(done["lines"].values())
    assert [item["identity"] for item in lines(path, "pin")] == sorted(pin["identity"] for pin in pins)


def test_it_is_one_moment_and_no_writer_waits(workshop: Workshop, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    workshop.issue_one()
    original = export_module._replace

    def meanwhile(*arguments: Any) -> None:
        assert workshop.issue_one("robot-2", key=1, names=["DNS:two.example"], wait=0.0)["issued"]
        original(*arguments)

    monkeypatch.setattr(export_module, "_replace", meanwhile)
    assert written(workshop, path)["lines"]["certificate"] == len(lines(path, "certificate")) == 3
    assert workshop.states() == ["issued", "issued"]


def test_what_has_expired_is_said_to_have_also_before_a_writer_marks_it(workshop: Workshop, path: Path) -> None:
    workshop.issue_one()
    workshop.now += 91 * DAY
    written(workshop, path)
    assert lines(path, "certificate")[-1]["state"] == "expired"


def test_a_ledger_that_breaks_on_the_way_leaves_the_former_file(workshop: Workshop, path: Path) -> None:
    written(workshop, path)
    before = path.read_bytes()
    workshop.issue_one()
    workshop.sql("DROP TABLE conditions")
    with pytest.raises(CAError, match="cannot be used"):
        written(workshop, path)
    assert path.read_bytes() == before
    assert sorted(entry.name for entry in path.parent.iterdir()) == ["ca", "ledger.jsonl", "secret"]


@pytest.mark.parametrize("place", ["ledger.jsonl", "{folder}", "{folder}/none/ledger.jsonl"])
def test_a_place_that_is_none(workshop: Workshop, place: str) -> None:
    with pytest.raises(CAError) as caught:
        export(place.format(folder=workshop.folder), store=workshop.store, now=workshop.now)
    assert caught.value.code in ("bad_option", "files")
    assert "Nothing" in str(caught.value)


def test_leftovers_of_a_killed_export_go_the_day_after(workshop: Workshop, path: Path) -> None:
    old, young = path.parent / ".new-ledger.jsonl-0", path.parent / ".new-ledger.jsonl-1"
    old.touch()
    young.touch()
    os.utime(old, (0, 0))
    written(workshop, path)
    assert (old.exists(), young.exists()) == (False, True)


def test_reading_takes_no_lock_of_the_database(workshop: Workshop, path: Path) -> None:
    blocker = sqlite3.connect(workshop.store.ledger, isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    try:
        with Ledger.open(workshop.store.ledger, busy_timeout=0.0):
            assert written(workshop, path)["changed"]
    finally:
        blocker.close()
