# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host gets before its first boot: keys that were made at lab-up, and the robots' configuration."""

from __future__ import annotations

import io
import json
import tarfile

from . import identity, places, topology

ROBOTS_FOLDER = "etc/robots"


def archive_for(host: topology.Host) -> bytes:
    """A tar archive, to be unpacked at the host's root; everything belongs to root."""
    files: list[tuple[str, int, bytes]] = [
        ("etc/ssh/ssh_host_ed25519_key", 0o600, identity.ssh_host_key(host).read_bytes()),
        ("etc/ssh/authorized_keys/operator", 0o644, places.SSH_KEY.with_suffix(".pub").read_bytes()),
    ]
    if host is topology.GATEWAY:
        files += _robots()
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for path, mode, content in files:
            entry = tarfile.TarInfo(path)
            entry.size, entry.mode = len(content), mode
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def _robots() -> list[tuple[str, int, bytes]]:
    files: list[tuple[str, int, bytes]] = []
    devices = []
    for device in topology.DEVICES:
        username, password = identity.login(device)
        certificate, key = identity.built_in_pair(device)
        files += [
            (f"{ROBOTS_FOLDER}/{device.name}.cert.pem", 0o644, certificate.read_bytes()),
            (f"{ROBOTS_FOLDER}/{device.name}.key.pem", 0o600, key.read_bytes()),
        ]
        devices.append(
            {
                "name": device.name,
                "profile": {"mir_robot": "robot", "mir_fleet": "fleet"}[device.product],
                "addresses": [device.ipv4, device.ipv6],
                "username": username,
                "password": password,
                "certificate": f"/{ROBOTS_FOLDER}/{device.name}.cert.pem",
                "key": f"/{ROBOTS_FOLDER}/{device.name}.key.pem",
            }
        )
    files.append((f"{ROBOTS_FOLDER}/behind-proxy.nft", 0o644, _forwarded_to_nobody().encode()))
    addresses = [f"{device.ipv4}/24\n{device.ipv6}/64\n" for device in topology.DEVICES]
    files.append((f"{ROBOTS_FOLDER}/addresses", 0o644, "".join(addresses).encode()))
    files.append((f"{ROBOTS_FOLDER}/robots.json", 0o600, json.dumps({"devices": devices}, indent=2).encode()))
    return files


def _forwarded_to_nobody() -> str:
    """Rules of the gateway: what it does not send itself does not reach the devices behind its proxy."""
    hidden = [device for device in topology.DEVICES if device.proxy]
    rules = [
        f"        {family} daddr {address} counter reject with icmpx type host-unreachable\n"
        for device in hidden
        for family, address in (("ip", device.ipv4), ("ip6", device.ipv6))
    ]
    return (
        "add table inet lab_behind_proxy\ndelete table inet lab_behind_proxy\ntable inet lab_behind_proxy {\n"
        "    chain forward {\n        type filter hook forward priority -10; policy accept;\n"
        f"{''.join(rules)}    }}\n}}\n"
    )
