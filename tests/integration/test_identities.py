# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Machines are renamed, replaced and decommissioned by their playbooks, and the ledger answers people."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest

from .machines import Lab, on
from .own_ca import OwnCa, ask


@pytest.fixture(scope="module")
def fleet(lab: Lab) -> Iterator[OwnCa]:
    """A CA with a certificate each for robot-1, robot-2 and robot-3."""
    assert lab.info["hosts"]
    ca = OwnCa("identities")
    made = ca.run("ca")
    assert made.rc == 0, made.output
    ca.issue(ask("robot-1"), ask("robot-2"), ask("robot-3"))
    yield ca
    ca.remove()


def holders(ca: OwnCa, state: str) -> set[str]:
    return {row[0] for row in ca.sql("SELECT identity FROM certificates WHERE identity != '' AND state = ?", state)}


def test_rename(fleet: OwnCa) -> None:
    options = {"tls_rename_identity": "robot-1", "tls_rename_to": "line-3"}
    predicted = fleet.run("rename", "--check", "--diff", **options)
    assert (predicted.rc, predicted.changed) == (0, {"ca": 1})
    assert re.search(r'^\+ *"?identity"?: "?line-3', predicted.output, re.MULTILINE), predicted.output
    assert holders(fleet, "issued") == {"robot-1", "robot-2", "robot-3"}
    assert fleet.run("rename", **options).changed == {"ca": 1}
    assert holders(fleet, "issued") == {"line-3", "robot-2", "robot-3"}
    assert fleet.run("rename", **options).changed == {}
    taken = fleet.run("rename", tls_rename_identity="robot-2", tls_rename_to="line-3")
    assert taken.failed == {"ca"}
    assert "the ledger knows a machine of that name" in " ".join(taken.output.split())


def test_replace_and_decommission(fleet: OwnCa) -> None:
    replaced = fleet.run("replace", tls_replace_identity="robot-2")
    assert (replaced.rc, "https of fleet, serial" in replaced.output) == (0, True), replaced.output
    gone = fleet.run("decommission", tls_decommission_identity="robot-3", tls_decommission_reason="key_compromise")
    assert gone.rc == 0, gone.output
    assert holders(fleet, "revoked") == {"robot-2", "robot-3"}
    reasons = fleet.sql(
        "SELECT identity, revocation_reason FROM certificates WHERE state = 'revoked' ORDER BY identity"
    )
    assert reasons == [["robot-2", "superseded"], ["robot-3", "key_compromise"]]
    # Both are on the CRL by then, as openssl reads it.
    listed = on("ca", "openssl", "crl", "-in", f"{fleet.directory}/authorities/fleet/crl.pem", "-noout", "-text")
    assert listed.count("Serial Number: ") == 2
    # The new machine gets a certificate, and another may take the name of the one that is gone.
    issued = fleet.issue(ask("robot-2"), ask("robot-9", names=["DNS:robot-3.plant.example"]))
    assert [item["state"] for item in issued.values()] == ["issued", "issued"]
    # It is back: without this act nothing would be issued for it.
    assert fleet.run("readmit", tls_readmit_identity="robot-3").changed == {"ca": 1}
    assert fleet.run("readmit", tls_readmit_identity="robot-3").changed == {}
    assert fleet.issue(ask("robot-3", names=["DNS:back.plant.example"]))["robot-3"]["state"] == "issued"
    slip = fleet.run("decommission", tls_decommission_identity="robot-33")
    assert slip.failed == {"ca"}
    assert "knows no machine 'robot-33'" in " ".join(slip.output.split())


def test_inquire(fleet: OwnCa) -> None:
    nothing = fleet.run("inquire")
    assert (nothing.rc, nothing.changed) == (0, {}), nothing.output
    assert "certificates: 0, refusals: 0" in nothing.output
    export = f"{fleet.folder}/all.jsonl"
    found = fleet.run(
        "inquire", tls_inquire="issued", tls_inquire_names=["DNS:robot-3.plant.example"], tls_inquire_export=export
    )
    said = " ".join(found.output.split())
    assert "robot-9/https | fleet server | DNS:robot-3.plant.example | issued, until" in said
    assert "certificates: 1, refusals: 0" in said
    assert found.changed == {"ca": 1}
    lines = [json.loads(line) for line in on("ca", "cat", export).splitlines()]
    leaves = [line for line in lines if line["kind"] == "certificate" and line["identity"]]
    assert len(leaves) == fleet.sql("SELECT count(*) FROM certificates WHERE identity != ''")[0][0]
    assert {line["act"] for line in lines if line["kind"] == "act"} >= {"renamed", "replaced", "decommissioned"}
    assert on("ca", "stat", "-c", "%a %U", export).split() == ["600", "root"]


def test_without_a_ca_the_question_fails(fleet: OwnCa) -> None:
    run = fleet.run("inquire", tls_ca_directory=f"{fleet.folder}/none")
    assert run.failed == {"ca"}
    assert "There is no CA yet" in " ".join(run.output.split())
