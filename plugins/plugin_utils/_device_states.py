# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""device_request: a device on which something is due, and that is busy, is left alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.certfleet.tls.plugins.module_utils._device.acquaintance import Acquaintance, Met
from ansible_collections.certfleet.tls.plugins.module_utils._device.change_state import check_state
from ansible_collections.certfleet.tls.plugins.module_utils._device.login import Credentials
from ansible_collections.certfleet.tls.plugins.module_utils._device.settings import Settings


def defer_busy(
    entry: dict[str, Any], api: Mapping[str, Any], settings: Settings, acquaintance: Acquaintance, met: Met | None
) -> None:
    """Give a due entry its C(deferred) when the device's state does not allow a change; O(api) holds the resolved login.

    Only a recognised peer is asked. Raises DeviceError for a login that is missing or refused.
    """
    if not settings.api.change_states or met is None or not met.recognised:
        return
    # Here and not above: it brings the HTTP client along, which no worker needs in the steady state.
    from ansible_collections.certfleet.tls.plugins.module_utils._device.delivery import Access

    credentials = Credentials(str(api.get("username") or ""), str(api.get("password") or ""))
    access = Access(str(entry["identity"]), settings.target, settings.api, credentials, acquaintance)
    busy = check_state(access, met=met)
    if busy:
        entry["deferred"] = {"code": "window", "message": busy}
