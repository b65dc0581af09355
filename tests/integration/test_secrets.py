# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""No private key and no password in `-vvvv` output, results, facts, or files that the controller is left with."""

from __future__ import annotations

import base64
import json
import tempfile
import time
from pathlib import Path

import pytest

from .machines import CHECKOUT, Lab, on, robot
from .playbook import Run, run_playbook, site
from .secrets import files_below, forms_of_key, forms_of_text, leaks

PLACES = [Path(tempfile.gettempdir()), Path.home() / ".ansible", CHECKOUT / "tests" / "lab", CHECKOUT / ".cache"]
# What may hold them: the inventory, the lab's own description of the devices, and its SSH key.
ALLOWED = ("inventories", ".state")


def robot_key(name: str) -> str:
    """The private key that a robot was given, from the emulator's own state."""
    found = on(
        "gateway", "sh", "-c", f"cat $(find /var/lib/robots -path '*{name}*' -name '*key*' -newer /proc/1 | head -n 1)"
    )
    assert "PRIVATE KEY" in found
    return found


def passwords() -> dict[str, str]:
    """The lab's planted passwords, by variable."""
    found = {}
    for path in (CHECKOUT / "inventories" / "lab" / "group_vars").glob("*.json"):
        found |= {key: value for key, value in json.loads(path.read_text()).items() if key.endswith("_password")}
    assert found
    return found


@pytest.fixture(scope="module")
def loud(converged: Lab) -> tuple[Run, float, str]:
    """A run at -vvvv that issues and uploads for a robot and for Fleet; when it began; the facts that it cached."""
    robot("robot-1", "factory")
    on("fleet", "rm", "/mir_persistence/certificate/cert.pem")
    facts = tempfile.mkdtemp(prefix="certfleet-facts-")
    began = time.time() - 1
    environment = {
        "ANSIBLE_CACHE_PLUGIN": "jsonfile",
        "ANSIBLE_CACHE_PLUGIN_CONNECTION": facts,
        "ANSIBLE_KEEP_REMOTE_FILES": "0",
    }
    run = site("-vvvv", "--diff", environment=environment)
    assert run.rc == 0, run.output[-3000:]
    assert "installed (missing)" in run.row("robot-1")
    assert "installed (missing)" in run.row("fleet")
    assert converged.endpoints
    return run, began, facts


def secrets() -> dict[str, dict[str, bytes]]:
    """All forms of all secrets that the run handled."""
    wanted = {
        "the key of robot-1": forms_of_key(robot_key("robot-1")),
        "the key of fleet": forms_of_key(on("fleet", "cat", "/mir_persistence/certificate/key.pem")),
        "the CA's passphrase": forms_of_text(on("ca", "cat", "/etc/certfleet/passphrase").strip()),
    }
    return wanted | {f"password {name}": forms_of_text(value) for name, value in passwords().items()}


def test_the_output_holds_no_secret(loud: tuple[Run, float, str]) -> None:
    output = loud[0].output.encode()
    found = {name: leaked for name, forms in secrets().items() if (leaked := leaks(output, forms))}
    assert found == {}


def test_the_controllers_files_hold_no_secret(loud: tuple[Run, float, str]) -> None:
    _run, began, facts = loud
    wanted = secrets()
    found = {}
    for path in files_below(*PLACES, Path(facts), newer_than=began):
        if any(part in ALLOWED for part in path.parts):
            continue
        content = path.read_bytes()
        found |= {str(path): name for name, forms in wanted.items() if leaks(content, forms)}
    assert found == {}


def test_a_planted_leak_is_found(loud: tuple[Run, float, str], tmp_path: Path) -> None:
    assert loud[0].rc == 0
    key = robot_key("robot-1")
    password = passwords()["mir_robot_password"]
    playbook = tmp_path / "leak.yml"
    encoded = base64.b64encode(b"x" + key.encode()).decode()
    playbook.write_text(
        json.dumps(
            [
                {
                    "name": "A leak",
                    "hosts": "robot-1",
                    "gather_facts": False,
                    "tasks": [{"name": "Print it", "ansible.builtin.debug": {"msg": [encoded, key, f"x{password}"]}}],
                }
            ]
        )
    )
    run = run_playbook(str(playbook), "-vvvv")
    assert run.rc == 0, run.output
    leaked = leaks(run.output.encode(), forms_of_key(key))
    assert "PEM body" in leaked
    assert any("base64" in form for form in leaked)
    assert "plain" in leaks(run.output.encode(), forms_of_text(password))


@pytest.mark.parametrize("alignment", [0, 1, 2])
def test_base64_is_seen_at_every_alignment(alignment: int) -> None:
    secret = "a planted password of some length"
    text = base64.b64encode(b"y" * alignment + secret.encode() + b"zz")
    assert leaks(text, forms_of_text(secret)) == [f"base64, alignment {alignment}"]
