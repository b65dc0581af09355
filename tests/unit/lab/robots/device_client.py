# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Requests to emulated devices, as a plain client sends them."""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
from typing import Any

from ansible_collections.certfleet.tls.plugins.module_utils._probe.tls import fingerprint_of, look, seeing_all
from ansible_collections.certfleet.tls.tests.unit.emulated_devices import PASSWORD, USERNAME, Emulator
from ansible_collections.certfleet.tls.tests.unit.tls_peers import Pair

LOGIN = base64.b64encode(f"{USERNAME}:{hashlib.sha256(PASSWORD.encode()).hexdigest()}".encode()).decode()
HEADERS = {"Authorization": f"Basic {LOGIN}", "Accept-Language": "en_US", "Content-Type": "application/json"}


def ask(
    emulator: Emulator,
    device: str,
    method: str,
    path: str,
    *,
    body: Any = None,
    headers: dict[str, str] | None = None,
    http_port: int | None = None,
) -> tuple[int, Any]:
    address = emulator.address(device)
    connection: http.client.HTTPConnection
    if http_port:
        connection = http.client.HTTPConnection(address, http_port, timeout=5)
    else:
        connection = http.client.HTTPSConnection(address, emulator.https_port, timeout=5, context=seeing_all())
    with_body = None if body is None else json.dumps(body)
    connection.request(method, path, body=with_body, headers=HEADERS if headers is None else headers)
    answer = connection.getresponse()
    text = answer.read()
    connection.close()
    return answer.status, json.loads(text) if text.startswith((b"{", b"[")) else text.decode()


def upload(emulator: Emulator, pair: Pair, device: str = "robot-1") -> tuple[int, Any]:
    encoded = [base64.b64encode(text.encode()).decode() for text in (pair.certificate + pair.chain, pair.key)]
    body = {"cert_pem_file": encoded[0], "cert_key_file": encoded[1]}
    return ask(emulator, device, "POST", "/api/v2.0.0/ssl/cert", body=body)


def served(emulator: Emulator, device: str = "robot-1") -> str:
    seen = look(emulator.address(device), emulator.https_port, anchors=None)
    assert seen.leaf is not None, seen.said
    return fingerprint_of(seen.leaf)
