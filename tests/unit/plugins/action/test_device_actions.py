# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The actions for devices, run in this process as a worker runs them, against emulated devices."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible.parsing.vault import VaultLib, VaultSecret
from ansible.playbook.play_context import PlayContext
from ansible.playbook.task import Task
from ansible.plugins.loader import connection_loader

from ansible_collections.certfleet.tls.plugins.action.device_deploy import ActionModule as Deploy
from ansible_collections.certfleet.tls.plugins.action.device_request import ActionModule as Request
from ansible_collections.certfleet.tls.plugins.module_utils._probe.tls import look
from ansible_collections.certfleet.tls.plugins.module_utils._x509.parse import Leaf, parse_certificate, parse_csr
from ansible_collections.certfleet.tls.plugins.plugin_utils._seal import open_sealed
from ansible_collections.certfleet.tls.tests.unit.emulated_devices import PASSWORD, USERNAME, Emulator
from ansible_collections.certfleet.tls.tests.unit.tls_peers import TestAuthority, free_port

VAULT = VaultSecret(b"vault-passphrase")


class Fleet:
    """One robot, the CA that it gets its certificate from, and the four steps of the flow."""

    def __init__(self, emulator: Emulator) -> None:
        self.emulator = emulator
        self.authority = TestAuthority("Fleet")
        self.pins: list[str] = []
        self.leaves: list[dict[str, str]] = []

    @property
    def address(self) -> str:
        return self.emulator.address("robot-1")

    def served(self) -> Leaf:
        seen = look(self.address, self.emulator.https_port, anchors=None)
        assert seen.leaf is not None, seen.said
        return parse_certificate(seen.leaf)

    def ca(self) -> dict[str, Any]:
        authority = {"anchors": self.authority.anchors, "chain": self.authority.chain}
        identity = {"pins": self.pins, "leaves": self.leaves}
        return {
            "available": True,
            "ca_host": "ca",
            "authorities": {"fleet": authority},
            "identities": {"robot-1": identity},
        }

    def spec(self, **more: Any) -> dict[str, Any]:
        api: dict[str, Any] = {
            "name": "mir",
            "username": USERNAME,
            "password": PASSWORD,
            "http_ports": self.emulator.http_ports,
        }
        api.update({"wait": {"timeout": 0.6, "interval": 0.05}}, **more.pop("api", {}))
        prove = {"address": self.address, "port": self.emulator.https_port, "hold": 0.1, **more.pop("prove", {})}
        names = [f"IP:{self.address}", "DNS:robot-1.plant.example"]
        return {
            "name": "https",
            "subject_alt_names": names,
            "common_name": "robot-1",
            "api": api,
            "prove": prove,
            **more,
        }

    def run(
        self,
        action: Any,
        args: dict[str, Any],
        *,
        check: bool = False,
        delegate_to: str | None = None,
        **variables: Any,
    ) -> dict[str, Any]:
        task = Task()
        task.action, task.args, task.check_mode, task.delegate_to = f"certfleet.tls.{action}", args, check, delegate_to
        loader = DataLoader()
        loader.set_vault_secrets([("default", VAULT)])
        plugin = action(
            task=task,
            connection=connection_loader.get("local", PlayContext(), "/dev/null"),
            play_context=PlayContext(),
            loader=loader,
            templar=None,
            shared_loader_obj=None,
        )
        return dict(plugin.run(task_vars={"inventory_hostname": "robot-1", **variables}))

    def request(self, *specs: dict[str, Any], ca: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
        args = {"certificates": list(specs) or [self.spec()]}
        return self.run(Request, args, __tls_certificate_ca=self.ca() if ca is None else ca, **more)

    def issue(self, requested: dict[str, Any], *, names: tuple[str, ...] | None = None) -> dict[str, Any]:
        certificates = {}
        for entry in requested["certificates"]:
            if entry.get("csr"):
                csr, now = parse_csr(entry["csr"]), int(time.time())
                pem = self.authority.sign(
                    csr.public_key,
                    names or tuple(entry["names"]),
                    not_before=now - 3600,
                    not_after=now + entry["lifetime"],
                    common_name=entry["common_name"],
                )
                certificates[entry["id"]] = {"certificate": pem, "authority": "fleet", "issued": True}
        return {"chains": {"fleet": self.authority.chain}, "certificates": certificates}

    def deploy(self, requested: dict[str, Any], issued: dict[str, Any], **more: Any) -> dict[str, Any]:
        variables: dict[str, Any] = {
            "__tls_certificate_ca": self.ca(),
            "__tls_certificate_request": requested,
            "__tls_certificate_issue": issued,
        }
        return self.run(Deploy, {}, **variables, **more)

    def converge(self, *specs: dict[str, Any]) -> dict[str, Any]:
        requested = self.request(*specs)
        return self.deploy(requested, self.issue(requested))

    def requests(self) -> list[tuple[str, bool, int]]:
        log = self.emulator.log("request", "robot-1")
        return [(entry["method"], entry["authorization"], entry["status"]) for entry in log]


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    with Emulator(tmp_path_factory.mktemp("fleet"), {"name": "robot-1"}) as running:
        yield running


@pytest.fixture
def fleet(emulator: Emulator) -> Fleet:
    """A robot as it left the factory, and a CA that has pinned its key."""
    emulator.control("robot-1", "factory")
    fleet = Fleet(emulator)
    fleet.pins = [fleet.served().spki]
    emulator.forget_log()
    return fleet


def codes(result: dict[str, Any]) -> list[str]:
    return [reason["code"] for entry in result["certificates"] for reason in entry["reasons"]]


def verdict(result: dict[str, Any]) -> str:
    assert result["certificates"], result
    found = str(result["certificates"][0]["verdict"])
    assert bool(result.get("failed")) == (found == "refuse"), result
    return found


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
        ({"renew_before": "3d"}, "expiring"),
        ({"key": {"type": "ec-p256"}}, "key_policy"),
        ({"profile": "server_client"}, "profile_changed"),
    ],
)
def test_drift_in_the_specification(fleet: Fleet, change: dict[str, Any], code: str) -> None:
    fleet.converge(fleet.spec(lifetime="2d"))
    requested = fleet.request(fleet.spec(**change), check=True)
    assert (verdict(requested), codes(requested)) == ("issue", [code])
    assert "csr" not in requested["certificates"][0]


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
    assert [entry["outcome"] for entry in done["certificates"]] == ["failed", "installed"]
    assert "robot-9 has this name" in done["problems"][0]


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


def files_of(folder: Path, fleet: Fleet, *, vaulted: bool = False, **more: Any) -> dict[str, str]:
    """A user's own pair in files, and the CA that signed it."""
    company = TestAuthority("Company")
    pair = company.pair(f"IP:{fleet.address}", **more)
    texts = {"certificate": pair.certificate + pair.chain, "key": pair.key, "ca": company.anchors}
    paths = {}
    for name, text in texts.items():
        paths[name] = str(folder / f"{name}.pem")
        content = VaultLib().encrypt(text, secret=VAULT) if vaulted and name == "key" else text.encode()
        Path(paths[name]).write_bytes(content)
    return paths


@pytest.mark.parametrize("vaulted", [False, True])
def test_a_pair_that_the_user_brings(fleet: Fleet, tmp_path: Path, vaulted: bool) -> None:
    paths = files_of(tmp_path, fleet, vaulted=vaulted)
    pair = {"certificate": paths["certificate"], "key": paths["key"]}
    spec = fleet.spec(pair=pair, api={"ca_path": paths["ca"], "pinned_spki": fleet.pins})
    requested = fleet.request(spec, ca={})
    assert (verdict(requested), codes(requested)) == ("install", ["not_served"])
    assert "PRIVATE KEY" not in json.dumps(requested)
    done = fleet.deploy(requested, {})
    assert [entry["outcome"] for entry in done["certificates"]] == ["installed"]
    assert verdict(fleet.request(spec, ca={})) == "none"
    assert len(fleet.requests()) == 1


def test_a_pair_for_a_stranger_is_refused(fleet: Fleet, tmp_path: Path) -> None:
    paths = files_of(tmp_path, fleet)
    fleet.pins = []
    spec = fleet.spec(pair={"certificate": paths["certificate"], "key": paths["key"]}, api={"ca_path": paths["ca"]})
    assert verdict(fleet.request(spec, ca={})) == "refuse"


def test_a_pair_whose_ca_nobody_names(fleet: Fleet, tmp_path: Path) -> None:
    paths = files_of(tmp_path, fleet)
    spec = fleet.spec(pair={"certificate": paths["certificate"], "key": paths["key"]})
    assert "Set api.ca_path" in fleet.request(spec, ca={})["msg"]


def test_a_pair_that_is_about_to_end_is_noted(fleet: Fleet, tmp_path: Path) -> None:
    paths = files_of(tmp_path, fleet, not_before=-80, not_after=5)
    spec = fleet.spec(
        pair={"certificate": paths["certificate"], "key": paths["key"]},
        api={"ca_path": paths["ca"], "pinned_spki": fleet.pins},
    )
    assert "bring a new one" in fleet.request(spec, ca={})["certificates"][0]["notes"][0]


class Alone:
    """device_deploy without the flow."""

    def __init__(self, fleet: Fleet, folder: Path) -> None:
        self.fleet = fleet
        self.paths = files_of(folder, fleet)

    def run(self, *, check: bool = False, **more: Any) -> dict[str, Any]:
        args = {
            "address": self.fleet.address,
            "port": self.fleet.emulator.https_port,
            "username": USERNAME,
            "password": PASSWORD,
            "certificate": self.paths["certificate"],
            "key": self.paths["key"],
            "ca_path": self.paths["ca"],
            "pinned_spki": self.fleet.pins,
            "hold": 0.1,
            "timeout": 0.6,
            "api_options": {"wait": {"interval": 0.05}, "http_ports": self.fleet.emulator.http_ports},
            **more,
        }
        given = {name: value for name, value in args.items() if value is not None}
        return self.fleet.run(Deploy, given, check=check)


@pytest.fixture
def alone(fleet: Fleet, tmp_path: Path) -> Alone:
    return Alone(fleet, tmp_path)


def test_alone_check_apply_again_drift_repair_remove(alone: Alone) -> None:
    fleet = alone.fleet
    built_in = fleet.served()
    predicted = alone.run(check=True)
    assert (predicted["changed"], predicted["outcome"], fleet.requests()) == (True, "installed", [])
    done = alone.run()
    assert (done["changed"], done["outcome"], done["before"]["spki"]) == (True, "installed", built_in.spki)
    assert done["diff"]["after"] == predicted["diff"]["after"]
    assert "BEGIN" not in json.dumps(done["diff"])
    again = alone.run()
    assert (again["changed"], again["outcome"]) == (False, "unchanged")
    assert alone.run(check=True)["changed"] is False
    fleet.emulator.control("robot-1", "factory")
    assert alone.run()["changed"]

    assert alone.run(state="absent", check=True)["outcome"] == "removed"
    removed = alone.run(state="absent")
    assert (removed["changed"], removed["outcome"], removed["after"]["spki"]) == (True, "removed", built_in.spki)
    assert alone.run(state="absent", check=True)["changed"] is False
    again = alone.run(state="absent")
    assert (again["changed"], again["outcome"]) == (False, "unchanged")


def test_alone_it_fails_when_the_pair_is_not_served(alone: Alone) -> None:
    alone.fleet.emulator.control("robot-1", "set", "upload=ignore")
    done = alone.run()
    assert (done["failed"], done["changed"], done["outcome"]) == (True, False, "failed")
    assert done["msg"].startswith(f"robot-1, {alone.fleet.address}: failed: ")


def test_alone_a_stranger_is_refused(alone: Alone) -> None:
    for state in ("present", "absent"):
        done = alone.run(pinned_spki=[], state=state)
        assert (done["failed"], done["outcome"]) == (True, "refused")
    assert alone.fleet.requests() == []


def test_alone_a_device_that_is_away_fails(alone: Alone) -> None:
    done = alone.run(port=free_port(), api_options={"http_ports": [free_port()]})
    assert (done["failed"], done["outcome"]) == (True, "absent")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"key": None}, "needs certificate and key"),
        ({"ca_path": None}, "Set api.ca_path"),
        ({"state": "absent", "ca_path": None, "pinned_spki": None}, "Give ca_path or pinned_spki"),
        ({"api_options": {"password": "x"}}, "api_options holds password"),
        ({"api": "camera"}, "there is no API 'camera'"),
    ],
)
def test_alone_bad_options_are_clear_errors(alone: Alone, change: dict[str, Any], said: str) -> None:
    done = alone.run(**change)
    assert done["failed"]
    assert said in done["msg"]
    assert alone.fleet.requests() == []
