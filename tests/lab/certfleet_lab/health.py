# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a host of the lab is well, seen from this machine as Ansible and the plant's clients see it."""

from __future__ import annotations

import socket
import ssl
from functools import partial

from . import topology
from .docker import docker
from .waiting import side_by_side

PATIENCE = 3.0


def problem_of(host: topology.Host) -> str | None:
    """What is wrong with a running host, or None."""
    checks = [partial(_inside, host), *(partial(_ssh, address) for address in (host.ipv4, host.ipv6))]
    if host in (topology.FLEET, topology.WEB):
        checks += [partial(_tls, host.name, address) for address in (host.ipv4, host.ipv6)]
    if host is topology.GATEWAY:
        open_ones = [device for device in topology.DEVICES if not device.proxy]
        checks += [partial(_way, device.name, to) for device in open_ones for to in (device.ipv4, device.ipv6)]
        checks += [partial(_tunnel, device.name, device.ipv4) for device in topology.DEVICES if device.proxy]
    problems = side_by_side(lambda check: check(), checks)
    return next((problem for problem in problems if problem is not None), None)


def _inside(host: topology.Host) -> str | None:
    done = docker("exec", host.container, "lab-health", timeout=15, check=False)
    if done.returncode == 0:
        return None
    said = (done.stdout or done.stderr).decode(errors="replace").strip()
    return said or f"lab-health ended with status {done.returncode}"


def _ssh(address: str) -> str | None:
    try:
        with socket.create_connection((address, 22), timeout=PATIENCE) as connection:
            banner = connection.recv(16)
    except OSError as exc:
        return f"sshd on {address} does not answer: {exc}"
    return None if banner.startswith(b"SSH-2.0-") else f"port 22 of {address} says {banner!r}, which is not SSH"


def _tls(name: str, address: str) -> str | None:
    """Any certificate will do: which one is served is what the collection is there for."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        with socket.create_connection((address, 443), timeout=PATIENCE) as connection:
            with context.wrap_socket(connection):
                return None
    except OSError as exc:
        return f"{name} does not speak TLS on {address} port 443: {exc}"


def _way(name: str, address: str) -> str | None:
    """A device that refuses is reached too: its ports may be switched off, or locked down by the collection."""
    try:
        socket.create_connection((address, 443), timeout=PATIENCE).close()
    except ConnectionRefusedError:
        return None
    except OSError as exc:
        return f"{name} cannot be reached on {address}: {exc}"
    return None


def _tunnel(name: str, address: str) -> str | None:
    """The proxy answers; a device that refuses is its business. Nothing gets past it."""
    try:
        socket.create_connection((address, 443), timeout=PATIENCE).close()
        return f"{name} is reached on {address} without the proxy; the gateway's nftables rules are gone"
    except OSError:
        pass
    try:
        with socket.create_connection((topology.GATEWAY.ipv4, topology.PROXY_PORT), timeout=PATIENCE) as connection:
            connection.sendall(f"CONNECT {address}:443 HTTP/1.1\r\nHost: {address}:443\r\n\r\n".encode())
            said = connection.recv(64)
    except OSError as exc:
        return f"the proxy {topology.PROXY} to {name} does not answer: {exc}"
    return None if said.startswith(b"HTTP/1.") else f"the proxy {topology.PROXY} says {said!r}, which is not HTTP"
