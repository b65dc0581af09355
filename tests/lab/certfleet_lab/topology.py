# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the lab consists of: hosts, devices, addresses, endpoints. Values only.

inventories/lab/hosts.yml says the same to Ansible; tests/unit/lab compares the two.
"""

from __future__ import annotations

from dataclasses import dataclass

NETWORK = "certfleet-lab"
BRIDGE = "cf-lab"
SUBNETS = ("198.19.0.0/24", "2001:2:0:1::/64")
MACHINE_ADDRESSES = ("198.19.0.1", "2001:2:0:1::1")
ROBOT_SUBNETS = ("198.19.1.0/24", "2001:2:0:2::/64")
DOMAIN = "plant.example"
LINUX = "lab_linux"


@dataclass(frozen=True)
class Host:
    """A Linux host of the lab: one container with its own systemd and sshd."""

    name: str
    ipv4: str
    ipv6: str
    groups: tuple[str, ...]
    arguments: tuple[str, ...] = ()

    @property
    def container(self) -> str:
        return f"certfleet-{self.name}"

    @property
    def address(self) -> str:
        return self.ipv4


@dataclass(frozen=True)
class Device:
    """A closed appliance behind the gateway; only its REST API speaks. `address` is the one the inventory uses.

    One with a `proxy` is reached through that alone: the gateway forwards nothing to its addresses.
    """

    name: str
    product: str
    ipv4: str
    ipv6: str
    groups: tuple[str, ...]
    address: str
    proxy: str = ""


@dataclass(frozen=True)
class Endpoint:
    """A TLS endpoint that a client connects to, and the name it verifies."""

    name: str
    host: str
    address: str
    port: int
    server_name: str
    product: str


# Docker inside a host needs a file system of its own for its layers, and all control groups to put containers in.
INNER_DOCKER = ("--volume", "/var/lib/docker", "--volume", "/sys/fs/cgroup:/sys/fs/cgroup:rw")
FORWARDING = ("--sysctl", "net.ipv4.ip_forward=1", "--sysctl", "net.ipv6.conf.all.forwarding=1")

CA = Host(name="ca", ipv4="198.19.0.10", ipv6="2001:2:0:1::10", groups=(LINUX,))
FLEET = Host(
    name="fleet",
    ipv4="198.19.0.20",
    ipv6="2001:2:0:1::20",
    groups=("mir_fleet", LINUX),
    arguments=(*INNER_DOCKER, "--sysctl", "net.ipv4.ip_forward=1"),
)
GATEWAY = Host(
    name="gateway", ipv4="198.19.0.30", ipv6="2001:2:0:1::30", groups=("gateways", LINUX), arguments=FORWARDING
)
CLIENT = Host(name="client", ipv4="198.19.0.40", ipv6="2001:2:0:1::40", groups=("tls_clients", LINUX))
WEB = Host(name="web", ipv4="198.19.0.50", ipv6="2001:2:0:1::50", groups=(LINUX,))
HOSTS = (CA, FLEET, GATEWAY, CLIENT, WEB)
PROXY_PORT = 8888
PROXY = f"http://{GATEWAY.ipv4}:{PROXY_PORT}"


def _robot(number: int, *, by_ipv6: bool = False, proxy: str = "") -> Device:
    ipv4, ipv6 = f"198.19.1.{10 + number}", f"2001:2:0:2::{10 + number}"
    return Device(
        name=f"robot-{number}",
        product="mir_robot",
        ipv4=ipv4,
        ipv6=ipv6,
        groups=("mir_robots",),
        address=ipv6 if by_ipv6 else ipv4,
        proxy=proxy,
    )


FLEET_OLD = Device(
    name="fleet-old",
    product="mir_fleet",
    ipv4="198.19.1.20",
    ipv6="2001:2:0:2::20",
    groups=("mir_fleet",),
    address="198.19.1.20",
)
DEVICES = (_robot(1), _robot(2), _robot(3, by_ipv6=True), _robot(4, proxy=PROXY), FLEET_OLD)


def endpoint_of(device: Device) -> Endpoint:
    """Where a device serves TLS. Robots are verified by address, the Fleets by name: clients exercise both."""
    return Endpoint(
        name=device.name,
        host=device.name,
        address=device.address,
        port=443,
        server_name=device.address if device.product == "mir_robot" else f"{device.name}.{DOMAIN}",
        product=device.product,
    )


def endpoints() -> list[Endpoint]:
    """The products' TLS endpoints that this machine reaches directly."""
    of_devices = [endpoint_of(device) for device in DEVICES if not device.proxy]
    fleet = Endpoint(
        name=FLEET.name,
        host=FLEET.name,
        address=FLEET.address,
        port=443,
        server_name=f"{FLEET.name}.{DOMAIN}",
        product="mir_fleet",
    )
    return [*of_devices, fleet]


def names_for_hosts_file() -> list[tuple[str, str]]:
    """(name, address) of everything in the lab, for the hosts files of the hosts."""
    pairs: list[tuple[str, str]] = []
    for member in (*HOSTS, *DEVICES):
        pairs += [(f"{member.name}.{DOMAIN}", member.ipv4), (f"{member.name}.{DOMAIN}", member.ipv6)]
    return pairs
