# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Name constraints of an issuing CA: the DNS names and addresses that its leaves may have. Others count for no verifier.

Only reading them from a certificate, and writing them into one, needs C(cryptography).
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Union

from .crypto import x509
from .errors import X509Error
from .names import parse_domain
from .parse import load_certificate

Network = Union[ipaddress.IPv4Network, ipaddress.IPv6Network]
# RFC 6761: it is nobody's. To permit it alone permits no DNS name, in words that every verifier understands; an excluded
# empty name would say the same, but not all of them can read it.
NO_DOMAIN = "nothing.invalid"
ALL_ADDRESSES = ("0.0.0.0/0", "::/0")
# What OpenSSL takes for a host name where a leaf has no DNS name: a common name of at least two labels.
_LABEL = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]*[A-Za-z0-9_])?"
_HOST = re.compile(rf"{_LABEL}(?:\.{_LABEL})+\Z")


@dataclass(frozen=True)
class Constraints:
    """What is permitted. C(plant.example) permits itself and all names below it; networks are in their shortest form.

    As soon as there is a domain or a network, a kind of which none is given has no permitted name at all. The further fields
    tell of certificates that others made: what is excluded, and the kinds (C(DNS), C(IP)) that have no limits.
    """

    domains: tuple[str, ...] = ()
    networks: tuple[str, ...] = ()
    excluded: tuple[str, ...] = ()
    unlimited: tuple[str, ...] = ()

    @classmethod
    def parse(cls, domains: Iterable[str], networks: Iterable[str], *, where: str) -> Constraints:
        """Check and normalise what a user wants. Raises X509Error. Both empty: no constraint."""
        names = {
            parse_domain(str(value), where=f"{where}, domains") for value in _list(domains, where=f"{where}, domains")
        }
        nets = {
            _network(str(value), where=f"{where}, networks") for value in _list(networks, where=f"{where}, networks")
        }
        return cls(
            tuple(sorted(name for name in names if not any(_is_below(name, other) for other in names - {name}))),
            tuple(
                str(net)
                for net in _in_order(net for net in nets if not any(_is_part(net, other) for other in nets - {net}))
            ),
        )

    def __bool__(self) -> bool:
        return bool(self.domains or self.networks or self.excluded)

    def outside(self, names: Iterable[str], common_name: str | None = None) -> tuple[str, ...]:
        """Those of a leaf's names that are not permitted, in their order.

        A common name that looks like a host's is one of them (C(CN:…)) where there is no DNS name: OpenSSL sees it so.
        """
        if not self:
            return ()
        given = list(names)
        if stands_for_host(common_name, given):
            given.append(f"CN:{common_name}")
        return tuple(name for name in given if not self._permits(name))

    def to_extension(self) -> x509.NameConstraints:
        """The extension of an issuing CA; it is critical."""
        nets = [ipaddress.ip_network(text) for text in self.networks]
        permitted: list[x509.GeneralName] = [x509.DNSName(name) for name in self.domains or (NO_DOMAIN,)]
        permitted.extend(x509.IPAddress(net) for net in nets)
        # A family that has no network is excluded: for GnuTLS a permitted one says nothing about the other.
        without = [ipaddress.ip_network(text) for text in ALL_ADDRESSES]
        excluded = [x509.IPAddress(every) for every in without if all(net.version != every.version for net in nets)]
        return x509.NameConstraints(permitted_subtrees=permitted, excluded_subtrees=excluded or None)

    def _permits(self, name: str) -> bool:
        kind, _colon, text = name.partition(":")
        if kind == "IP":
            return self._permits_address(text)
        if kind not in ("DNS", "CN"):
            return False
        host = text.lower()
        if any(item.startswith("DNS:") and _is_below(host, item[4:]) for item in self.excluded):
            return False
        return "DNS" in self.unlimited or any(_is_below(host, domain) for domain in self.domains)

    def _permits_address(self, text: str) -> bool:
        address = ipaddress.ip_address(text)
        if any(item.startswith("IP:") and address in ipaddress.ip_network(item[3:]) for item in self.excluded):
            return False
        return "IP" in self.unlimited or any(address in ipaddress.ip_network(net) for net in self.networks)


def stands_for_host(common_name: str | None, names: Iterable[str]) -> bool:
    """Whether OpenSSL takes the common name of a leaf for the name of a host: without a DNS name, if it looks like one."""
    return bool(common_name and _HOST.match(common_name)) and not any(name.startswith("DNS:") for name in names)


def constraints_of(certificate: Any) -> Constraints | None:
    """The constraints of a certificate (or of the first one of PEM text); None when it has none."""
    loaded = load_certificate(certificate) if isinstance(certificate, (str, bytes)) else certificate
    try:
        found = loaded.extensions.get_extension_for_class(x509.NameConstraints).value
    except x509.ExtensionNotFound:
        return None
    permitted, excluded = found.permitted_subtrees or [], found.excluded_subtrees or []
    domains = {item.value.lower() for item in permitted if isinstance(item, x509.DNSName)}
    networks = _networks_in(permitted)
    barred = [f"DNS:{item.value.lower()}" for item in excluded if isinstance(item, x509.DNSName)]
    barred_networks = _networks_in(excluded)
    families = {net.version for net in networks}
    # What to_extension() adds for a family without networks says no more than their absence.
    silent = [net for net in barred_networks if str(net) in ALL_ADDRESSES and net.version not in families]
    limited = {"DNS": bool(domains), "IP": bool(networks) or len(silent) == len(ALL_ADDRESSES)}
    if limited["IP"]:
        barred_networks = [net for net in barred_networks if net not in silent]
    return Constraints(
        domains=tuple(sorted(domains - {NO_DOMAIN})),
        networks=tuple(str(net) for net in _in_order(networks)),
        excluded=tuple(barred + [f"IP:{net}" for net in barred_networks]),
        unlimited=tuple(kind for kind, is_limited in limited.items() if not is_limited),
    )


def _networks_in(subtrees: Iterable[x509.GeneralName]) -> list[Network]:
    values = [item.value for item in subtrees if isinstance(item, x509.IPAddress)]
    return [value for value in values if isinstance(value, (ipaddress.IPv4Network, ipaddress.IPv6Network))]


def _is_below(name: str, domain: str) -> bool:
    """Whether the name is the domain or below it; the empty domain holds all names."""
    return not domain or name == domain or name.endswith(f".{domain.lstrip('.')}")


def _is_part(net: Network, other: Network) -> bool:
    return net.version == other.version and net.network_address in other and net.prefixlen >= other.prefixlen


def _in_order(nets: Iterable[Network]) -> list[Network]:
    return sorted(nets, key=lambda net: (net.version, int(net.network_address), net.prefixlen))


def _network(value: str, *, where: str) -> Network:
    try:
        return ipaddress.ip_network(value.strip())
    except ValueError as exc:
        raise X509Error(
            f"{where}: '{value}' is no network ({exc}). Write its first address and the prefix length, such as "
            "192.0.2.0/24 or 2001:db8::/32."
        ) from exc


def _list(values: Iterable[str], *, where: str) -> Iterable[str]:
    if isinstance(values, (str, bytes)):
        raise X509Error(f'{where}: this is a text, not a list. Write ["{values!s}"].')
    return values
