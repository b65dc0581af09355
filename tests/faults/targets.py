# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What faults strike: a robot, Fleet's Traefik, the nginx of host `web`; and how their wanted names are changed.

A run is made due by another name in the certificate. The name is only there when a run has brought its change all the way.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from ..integration.machines import CHECKOUT, on
from ..integration.playbook import INVENTORY
from .sampler import look

SPKI = CHECKOUT / "tests" / "lab" / ".state" / "spki"
SERVICE = "tests/faults/service.yml"
WAVES = "playbooks/certificates.yml"
WEB_FOLDER = "/etc/nginx/tls"
SIDES = ("left", "right")


@dataclass(frozen=True)
class Target(ABC):
    """A certificate of one host or device. C(store): the folder of its pairs, on hosts. C(settings): variables of its runs."""

    name: str
    endpoint: dict[str, Any]
    playbook: str
    store: str | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    inventory: Path = INVENTORY

    def set(self, **settings: Any) -> Target:
        """The same, with other variables in its runs."""
        return replace(self, settings={**self.settings, **settings})

    def next_wish(self) -> str:
        """A name that the leaf which is served now does not hold."""
        leaf = look(self.endpoint)
        held = names_of(leaf) if leaf else set()
        return next(name for side in SIDES if (name := f"{side}.{self.name}.plant.example") not in held)

    @abstractmethod
    def variables(self, wish: str) -> dict[str, Any]:
        """The host's variables for a run that wants this name."""

    def names(self, wish: str) -> list[str]:
        """All names of the certificate."""
        address = self.endpoint["address"]
        return [f"DNS:{self.name}.plant.example", f"DNS:{wish}", f"IP:{address}"]

    def built_in(self) -> str | None:
        """The SPKI that a device came with, as the lab noted it."""
        path = SPKI / self.name
        return path.read_text().strip() if path.exists() else None

    def anchors(self) -> str:
        """The anchors (PEM) that its clients shall trust."""
        return on("ca", "cat", "/var/lib/certfleet/authorities/fleet/root.pem")

    def unsettled(self) -> list[str]:
        """What is there only while a run works, or before the first: other pairs, a marker, a watchdog, no pair of ours."""
        if self.store is None:
            return []
        current = on(self.name, "readlink", f"{self.store}/current", check=False).strip()
        if not current:
            return ["no pair of ours"]
        watchdogs = "ls /etc/systemd/system | grep certfleet-watchdog || true"
        entries = on(self.name, "sh", "-c", f"ls {self.store}; {watchdogs}").split()
        return [entry for entry in entries if entry not in {"current", current}]


@dataclass(frozen=True)
class Product(Target):
    """One that a product's role takes care of, through the main job's own playbook."""

    prefix: str = "mir_robot"

    def variables(self, wish: str) -> dict[str, Any]:
        """The role's inputs."""
        return {f"{self.prefix}_subject_alt_names": self.names(wish), f"{self.prefix}_hold": 1, **self.settings}


@dataclass(frozen=True)
class Service(Target):
    """One that the engine's role takes care of: C(settings) are fields of the certificate's description."""

    def variables(self, wish: str) -> dict[str, Any]:
        """The certificate's description, with what this test sets instead."""
        described = {
            "name": "https",
            "subject_alt_names": self.names(wish),
            "where": {"certificate": f"{WEB_FOLDER}/cert.pem", "key": f"{WEB_FOLDER}/key.pem"},
            "reload": {"method": "systemd", "name": "nginx.service", "action": "restart"},
            "prove": {**self.endpoint, "hold": 1, "timeout": 3},
        }
        for name, value in self.settings.items():
            described[name] = {**described[name], **value} if isinstance(described.get(name), dict) else value
        described["prove"].pop("name", None)
        return {"fault_certificate": described}


@dataclass(frozen=True)
class LoopbackRobot(Product):
    """A robot of a fleet that needs no lab: it is emulated on this machine, and so is its CA."""

    root: Path = Path()
    factory_key: str = ""

    def anchors(self) -> str:
        """Those of its own CA."""
        return self.root.read_text()

    def built_in(self) -> str | None:
        """The key that all robots of the fleet came with."""
        return self.factory_key


def web() -> Service:
    """nginx on a plain host, under systemd."""
    endpoint = {"address": "198.19.0.50", "port": 443, "server_name": "web.plant.example"}
    return Service("web", endpoint, SERVICE, store=f"{WEB_FOLDER}/.certfleet-https")


def fleet(endpoint: dict[str, Any]) -> Product:
    """MiR Fleet's Traefik, a container."""
    store = "/mir_persistence/certificate/.certfleet-https"
    return Product("fleet", _where(endpoint), WAVES, store=store, prefix="mir_fleet")


def robot(endpoint: dict[str, Any]) -> Product:
    """A robot that answers over its REST API alone; it is not waited for longer than a test needs."""
    settings = {"mir_robot_api": {"wait": {"timeout": 3, "interval": 0.5}}}
    return Product(endpoint["name"], _where(endpoint), WAVES, settings=settings)


def names_of(leaf: bytes) -> set[str]:
    """The DNS names of a leaf (DER)."""
    try:
        names = x509.load_der_x509_certificate(leaf).extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return set()
    return set(names.value.get_values_for_type(x509.DNSName))


def spki_of(leaf: bytes) -> str:
    """The SHA-256 of a leaf's public key, as the lab notes it."""
    key = x509.load_der_x509_certificate(leaf).public_key()
    return hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()


def _where(endpoint: dict[str, Any]) -> dict[str, Any]:
    return {field: endpoint[field] for field in ("address", "port", "server_name")}
