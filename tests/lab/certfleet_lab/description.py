# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What `lab-info` prints."""

from __future__ import annotations

import dataclasses
from typing import Any

from . import engine, hosts, identity, places, topology
from .docker import docker
from .progress import say

ROOT_ON_CA = "/var/lib/certfleet/authorities/fleet/root.pem"


def describe() -> dict[str, Any]:
    """Inventory, anchors (fetched anew from the CA host), hosts, endpoints, and those that only a proxy reaches."""
    return {
        "inventory": str(places.INVENTORY),
        "anchors": str(_fetch_anchors()),
        "hosts": {
            member.name: {"address": member.address, "groups": list(member.groups)}
            for member in (*topology.HOSTS, *topology.DEVICES)
        },
        "endpoints": [dataclasses.asdict(endpoint) for endpoint in topology.endpoints()],
        "behind_proxy": [
            {**dataclasses.asdict(topology.endpoint_of(device)), "proxy": device.proxy}
            for device in topology.DEVICES
            if device.proxy
        ],
    }


def _fetch_anchors() -> str:
    """The fleet's root certificates in a file of this checkout; empty while the CA has none."""
    places.STATE.mkdir(mode=0o700, exist_ok=True)
    places.ANCHORS.write_bytes(_anchors())
    return str(places.ANCHORS)


def _anchors() -> bytes:
    if not engine.answers():
        say("the lab is not up (make lab-up): no anchors")
        return b""
    ours = identity.lab_id()
    if not any(c.name == topology.CA.container and c.lab == ours for c in hosts.of_labs()):
        say("the lab that is up belongs to another checkout, or lacks its CA host (make lab-up): no anchors")
        return b""
    done = docker("exec", topology.CA.container, "cat", ROOT_ON_CA, timeout=15, check=False)
    if done.returncode != 0:
        say("the CA has no root certificate yet (make site): no anchors")
        return b""
    return done.stdout
