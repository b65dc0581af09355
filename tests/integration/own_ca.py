# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A CA in a folder of its own on the lab's CA host, so that a test can do to it what it wants; the lab's own is not touched."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ansible_collections.certfleet.tls.plugins.module_utils._x509.keys import new_key
from ansible_collections.certfleet.tls.tests.certificate_request import certificate_request

from .machines import on
from .playbook import Run, run_playbook

_QUERY = (
    "import json, sqlite3, sys; ledger = sqlite3.connect(f'file:{sys.argv[1]}?mode=ro', uri=True); "
    "print(json.dumps(ledger.execute(sys.argv[2], sys.argv[3:]).fetchall()))"
)


class OwnCa:
    """The CA; O(variables) are the site's."""

    def __init__(self, name: str, **variables: Any) -> None:
        self.folder = f"/var/lib/certfleet-test-{name}"
        self.directory = f"{self.folder}/ca"
        self.variables = {
            "tls_ca_directory": self.directory,
            "tls_ca_passphrase_file": f"{self.folder}/passphrase",
            **variables,
        }
        self.remove()

    def run(self, playbook: str, *arguments: str, **variables: Any) -> Run:
        """A playbook of the collection, on the CA host alone."""
        extra = {**self.variables, **variables}
        return run_playbook(f"playbooks/{playbook}.yml", *arguments, limit="ca", extra=extra)

    def issue(self, *requests: dict[str, Any]) -> dict[str, Any]:
        """Have what ask() asks for issued; what the ledger knows of it then, by identity."""
        playbook = str(Path(__file__).with_name("issue.yml"))
        done = run_playbook(playbook, limit="ca", extra={**self.variables, "requests": list(requests)})
        assert done.rc == 0, done.output
        known = (
            self.sql("SELECT identity, serial, state, pem FROM certificates WHERE spki = ?", request["spki"])
            for request in requests
        )
        return {row[0]: {"serial": row[1], "state": row[2], "pem": row[3]} for (row,) in known}

    def sql(self, statement: str, *values: str) -> list[list[Any]]:
        """Look into the ledger."""
        ledger = f"{self.directory}/ledger.sqlite"
        rows: list[list[Any]] = json.loads(on("ca", "python3", "-c", _QUERY, ledger, statement, *values))
        return rows

    def remove(self) -> None:
        """All of it."""
        on("ca", "rm", "-rf", self.folder)


def ask(identity: str, **fields: Any) -> dict[str, Any]:
    """A request for a machine's certificate, with a new key."""
    return certificate_request(identity, key=new_key("ec-p256"), **fields)
