# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Passphrases come from private files and bounded commands, and appear in no error."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from ansible_collections.certfleet.tls.plugins.module_utils._ca.errors import CAError
from ansible_collections.certfleet.tls.plugins.module_utils._ca.passphrase import Passphrase

from .workshop import Workshop

SECRET = "planted-secret-4711"


def secret_file(tmp_path: Path, content: str = SECRET + "\n", mode: int = 0o600) -> Path:
    path = tmp_path / "passphrase"
    path.write_text(content)
    path.chmod(mode)
    return path


@pytest.mark.parametrize("content", [SECRET, SECRET + "\n", SECRET + "\r\n"])
def test_file_is_read_without_its_line_end(tmp_path: Path, content: str) -> None:
    assert Passphrase(file=str(secret_file(tmp_path, content))).get() == SECRET.encode()


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o660])
def test_file_open_to_others_is_refused(tmp_path: Path, mode: int) -> None:
    path = secret_file(tmp_path, mode=mode)
    with pytest.raises(CAError, match=f"{path} is open to others") as refused:
        Passphrase(file=str(path)).get()
    assert SECRET not in str(refused.value)


@pytest.mark.parametrize("content", ["", "\n", f"{SECRET}\nsecond line\n", "x" * 1024])
def test_file_that_is_no_passphrase_is_refused(tmp_path: Path, content: str) -> None:
    with pytest.raises(CAError, match="one line that is not empty") as refused:
        Passphrase(file=str(secret_file(tmp_path, content))).get()
    assert SECRET not in str(refused.value)


def test_missing_file_names_the_next_step(tmp_path: Path) -> None:
    passphrase = Passphrase(file=str(tmp_path / "none"))
    assert passphrase.missing
    with pytest.raises(CAError, match=r"none does not exist\. Put it back from your backup"):
        passphrase.get()


def test_command_is_preferred_to_the_file(tmp_path: Path) -> None:
    command = [sys.executable, "-c", f"print('{SECRET}')"]
    assert Passphrase(file=str(tmp_path / "none"), command=command).get() == SECRET.encode()


@pytest.mark.parametrize(
    ("script", "said"),
    [
        (f"echo {SECRET}; exit 3", "ended with 3"),
        (f"echo {SECRET}; exec sleep 60", "had not ended after 1 s"),
        ("true", "gives no passphrase"),
    ],
)
def test_command_that_fails_is_an_error_without_its_output(script: str, said: str) -> None:
    with pytest.raises(CAError, match=said) as refused:
        Passphrase(file=None, command=["sh", "-c", script], timeout=1.0).get()
    cause: BaseException | None = refused.value
    while cause is not None:
        words = f"{cause!s} {vars(cause)}"
        assert SECRET not in words.replace(script, "")
        cause = cause.__cause__


def test_command_that_cannot_be_started() -> None:
    with pytest.raises(CAError, match="could not be started"):
        Passphrase(file=None, command=["/nonexistent/program"]).get()


def test_generated_one_is_private_random_and_never_replaced(tmp_path: Path) -> None:
    paths = [tmp_path / folder / "passphrase" for folder in ("a", "b")]
    for path in paths:
        Passphrase(file=str(path)).generate()
        assert path.stat().st_mode & 0o777 == 0o600
        assert path.parent.stat().st_mode & 0o777 == 0o700
    first, second = (Passphrase(file=str(path)).get() for path in paths)
    assert first != second
    assert len(first) >= 40
    with pytest.raises(CAError, match="Could not write"):
        Passphrase(file=str(paths[0])).generate()
    assert Passphrase(file=str(paths[0])).get() == first
    assert os.listdir(paths[0].parent) == ["passphrase"]


def test_another_passphrase_as_the_guide_says(workshop: Workshop) -> None:
    """Its commands, with the folders of this test."""
    workshop.create("keys", root={"key_type": "ed25519"}, issuing={"key_type": "rsa-2048"})
    workshop.create("waits", root={"location": "elsewhere"})
    guide = (Path(__file__).parents[5] / "docs" / "docsite" / "rst" / "backup.rst").read_text()
    block = guide.partition("\nAnother passphrase\n")[2].partition(".. code-block:: shell\n")[2]
    commands = textwrap.dedent("".join(re.findall(r"(?m)^(?: {4}.*)?\n", block.partition("\nLeave out")[0])))
    commands = commands.replace("/var/lib/certfleet", workshop.store.directory)
    commands = commands.replace("/etc/certfleet", str(workshop.passphrase_file.parent))
    before = workshop.passphrase().get()
    subprocess.run(["sh", "-c", commands], check=True, capture_output=True)
    assert workshop.passphrase().get() != before
    for name, options in (
        ("fleet", {}),
        ("keys", {"root": {"key_type": "ed25519"}, "issuing": {"key_type": "rsa-2048"}}),
    ):
        found = workshop.create(name, **options)
        assert (found.due, found.warnings) == ([], [])
    assert workshop.create("waits", root={"location": "elsewhere"}).due == []
    assert workshop.issue_one()["issued"]
    workshop.passphrase_file.write_bytes(before)
    with pytest.raises(CAError) as refused:
        workshop.create()
    assert refused.value.code == "wrong_passphrase"
