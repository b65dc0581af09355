# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""SSH jump hosts that are away, hang or are busy, and what the ssh command's words mean. tests/integration has real ones."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ansible_collections.certfleet.tls.plugins.module_utils._probe.errors import ProbeError
from ansible_collections.certfleet.tls.plugins.module_utils._probe.ssh_forward import fault_of
from ansible_collections.certfleet.tls.plugins.module_utils._probe.tunnel import Proxy
from ansible_collections.certfleet.tls.tests.unit.proxies import look_through, nothing_left
from ansible_collections.certfleet.tls.tests.unit.tls_peers import (
    Peer,
    SilentPeer,
    TestAuthority,
    free_port,
)


@pytest.fixture(scope="module")
def ours() -> TestAuthority:
    return TestAuthority("Ours")


@pytest.fixture
def temporary() -> Iterator[None]:
    """Nothing may be left of private folders and processes."""
    with nothing_left():
        yield


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
