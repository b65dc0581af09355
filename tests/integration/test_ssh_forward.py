# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Endpoints and devices behind a real SSH jump host on loopback."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from ansible_collections.certfleet.tls.plugins.module_utils._device.delivery import deliver
from ansible_collections.certfleet.tls.plugins.module_utils._probe.chain import served_chain
from ansible_collections.certfleet.tls.plugins.module_utils._probe.connection import way_to
from ansible_collections.certfleet.tls.plugins.module_utils._probe.plain_http import plain_http
from ansible_collections.certfleet.tls.plugins.module_utils._probe.tls import look
from ansible_collections.certfleet.tls.plugins.module_utils._probe.tunnel import Proxy, parse_proxy
from ansible_collections.certfleet.tls.tests.unit.plugins.module_utils._device.conftest import Plant
from ansible_collections.certfleet.tls.tests.unit.proxies import look_through, nothing_left, ssh_processes, wait_for
from ansible_collections.certfleet.tls.tests.unit.tls_peers import (
    HttpPeer,
    Peer,
    SilentPeer,
    TestAuthority,
    TlsPeer,
    free_port,
)

from .jump_host import Sshd
from .machines import Lab


@pytest.fixture(scope="module")
def ours() -> TestAuthority:
    return TestAuthority("Ours")


@pytest.fixture(scope="module")
def jump_host(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    with Sshd(tmp_path_factory.mktemp("sshd"), LogLevel="VERBOSE") as sshd:
        yield sshd


@pytest.fixture
def temporary() -> Iterator[None]:
    """Nothing may be left of private folders and processes."""
    with nothing_left():
        yield


def through(jump_host: Sshd, **options: str) -> Proxy:
    proxy = parse_proxy(jump_host.url, jump_host.options(**options), where="test")
    assert proxy is not None
    return proxy


@pytest.mark.usefixtures("temporary")
def test_many_looks_take_one_login(ours: TestAuthority, jump_host: Sshd) -> None:
    logins = jump_host.logins
    with TlsPeer(ours.pair("IP:127.0.0.1")) as peer, way_to(through(jump_host)) as via:
        seen = [look("127.0.0.1", peer.port, anchors=ours.anchors, timeout=10, via=via) for _time in range(4)]
        assert peer.connections == 4
    assert [one.trusted for one in seen] == 4 * [True], seen[0].said
    assert jump_host.logins == logins + 1


@pytest.mark.usefixtures("temporary")
def test_ipv6_plain_http_and_the_whole_chain(ours: TestAuthority, jump_host: Sshd) -> None:
    with TlsPeer(ours.pair("IP:::1"), address="::1") as peer, HttpPeer(b"HTTP/1.1 200 OK\r\n\r\n") as http:
        with way_to(through(jump_host)) as via:
            assert look("::1", peer.port, anchors=ours.anchors, timeout=10, via=via).trusted
            assert plain_http("127.0.0.1", http.port, timeout=10, via=via)["status"] == 200
            assert len(served_chain("::1", peer.port, via=via)) == 2
            nobody = plain_http("127.0.0.1", free_port(), timeout=10, via=via)
    assert not nobody["answers"]
    assert "is there, but cannot reach 127.0.0.1:" in nobody["said"]


@pytest.mark.usefixtures("temporary")
def test_a_closed_port_a_hanging_peer_and_one_that_hangs_up(ours: TestAuthority, jump_host: Sshd) -> None:
    port = free_port()
    with SilentPeer() as silent, Peer() as rude, way_to(through(jump_host)) as via:
        refused = look("127.0.0.1", port, anchors=ours.anchors, timeout=10, via=via)
        begin = time.monotonic()
        timeout = look("127.0.0.1", silent.port, anchors=ours.anchors, timeout=0.5, via=via)
        assert time.monotonic() - begin < 1.5
        closed = look("127.0.0.1", rude.port, anchors=ours.anchors, timeout=10, via=via)
        unknown = look("no-such-host.invalid", 443, anchors=ours.anchors, timeout=10, via=via)
    assert (refused.failure, timeout.failure, closed.failure) == ("refused", "timeout", "closed")
    assert f"The jump host {jump_host.url} is there, but cannot reach 127.0.0.1:{port}" in refused.said
    assert f"(through {jump_host.url}) does not answer in time" in timeout.said
    assert f"(through {jump_host.url}) cuts the connection" in closed.said
    assert unknown.failure == "unreachable"


@pytest.mark.usefixtures("temporary")
def test_an_unknown_host_key_is_refused(ours: TestAuthority, jump_host: Sshd) -> None:
    logins = jump_host.logins
    for known_hosts in ("empty", "wrong"):
        (jump_host.folder / "empty").write_text("")
        other = (jump_host.folder / "stranger.pub").read_text()
        (jump_host.folder / "wrong").write_text(f"[127.0.0.1]:{jump_host.port} {other}")
        seen = look_through(through(jump_host, known_hosts=known_hosts), 443, ours.anchors)
        assert seen.failure == "proxy_refuses"
        assert "does not show the key that is known for it" in seen.said
    assert (jump_host.folder / "empty").read_text() == ""
    assert jump_host.logins == logins


@pytest.mark.usefixtures("temporary")
def test_a_login_that_is_refused_asks_nothing(ours: TestAuthority, jump_host: Sshd) -> None:
    begin = time.monotonic()
    seen = look_through(through(jump_host, key="stranger"), 443, ours.anchors)
    assert time.monotonic() - begin < 5
    assert seen.failure == "proxy_refuses"
    assert "refuses the login" in seen.said


@pytest.mark.usefixtures("temporary")
def test_a_jump_host_that_allows_no_tunnels(ours: TestAuthority, tmp_path: Path) -> None:
    with Sshd(tmp_path, AllowTcpForwarding="no") as sshd:
        seen = look_through(through(sshd), 443, ours.anchors)
    assert seen.failure == "proxy_refuses"
    assert "does not allow a tunnel to 127.0.0.1:443" in seen.said


@pytest.mark.usefixtures("temporary")
def test_a_master_that_was_killed_is_made_anew(ours: TestAuthority, jump_host: Sshd) -> None:
    others = ssh_processes()
    with TlsPeer(ours.pair("IP:127.0.0.1")) as peer, way_to(through(jump_host)) as via:
        assert look("127.0.0.1", peer.port, anchors=ours.anchors, timeout=10, via=via).trusted
        assert wait_for(lambda: len(ssh_processes() - others) == 1)
        (master,) = ssh_processes() - others
        os.kill(master, signal.SIGKILL)
        assert look("127.0.0.1", peer.port, anchors=ours.anchors, timeout=10, via=via).trusted


KILLED = """
import sys, time
from ansible_collections.certfleet.tls.plugins.module_utils._probe.tunnel import Proxy
with Proxy("ssh", "127.0.0.1", int(sys.argv[1]), ssh_options=tuple(sys.argv[3:])).way() as via:
    via.connect("127.0.0.1", int(sys.argv[2]), deadline=time.monotonic() + 10)
    print("connected", flush=True)
    time.sleep(60)
"""


@pytest.mark.slow
def test_the_master_of_a_killed_process_ends_by_itself(jump_host: Sshd) -> None:
    collections = next(parent / ".dev" for parent in Path(__file__).parents if (parent / "galaxy.yml").is_file())
    others, folder = ssh_processes(), tempfile.mkdtemp(prefix="t-")
    with Peer() as peer:
        process = subprocess.Popen(
            [sys.executable, "-c", KILLED, str(jump_host.port), str(peer.port), *jump_host.options()],
            env={**os.environ, "PYTHONPATH": str(collections), "TMPDIR": folder},
            stdout=subprocess.PIPE,
        )
        assert process.stdout is not None
        assert process.stdout.readline() == b"connected\n"
        process.kill()
        process.wait()
        process.stdout.close()
        assert ssh_processes() - others
        assert wait_for(lambda: ssh_processes() <= others, 30)
    shutil.rmtree(folder)


def test_a_device_is_reached_through_a_jump_host_and_no_process_is_left(plant: Plant, tmp_path: Path) -> None:
    before = ssh_processes()
    with Sshd(tmp_path, LogLevel="VERBOSE") as sshd:
        access = plant.access(plant.served().spki)
        access = replace(access, target=replace(access.target, proxy=through(sshd)))
        done = deliver(access, plant.wish(plant.pair()))
        assert done.outcome == "installed", done.said
        assert deliver(access, plant.wish(plant.pair())).outcome == "installed"
        assert wait_for(lambda: ssh_processes() <= before, 2)
