# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module as a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from ansible_collections.certfleet.tls.plugins.module_utils._host.staging import stage
from ansible_collections.certfleet.tls.plugins.module_utils._x509.parse import parse_csr
from ansible_collections.certfleet.tls.tests.unit.tls_peers import DAY, TestAuthority

ROOT = Path(__file__).resolve().parents[4]
MODULE = "ansible_collections.certfleet.tls.plugins.modules.host_deploy"


def run_module(**arguments: Any) -> tuple[int, dict[str, Any]]:
    done = subprocess.run(
        [sys.executable, "-m", MODULE],
        input=json.dumps({"ANSIBLE_MODULE_ARGS": arguments}),
        env={**os.environ, "PYTHONPATH": str(ROOT / ".dev")},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, json.loads(done.stdout) if done.stdout else {}


def order_for(folder: Path, **changes: Any) -> dict[str, Any]:
    """A first pair, staged and signed."""
    authority, now = TestAuthority(), int(time.time())
    where = {"certificate": str(folder / "cert.pem"), "key": str(folder / "key.pem")}
    common = {"identity": "host-1", "name": "https", "where": where, "watchdog": {"method": "none"}, **changes}
    staged = stage({**common, "subject_alt_names": ["DNS:a.example"]})
    key = parse_csr(staged["csr"]).public_key
    leaf = authority.sign(key, ("DNS:a.example",), not_before=now - DAY, not_after=now + DAY)
    pair = {"spki": staged["spki"], "certificate": leaf, "chain": authority.chain, "anchors": authority.anchors}
    return {**common, **pair, "verdict": "issue"}


def test_a_lost_connection_does_not_end_a_deploy(tmp_path: Path) -> None:
    said = tmp_path / "said"
    # In the middle of the deploy the terminal goes away. What the module starts is not deaf to it.
    hang_up = f"kill -HUP $PPID; grep SigIgn /proc/self/status > {said}"
    order = order_for(tmp_path, reload={"method": "command", "command": ["sh", "-c", hang_up]})
    code, answer = run_module(orders=[order])
    assert code == 0
    assert answer["certificates"][0]["outcome"] == "installed"
    assert (tmp_path / "cert.pem").exists()
    assert int(said.read_text().split()[1], 16) & 1 == 0


def test_no_order_is_carried_out_if_one_makes_no_sense(tmp_path: Path) -> None:
    order = order_for(tmp_path)
    strange = {**order, "watchdog": {"method": "none", "limit": 5}}
    code, answer = run_module(orders=[order, strange])
    assert code == 1
    assert "Nothing was changed" in answer["msg"]
    assert "Give at least 120 s" in answer["msg"]
    assert not (tmp_path / "cert.pem").exists()
