# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Subject alternative names: C(DNS:robot-1.plant.example), C(IP:198.18.0.1), C(IP:2001:2::1)."""

from __future__ import annotations

import ipaddress
import re
import unicodedata
from collections.abc import Iterable

from .crypto import x509
from .errors import X509Error

_DN_SIGNS = ',"\\+<>;='
_INVISIBLE = frozenset({"Cc", "Cf", "Cs", "Cn", "Zl", "Zp"})
_LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)\Z")


def parse_names(values: Iterable[str], *, where: str) -> tuple[str, ...]:
    """Normalise names and put them in order: lower case, shortest form of addresses, each once.

    Raises X509Error naming O(where) for anything that is neither a DNS name nor an IP address.
    """
    if isinstance(values, (str, bytes)):
        raise X509Error(f'{where}: subject_alt_names is a text, not a list. Write ["{values!s}"].')
    return tuple(sorted({_parse_name(str(value), where=where) for value in values}, key=_order))


def parse_shared_names(values: Iterable[str], *, where: str) -> tuple[str, ...]:
    """Names that several identities have on purpose: as parse_names() has them, and C(CN:...) for a common name of clients."""
    if isinstance(values, (str, bytes)):
        raise X509Error(f'{where}: shared_names is a text, not a list. Write ["{values!s}"].')
    given = [str(value).strip() for value in values]
    common_names = {value for value in given if value.startswith("CN:")}
    names = parse_names((value for value in given if value not in common_names), where=where)
    return (*names, *sorted(common_names))


def is_dn_text(text: str) -> bool:
    """Whether a field of a distinguished name may be this text, in every tool that shows or compares it.

    64 octets at most, no sign with a meaning of its own, nothing invisible (control and format characters), no space at an end.
    """
    return (
        0 < len(text.encode("utf-8", "replace")) <= 64
        and text == text.strip()
        and not set(text) & set(_DN_SIGNS)
        and not any(unicodedata.category(character) in _INVISIBLE for character in text)
    )


def _order(name: str) -> tuple[bool, str]:
    return (not name.startswith("DNS:"), name)


def _parse_name(value: str, *, where: str) -> str:
    kind, colon, text = value.strip().partition(":")
    kind = kind.strip().upper()
    if colon and kind == "DNS":
        return "DNS:" + _dns(text.strip(), value=value, where=where)
    if colon and kind == "IP":
        try:
            # A zone (%eth0) is known to one machine only, and a certificate cannot hold it.
            return f"IP:{ipaddress.ip_address(text.strip().replace('%', '/'))}"
        except ValueError as exc:
            raise X509Error(
                f"{where}: the name '{value}' is no IP address. Write IP: and one IPv4 or IPv6 address, "
                "without brackets, prefix length, zone or port."
            ) from exc
    raise X509Error(
        f"{where}: the name '{value}' is neither DNS nor IP. Write DNS:<host name> or IP:<address>; "
        "other kinds (URI, email) are not checked by TLS clients."
    )


def _dns(text: str, *, value: str, where: str) -> str:
    name = text.lower().rstrip(".")
    labels = name.split(".")
    if labels[0] == "*" and len(labels) > 2:
        labels = labels[1:]
    if not name or len(name) > 253 or not all(_LABEL.match(label) for label in labels):
        raise X509Error(
            f"{where}: the name '{value}' is no DNS name. Labels are letters, digits and hyphens, 63 at most, joined by "
            "dots (punycode for other scripts); a wildcard is the whole first label of at least three."
        )
    if all(label.isdigit() for label in labels):
        raise X509Error(
            f"{where}: the name '{value}' looks like an address. Write IP:{text} if that is what clients connect to."
        )
    return name


def parse_domain(value: str, *, where: str) -> str:
    """A domain that is permitted with all names below it, normalised: one label is enough. Raises X509Error."""
    if value.strip().startswith((".", "*")):
        raise X509Error(
            f"{where}: write the domain alone, '{value.strip().lstrip('*.')}': it permits what is below it too."
        )
    return _dns(value.strip(), value=value, where=where)


def to_general_names(names: Iterable[str]) -> list[x509.GeneralName]:
    """The names, normalised before, as C(cryptography) wants them."""
    result: list[x509.GeneralName] = []
    for name in names:
        kind, _colon, text = name.partition(":")
        result.append(x509.DNSName(text) if kind == "DNS" else x509.IPAddress(ipaddress.ip_address(text)))
    return result


def from_general_names(general_names: Iterable[x509.GeneralName]) -> tuple[str, ...]:
    """The names of a certificate or CSR; kinds other than DNS and IP appear as C(OTHER:…) so that they differ from any wish."""
    result = set()
    for item in general_names:
        if isinstance(item, x509.DNSName):
            result.add(f"DNS:{item.value.lower()}")
        elif isinstance(item, x509.IPAddress):
            result.add(f"IP:{item.value}")
        else:
            result.add(f"OTHER:{item.value!s}")
    return tuple(sorted(result, key=_order))
