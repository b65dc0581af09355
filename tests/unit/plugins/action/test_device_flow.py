# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""device_request and device_deploy within the flow, against an emulated robot."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.certfleet.tls.plugins.action.device_deploy import ActionModule as Deploy
from ansible_collections.certfleet.tls.plugins.action.device_request import ActionModule as Request
from ansible_collections.certfleet.tls.plugins.module_utils._x509.parse import parse_csr
from ansible_collections.certfleet.tls.plugins.plugin_utils._seal import open_sealed
from ansible_collections.certfleet.tls.tests.unit.emulated_devices import PASSWORD
from ansible_collections.certfleet.tls.tests.unit.tls_peers import TestAuthority

from .device_fleet import Fleet, codes, verdict


def test_from_the_built_in_certificate_to_a_proved_one_and_then_silence(fleet: Fleet) -> None:
    requested = fleet.request()
    entry = requested["certificates"][0]
    assert (entry["id"], entry["verdict"], codes(requested)) == ("robot-1/https", "issue", ["missing"])
    assert (requested["changed"], requested["due"], requested["absent"]) == (True, True, False)
    csr = parse_csr(entry["csr"])
    assert (csr.spki, csr.names, csr.key) == (entry["spki"], tuple(entry["names"]), "rsa-2048")
    assert fleet.requests() == []

    done = fleet.deploy(requested, fleet.issue(requested))
    assert done["problems"] == []
    after = done["certificates"][0]
    assert (after["outcome"], after["after"]["spki"]) == ("installed", entry["spki"])
    assert after["proof"]["ok"]
    assert done["changed"]
    assert fleet.requests() == [("POST", True, 201)]

    fleet.emulator.forget_log()
    again = fleet.request()
    assert (verdict(again), again["changed"], again["due"]) == ("none", False, False)
    assert again["certificates"][0]["current"]["fingerprint"] == after["after"]["fingerprint"]
    assert fleet.emulator.handshakes("robot-1", 1) == [True]
    assert fleet.requests() == []
    assert fleet.deploy(again, {})["certificates"] == []


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"subject_alt_names": ["DNS:other.plant.example"]}, "names_changed"),
        ({"key": {"type": "ec-p256"}}, "key_policy"),
        ({"profile": "server_client"}, "profile_changed"),
    ],
)
def test_drift_in_the_specification(fleet: Fleet, change: dict[str, Any], code: str) -> None:
    fleet.converge(fleet.spec(lifetime="2d"))
    requested = fleet.request(fleet.spec(**change), check=True)
    assert (verdict(requested), codes(requested)) == ("issue", [code])
    assert "csr" not in requested["certificates"][0]


def test_what_the_ledger_does_not_know_to_be_in_service_is_marked(fleet: Fleet) -> None:
    fleet.converge()
    leaf: dict[str, Any] = {"name": "https", "fingerprint": fleet.served().fingerprint, "state": "issued"}
    for known, is_unrecorded in ((leaf, True), ({**leaf, "installed": True}, False)):
        fleet.leaves = [known]
        (found,) = fleet.request()["certificates"]
        assert (found["verdict"], found.get("unrecorded", False)) == ("none", is_unrecorded)
        assert found["current"]["fingerprint"] == leaf["fingerprint"]


def test_a_leaf_in_its_renewal_window(fleet: Fleet) -> None:
    # The CA of these tests backdates by an hour: of such a short life most is over when it begins.
    fleet.converge(fleet.spec(lifetime="10m"))
    requested = fleet.request()
    assert (verdict(requested), codes(requested)) == ("issue", ["expiring"])


def test_back_on_its_own_certificate_it_is_repaired(fleet: Fleet) -> None:
    fleet.converge()
    fleet.emulator.control("robot-1", "factory")
    done = fleet.converge()
    assert [entry["outcome"] for entry in done["certificates"]] == ["installed"]


def test_a_chain_that_is_not_served_is_due(fleet: Fleet) -> None:
    fleet.converge(
        fleet.spec(
            api={
                "upload": {
                    "body": {"cert_pem_file": {"base64_pem": "certificate"}, "cert_key_file": {"base64_pem": "key"}}
                }
            }
        )
    )
    served = fleet.served()
    fleet.leaves = [{"fingerprint": served.fingerprint, "state": "issued"}]
    requested = fleet.request()
    assert (verdict(requested), codes(requested)) == ("issue", ["chain_changed"])


def test_an_impostor_is_refused_and_gets_nothing(fleet: Fleet) -> None:
    fleet.emulator.control("robot-1", "set", "impostor=on")
    requested = fleet.request()
    assert (verdict(requested), codes(requested)) == ("refuse", ["untrusted"])
    message = requested["certificates"][0]["reasons"][0]["message"]
    assert fleet.served().spki in message
    assert "playbooks/enrol.yml" in message
    assert "sealed" not in requested["certificates"][0]
    done = fleet.deploy(requested, {})
    assert [entry["outcome"] for entry in done["certificates"]] == ["refused"]
    assert "robot-1/https: refused" in done["problems"][0]
    assert fleet.requests() == []


def test_a_device_that_is_not_pinned_is_refused(fleet: Fleet) -> None:
    fleet.pins = []
    assert verdict(fleet.request()) == "refuse"


def test_the_peer_is_looked_at_again_before_the_upload(fleet: Fleet) -> None:
    requested = fleet.request()
    issued = fleet.issue(requested)
    fleet.emulator.control("robot-1", "set", "impostor=on")
    done = fleet.deploy(requested, issued)
    assert [entry["outcome"] for entry in done["certificates"]] == ["refused"]
    assert fleet.requests() == []


@pytest.mark.parametrize(
    "ca", [{}, {"available": False, "message": "the CA host 'ca' cannot be reached", "ca_host": "ca"}]
)
def test_without_a_ca_it_judges_from_the_served_leaf_and_says_so(fleet: Fleet, ca: dict[str, Any]) -> None:
    requested = fleet.request(ca=ca, check=True)
    assert (verdict(requested), codes(requested)) == ("issue", ["missing"])
    assert "judged without the CA" in requested["certificates"][0]["notes"][0]
    assert fleet.requests() == []
    fleet.converge()
    assert verdict(fleet.request(ca=ca)) == "none"


def test_without_its_authority_a_good_leaf_is_left_alone(fleet: Fleet, tmp_path: Path) -> None:
    broken = {**fleet.ca(), "authorities": {}, "problems": {"fleet": "Half a CA: the authority 'fleet' lacks a key."}}
    requested = fleet.request(ca=broken)
    assert (verdict(requested), codes(requested)) == ("issue", ["missing"])
    assert requested["certificates"][0]["notes"] == [f"judged without the CA: {broken['problems']['fleet']}"]
    fleet.converge()
    fleet.leaves = [{"fingerprint": fleet.served().fingerprint, "state": "issued"}]
    broken["identities"] = fleet.ca()["identities"]
    assert verdict(fleet.request(ca=broken)) == "none"
    # The anchors of somebody else, beside which it does not validate, say nothing of it.
    (tmp_path / "other.pem").write_text(TestAuthority("Other").anchors)
    assert verdict(fleet.request(fleet.spec(api={"ca_path": str(tmp_path / "other.pem")}), ca=broken)) == "none"


def test_a_device_that_is_away_is_absent(fleet: Fleet) -> None:
    fleet.emulator.control("robot-1", "set", "power=off")
    requested = fleet.request()
    assert not requested.get("failed")
    assert (requested["absent"], requested["due"], requested["certificates"]) == (True, False, [])
    assert "refuses connections" in requested["said"]


def test_no_https_while_http_answers(fleet: Fleet) -> None:
    fleet.emulator.control("robot-1", "set", "https=off")
    requested = fleet.request()
    assert requested["failed"]
    assert "robot-1, certificate 'https': no HTTPS: software below 2.10, or switched off" in requested["msg"]
    assert str(fleet.emulator.http_ports[0]) in requested["msg"]
    assert not any(login for _method, login, _status in fleet.requests())


def test_a_server_that_speaks_no_tls(fleet: Fleet) -> None:
    requested = fleet.request(fleet.spec(prove={"port": fleet.emulator.http_ports[0]}))
    assert requested["failed"]
    assert "answers, but not with TLS" in requested["msg"]


def test_a_ca_error_fails_this_certificate_alone(fleet: Fleet) -> None:
    requested = fleet.request(fleet.spec(), fleet.spec(name="other"))
    issued = fleet.issue(requested)
    issued["certificates"]["robot-1/https"] = {"error": {"code": "name_taken", "message": "robot-9 has this name"}}
    done = fleet.deploy(requested, issued)
    assert [entry["outcome"] for entry in done["certificates"]] == ["not_tried", "installed"]
    assert done["problems"] == []
    assert "robot-9 has this name" in done["warnings"][0]


def test_what_the_ca_signed_is_checked_before_the_upload(fleet: Fleet) -> None:
    requested = fleet.request()
    done = fleet.deploy(requested, fleet.issue(requested, names=("DNS:somebody-else.example",)))
    assert [entry["outcome"] for entry in done["certificates"]] == ["failed"]
    assert "clients connect to" in done["problems"][0]
    other = fleet.issue(fleet.request())
    done = fleet.deploy(requested, other)
    assert "private key does not belong" in done["problems"][0]
    assert fleet.requests() == []


def test_a_seal_of_another_run_or_certificate_opens_nothing(fleet: Fleet) -> None:
    requested = fleet.request()
    issued = fleet.issue(requested)
    requested["certificates"][0]["sealed"] = requested["certificates"][0]["sealed"][:-8] + "AAAAAAA="
    done = fleet.deploy(requested, issued)
    assert "not made by this run" in done["problems"][0]
    assert fleet.requests() == []


def test_wrong_login(fleet: Fleet) -> None:
    done = fleet.converge(fleet.spec(api={"password": "Wr0ng-passw0rd!"}))
    assert done["certificates"][0]["outcome"] == "failed"
    assert "refuses the login of user 'operator'" in done["problems"][0]
    assert "Wr0ng-passw0rd!" not in json.dumps(done)


def test_no_login_at_all(fleet: Fleet) -> None:
    done = fleet.converge(fleet.spec(api={"password": ""}))
    assert "no login is given" in done["problems"][0]
    assert fleet.requests() == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"subject_alt_names": ["robot-1"]}, "neither DNS nor IP"),
        ({"api": {"name": "mri"}}, "there is no API 'mri'"),
        ({"api": {"upload": {"pth": "/x"}}}, "has no field 'pth'"),
        ({"prove": {"port": "https"}}, "prove.port is 'https'"),
        ({"pair": {"certificate": "c.pem"}}, "pair: {certificate"),
        ({"pair": {"certificate": "/missing/c.pem", "key": "/missing/k.pem"}}, "'/missing/c.pem' cannot be read"),
        ({"api": {"ca_path": "/missing/ca.pem"}}, "'/missing/ca.pem' cannot be read"),
        ({"on_failure": "panic"}, "on_failure"),
    ],
)
def test_bad_input_names_host_item_and_field(fleet: Fleet, change: dict[str, Any], said: str) -> None:
    requested = fleet.request(fleet.spec(**change))
    assert requested["failed"]
    assert requested["msg"].startswith("robot-1, certificate 'https'")
    assert said in requested["msg"]
    assert PASSWORD not in requested["msg"]
    assert fleet.requests() == []


def test_files_of_a_host_are_not_for_devices(fleet: Fleet) -> None:
    spec = {"name": "https", "subject_alt_names": ["DNS:a.example"], "where": {"certificate": "/c", "key": "/k"}}
    assert "Use host_request" in fleet.request(spec)["msg"]


def test_two_certificates_of_one_name(fleet: Fleet) -> None:
    assert "two certificates have this name" in fleet.request(fleet.spec(), fleet.spec())["msg"]


@pytest.mark.parametrize("action", [Request, Deploy])
def test_delegation_is_refused(fleet: Fleet, action: Any) -> None:
    result = fleet.run(action, {"certificates": [fleet.spec()]}, delegate_to="localhost")
    assert result["failed"]
    assert "Remove delegate_to" in result["msg"]


def test_check_mode_deploys_nothing(fleet: Fleet) -> None:
    requested = fleet.request(check=True)
    assert fleet.deploy(requested, {}, check=True)["certificates"] == []
    assert fleet.requests() == []


def traces_of(secret: str) -> list[str]:
    """A text as such, and as base64 whatever stands before it."""
    traces = [secret, json.dumps(secret)[1:-1]]
    for offset in range(3):
        encoded = base64.b64encode(b"x" * offset + secret.encode()).decode()
        traces.append(encoded[4:-4] if offset else encoded[:-4])
    return traces


def test_no_result_holds_the_key_or_the_login(fleet: Fleet) -> None:
    requested = fleet.request()
    secret = open_sealed(requested["certificates"][0]["sealed"], context="robot-1/https")
    done = fleet.deploy(requested, fleet.issue(requested))
    assert done["problems"] == []
    fleet.emulator.control("robot-1", "set", "impostor=on")
    texts = [json.dumps(result) for result in (requested, done, fleet.request())]
    texts.append(fleet.emulator.log_text())
    key_lines = secret["key_pem"].splitlines()[1:-1]
    for trace in [*traces_of(PASSWORD), *traces_of(secret["key_pem"]), *key_lines, "PRIVATE KEY"]:
        assert not any(trace in text for text in texts)
