# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Listening sockets, and which device a connection belongs to: the one whose address was connected to."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import struct
from collections.abc import Iterable

from .configuration import Configuration
from .conversation import Conversation, Line
from .device import Device

# Linux: bind to an address that the machine does not have yet (ip(7), ipv6(7)).
_IP_FREEBIND, _IPV6_FREEBIND = 15, 78
_ANY = {4: str(ipaddress.IPv4Address(0)), 6: str(ipaddress.IPv6Address(0))}
_RESET = struct.pack("ii", 1, 0)


class Listeners:
    """Keeps exactly those ports open that the devices' switches ask for."""

    def __init__(self, configuration: Configuration, devices: Iterable[Device], conversation: Conversation) -> None:
        self._conversation = conversation
        self._wildcard = configuration.wildcard
        self._https = configuration.https_port
        self._ports = (configuration.https_port, *configuration.http_ports)
        self._devices = list(devices)
        self._by_address = {
            _plain(address): device for device in self._devices for address in device.settings.addresses
        }
        self._open: dict[tuple[str, int], tuple[socket.socket, asyncio.Task[None]]] = {}
        self._talks: dict[asyncio.Task[None], Line] = {}

    def start(self) -> None:
        """Open all ports. Raises OSError."""
        if self._wildcard:
            families = {ipaddress.ip_address(address).version for address in self._by_address}
            for port in self._ports:
                for version in sorted(families):
                    self._listen(_ANY[version], port)
        for device in self._devices:
            device.on_change = self.adapt
            self.adapt(device)

    def adapt(self, device: Device) -> None:
        """Open and close the ports of one device after its switches were changed, or while it reboots."""
        for talk, line in list(self._talks.items()):
            if line.device is device and not self._wanted(device, line.port):
                talk.cancel()
        if self._wildcard:
            return
        for address in device.settings.addresses:
            for port in self._ports:
                key = (_plain(address), port)
                if self._wanted(device, port) and key not in self._open:
                    self._listen(*key)
                elif not self._wanted(device, port) and key in self._open:
                    self._close(key)

    def stop(self) -> None:
        """Close everything."""
        for key in list(self._open):
            self._close(key)
        for talk in self._talks:
            talk.cancel()

    def _wanted(self, device: Device, port: int) -> bool:
        switches = device.switches
        if not device.reachable:
            return False
        return switches.https != "off" if port == self._https else switches.http == "on"

    def _listen(self, address: str, port: int) -> None:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        listener = socket.socket(family)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            listener.setsockopt(socket.IPPROTO_IPV6, _IPV6_FREEBIND, 1)
        else:
            listener.setsockopt(socket.IPPROTO_IP, _IP_FREEBIND, 1)
        try:
            listener.bind((address, port))
        except OSError as exc:
            listener.close()
            raise OSError(exc.errno, f"cannot listen on {address} port {port}: {exc.strerror}") from exc
        listener.listen(1024 if self._wildcard else 64)
        listener.setblocking(False)
        self._open[address, port] = (listener, asyncio.get_running_loop().create_task(self._accept(listener, port)))

    def _close(self, key: tuple[str, int]) -> None:
        listener, task = self._open.pop(key)
        task.cancel()
        listener.close()

    async def _accept(self, listener: socket.socket, port: int) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, client = await loop.sock_accept(listener)
            except OSError:
                # The client is gone again, or there are too many open files: others may have more luck.
                await asyncio.sleep(0.05)
                continue
            device = self._by_address.get(_plain(connection.getsockname()[0]))
            if device is None or not self._wanted(device, port):
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                connection.close()
                continue
            line = Line(device, connection, port, str(client[0]))
            talk = loop.create_task(self._conversation.hold(line))
            self._talks[talk] = line
            talk.add_done_callback(self._talks.pop)


def _plain(address: str) -> str:
    return ipaddress.ip_address(address.partition("%")[0]).compressed
