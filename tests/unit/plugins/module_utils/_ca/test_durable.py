# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A file that is replaced is the old or the new one, whole, and always private."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ansible_collections.certfleet.tls.plugins.module_utils._ca.durable import remove_folder, replace_file
from ansible_collections.certfleet.tls.plugins.module_utils._ca.errors import CAError


def test_a_new_file_and_a_replaced_one_are_private(tmp_path: Path) -> None:
    for content in (b"first", b"second"):
        replace_file(str(tmp_path / "file"), content)
        assert (tmp_path / "file").read_bytes() == content
        assert (tmp_path / "file").stat().st_mode & 0o777 == 0o600
        (tmp_path / "file").chmod(0o644)
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize("step", ["rename", "fsync"])
def test_until_the_new_one_is_whole_the_old_one_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    replace_file(str(tmp_path / "file"), b"old")
    inode = (tmp_path / "file").stat().st_ino

    def refuse(*_arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, step, refuse)
    with pytest.raises(CAError, match="No space left on device") as refused:
        replace_file(str(tmp_path / "file"), b"new")
    assert refused.value.code == "files"
    assert ((tmp_path / "file").read_bytes(), (tmp_path / "file").stat().st_ino) == (b"old", inode)
    assert os.listdir(tmp_path) == ["file"]


def test_what_a_killed_writer_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    for name in (".new-file-0123", ".new-files-0123", "file"):
        (tmp_path / name).write_bytes(b"left")
    replace_file(str(tmp_path / "file"), b"new")
    assert sorted(os.listdir(tmp_path)) == [".new-files-0123", "file"]


def test_a_folder_is_removed_with_its_files(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "file").touch()
    remove_folder(str(tmp_path / "folder"))
    assert os.listdir(tmp_path) == []
