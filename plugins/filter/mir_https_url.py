# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Addresses of MiR's REST API: from plain HTTP to HTTPS."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any
from urllib.parse import SplitResult, urlsplit, urlunsplit

from ansible.errors import AnsibleFilterError

DOCUMENTATION = r"""
name: mir_https_url
short_description: Turn an HTTP URL of a MiR product's REST API into its HTTPS form
version_added: 1.0.0
description:
  - MiR robots and MiR Fleet offer the same REST API on three ports, V(http://ADDRESS:8080/v2.0.0/…), V(http://ADDRESS/api/v2.0.0/…) and
    V(https://ADDRESS:443/api/v2.0.0/…). This filter gives the last for each of them.
  - Path and query are kept. An URL that is in its HTTPS form already stays as it is.
options:
  _input:
    description: The URL.
    type: str
    required: true
author:
  - certfleet contributors (@certfleet)
"""

EXAMPLES = r"""
- name: "https://198.18.0.11:443/api/v2.0.0/status"
  ansible.builtin.debug:
    msg: "{{ 'http://198.18.0.11:8080/v2.0.0/status' | certfleet.tls.mir_https_url }}"
"""

RETURN = r"""
_value:
  description: The URL of the same resource over HTTPS.
  type: str
"""

HTTP_PORTS = frozenset({80, 8080})
HTTPS_PORT = 443
_VERSIONED = re.compile(r"/v\d+\.\d+\.\d+(/|\Z)")
_LOGIN = re.compile(r"//[^/]*@")
_HOST_NAME = re.compile(r"[A-Za-z0-9._-]+\Z")


def mir_https_url(url: str) -> str:
    """C(http://a:8080/v2.0.0/status) becomes C(https://a:443/api/v2.0.0/status)."""
    parts, host, port = _taken_apart(url)
    if parts.scheme == "http" and port not in HTTP_PORTS:
        raise AnsibleFilterError(
            f"mir_https_url: '{url}' names port {port}. The REST API of MiR is on 80 and 8080 (HTTP) and on 443 (HTTPS); port "
            "9090 is rosbridge, which has no HTTPS form."
        )
    path = f"/api{parts.path}" if _VERSIONED.match(parts.path) else parts.path
    port = port if parts.scheme == "https" and port not in HTTP_PORTS else HTTPS_PORT
    return urlunsplit(("https", f"{host}:{port}", path, parts.query, parts.fragment))


def _taken_apart(url: str) -> tuple[SplitResult, str, int]:
    """(the parts, the host with brackets where it needs them, the port)."""
    text = str(url).strip()
    shown = _LOGIN.sub("//", text)
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as exc:
        raise AnsibleFilterError(
            f"mir_https_url: '{shown}' is no URL ({exc}). Write http://<address>:8080/v2.0.0/…."
        ) from exc
    host = parts.hostname or ""
    if parts.scheme not in {"http", "https"} or not (":" in host or _HOST_NAME.match(host)):
        raise AnsibleFilterError(
            f"mir_https_url: '{shown}' is no HTTP URL with a host. Write http://<address>:8080/v2.0.0/…, IPv6 addresses in brackets."
        )
    if parts.username is not None or any(character.isspace() for character in text):
        raise AnsibleFilterError("mir_https_url: the URL holds a login or white space. Write it without.")
    default = HTTPS_PORT if parts.scheme == "https" else 80
    return parts, f"[{host}]" if ":" in host else host, port or default


class FilterModule:
    """The filter by its name."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """What Ansible loads."""
        return {"mir_https_url": mir_https_url}
