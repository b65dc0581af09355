# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""To whom requests go, and what of the surroundings they heed: only the leaf that was recognised, and nothing."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.certfleet.tls.plugins.module_utils._device import jmespath_library
from ansible_collections.certfleet.tls.plugins.module_utils._device.acquaintance import Target
from ansible_collections.certfleet.tls.plugins.module_utils._device.delivery import Access, deliver
from ansible_collections.certfleet.tls.plugins.module_utils._device.description import find_api
from ansible_collections.certfleet.tls.plugins.module_utils._device.errors import DeviceError
from ansible_collections.certfleet.tls.plugins.module_utils._device.rest_client import DeviceClient
from ansible_collections.certfleet.tls.tests.unit.emulated_devices import PASSWORD, USERNAME, Emulator
from ansible_collections.certfleet.tls.tests.unit.tls_peers import Peer, TlsPeer

from .conftest import Plant


def uploaded(plant: Plant, **more: Any) -> Access:
    """A robot that has a certificate of the fleet."""
    given = plant.pair(**more)
    done = deliver(plant.access(plant.served().spki), plant.wish(given))
    assert done.outcome == "installed", done.said
    plant.emulator.forget_log()
    return plant.access()


@pytest.mark.parametrize("how", ["pinned", "trusted"])
def test_another_leaf_than_the_one_just_met_gets_nothing(plant: Plant, how: str) -> None:
    access = uploaded(plant) if how == "trusted" else plant.access(plant.served().spki)
    client = access.client(access.meet())
    plant.emulator.control("robot-1", "set", "impostor=on")
    answer = client.upload(plant.wish(plant.pair()).pair)
    assert answer.kind == "stranger"
    assert "Nothing was sent" in answer.said
    assert plant.requests() == []


def test_a_leaf_of_the_same_authority_for_another_robot_gets_nothing_either(plant: Plant) -> None:
    access = uploaded(plant)
    client = access.client(access.meet())
    deliver(access, plant.wish(plant.pair()))
    plant.emulator.forget_log()
    assert client.upload(plant.wish(plant.pair()).pair).kind == "stranger"
    assert plant.requests() == []


def test_whoever_was_not_recognised_gets_no_client(plant: Plant) -> None:
    access = plant.access()
    with pytest.raises(DeviceError, match="not recognised"):
        access.client(access.meet())


def test_proxies_netrc_and_bundles_of_the_environment_do_not_count(
    plant: Plant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    access = plant.access(plant.served().spki)
    netrc = tmp_path / "netrc"
    netrc.write_text(f"machine {access.target.address} login somebody password else\n", encoding="ascii")
    netrc.chmod(0o600)
    with Peer() as proxy:
        for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        monkeypatch.setenv("NETRC", str(netrc))
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "missing"))
        assert deliver(access, plant.wish(plant.pair())).outcome == "installed"
        assert proxy.connections == 0
    assert plant.requests() == [("POST", True, 201)]


def test_verified_sessions_trust_the_fleets_anchors_alone(plant: Plant) -> None:
    access = uploaded(plant)
    client = access.client(access.meet())
    adapter: Any = client._session.adapters["https://"]
    context: ssl.SSLContext = adapter._context
    assert client.upload(plant.wish(plant.pair()).pair).kind == "accepted"
    assert context.verify_mode == ssl.CERT_REQUIRED
    roots: list[Any] = context.get_ca_certs()
    assert [root["subject"][-1][0][1] for root in roots] == ["Fleet Root"]


def test_plain_http_is_not_spoken(plant: Plant) -> None:
    access = plant.access(plant.served().spki)
    session = access.client(access.meet())._session
    with pytest.raises(DeviceError, match="only sent over HTTPS"):
        session.get(f"http://{access.target.address}:{plant.emulator.http_ports[0]}/")
    assert plant.requests() == []


class Redirecting(TlsPeer):
    """Sends every request on to another server."""

    location = ""

    def talk(self, connection: Any) -> None:
        context = self._contexts[0]
        with context.wrap_socket(connection, server_side=True) as wrapped:
            self.received.append(wrapped.recv(65536))
            wrapped.sendall(f"HTTP/1.1 307 Away\r\nLocation: {self.location}\r\nContent-Length: 0\r\n\r\n".encode())
            wrapped.recv(1)


def test_redirects_are_not_followed(plant: Plant) -> None:
    pair = plant.authority.pair("IP:127.0.0.1")
    access = plant.access()
    peer = Redirecting(pair)
    with peer, TlsPeer(pair) as elsewhere:
        peer.location = f"https://127.0.0.1:{elsewhere.port}/"
        target = Target("127.0.0.1", peer.port, "127.0.0.1")
        met = access.acquaintance.meet(target)
        client = DeviceClient(access.api, target, met, access.credentials, anchors=plant.authority.anchors)
        answer = client.upload(plant.wish(plant.pair()).pair)
        assert elsewhere.connections == 0
    assert (answer.kind, answer.status) == ("rejected", 307)


def test_an_ipv6_address_and_a_dns_name(tmp_path: Path, plant: Plant) -> None:
    with Emulator(tmp_path, {"name": "robot-6", "addresses": ["::1"]}) as emulator:
        here = Plant(emulator, plant.authority)
        access = here.access(here.served("robot-6").spki, device="robot-6")
        assert deliver(access, here.wish(here.pair("robot-6"))).outcome == "installed"
        by_name = Access(
            access.identity,
            here.target("robot-6", server_name="robot-6.plant.example", verify_hostname="::1"),
            access.api,
            access.credentials,
            access.acquaintance,
        )
        named = here.wish(plant.authority.pair("DNS:robot-6.plant.example"))
        assert deliver(by_name, named).outcome == "installed"
        assert deliver(by_name, named).outcome == "unchanged"


def test_missing_libraries_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jmespath_library, "jmespath", None)
    with pytest.raises(DeviceError, match="Missing on the controller: the Python library jmespath"):
        find_api("mir", described={}, where="robot-1")


def test_error_texts_never_hold_the_login(plant: Plant) -> None:
    access = plant.access(plant.served().spki)
    client = access.client(access.meet())
    plant.emulator.control("robot-1", "set", "reset=before")
    answer = client.upload(plant.wish(plant.pair()).pair)
    # Older releases of urllib3 take an answer that was cut in its body for a whole one.
    assert answer.kind in {"uncertain", "accepted"}
    assert PASSWORD not in answer.said
    assert USERNAME not in answer.said
