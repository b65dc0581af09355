# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Emulated devices in a process of their own, and ways to speak to them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from ansible_collections.certfleet.tls.plugins.module_utils._device.acquaintance import Acquaintance, Target
from ansible_collections.certfleet.tls.plugins.module_utils._device.delivery import Access, Wish
from ansible_collections.certfleet.tls.plugins.module_utils._device.description import find_api
from ansible_collections.certfleet.tls.plugins.module_utils._device.login import Credentials
from ansible_collections.certfleet.tls.plugins.module_utils._device.pair import read_pair
from ansible_collections.certfleet.tls.plugins.module_utils._probe.tls import look
from ansible_collections.certfleet.tls.plugins.module_utils._x509.judge import Known
from ansible_collections.certfleet.tls.plugins.module_utils._x509.parse import Leaf, parse_certificate
from ansible_collections.certfleet.tls.tests.unit.emulated_devices import PASSWORD, USERNAME, Emulator
from ansible_collections.certfleet.tls.tests.unit.tls_peers import Pair, TestAuthority

APPLIANCE = {
    "base_path": "/rest/1",
    "login": {"scheme": "bearer"},
    "upload": {
        "method": "PUT",
        "path": "/system/tls",
        "body": {"tls": {"certificate": {"pem": "fullchain"}, "private_key": {"pem": "key"}}},
        "accepted": [202],
    },
    "remove": {"path": "/system/tls", "absent": [410]},
    "errors": ["errors[0].detail"],
    "wait": {"timeout": 0.6, "interval": 0.05},
}


class Plant:
    """A robot and an appliance, the fleet's CA, and what the ledger knows."""

    def __init__(self, emulator: Emulator, authority: TestAuthority) -> None:
        self.emulator, self.authority = emulator, authority
        self.pins: dict[str, str] = {}

    def target(self, device: str = "robot-1", **more: Any) -> Target:
        address = self.emulator.address(device)
        return Target(**{"address": address, "port": self.emulator.https_port, "server_name": address, **more})

    def served(self, device: str = "robot-1") -> Leaf:
        seen = look(self.emulator.address(device), self.emulator.https_port, anchors=None)
        assert seen.leaf is not None, seen.said
        return parse_certificate(seen.leaf)

    def pair(self, device: str = "robot-1", **more: Any) -> Pair:
        return self.authority.pair(f"IP:{self.emulator.address(device)}", **more)

    def known(self, *pins: str, leaves: dict[str, str] | None = None) -> Known:
        return Known(
            available=True,
            issuing=parse_certificate(self.authority.chain),
            anchors=self.authority.anchors,
            pins=frozenset(pins),
            leaves=leaves or {},
        )

    def access(
        self,
        *pins: str,
        device: str = "robot-1",
        known: Known | None = None,
        password: str = PASSWORD,
        leaves: tuple[str, ...] = (),
        **overrides: Any,
    ) -> Access:
        described = {"appliance": APPLIANCE}
        wait = {"wait": {"timeout": 0.6, "interval": 0.05}, "http_ports": self.emulator.http_ports}
        name = "mir" if device.startswith("robot") else "appliance"
        known = known or self.known(*pins)
        return Access(
            identity=device,
            target=self.target(device),
            api=find_api(name, described=described, overrides={**wait, **overrides}, where=device),
            credentials=Credentials(USERNAME, password),
            acquaintance=Acquaintance(known, known.anchors, leaves=frozenset(leaves)),
        )

    def wish(self, given: Pair, *, hold: float = 0.1, on_failure: str = "keep") -> Wish:
        pair = read_pair(given.certificate, given.chain, given.key, where="test")
        return Wish(pair, self.authority.anchors, hold, on_failure, by="test")

    def requests(self, device: str = "robot-1") -> list[tuple[str, bool, int]]:
        """(method, whether a login came with it, status) of each request that reached the device."""
        log = self.emulator.log("request", device)
        return [(entry["method"], entry["authorization"], entry["status"]) for entry in log]


@pytest.fixture(scope="package")
def running_plant(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plant]:
    devices = [{"name": "robot-1"}, {"name": "appliance", "profile": "appliance"}]
    with Emulator(tmp_path_factory.mktemp("plant"), *devices) as emulator:
        yield Plant(emulator, TestAuthority("Fleet"))


@pytest.fixture
def plant(running_plant: Plant) -> Iterator[Plant]:
    """All devices as they left the factory, and an empty log."""
    running_plant.emulator.control("all", "factory")
    running_plant.emulator.forget_log()
    yield running_plant
