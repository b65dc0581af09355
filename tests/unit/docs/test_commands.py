# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The commands that the guides show can be called as they stand there, and know the variables that they give."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
GUIDES = sorted((ROOT / "docs" / "docsite" / "rst").glob("*.rst"))
_CALL = re.compile(r"ansible-playbook\s+((?:[^`\n\\]|\\\n)*)")
_VARIABLE = re.compile(r"\btls_\w+")
# They work on the machine where they are called.
_HERE = {"root_ceremony.yml"}


def calls() -> Iterator[tuple[str, str]]:
    """(file, command) of each call of a playbook that is shown with one."""
    for path in (ROOT / "README.md", *GUIDES):
        for command in _CALL.findall(path.read_text()):
            if ".yml" in command and "<command>" not in command:
                yield path.name, " ".join(command.replace("\\\n", " ").split())


def playbook_of(command: str) -> Path:
    return next(ROOT / word for word in command.split() if word.endswith(".yml"))


def variables_of(playbook: Path) -> set[str]:
    """Those that it, what it imports, and the roles know."""
    text = playbook.read_text()
    folders = [playbook.parent / "tasks", ROOT / "roles"]
    return set(_VARIABLE.findall(text + "".join(p.read_text() for f in folders for p in sorted(f.rglob("*.yml")))))


def test_every_command_says_which_inventory() -> None:
    shown = list(calls())
    assert {name for name, _command in shown} >= {"README.md", "revocation.rst", "offline_root.rst", "backup.rst"}
    lacking = [(n, c) for n, c in shown if playbook_of(c).name not in _HERE and not re.search(r"(^| )-i \S", c)]
    assert lacking == []
    # The form that an installed collection has would lose its inventory unseen.
    assert [path.name for path in GUIDES if "ansible-playbook certfleet" in path.read_text()] == []


def test_every_command_names_a_playbook_that_knows_its_variables() -> None:
    for name, command in calls():
        playbook = playbook_of(command)
        assert playbook.is_file(), (name, command)
        given = set(re.findall(r"-e '?\{?\"?(tls_\w+)", command))
        assert given <= variables_of(playbook), (name, command)


def test_the_table_of_commands_knows_the_variables_of_each() -> None:
    """What the head of a playbook offers is in the guide, and nothing else."""
    guide = (ROOT / "docs" / "docsite" / "rst" / "machines.rst").read_text().partition("\nAll commands\n")[2]
    rows = re.findall(r"   \* - ``(\w+\.yml)``\n     - ((?:.+\n)+?)     - ", guide)
    assert len(rows) == len({name for name, _cell in rows}) >= 10
    for name, cell in rows:
        text = (ROOT / "playbooks" / name).read_text()
        head = "".join(line for line in text.splitlines(keepends=True) if line.startswith("#"))
        offered = set(re.findall(r"-e (?:'\{\")?(tls_\w+)", head))
        assert set(_VARIABLE.findall(cell)) <= set(_VARIABLE.findall(text)), name
        if "and others" not in cell:
            assert offered <= set(_VARIABLE.findall(cell)), name
