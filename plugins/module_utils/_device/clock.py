# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What time a device believes it is: the date of its answer to a request that needs no login."""

from __future__ import annotations

import hashlib
import time
from email.utils import parsedate_to_datetime

from .._probe.connection import endpoint_text, open_connection, patience, remaining, way_to
from .._probe.errors import ProbeError
from .._probe.plain_http import header_in, request_head
from .._probe.tls import seeing_all
from .acquaintance import Met, Target


def read_clock(target: Target, met: Met) -> float | None:
    """Unix seconds on the device's clock; None where it does not tell.

    Only a recognised peer is asked, over a connection on which it shows the very leaf that it was recognised by.
    """
    if met.leaf is None or not met.recognised:
        return None
    try:
        head = _head(target, met.leaf.fingerprint)
    except (OSError, ProbeError, ValueError):
        # It answered a moment ago; what is wrong with it now is for the next step to find and to tell.
        return None
    date = header_in(head, "Date")
    try:
        return parsedate_to_datetime(date).timestamp() if date else None
    except (TypeError, ValueError, OverflowError):
        return None


def _head(target: Target, fingerprint: str) -> bytes:
    """The head of the answer to a request for the root, or nothing if another leaf is served."""
    with way_to(target.proxy) as via:
        deadline = time.monotonic() + patience(via)
        with open_connection(target.address, target.port, deadline=deadline, via=via) as plain:
            plain.settimeout(remaining(deadline))
            # The leaf is compared instead of verified: that was done when the device was met.
            with seeing_all().wrap_socket(plain, server_hostname=target.server_name or target.address) as wrapped:
                if hashlib.sha256(wrapped.getpeercert(binary_form=True) or b"").hexdigest() != fingerprint:
                    return b""
                port = "" if target.port == 443 else f":{target.port}"
                host = endpoint_text(target.address, target.port).rsplit(":", 1)[0] + port
                return request_head(wrapped, host=host, deadline=deadline)
