# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the inventory alone says: which CA, and which endpoints there are to prove, before anything is asked.

A product's endpoint is described by variables that begin with its role's name; the roles' defaults say the same.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

# Group of the inventory -> role, whose name is the prefix of its variables.
PRODUCT_OF_GROUP = {"mir_robots": "mir_robot", "mir_fleet": "mir_fleet"}
_SETTINGS = ("address", "port", "server_name")


class InventoryError(Exception):
    """What the inventory lacks, with the host and the variable to set."""


@dataclass(frozen=True)
class Endpoint:
    """One TLS endpoint that clients connect to."""

    name: str
    host: str
    address: str
    port: int
    server_name: str
    product: str
    # What it takes to get there where clients have no way of their own.
    proxy: str = ""
    proxy_ssh_options: tuple[str, ...] = ()


class HostVariables:
    """Variables of hosts, templated one by one and only where they are templates (all of a host's would cost too much)."""

    def __init__(self, hostvars: Any) -> None:
        self._hostvars = hostvars
        self._raw: dict[str, Mapping[str, Any]] = {}

    def get(self, host: str, name: str) -> Any:
        """The value, or None where the host does not have the variable."""
        if host not in self._raw:
            self._raw[host] = self._hostvars.raw_get(host)
        value = self._raw[host].get(name)
        is_plain = value is None or isinstance(value, (int, float)) or (isinstance(value, str) and "{" not in value)
        is_plain = is_plain or name.startswith("__")  # what a task registered is no template
        return value if is_plain else self._hostvars[host][name]


def ca_hosts(variables: HostVariables, hosts: Iterable[str]) -> tuple[str | None, dict[str, str]]:
    """(the CA host that most machines name, {machine: the other CA host that it names})."""
    named = {host: str(value) for host in hosts if (value := variables.get(host, "tls_ca_host"))}
    if not named:
        return None, {}
    chosen = Counter(named.values()).most_common(1)[0][0]
    return chosen, {host: value for host, value in named.items() if value != chosen}


def unlisted_ca(
    variables: HostVariables, ca_host: str, hosts: Iterable[str], groups: Mapping[str, Iterable[str]]
) -> dict[str, Any]:
    """A CA host that this inventory (a slice of a larger one, for example) does not hold, in the words of add_host.

    C(tls_ca_connection) says how it is connected to. Raises InventoryError.
    """
    if ca_host in set(groups.get("all") or ()):
        return {}
    given: Any = next((value for host in hosts if (value := variables.get(host, "tls_ca_connection")) is not None), {})
    if not isinstance(given, Mapping) or any(not str(name).startswith("ansible_") for name in given):
        raise InventoryError(
            f"tls_ca_connection must hold variables of a connection, such as {{ansible_host: …, ansible_user: …}}: how the CA host"
            f" '{ca_host}', which is not in this inventory, is reached."
        )
    return {"add_host": {"host_name": ca_host, "groups": [], "host_vars": {str(name): given[name] for name in given}}}


def endpoints_of(variables: HostVariables, hosts: Iterable[str], groups: Mapping[str, Iterable[str]]) -> list[Endpoint]:
    """The endpoints of these hosts: those of the products' groups, and C(tls_endpoints) of a host. Raises InventoryError."""
    members = {group: set(groups.get(group) or ()) for group in PRODUCT_OF_GROUP}
    found: list[Endpoint] = []
    for host in hosts:
        for group, product in PRODUCT_OF_GROUP.items():
            if host in members[group]:
                found.append(_product_endpoint(variables, host, product))
        for number, item in enumerate(variables.get(host, "tls_endpoints") or (), 1):
            found.append(_own_endpoint(host, number, item))
    return found


def _product_endpoint(variables: HostVariables, host: str, product: str) -> Endpoint:
    address, port, server_name = (variables.get(host, f"{product}_{setting}") for setting in _SETTINGS)
    address = str(address or variables.get(host, "ansible_host") or host)
    proxy, options = (
        _first(variables, host, f"{product}_{setting}", f"device_{setting}")
        for setting in ("proxy", "proxy_ssh_options")
    )
    return Endpoint(
        host,
        host,
        address,
        _port(port or 443, host),
        str(server_name or address),
        product,
        str(proxy or ""),
        tuple(str(option) for option in options or ()),
    )


def _first(variables: HostVariables, host: str, *names: str) -> Any:
    return next((value for name in names if (value := variables.get(host, name)) is not None), None)


def _own_endpoint(host: str, number: int, item: Any) -> Endpoint:
    if not isinstance(item, Mapping) or not item.get("address") or set(item) - {"name", *_SETTINGS}:
        raise InventoryError(
            f"{host}: tls_endpoints, item {number}: write address, and if need be name, port and server_name."
        )
    address = str(item["address"])
    name = str(item.get("name") or f"{host}-{number}")
    return Endpoint(
        name, host, address, _port(item.get("port") or 443, host), str(item.get("server_name") or address), "own"
    )


def _port(value: Any, host: str) -> int:
    try:
        port = int(value)
    except (TypeError, ValueError) as exc:
        raise InventoryError(f"{host}: the port '{value}' is no number.") from exc
    if not 0 < port < 65536:
        raise InventoryError(f"{host}: the port {port} is not between 1 and 65535.")
    return port
