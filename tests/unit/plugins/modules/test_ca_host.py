# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The modules of the CA host as a host runs them: options in, JSON out, in a process of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.certfleet.tls.plugins.module_utils._x509.keys import new_key
from ansible_collections.certfleet.tls.tests.certificate_request import certificate_request

KEY = new_key("ec-p256")
COLLECTIONS = next(parent / ".dev" for parent in Path(__file__).parents if (parent / "galaxy.yml").is_file())

RUN = """
import json, runpy, sys
if {blocked}:
    sys.modules["cryptography"] = None
from ansible.module_utils import basic
basic._ANSIBLE_ARGS = sys.stdin.buffer.read()
basic._ANSIBLE_PROFILE = "legacy"
runpy.run_module("ansible_collections.certfleet.tls.plugins.modules.{module}", run_name="__main__")
"""


class Host:
    """A CA host without anything yet."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.directory = folder / "ca"
        self.passphrase = folder / "secret" / "passphrase"

    def run(self, module: str, *, check: bool = False, cryptography: bool = True, **options: Any) -> dict[str, Any]:
        given = {"directory": str(self.directory), **options}
        if module in ("ca_authority", "ca_issue"):
            given.setdefault("passphrase_file", str(self.passphrase))
        arguments = {
            "ANSIBLE_MODULE_ARGS": {
                **given,
                "_ansible_check_mode": check,
                "_ansible_diff": True,
                "_ansible_no_log": True,
            }
        }
        done = subprocess.run(
            [sys.executable, "-c", RUN.format(module=module, blocked=not cryptography)],
            input=json.dumps(arguments),
            env={**os.environ, "PYTHONPATH": str(COLLECTIONS)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.stdout, done.stderr
        answer: dict[str, Any] = json.loads(done.stdout)
        assert done.returncode == (1 if answer.get("failed") else 0)
        return answer

    def create(self, **options: Any) -> dict[str, Any]:
        return self.run("ca_authority", name="fleet", generate_passphrase=True, **options)


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def request(identity: str = "robot-1", **changes: Any) -> dict[str, Any]:
    return certificate_request(identity, key=KEY, **{"lifetime": 86400, **changes})


def test_check_then_apply_then_nothing(host: Host) -> None:
    predicted = host.create(check=True)
    assert list(host.folder.iterdir()) == []
    created = host.create()
    for answer in (predicted, created):
        assert answer["changed"] is True
        assert answer["due"] == ["create the authority 'fleet'"]
    assert predicted["diff"] == created["diff"]
    assert predicted["authority"] == {"name": "fleet"}
    assert sorted(created["authority"]) == ["anchors", "chain", "issuing", "name", "root"]
    for check in (False, True):
        again = host.create(check=check)
        assert (again["changed"], again["due"], "diff" in again) == (False, [], False)
        assert again["authority"] == created["authority"]


def test_defaults_of_root_and_issuing(host: Host) -> None:
    created = host.create()["authority"]
    assert (created["root"]["key"], created["issuing"]["key"]) == ("ec-p384", "ec-p256")
    assert [created[part]["subject"] for part in ("root", "issuing")] == ["CN=fleet root CA", "CN=fleet issuing CA"]


def test_drift_of_modes_is_shown_and_repaired(host: Host) -> None:
    host.create()
    key = host.directory / "authorities/fleet/root.key"
    key.chmod(0o644)
    for check in (True, False):
        answer = host.create(check=check)
        assert answer["diff"] == {"before": {str(key): "mode 0644"}, "after": {str(key): "mode 0600"}}
    assert host.create()["changed"] is False


def test_without_the_library_check_mode_predicts_and_all_else_says_what_to_do(host: Host) -> None:
    predicted = host.create(check=True, cryptography=False)
    assert (predicted["changed"], predicted["cryptography"]) == (True, False)
    assert predicted["diff"] == host.create(check=True)["diff"]
    refused = host.create(cryptography=False)
    assert "cryptography (the role certfleet.tls.tls_ca installs it" in refused["msg"]
    assert refused["code"] == "missing_library"
    assert list(host.folder.iterdir()) == []
    host.create()
    there = host.create(check=True, cryptography=False)
    assert (there["changed"], there["cryptography"], len(there["warnings"])) == (False, False, 1)
    assert host.run("ca_issue", requests=[request()], cryptography=False)["code"] == "missing_library"
    assert host.run("ca_info", identities=["robot-1"], cryptography=False)["identities"] == {}
    assert host.run("ca_record", pins=[{"identity": "robot-1", "spki": "ab" * 32}], cryptography=False)["pinned"] == 1


def test_the_flow(host: Host) -> None:
    host.create()
    for number, issued in enumerate([True, False]):
        answer = host.run("ca_issue", requests=[request(), request("robot-2", csr="nonsense")])
        item = answer["certificates"]["robot-1/https"]
        assert (answer["changed"], item["issued"]) == (issued, issued)
        assert answer["certificates"]["robot-2/https"]["error"]["code"] == "bad_csr"
        outcome = {"identity": "robot-1", "name": "https", "outcome": "installed", "fingerprint": item["fingerprint"]}
        recorded = host.run("ca_record", outcomes=[outcome], pins=[{"identity": "robot-1", "spki": "ab" * 32}])
        assert (recorded["changed"], recorded["recorded"], recorded["pinned"]) == (True, 1, 1 - number)
    known = host.run("ca_info", identities=["robot-1", "robot-2"])
    assert list(known["identities"]) == ["robot-1"]
    assert [leaf["fingerprint"] for leaf in known["identities"]["robot-1"]["leaves"]] == [item["fingerprint"]]
    assert "identities" in host.run("ca_info")


def test_check_mode_of_issue_and_record_does_nothing(host: Host) -> None:
    host.create()
    assert host.run("ca_issue", check=True, requests=[request()])["certificates"] == {}
    pins = [{"identity": "robot-1", "spki": "ab" * 32}]
    assert host.run("ca_record", check=True, pins=pins)["changed"] is False
    assert host.run("ca_info", identities=["robot-1"])["identities"] == {}


@pytest.mark.parametrize(
    ("call", "code"),
    [
        (lambda host: host.run("ca_info"), "missing"),
        (lambda host: host.run("ca_record", pins=[{"identity": "r", "spki": "ab" * 32}]), "missing"),
        (lambda host: host.run("ca_issue", requests=[request()]), "missing"),
        (lambda host: host.run("ca_authority", name="fleet"), "passphrase"),
        (lambda host: host.run("ca_authority", name="fleet", check=True), "passphrase"),
        (lambda host: host.run("ca_authority", name="a/b"), "unknown_authority"),
        (lambda host: host.create(organization="a,b"), "bad_request"),
        (lambda host: host.create(root={"lifetime": "x"}), "bad_request"),
    ],
)
def test_failures_say_why_and_leave_nothing(host: Host, call: Callable[[Host], dict[str, Any]], code: str) -> None:
    answer = call(host)
    assert (answer["failed"], answer["code"]) == (True, code)
    assert len(answer["msg"]) > 40
    assert "Traceback" not in answer["msg"]
    assert list(host.folder.iterdir()) == []


def test_neither_key_nor_passphrase_leaves_the_host(host: Host) -> None:
    host.folder.joinpath("secret").mkdir()
    host.passphrase.write_text("planted-secret-4711\n")
    host.passphrase.chmod(0o600)
    said = json.dumps(
        [
            host.create(),
            host.create(),
            host.run("ca_issue", requests=[request()]),
            host.run("ca_info", identities=["robot-1"]),
        ]
    )
    assert "planted-secret-4711" not in said
    assert "PRIVATE KEY" not in said
    assert "BEGIN CERTIFICATE" in said
