# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Proxies that lead to an endpoint: C(http://host:port) (HTTP CONNECT) and C(ssh://user@host:port) (a jump host).

TLS goes through them from end to end: a proxy sees neither key nor login, and cannot pass for the endpoint.
"""

from __future__ import annotations

import re
import urllib.parse
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass

from .connection import Way, endpoint_text
from .errors import ProbeError
from .http_connect import HttpConnect
from .ssh_forward import SshForward

_HOST = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*|[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*(?:%[A-Za-z0-9._-]+)?")
_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@+$-]*")
# Options of the ssh command that say who one is, which key to expect and how to get there, and change nothing else.
_SSH_WITH_VALUE = "BFIJbcim"
_SSH_ALONE = ("-4", "-6", "-C")
_VERIFIES = re.compile(r"StrictHostKeyChecking\s*[=\s]\s*(?!yes\b)", re.IGNORECASE)


@dataclass(frozen=True)
class Proxy:
    """A proxy; C(ssh_options) are arguments of the ssh command."""

    scheme: str
    host: str
    port: int
    user: str = ""
    ssh_options: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """The proxy as it was written."""
        user = f"{self.user}@" if self.user else ""
        return f"{self.scheme}://{user}{endpoint_text(self.host, self.port)}"

    @contextmanager
    def way(self) -> Iterator[Way]:
        """The way through it; nothing is left of it when the context ends."""
        if self.scheme == "http":
            yield HttpConnect(self.host, self.port, text=self.text)
            return
        with closing(
            SshForward(self.host, self.port, user=self.user, options=self.ssh_options, text=self.text)
        ) as forward:
            yield forward


def parse_proxy(url: str | None, ssh_options: Sequence[str] | None = (), *, where: str) -> Proxy | None:
    """Read a user's C(proxy) and C(proxy_ssh_options); None without a proxy. O(where) names host and item in errors.

    Raises ProbeError. No error repeats an URL: it might hold a password.
    """
    if not url:
        return None
    try:
        parts = urllib.parse.urlsplit(str(url).strip())
        host, port, user, password = parts.hostname or "", parts.port, parts.username or "", parts.password
    except ValueError as exc:
        raise ProbeError(f"{where}: the proxy is no URL ({exc}). Write {_FORMS}.") from exc
    if parts.scheme not in ("http", "ssh") or parts.path not in ("", "/") or parts.query or parts.fragment:
        raise ProbeError(f"{where}: this kind of proxy is not known. Write {_FORMS}.")
    if not _HOST.fullmatch(host) or (user and not _USER.fullmatch(user)):
        raise ProbeError(f"{where}: the proxy's host or user is not usable. Write {_FORMS}.")
    if password is not None or (user and parts.scheme == "http"):
        raise ProbeError(
            f"{where}: logins to HTTP proxies and passwords in a proxy's URL are not supported. Let the proxy allow this "
            "machine by its address, or use an SSH jump host with a key."
        )
    if parts.scheme == "http":
        if port is None:
            raise ProbeError(f"{where}: the proxy's URL has no port. Write {_FORMS}.")
        return Proxy("http", host, port)
    return Proxy("ssh", host, port or 22, user, _ssh_options(ssh_options, where=where))


_FORMS = "http://host:port or ssh://user@host:port"


def _ssh_options(options: Sequence[str] | None, *, where: str) -> tuple[str, ...]:
    if isinstance(options, (str, bytes)) or not all(isinstance(option, str) for option in options or ()):
        raise ProbeError(f"{where}: proxy_ssh_options must be a list of texts, such as ['-i', '/path/of/the/key'].")
    given = [str(option) for option in options or ()]
    rest = list(given)
    while rest:
        option = rest.pop(0)
        if option in _SSH_ALONE:
            continue
        if len(option) < 2 or option[0] != "-" or option[1] not in _SSH_WITH_VALUE + "o":
            raise ProbeError(
                f"{where}: proxy_ssh_options cannot hold '{option}'. There are -o, -i, -F, -J and others that say who one is and "
                f"how to get there: -{', -'.join(_SSH_WITH_VALUE)}, {', '.join(_SSH_ALONE)}."
            )
        value = option[2:] or (rest.pop(0) if rest else "")
        if not value:
            raise ProbeError(f"{where}: in proxy_ssh_options the option '{option}' lacks its value.")
        if option[1] == "o" and _VERIFIES.match(value.strip()):
            raise ProbeError(
                f"{where}: the jump host's key is always verified, StrictHostKeyChecking cannot be weakened. Name a file that "
                "holds it: -o UserKnownHostsFile=/path."
            )
    return tuple(given)
