# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The one place where C(requests) is imported. Only deploy needs it: a parent without it is smaller, and forks faster."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .jmespath_library import missing

if TYPE_CHECKING:
    import requests
    from requests.adapters import HTTPAdapter
    from urllib3.connection import HTTPSConnection
    from urllib3.connectionpool import HTTPSConnectionPool
    from urllib3.exceptions import NewConnectionError
else:
    try:
        import requests
        from requests.adapters import HTTPAdapter
        from urllib3.connection import HTTPSConnection
        from urllib3.connectionpool import HTTPSConnectionPool
        from urllib3.exceptions import NewConnectionError
    except ImportError:
        requests = None
        HTTPAdapter = HTTPSConnection = HTTPSConnectionPool = object
        NewConnectionError = OSError

__all__ = ["HTTPAdapter", "connect_by", "requests", "require_requests"]


def require_requests() -> None:
    """Raise DeviceError when it is missing on the controller."""
    if requests is None:
        raise missing("requests")


def connect_by(dial: Callable[[float], socket.socket], pools: Any) -> None:
    """Let all HTTPS connections of a pool manager begin with the socket that O(dial) (seconds until it gives up) makes.

    It is done as urllib3's own support of SOCKS does it.
    """

    class Connection(HTTPSConnection):
        def _new_conn(self) -> socket.socket:
            try:
                return dial(float(self.timeout or 0))
            except OSError as exc:
                raise NewConnectionError(self, str(exc)) from exc

    class Pool(HTTPSConnectionPool):
        ConnectionCls = Connection

    pools.pool_classes_by_scheme = {**pools.pool_classes_by_scheme, "https": Pool}
