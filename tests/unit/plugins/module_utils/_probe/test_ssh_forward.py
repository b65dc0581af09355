# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Endpoints behind a real SSH jump host on loopback, and what the ssh command's words mean."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ansible_collections.certfleet.tls.plugins.module_utils._probe.chain import served_chain
from ansible_collections.certfleet.tls.plugins.module_utils._probe.connection import way_to
from ansible_collections.certfleet.tls.plugins.module_utils._probe.errors import ProbeError
from ansible_collections.certfleet.tls.plugins.module_utils._probe.plain_http import plain_http
from ansible_collections.certfleet.tls.plugins.module_utils._probe.ssh_forward import fault_of
from ansible_collections.certfleet.tls.plugins.module_utils._probe.tls import Seen, look
from ansible_collections.certfleet.tls.plugins.module_utils._probe.tunnel import Proxy, parse_proxy
from ansible_collections.certfleet.tls.tests.unit.proxies import Sshd, ssh_processes, wait_for
from ansible_collections.certfleet.tls.tests.unit.tls_peers import (
    HttpPeer,
    Peer,
    SilentPeer,
    TestAuthority,
    TlsPeer,
    free_port,
)


@pytest.fixture(scope="module")
def ours() -> TestAuthority:
    return TestAuthority("Ours")


@pytest.fixture(scope="module")
def jump_host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    with Sshd(tmp_path_factory.mktemp("sshd"), LogLevel="VERBOSE") as sshd:
        yield sshd


@pytest.fixture
def temporary(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where private folders are made; nothing may be left in it, nor any process."""
    folder = Path(tempfile.mkdtemp(prefix="t-"))
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    before = ssh_processes()
    yield folder
    assert list(folder.iterdir()) == []
    assert wait_for(lambda: ssh_processes() <= before, 3), ssh_processes() - before
    folder.rmdir()


def through(jump_host: Sshd, **options: str) -> Proxy:
    proxy = parse_proxy(jump_host.url, jump_host.options(**options), where="test")
    assert proxy is not None
    return proxy


def look_through(proxy: Proxy, port: int, anchors: str, *, address: str = "127.0.0.1", timeout: float = 10) -> Seen:
    with way_to(proxy) as via:
        return look(address, port, anchors=anchors, timeout=timeout, via=via)


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
def test_a_jump_host_that_is_away(ours: TestAuthority) -> None:
    port = free_port()
    proxy = Proxy("ssh", "127.0.0.1", port, ssh_options=("-F", "/dev/null"))
    seen = look_through(proxy, 443, ours.anchors, address="198.19.0.44")
    assert seen.failure == "proxy_away"
    assert f"The jump host ssh://127.0.0.1:{port} is away, so 198.19.0.44:443 could not be looked at" in seen.said
    assert "Connection refused" in seen.said


@pytest.mark.usefixtures("temporary")
def test_a_jump_host_that_hangs_costs_the_timeout_and_no_more(ours: TestAuthority) -> None:
    with SilentPeer() as silent:
        begin = time.monotonic()
        proxy = Proxy("ssh", "127.0.0.1", silent.port, ssh_options=("-F", "/dev/null"))
        seen = look_through(proxy, 443, ours.anchors, timeout=0.5)
        assert time.monotonic() - begin < 2
    assert seen.failure == "proxy_away"
    assert "does not end in time" in seen.said


@pytest.mark.usefixtures("temporary")
def test_a_jump_host_that_is_busy_is_tried_again(ours: TestAuthority) -> None:
    with Peer() as busy:  # hangs up, as sshd does beyond MaxStartups
        proxy = Proxy("ssh", "127.0.0.1", busy.port, ssh_options=("-F", "/dev/null"))
        seen = look_through(proxy, 443, ours.anchors, timeout=2)
        assert busy.connections > 1
    assert seen.failure == "proxy_away"


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


def test_a_machine_without_ssh(ours: TestAuthority, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ProbeError, match="Install the package openssh-client"):
        look_through(Proxy("ssh", "127.0.0.1", 22), 443, ours.anchors)


@pytest.mark.parametrize(
    ("log", "failure", "said"),
    [
        ("channel 2: open failed: connect failed: Connection refused", "refused", "(connect failed: Connection refused)"),
        ("channel 2: open failed: connect failed: Connection timed out", "timeout", "is there, but cannot reach 198"),
        ("channel 2: open failed: connect failed: No route to host", "unreachable", "is there, but cannot reach 198"),
        ("channel 0: open failed: administratively prohibited: open failed", "proxy_refuses", "does not allow a tunnel"),
        ("ssh: connect to host 198.19.0.30 port 22: Connection timed out", "proxy_away", "is away, so 198.19.0.44:443"),
        ("ssh: Could not resolve hostname gateway: Name or service not known", "proxy_away", "is away"),
        ("kex_exchange_identification: Connection closed by remote host\nConnection closed by 198.19.0.30 port 22",
         "proxy_away", "is away"),
        ("No ED25519 host key is known for 198.19.0.30\nHost key verification failed.", "proxy_refuses", "No ED25519"),
        ("no such identity: /none: No such file\noperator@198.19.0.30: Permission denied (publickey).",
         "proxy_refuses", "refuses the login (operator@198.19.0.30: Permission denied (publickey).)"),
        ("command-line: line 0: Bad configuration option: foo", "proxy_refuses", "cannot be opened: command-line"),
    ],
)  # fmt: skip
def test_what_ssh_says(log: str, failure: str, said: str) -> None:
    noise = 'Authenticated to 198.19.0.30 ([198.19.0.30]:22) using "publickey".\n'
    fault = fault_of(f"{noise}{log}\n", where="198.19.0.44:443", proxy="ssh://198.19.0.30:22")
    assert fault is not None
    assert fault.failure == failure
    assert said in fault.said


def test_ssh_without_a_complaint() -> None:
    log = "Authenticated to 198.19.0.30 ([198.19.0.30]:22) using x.\nTransferred: sent 1\n\n"
    assert fault_of(log, where="198.19.0.44:443", proxy="ssh://198.19.0.30:22") is None
