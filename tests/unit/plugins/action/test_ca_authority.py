# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""ca_authority as ansible-playbook runs it: the module hears what time it is on the controller, and answers as it always did."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from .test_host_actions import Site, unreachable
from .test_host_clock import fast_by


def wanted(folder: Path) -> dict[str, Any]:
    """A CA for each host."""
    return {
        "name": "fleet",
        "directory": f"{folder}/ca/{{{{ inventory_hostname }}}}",
        "passphrase_file": f"{folder}/secret/{{{{ inventory_hostname }}}}",
        "generate_passphrase": True,
    }


def test_hosts_whose_clock_is_wrong_make_no_authority(tmp_path: Path) -> None:
    site = Site(tmp_path)
    tools = tmp_path / "tools"
    tools.mkdir()
    hosts: dict[str, dict[str, Any]] = {
        "right": {},
        "asked": {"checked": True},
        "fast": fast_by(7290, tools),
        "predicted": {**fast_by(-7290, tools), "checked": True},
        "allowed": {**fast_by(-7290, tools), "tls_clock_limit": "{{ patience }}", "patience": "3h"},
        "senseless": {"tls_clock_limit": "soon"},
        "gone": unreachable(),
    }
    run = site.run("ca_authority", hosts, **wanted(tmp_path))
    answers = {host: (found.get("code"), found["changed"]) for host, found in run.results.items()}
    assert answers == {
        "right": (None, True),
        "asked": (None, True),
        "fast": ("ca_clock", False),
        "predicted": ("ca_clock", False),
        "allowed": (None, True),
        "senseless": ("bad_option", False),
    }
    # As of any module: nothing further is asked of a host that cannot be reached.
    assert re.search(r"gone +: ok=0 +changed=0 +unreachable=1 ", run.output)
    assert {path.name for path in (tmp_path / "ca").iterdir()} == {"right", "allowed"}
    assert "2 h 1 min ahead of the controller's" in run.results["fast"]["msg"]
    again = site.run(
        "ca_authority",
        {"right": {}, "fast": fast_by(7290, tools)},
        **{**wanted(tmp_path), "directory": f"{tmp_path}/ca/right", "passphrase_file": f"{tmp_path}/secret/right"},
    )
    # With nothing due a clock is nobody's business.
    assert {host: (found["changed"], found["due"]) for host, found in again.results.items()} == {
        "right": (False, []),
        "fast": (False, []),
    }
