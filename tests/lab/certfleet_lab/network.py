# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's network, and the way from this machine to the robots behind the gateway."""

from __future__ import annotations

import hashlib
from pathlib import Path

from . import topology
from .command import output, run
from .docker import docker, inspect
from .progress import say

LABEL = "certfleet.network"
_ARGUMENTS = (
    *("--ipv6", "--driver", "bridge", "--opt", f"com.docker.network.bridge.name={topology.BRIDGE}"),
    *("--subnet", topology.SUBNETS[0], "--gateway", topology.MACHINE_ADDRESSES[0]),
    *("--subnet", topology.SUBNETS[1], "--gateway", topology.MACHINE_ADDRESSES[1]),
)
_RECIPE = hashlib.sha256(" ".join(_ARGUMENTS).encode()).hexdigest()[:16]
GATEWAY_ADDRESSES = (topology.GATEWAY.ipv4, topology.GATEWAY.ipv6)


def is_right() -> bool:
    """Whether the network is there, as it should be, with its bridge."""
    found = inspect("network", topology.NETWORK)
    return (
        found is not None
        and found["Labels"].get(LABEL) == _RECIPE
        and Path(f"/sys/class/net/{topology.BRIDGE}").exists()
    )


def make() -> None:
    """Make the network anew; no container may be attached."""
    remove()
    say(f"making the network {', '.join(topology.SUBNETS)}")
    docker("network", "create", *_ARGUMENTS, "--label", f"{LABEL}={_RECIPE}", topology.NETWORK)


def remove() -> None:
    """Remove the network, its bridge, and with the bridge the routes."""
    if inspect("network", topology.NETWORK) is not None:
        docker("network", "rm", topology.NETWORK)
    if Path(f"/sys/class/net/{topology.BRIDGE}").exists():
        run(["ip", "link", "delete", topology.BRIDGE], timeout=10)


def ensure_routes() -> None:
    """This machine reaches the robots through the gateway, as every client does."""
    for subnet, gateway in zip(topology.ROBOT_SUBNETS, GATEWAY_ADDRESSES):
        family = "-6" if ":" in subnet else "-4"
        wanted = f"via {gateway} dev {topology.BRIDGE}"
        if wanted not in output(["ip", family, "route", "show", subnet], timeout=10):
            say(f"route to {subnet} through the gateway {gateway}")
            route = ["ip", family, "route", "replace", subnet, "via", gateway, "dev", topology.BRIDGE]
            run(route, timeout=10)
