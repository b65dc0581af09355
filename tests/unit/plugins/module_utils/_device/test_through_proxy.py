# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Devices behind a proxy: met, uploaded to and proved through it, and it sees nothing of that."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from ansible_collections.certfleet.tls.plugins.module_utils._device.acquaintance import Target
from ansible_collections.certfleet.tls.plugins.module_utils._device.delivery import Access, Delivered, Waiting, deliver
from ansible_collections.certfleet.tls.plugins.module_utils._device.errors import DeviceError
from ansible_collections.certfleet.tls.plugins.module_utils._device.inspection import Finding, inspect
from ansible_collections.certfleet.tls.plugins.module_utils._device.settings import Settings, read_settings
from ansible_collections.certfleet.tls.plugins.module_utils._probe.tunnel import Proxy, parse_proxy
from ansible_collections.certfleet.tls.plugins.module_utils._x509.spec import CertificateSpec
from ansible_collections.certfleet.tls.tests.unit.emulated_devices import PASSWORD
from ansible_collections.certfleet.tls.tests.unit.plugins.module_utils._device.conftest import Plant
from ansible_collections.certfleet.tls.tests.unit.proxies import ConnectProxy
from ansible_collections.certfleet.tls.tests.unit.tls_peers import HttpPeer, TlsPeer, free_port


def through(access: Access, proxy: Proxy | None) -> Access:
    assert proxy is not None
    return replace(access, target=replace(access.target, proxy=proxy))


def settings(url: str, *, address: str = "127.0.0.1", port: int = 443, http_port: int = 0) -> Settings:
    return read_settings(
        {"name": "mir", "http_ports": [http_port or free_port()]},
        {"address": address, "port": port, "proxy": url},
        apis={},
        default_address=address,
        read_file=str,
        where="robot-4",
    )


def look_at(plant: Plant, url: str, **where: int) -> Finding:
    spec = CertificateSpec.from_dict(
        {"name": "https", "subject_alt_names": ["IP:127.0.0.1"], "api": {"name": "mir"}},
        identity="robot-4",
        where="x",
    )
    return inspect(spec, settings(url, **where), plant.known(), now=0)


def test_upload_and_proof_go_through_the_proxy_which_sees_nothing(plant: Plant) -> None:
    pair = plant.pair()
    with ConnectProxy() as proxy:
        access = through(plant.access(plant.served().spki), parse_proxy(proxy.url, where="test"))
        done = deliver(access, plant.wish(pair))
        first = len(proxy.asked)
        assert first >= 5  # met (and met again for the leaf of a stranger), uploaded, proved at least twice
        assert deliver(access, plant.wish(pair)).outcome == "unchanged"
        assert len(proxy.asked) == first + 2
        assert set(proxy.asked) == {access.target.text}
    assert done.outcome == "installed", done.said
    assert plant.served().fingerprint == pair.leaf.fingerprint
    assert plant.requests() == [("POST", True, 201)]
    seen = b"".join(proxy.received)
    assert len(seen) > 5000
    for secret in (PASSWORD.encode(), b"Authorization", b"PRIVATE KEY", b"cert_pem_file"):
        assert secret not in seen


def test_a_proxy_that_goes_away_before_the_upload_is_named(plant: Plant) -> None:
    with ConnectProxy() as proxy:
        access = through(plant.access(plant.served().spki), parse_proxy(proxy.url, where="test"))
        met = access.meet()
        assert met.recognised, met.seen.said
    answer = access.client(met).upload(plant.wish(plant.pair()).pair)
    assert answer.kind == "uncertain"
    assert f"The proxy {proxy.url} is away" in answer.said
    assert plant.requests() == []


def test_resources_are_read_over_one_connection(plant: Plant) -> None:
    with ConnectProxy() as proxy:
        access = through(plant.access(plant.served().spki), parse_proxy(proxy.url, where="test"))
        client = access.client(access.meet())
        begun = len(proxy.asked)
        assert [client.fetch("/status").kind for _time in range(3)] == 3 * ["accepted"]
        assert len(proxy.asked) == begun + 1
        client.close()


def test_a_device_whose_proxy_is_away_is_absent_and_the_proxy_is_named(plant: Plant) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    finding = look_at(plant, url)
    assert finding.absent.startswith(f"The proxy {url} is away, so 127.0.0.1:443 could not be looked at")


def test_a_device_that_the_proxy_cannot_reach_is_absent(plant: Plant) -> None:
    with ConnectProxy() as proxy:
        finding = look_at(plant, proxy.url, port=free_port())
    assert f"The proxy {proxy.url} is there, but cannot reach 127.0.0.1:" in finding.absent
    assert "Neither does plain HTTP answer" in finding.absent


def test_a_device_without_https_is_found_behind_a_proxy_too(plant: Plant) -> None:
    with HttpPeer(b"HTTP/1.1 200 OK\r\n\r\n") as http, ConnectProxy() as proxy:
        with pytest.raises(DeviceError, match="no HTTPS: software below"):
            look_at(plant, proxy.url, port=free_port(), http_port=http.port)
    assert f"127.0.0.1:{http.port}" in proxy.asked


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"HTTP/1.1 403 Filtered\r\n\r\n", "does not allow a tunnel to 127.0.0.1:443"),
        (b"HTTP/1.1 404 Not Found\r\n\r\n", "Check whether it is an HTTP proxy"),
        (b"220 mail.plant.example ESMTP\r\n\r\n", "not as an HTTP proxy does"),
    ],
)
def test_a_proxy_that_somebody_must_correct_is_an_error_and_not_absence(plant: Plant, answer: bytes, said: str) -> None:
    with ConnectProxy(answer) as proxy, pytest.raises(DeviceError) as caught:
        look_at(plant, proxy.url)
    assert said in str(caught.value)
    assert "TLS handshake" not in str(caught.value)  # the device was not even reached
    assert len(proxy.asked) == 1


def test_a_stranger_behind_the_proxy_gets_nothing(plant: Plant) -> None:
    stranger = plant.authority.pair("IP:127.0.0.1", not_before=-20, not_after=-10)
    with TlsPeer(stranger) as peer, ConnectProxy() as proxy:
        access = through(plant.access(), parse_proxy(proxy.url, where="test"))
        access = replace(access, target=Target("127.0.0.1", peer.port, "127.0.0.1", proxy=access.target.proxy))
        done: Delivered = deliver(access, plant.wish(plant.pair()), waiting=Waiting(sleep=lambda _seconds: None))
    assert done.outcome == "refused"
    assert peer.received in ([], [b""], [b"", b""])


def test_a_bad_proxy_is_a_clear_error() -> None:
    with pytest.raises(DeviceError, match="robot-4: this kind of proxy is not known"):
        settings("socks5://127.0.0.1:1080")


STEADY = """
import sys
from ansible_collections.certfleet.tls.plugins.action import device_request
from ansible_collections.certfleet.tls.plugins.module_utils._device.settings import read_settings
read_settings({"name": "mir"}, {"proxy": "", "proxy_ssh_options": []}, apis={}, default_address="::1", read_file=str, where="x")
print(*sorted(name.rpartition(".")[2] for name in sys.modules if "certfleet" in name))
"""


def test_without_a_proxy_nothing_of_it_is_loaded() -> None:
    collections = next(parent / ".dev" for parent in Path(__file__).parents if (parent / "galaxy.yml").is_file())
    done = subprocess.run(
        [sys.executable, "-c", STEADY],
        env={"PYTHONPATH": str(collections), "PATH": "/usr/bin:/bin", "HOME": "/nonexistent"},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    loaded = set(done.stdout.splitlines()[0].split())
    assert "settings" in loaded
    assert not loaded & {"tunnel", "http_connect", "ssh_forward", "relay", "requests_library"}
