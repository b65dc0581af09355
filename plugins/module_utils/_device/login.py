# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Logins, and texts in which they must not appear."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from .description import Api
from .errors import DeviceError

# A key or certificate that a device echoes: base64 goes on for long.
_LONG_RUN = re.compile(r"[A-Za-z0-9+/=_-]{40,}")
_MOST = 200


@dataclass(frozen=True)
class Credentials:
    """User name and password (for the schemes C(bearer) and C(header): the token is the password)."""

    username: str
    password: str = field(repr=False)


def login_headers(api: Api, credentials: Credentials, *, where: str) -> dict[str, str]:
    """The headers that log a request in. Raises DeviceError when something for that is missing."""
    scheme, user, password = api.login.scheme, credentials.username, credentials.password
    if scheme == "none":
        return {}
    if not password or (scheme.startswith("basic") and not user):
        needed = "username and password" if scheme.startswith("basic") else "password"
        raise DeviceError(f"{where}: no login is given for API '{api.name}'. Set its {needed} (in a vault).")
    if any(character in f"{user}{password}" for character in "\r\n"):
        raise DeviceError(f"{where}: user name or password hold a line break. Correct the login of API '{api.name}'.")
    if scheme == "bearer":
        return {"Authorization": f"Bearer {password}"}
    if scheme == "header":
        return {api.login.header: password}
    return {"Authorization": f"Basic {_basic(api, credentials)}"}


def _basic(api: Api, credentials: Credentials) -> str:
    password = credentials.password
    if api.login.scheme == "basic_sha256":
        password = hashlib.sha256(password.encode()).hexdigest()
    return base64.b64encode(f"{credentials.username}:{password}".encode()).decode()


def without_secrets(text: str, api: Api, credentials: Credentials) -> str:
    """One short line of what a device said, without its login and without anything that may be a key."""
    line = " ".join(text.split())
    for secret in _secrets(api, credentials):
        line = line.replace(secret, "[hidden]")
    line = _LONG_RUN.sub("[hidden]", line.replace("PRIVATE KEY", "[hidden]"))
    return line if len(line) <= _MOST else f"{line[: _MOST - 1]}…"


def _secrets(api: Api, credentials: Credentials) -> Iterable[str]:
    password = credentials.password
    if password:
        yield _basic(api, credentials)
        yield hashlib.sha256(password.encode()).hexdigest()
        yield base64.b64encode(password.encode()).decode().rstrip("=")
        yield password
