# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A real CA in a folder of the test, with a clock that the test turns."""

from __future__ import annotations

import hashlib
import signal
import sqlite3
from pathlib import Path
from typing import Any

from ansible_collections.certfleet.tls.plugins.module_utils._ca.authority import Found, Wish, ensure
from ansible_collections.certfleet.tls.plugins.module_utils._ca.clock import UNCOMPARED
from ansible_collections.certfleet.tls.plugins.module_utils._ca.holders import Declared
from ansible_collections.certfleet.tls.plugins.module_utils._ca.issue import issue
from ansible_collections.certfleet.tls.plugins.module_utils._ca.known import read_info
from ansible_collections.certfleet.tls.plugins.module_utils._ca.local import LocalIssuer
from ansible_collections.certfleet.tls.plugins.module_utils._ca.passphrase import Passphrase
from ansible_collections.certfleet.tls.plugins.module_utils._ca.record import record
from ansible_collections.certfleet.tls.plugins.module_utils._ca.store import Store
from ansible_collections.certfleet.tls.plugins.module_utils._x509.errors import X509Error
from ansible_collections.certfleet.tls.plugins.module_utils._x509.keys import new_key
from ansible_collections.certfleet.tls.plugins.module_utils._x509.parse import parse_bundle
from ansible_collections.certfleet.tls.tests.certificate_request import certificate_request

NOW = 1_800_000_000
DAY = 86400
KEYS = [new_key("ec-p256") for _number in range(4)]


def wish(name: str = "fleet", **options: Any) -> Wish:
    """The authority that tests want unless they say otherwise."""
    root = {"lifetime": "10y", "key_type": "ec-p256", **options.pop("root", {})}
    issuing = {"lifetime": "5y", "key_type": "ec-p256", **options.pop("issuing", {})}
    return Wish.from_options({"name": name, "root": root, "issuing": issuing, **options})


def root_fingerprint(chain: str) -> str | None:
    """That of the self-signed certificate in a chain; None where there is none, or the text is none."""
    try:
        return next((leaf.fingerprint for leaf in parse_bundle(chain, where="chain") if leaf.self_signed), None)
    except X509Error:
        return None


def address_of(identity: str) -> str:
    """An address of its own for every identity."""
    digest = hashlib.sha256(identity.encode()).digest()
    return "198.19.1.11" if identity == "robot-1" else f"2001:2::{digest[:8].hex(':', 2)}"


def request(identity: str = "robot-1", *, key: int = 0, **changes: Any) -> dict[str, Any]:
    """What the engine asks for; the CSR is for one of KEYS and asks for nothing itself."""
    asked = {
        "common_name": identity,
        "names": [f"DNS:{identity}.plant.example", f"IP:{address_of(identity)}"],
        "renew_before": None,
    }
    return certificate_request(identity, key=KEYS[key], **{**asked, **changes})


class Workshop:
    """One CA host. Each call is what a module's run would do; C(now) is its clock."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = Store(str(folder / "ca"))
        self.passphrase_file = folder / "secret" / "passphrase"
        self.now = NOW
        self.clock = UNCOMPARED

    def passphrase(self) -> Passphrase:
        return Passphrase(file=str(self.passphrase_file))

    def create(self, name: str = "fleet", *, generate: bool = True, compared: bool = True, **options: Any) -> Found:
        """O(compared): somebody has compared the fingerprint of the root that a chain ends in."""
        if compared and options.get("chain") and not options.get("root_certificate"):
            options["root"] = {**options.get("root", {}), "fingerprint": root_fingerprint(options["chain"])}
        return ensure(
            wish(name, **options),
            store=self.store,
            passphrase=self.passphrase(),
            generate=generate,
            now=self.now,
            clock=self.clock,
        )

    def issue(self, *requests: dict[str, Any], wait: float = 60.0, declared: Declared = frozenset()) -> dict[str, Any]:
        passphrase = self.passphrase()
        return issue(
            requests,
            store=self.store,
            open_issuer=lambda authority: LocalIssuer(self.store, authority, passphrase),
            now=self.now,
            clock=self.clock,
            declared=declared,
            wait=wait,
        )

    def issue_one(self, *arguments: Any, **changes: Any) -> dict[str, Any]:
        asked = request(*arguments, **changes)
        answer: dict[str, Any] = self.issue(asked)["certificates"][asked["id"]]
        return answer

    def info(self, *identities: str) -> dict[str, Any]:
        return read_info(self.store, identities, now=self.now)

    def install(
        self, answer: dict[str, Any], identity: str = "robot-1", name: str = "https", outcome: str = "installed"
    ) -> None:
        item = {"identity": identity, "name": name, "outcome": outcome, "fingerprint": answer["fingerprint"]}
        record([item], [], store=self.store, now=self.now)

    def sql(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        """Look into the ledger, or spoil it, behind its back."""
        connection = sqlite3.connect(self.store.ledger)
        try:
            with connection:
                return connection.execute(statement, values).fetchall()
        finally:
            connection.close()

    def states(self) -> list[str]:
        return [row[0] for row in self.sql("SELECT state FROM certificates WHERE identity != '' ORDER BY id")]


KILLED = -signal.SIGKILL
