# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A robot, the CA that it gets its certificate from, and the steps of the flow, run in this process as a worker runs them."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from ansible.parsing.dataloader import DataLoader
from ansible.parsing.vault import VaultLib, VaultSecret
from ansible.playbook.play_context import PlayContext
from ansible.playbook.task import Task
from ansible.plugins.loader import connection_loader

from ansible_collections.certfleet.tls.plugins.action.device_deploy import ActionModule as Deploy
from ansible_collections.certfleet.tls.plugins.action.device_request import ActionModule as Request
from ansible_collections.certfleet.tls.plugins.module_utils._probe.tls import look
from ansible_collections.certfleet.tls.plugins.module_utils._x509.parse import Leaf, parse_certificate, parse_csr
from ansible_collections.certfleet.tls.tests.unit.emulated_devices import PASSWORD, USERNAME, Emulator
from ansible_collections.certfleet.tls.tests.unit.tls_peers import TestAuthority

VAULT = VaultSecret(b"vault-passphrase")


def run_action(
    action: Any,
    args: dict[str, Any],
    *,
    check: bool = False,
    delegate_to: str | None = None,
    **variables: Any,
) -> dict[str, Any]:
    """One task on robot-1, as a worker runs it."""
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


class Fleet:
    """One robot, the CA that it gets its certificate from, and the four steps of the flow."""

    def __init__(self, emulator: Emulator) -> None:
        self.emulator = emulator
        self.authority = TestAuthority("Fleet")
        self.pins: list[str] = []
        self.leaves: list[dict[str, Any]] = []
        self.failures: dict[str, Any] = {}

    @property
    def address(self) -> str:
        return self.emulator.address("robot-1")

    def served(self) -> Leaf:
        seen = look(self.address, self.emulator.https_port, anchors=None)
        assert seen.leaf is not None, seen.said
        return parse_certificate(seen.leaf)

    def ca(self) -> dict[str, Any]:
        authority = {"anchors": self.authority.anchors, "chain": self.authority.chain}
        identity = {"pins": self.pins, "leaves": self.leaves, "failures": self.failures}
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
        return run_action(action, args, check=check, delegate_to=delegate_to, **variables)

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
        """What the robot was asked, but for what time it is (see clock_was_read)."""
        log = [entry for entry in self.emulator.log("request", "robot-1") if not is_clock_request(entry)]
        return [(entry["method"], entry["authorization"], entry["status"]) for entry in log]

    def clock_was_read(self) -> int:
        """How often the robot was asked, without a login, for no more than what time it is."""
        return sum(map(is_clock_request, self.emulator.log("request", "robot-1")))


def is_clock_request(entry: dict[str, Any]) -> bool:
    """A request for no resource of the API."""
    return (entry["method"], entry["path"], entry["authorization"]) == ("GET", "/", False)


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


def codes(result: dict[str, Any]) -> list[str]:
    return [reason["code"] for entry in result["certificates"] for reason in entry["reasons"]]


def verdict(result: dict[str, Any]) -> str:
    assert result["certificates"], result
    found = str(result["certificates"][0]["verdict"])
    assert bool(result.get("failed")) == (found == "refuse"), result
    return found
