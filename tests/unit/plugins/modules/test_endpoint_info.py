# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""endpoint_info as a machine runs it: options in, JSON out, in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.certfleet.tls.plugins.module_utils._x509.parse import describe, parse_certificate
from ansible_collections.certfleet.tls.tests.unit.proxies import ConnectProxy
from ansible_collections.certfleet.tls.tests.unit.tls_peers import (
    HttpPeer,
    Pair,
    SilentPeer,
    TestAuthority,
    TlsPeer,
    free_port,
)

COLLECTIONS = next(parent / ".dev" for parent in Path(__file__).parents if (parent / "galaxy.yml").is_file())
RUN = """
import runpy, sys
from ansible.module_utils import basic
basic._ANSIBLE_ARGS = sys.stdin.buffer.read()
basic._ANSIBLE_PROFILE = "legacy"
runpy.run_module("ansible_collections.certfleet.tls.plugins.modules.endpoint_info", run_name="__main__")
"""


@pytest.fixture(scope="module")
def ours() -> TestAuthority:
    return TestAuthority("Ours")


def endpoint_info(**options: Any) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-c", RUN],
        input=json.dumps({"ANSIBLE_MODULE_ARGS": options}),
        env={**os.environ, "PYTHONPATH": str(COLLECTIONS)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def test_a_trusted_endpoint_with_all_its_fields(ours: TestAuthority) -> None:
    pair = ours.pair("IP:127.0.0.1", "IP:2001:2::1", "DNS:robot-1.plant.example", common_name="robot-1")
    with TlsPeer(pair) as peer:
        endpoint = {"name": "robot-1", "host": "robot-1", "address": "127.0.0.1", "port": peer.port}
        result = endpoint_info(endpoints=[endpoint], anchors=ours.anchors, chain=True)
    seen = result["endpoints"][0]
    assert (seen["name"], seen["host"], seen["server_name"]) == ("robot-1", "robot-1", "127.0.0.1")
    assert (seen["trusted"], seen["failure"]) == (True, None)
    assert seen["checks"] == {"chain": True, "name": True, "time": True}
    # openssl on a bare host says the same of a certificate as cryptography does on the controller
    fields = describe(pair.leaf)
    assert {field: seen[field] for field in fields if field != "key"} == {
        field: value for field, value in fields.items() if field != "key"
    }
    assert [parse_certificate(pem).fingerprint for pem in seen["chain"]] == [
        pair.leaf.fingerprint,
        parse_certificate(ours.chain).fingerprint,
    ]
    assert result["changed"] is False


def test_each_endpoint_answers_for_itself_in_order(ours: TestAuthority) -> None:
    stranger = TestAuthority("Theirs").pair("IP:127.0.0.1")
    with TlsPeer(ours.pair("IP:::1"), address="::1") as right, TlsPeer(stranger) as wrong:
        result = endpoint_info(
            endpoints=[
                {"name": "wrong", "address": "127.0.0.1", "port": wrong.port},
                {"name": "right", "address": "::1", "port": right.port},
                {"name": "closed", "address": "127.0.0.1", "port": free_port()},
                {"name": "odd", "address": "::1", "port": right.port, "server_name": ".plant.example"},
                {"address": "127.0.0.1", "port": 70000},
            ],
            anchors=ours.anchors,
        )
    answers = [(seen["name"], seen["trusted"], seen["failure"]) for seen in result["endpoints"]]
    assert answers == [
        ("wrong", False, "chain"),
        ("right", True, None),
        ("closed", False, "refused"),
        ("odd", False, "unusable"),
        ("127.0.0.1:70000", False, "unusable"),
    ]
    assert result["endpoints"][0]["fingerprint"] == stranger.leaf.fingerprint


def test_without_anchors_nothing_is_trusted_but_the_leaf_is_told(ours: TestAuthority) -> None:
    with TlsPeer(ours.pair("IP:127.0.0.1")) as peer:
        seen = endpoint_info(endpoints=[{"address": "127.0.0.1", "port": peer.port}], anchors="")["endpoints"][0]
    assert (seen["trusted"], seen["failure"]) == (False, None)
    assert seen["spki"]


def test_the_systems_trust_does_not_know_ours(ours: TestAuthority) -> None:
    with TlsPeer(ours.pair("IP:127.0.0.1")) as peer:
        endpoints = [{"address": "127.0.0.1", "port": peer.port}]
        seen = endpoint_info(endpoints=endpoints, use_system_trust=True)["endpoints"][0]
    assert seen["failure"] == "chain"


def test_plain_http_beside_it(ours: TestAuthority) -> None:
    answer = b"HTTP/1.1 301 Moved\r\nLocation: https://127.0.0.1/\r\nContent-Length: 0\r\n\r\n"
    with TlsPeer(ours.pair("IP:127.0.0.1")) as peer, HttpPeer(answer) as http:
        seen = endpoint_info(
            endpoints=[{"address": "127.0.0.1", "port": peer.port}],
            anchors=ours.anchors,
            http_ports=[http.port, free_port()],
        )["endpoints"][0]
    assert [(port["answers"], port["https_redirect"]) for port in seen["http"]] == [(True, True), (False, False)]
    assert b"Authorization" not in http.received[0]


def test_a_built_in_certificate_without_names_nor_common_form(tmp_path: Path) -> None:
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    subject = "/O=Mobile Industrial Robots/CN=built=in, really"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "20000", "-subj", subject]
    subprocess.run([*command, "-keyout", str(key), "-out", str(certificate)], check=True, capture_output=True)
    with TlsPeer(Pair(certificate.read_text(), key.read_text())) as peer:
        seen = endpoint_info(endpoints=[{"address": "127.0.0.1", "port": peer.port}])["endpoints"][0]
    fields = describe(parse_certificate(certificate.read_text()))
    assert {field: seen[field] for field in fields if field != "key"} == {
        field: value for field, value in fields.items() if field != "key"
    }
    assert (seen["names"], seen["self_signed"]) == ([], True)


def test_endpoints_behind_proxies(ours: TestAuthority) -> None:
    with (
        TlsPeer(ours.pair("IP:127.0.0.1")) as peer,
        HttpPeer(b"HTTP/1.1 200 OK\r\n\r\n") as http,
        ConnectProxy() as proxy,
    ):
        away = f"http://127.0.0.1:{free_port()}"
        endpoint = {"address": "127.0.0.1", "port": peer.port}
        result = endpoint_info(
            endpoints=[
                {**endpoint, "proxy": proxy.url, "proxy_ssh_options": []},
                {**endpoint, "proxy": ""},
                {**endpoint, "proxy": away},
                {**endpoint, "proxy": "socks5://127.0.0.1:1080"},
            ],
            anchors=ours.anchors,
            chain=True,
            http_ports=[http.port],
            parallel=1,
        )
        assert proxy.asked == 2 * [f"127.0.0.1:{peer.port}"] + [f"127.0.0.1:{http.port}"]
    through, direct, nowhere, odd = result["endpoints"]
    assert (through["trusted"], direct["trusted"]) == (True, True)
    assert (len(through["chain"]), through["http"][0]["status"]) == (2, 200)
    assert (nowhere["failure"], odd["failure"]) == ("proxy_away", "unusable")
    assert away in nowhere["said"]
    assert "this kind of proxy is not known" in odd["said"]


def test_hanging_endpoints_wait_side_by_side() -> None:
    with SilentPeer() as first, SilentPeer() as second:
        begin = time.monotonic()
        peers = [{"address": "127.0.0.1", "port": peer.port} for peer in (first, second) * 2]
        result = endpoint_info(endpoints=peers, timeout=1.5)
        assert time.monotonic() - begin < 5
    assert [seen["failure"] for seen in result["endpoints"]] == ["timeout"] * 4


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"endpoints": [{"port": 443}]}, "no address"),
        ({"endpoints": [], "anchors": "nonsense"}, "anchors"),
        ({"endpoints": [], "anchors": "x", "use_system_trust": True}, "mutually exclusive"),
    ],
)
def test_bad_options_are_clear_errors(options: dict[str, Any], said: str) -> None:
    result = endpoint_info(**options)
    assert result["failed"]
    assert said in result["msg"]
