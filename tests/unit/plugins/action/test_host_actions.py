# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The host's action plugins and modules as ansible-playbook runs them, on this machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.certfleet.tls.plugins.module_utils._x509.parse import parse_csr
from ansible_collections.certfleet.tls.tests.unit.tls_peers import DAY, TestAuthority, free_port

ROOT = Path(__file__).resolve().parents[4]


@dataclass
class Run:
    """What a playbook did."""

    rc: int
    output: str
    results: dict[str, dict[str, Any]]


class Site:
    """A machine with several hosts of an inventory on it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.authority = TestAuthority()
        authority = {"anchors": self.authority.anchors, "chain": self.authority.chain}
        self.ca = {"available": True, "ca_host": "ca", "authorities": {"fleet": authority}, "identities": {}}

    def wanted(self, host: str, **changes: Any) -> list[dict[str, Any]]:
        """A certificate of a host, in a folder of its own."""
        folder = self.folder / host
        folder.mkdir(exist_ok=True)
        where = {"certificate": f"{folder}/cert.pem", "key": f"{folder}/key.pem"}
        common = {"name": "https", "subject_alt_names": ["DNS:a.example"], "watchdog": {"method": "none"}}
        return [{**common, "where": where, **changes}]

    def run(self, module: str, hosts: dict[str, dict[str, Any]], *options: str, **arguments: Any) -> Run:
        """Run one task on all hosts; O(hosts): their variables."""
        for host, variables in hosts.items():
            variables.setdefault("ansible_connection", "local")
            variables.setdefault("ansible_python_interpreter", sys.executable)
            (self.folder / f"{host}.json").unlink(missing_ok=True)
        inventory = self.folder / "hosts.yml"
        inventory.write_text(yaml.safe_dump({"all": {"hosts": hosts}}))
        here = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
        keep = {
            "content": "{{ result | to_json }}",
            "dest": f"{self.folder}/{{{{ inventory_hostname }}}}.json",
            "mode": "0600",
        }
        task = {
            f"certfleet.tls.{module}": arguments,
            "register": "result",
            "check_mode": "{{ checked | default(omit) }}",
        }
        written = {
            "ansible.builtin.copy": keep,
            "check_mode": False,
            "diff": False,
            "vars": here,
            "delegate_to": "localhost",
        }
        tasks = [{"block": [task], "always": [written]}]
        play = self.folder / "play.yml"
        play.write_text(yaml.safe_dump([{"hosts": "all", "gather_facts": False, "tasks": tasks}]))
        environment = {**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1"}
        environment["ANSIBLE_LOCAL_TEMP"] = environment["ANSIBLE_REMOTE_TEMP"] = str(self.folder / "ansible")
        command = [sys.executable, "-m", "ansible", "playbook", "-i", str(inventory), str(play), *options]
        done = subprocess.run(
            command, cwd=self.folder, env=environment, capture_output=True, text=True, timeout=120, check=False
        )
        found = {host: self.folder / f"{host}.json" for host in hosts}
        results = {host: json.loads(path.read_text()) for host, path in found.items() if path.exists()}
        assert results, done.stdout + done.stderr
        return Run(done.returncode, done.stdout + done.stderr, results)

    def sign(self, request: dict[str, Any]) -> dict[str, Any]:
        """What ca_issue would answer to a request's result."""
        certificates, now = {}, int(time.time())
        for entry in request["certificates"]:
            csr = parse_csr(entry["csr"])
            assert (csr.spki, list(csr.names)) == (entry["spki"], entry["names"])
            leaf = self.authority.sign(csr.public_key, csr.names, not_before=now - DAY, not_after=now + 90 * DAY)
            certificates[entry["id"]] = {"certificate": leaf, "authority": "fleet"}
        return {"certificates": certificates, "chains": {"fleet": self.authority.chain}}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    return Site(tmp_path_factory.mktemp("site"))


def unreachable() -> dict[str, Any]:
    """Variables of a host that does not answer."""
    return {"ansible_connection": "ssh", "ansible_host": "127.0.0.1", "ansible_port": free_port()}


def private_keys(folder: Path) -> list[str]:
    """The middle of each private key under a folder."""
    return [path.read_text().splitlines()[1] for path in folder.rglob("*.pem") if "PRIVATE" in path.read_text()]


def test_from_nothing_to_a_pair_in_place_and_then_nothing_is_due(site: Site) -> None:
    hosts = {"gateway": {"tls_identity": "gw-1"}}
    wanted = site.wanted("gateway")
    predicted = site.run("host_request", hosts, "--check", "--diff", certificates=wanted)
    (entry,) = predicted.results["gateway"]["certificates"]
    assert (entry["id"], entry["verdict"], entry["spki"]) == ("gw-1/https", "issue", None)
    assert "judged without the CA" in entry["notes"][0]
    assert "missing: there is no certificate yet" in predicted.output
    assert list((site.folder / "gateway").iterdir()) == []

    request = site.run("host_request", hosts, "-vvvv", certificates=wanted, ca=site.ca)
    entries = request.results["gateway"]["certificates"]
    assert (request.results["gateway"]["due"], request.results["gateway"]["changed"]) == (True, True)
    issued = site.sign(request.results["gateway"])
    deploy = site.run("host_deploy", hosts, "-vvvv", certificates=entries, issued=issued, ca=site.ca)
    assert deploy.results["gateway"]["problems"] == []
    (outcome,) = deploy.results["gateway"]["certificates"]
    assert (outcome["id"], outcome["outcome"], outcome["before"]) == ("gw-1/https", "installed", None)
    assert outcome["after"]["names"] == ["DNS:a.example"]

    again = site.run("host_request", hosts, "-vvv", certificates=wanted, ca=site.ca)
    assert (again.results["gateway"]["due"], again.results["gateway"]["changed"]) == (False, False)
    modules = [line for line in again.output.splitlines() if "Using module file" in line and "host_request" in line]
    assert len(modules) == 1
    keys = set(private_keys(site.folder / "gateway"))
    assert len(keys) == 1
    assert not any(key in run.output for key in keys for run in (request, deploy, again))


def test_each_host_fails_or_is_absent_by_itself(site: Site) -> None:
    hosts: dict[str, dict[str, Any]] = {
        "fine": {},
        "folderless": {},
        "wrong": {},
        "gone": unreachable(),
    }
    for host, variables in hosts.items():
        variables["wanted"] = site.wanted(host)
    (site.folder / "folderless").rmdir()
    hosts["wrong"]["wanted"][0]["subject_alt_names"] = ["URI:urn:x"]
    run = site.run("host_request", hosts, certificates="{{ wanted }}", ca=site.ca)
    fine, folderless, wrong, gone = (run.results[host] for host in hosts)
    assert (fine["due"], fine["certificates"][0]["verdict"]) == (True, "issue")
    assert folderless["failed"]
    assert "folderless, folderless/https: the folder" in folderless["msg"]
    assert "never created silently" in folderless["msg"]
    assert not (site.folder / "folderless").exists()
    assert wrong["failed"]
    assert "wrong, certificate 'https': the name 'URI:urn:x' is neither DNS nor IP" in wrong["msg"]
    assert (gone["absent"], gone["changed"], gone.get("failed", False)) == (True, False, False)
    assert "gone cannot be reached" in gone["said"]
    assert "unreachable=0" in run.output


def test_what_cannot_be_deployed_is_an_outcome_and_not_a_failure(site: Site) -> None:
    wanted = site.wanted("lost")
    request = site.run("host_request", {"lost": {}}, certificates=wanted, ca=site.ca)
    entries = request.results["lost"]["certificates"]
    issued = site.sign(request.results["lost"])
    error = {"certificates": {"lost/https": {"error": {"code": "ca_unreachable", "message": "no answer"}}}}
    hosts: dict[str, dict[str, Any]] = {
        "lost": {"answer": issued, **unreachable()},
        "refused": {"answer": error},
        "asked": {"answer": issued, "checked": True},
    }
    run = site.run("host_deploy", hosts, certificates=entries, issued="{{ answer }}", ca=site.ca)
    expected = {"lost": ("failed", "the connection to the host was lost"), "refused": ("not_tried", "no answer")}
    for host, (ending, said) in expected.items():
        (outcome,) = run.results[host]["certificates"]
        assert (outcome["outcome"], run.results[host].get("failed", False)) == (ending, False)
        assert said in outcome["said"]
    assert "the connection to the host was lost" in run.results["lost"]["problems"][0]
    # The CA's refusal is no failure of the host, but the operator hears of it.
    assert run.results["refused"]["problems"] == []
    assert "[WARNING]: lost/https: not_tried: " in run.output.replace("\n", " ")
    assert (run.results["asked"]["certificates"], run.results["asked"]["changed"]) == ([], False)
    assert sorted(path.name for path in (site.folder / "lost").iterdir()) == [".certfleet-https"]
    assert run.rc == 0


def test_what_others_say_decides_over_the_previous_pair(site: Site) -> None:
    hosts: dict[str, dict[str, Any]] = {name: {} for name in ("accepted", "disliked", "unseen", "first")}
    factory = TestAuthority("Factory")
    for host, variables in hosts.items():
        variables["wanted"] = site.wanted(host)
        if host != "first":
            pair = factory.pair("DNS:a.example")
            (site.folder / host / "cert.pem").write_text(pair.certificate)
            (site.folder / host / "key.pem").write_text(pair.key)
    request = site.run("host_request", hosts, certificates="{{ wanted }}", ca=site.ca)
    for host, variables in hosts.items():
        variables["__tls_certificate_request"] = request.results[host]
        variables["answer"] = site.sign(request.results[host])
        variables["tls_certificate_keeps_previous"] = "{{ true }}"
    deploy = site.run("host_deploy", hosts, issued="{{ answer }}", ca=site.ca)
    kept = {host: result["certificates"][0]["unconfirmed"] for host, result in deploy.results.items()}
    assert kept == {"accepted": True, "disliked": True, "unseen": True, "first": False}

    new = {}
    for host, variables in hosts.items():
        variables["__tls_certificate_deploy"] = deploy.results[host]
        (entry,) = deploy.results[host]["certificates"]
        new[host] = entry["after"]["fingerprint"]
        seen = {"name": f"{host}/https", "expected": new[host], "fingerprint": new[host]}
        seen.update(trusted=host == "accepted", said="no such anchor", failure="chain")
        looks = [
            {"item": "client", "reachable": False} if host == "unseen" else {"item": "client", "endpoints": [seen]}
        ]
        variables["__tls_certificate_look"] = {"results": looks}
    done = site.run("host_deploy", hosts, step="confirm", ca=site.ca)
    entries = {host: result["certificates"][0] for host, result in done.results.items()}
    outcomes = {host: entry["outcome"] for host, entry in entries.items()}
    expected = {"accepted": "installed", "disliked": "rolled_back", "unseen": "installed", "first": "kept"}
    assert outcomes == expected
    assert {host for host, result in done.results.items() if result["changed"]} == {"disliked"}
    assert [entries[host]["unconfirmed"] for host in expected] == [False, False, True, False]
    assert [bool(entries[host].get("revised")) for host in expected] == [False, True, False, True]
    assert "client accepted it as well" in entries["accepted"]["said"].lower()
    assert "Not confirmed yet: No other machine could look at it" in entries["unseen"]["said"]
    assert "no such anchor" in done.results["disliked"]["problems"][0]
    assert entries["disliked"]["before"] == entries["disliked"]["after"]
    assert entries["disliked"]["after"]["fingerprint"] != new["disliked"]
    store = {host: {path.name for path in (site.folder / host / ".certfleet-https").iterdir()} for host in hosts}
    assert store["accepted"] == store["first"] == {"1", "current"}
    assert store["disliked"] == {"0", "current", "staged"}
    assert store["unseen"] == {"0", "1", "current", "proved"}

    # An earlier run's pair that nobody has looked at waits for the next run.
    again = site.run("host_request", {"unseen": hosts["unseen"]}, certificates="{{ wanted }}", ca=site.ca)
    (entry,) = again.results["unseen"]["certificates"]
    assert (entry["verdict"], entry["unconfirmed"]) == ("none", True)
    hosts["unseen"]["__tls_certificate_request"] = again.results["unseen"]
    del hosts["unseen"]["__tls_certificate_deploy"]
    seen = {"name": "unseen/https", "expected": new["unseen"], "fingerprint": "00", "trusted": True}
    hosts["unseen"]["__tls_certificate_look"] = {"results": [{"item": "client", "endpoints": [seen]}]}
    late = site.run("host_deploy", {"unseen": hosts["unseen"]}, step="confirm", ca=site.ca)
    (entry,) = late.results["unseen"]["certificates"]
    assert (entry["outcome"], entry["revised"], late.results["unseen"]["changed"]) == ("rolled_back", True, True)


def test_trust_without_a_ca_is_predicted_or_said(site: Site) -> None:
    down = {"available": False, "message": "the CA host 'ca' cannot be reached", "authorities": {}}
    hosts: dict[str, dict[str, Any]] = {
        "predicted": {"answer": down, "checked": True},
        "said": {"answer": down},
        "gone": {"answer": down, "want": "absent", **unreachable()},
        "bare": {"answer": {"available": True, "authorities": {}}},
        "broken": {
            "answer": {"available": True, "authorities": {}, "problems": {"fleet": "Half a CA: the key is lost"}}
        },
    }
    run = site.run("host_trust", hosts, ca="{{ answer }}", state="{{ want | default('present') }}")
    predicted, said, gone, bare, broken = (run.results[host] for host in hosts)
    assert (predicted["changed"], predicted["absent"]) == (True, False)
    assert said["changed"] is False
    assert "said: the anchors could not be compared: the CA host 'ca' cannot be reached" in run.output.replace(
        "\n", " "
    )
    # Removing needs no CA, so this one was really asked.
    assert (gone["absent"], gone["changed"]) == (True, False)
    assert bare["failed"]
    assert "has no authority 'fleet'" in bare["msg"]
    assert (broken["changed"], broken.get("failed", False)) == (False, False)
    assert broken["warnings"] == ["broken: the anchors of 'fleet' could not be compared: Half a CA: the key is lost"]
