# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tests of a host's files have in common: a CA, a folder with a pair, and orders for them."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.certfleet.tls.plugins.module_utils._host.endpoint import Endpoint
from ansible_collections.certfleet.tls.plugins.module_utils._host.look import look_at
from ansible_collections.certfleet.tls.plugins.module_utils._host.staging import stage
from ansible_collections.certfleet.tls.plugins.module_utils._host.transaction import Outcome, Transaction
from ansible_collections.certfleet.tls.plugins.module_utils._host.watchdog import Places
from ansible_collections.certfleet.tls.plugins.module_utils._probe.tls import look
from ansible_collections.certfleet.tls.plugins.module_utils._x509.parse import parse_csr
from ansible_collections.certfleet.tls.tests.unit.tls_peers import DAY, Pair, TestAuthority

from .tls_service import TlsService

ADDRESS = "127.0.0.1"
_NEVER = threading.Event()


@dataclass
class Site:
    """One certificate of one host: its folder, and what the engine would send to it."""

    folder: Path
    authority: TestAuthority
    where: dict[str, Any] = field(default_factory=dict)
    reload: dict[str, Any] = field(default_factory=lambda: {"method": "none"})
    port: int | None = None
    places: Places | None = None

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.where = {"certificate": str(self.folder / "cert.pem"), "key": str(self.folder / "key.pem")}

    @property
    def store(self) -> Path:
        """The folder of the generations."""
        return self.folder / ".certfleet-https"

    def put(self, pair: Pair) -> Pair:
        """Regular files, as an installer leaves them."""
        (self.folder / "cert.pem").write_text(pair.certificate + pair.chain, encoding="ascii")
        (self.folder / "key.pem").write_text(pair.key, encoding="ascii")
        (self.folder / "key.pem").chmod(0o600)
        return pair

    def target(self, **changes: Any) -> dict[str, Any]:
        """What host_request looks at."""
        prove = {"address": ADDRESS, "port": self.port, "hold": 0.2, "timeout": 0.6} if self.port else None
        common = {"identity": "host-1", "name": "https", "where": self.where, "reload": self.reload, "prove": prove}
        return {**common, "watchdog": {"method": "none"}, "anchors": self.authority.anchors, **changes}

    def request(self, key_type: str = "ec-p256", name: str = f"IP:{ADDRESS}") -> dict[str, Any]:
        """Stage a key and a request."""
        return stage(self.target(key={"type": key_type}, common_name="host-1", subject_alt_names=[name]))

    def look(self, **changes: Any) -> dict[str, Any]:
        """What host_request finds."""
        return look_at(self.target(**changes), self.authority.anchors)

    def issue(self, staged: dict[str, Any], *, name: str = f"IP:{ADDRESS}") -> str:
        """Sign what was staged."""
        now = int(time.time())
        key = parse_csr(staged["csr"]).public_key
        return self.authority.sign(key, (name,), not_before=now - DAY, not_after=now + 90 * DAY, common_name="host-1")

    def order(self, *, spki: str, certificate: str | None, verdict: str = "issue", **changes: Any) -> dict[str, Any]:
        """What host_deploy is told."""
        order = {"verdict": verdict, "spki": spki, "certificate": certificate, "chain": self.authority.chain}
        return self.target(**{**order, **changes})

    def deploy(self, order: dict[str, Any]) -> Outcome:
        """Carry an order out, impatiently."""
        prove = order.get("prove")
        endpoint = None
        if prove:
            settings = {"server_name": prove["address"], **prove}
            endpoint = Endpoint(**settings, by="this host", sleep=lambda span: _NEVER.wait(span / 20))
        return Transaction(order, endpoint=endpoint, places=self.places).run()

    def renew(self, **changes: Any) -> tuple[Outcome, str]:
        """The whole way: stage, sign, deploy. Answers the outcome and the new leaf."""
        staged = self.request()
        certificate = self.issue(staged)
        return self.deploy(self.order(spki=staged["spki"], certificate=certificate, **changes)), certificate

    def served_files(self) -> tuple[str | None, str | None]:
        """(certificate, key) as the service's paths read."""
        paths = (self.folder / "cert.pem", self.folder / "key.pem")
        certificate, key = (path.read_text(encoding="ascii") if path.exists() else None for path in paths)
        return certificate, key


@pytest.fixture(scope="session")
def authority() -> TestAuthority:
    """One CA for all tests: making one costs more than most of them."""
    return TestAuthority()


@pytest.fixture
def site(tmp_path: Path, authority: TestAuthority) -> Site:
    """A host with nothing on it yet."""
    return Site(tmp_path / "tls", authority)


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in front of the PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return folder


@pytest.fixture
def service(site: Site) -> Iterator[TlsService]:
    """A service that runs with a pair of its own from elsewhere."""
    site.put(TestAuthority("Factory").pair(f"IP:{ADDRESS}"))
    with TlsService(site.folder) as running:
        site.port = running.port
        site.reload = {"method": "command", "command": running.reload}
        yield running


def served(site: Site) -> str | None:
    """The leaf that a client gets now."""
    assert site.port
    return look(ADDRESS, site.port, anchors=None).leaf
