# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a device may be changed now, by the state that it tells. A robot on a mission is left alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .acquaintance import Met
from .description_fields import plain
from .errors import DeviceError
from .jmespath_library import JMESPathError, jmespath

if TYPE_CHECKING:
    # It brings the HTTP client along, which request has no use for in the steady state.
    from .delivery import Access
    from .rest_client import Fetched


def check_state(access: Access, *, met: Met | None = None) -> str | None:
    """None where the device may be changed now, else a sentence why not. Nothing is guessed: a state that cannot be read counts.

    Only a recognised peer is asked, since that takes a login; O(met) is a look that was just taken. Raises DeviceError where the
    login is missing or refused: waiting would not help.
    """
    api = access.api
    if not api.change_states or api.status is None:
        return None
    met = met or access.meet()
    wanted = f"it is only changed in {', '.join(api.change_states)}"
    if met.leaf is None or not met.recognised:
        return f"its state could not be asked for ({met.seen.said.rstrip('.')}), and {wanted}"
    client = access.client(met)
    try:
        fetched = client.fetch(api.status.path)
    finally:
        client.close()
    if fetched.kind == "login":
        raise DeviceError(fetched.said)
    if fetched.kind != "accepted":
        return f"its state could not be read ({fetched.said}), and {wanted}"
    state = _found(api.status.field, fetched)
    if state is None:
        return (
            f"{access.target.text} answers without a state (looked for: {api.status.field}), and {wanted}. "
            "Correct status.field in the host's api"
        )
    if state.casefold() in api.change_states:
        return None
    words = _found(api.status.text, fetched)
    return f"it is in state {state}{f' ({words})' if words else ''}, and {wanted}"


def _found(expression: str, fetched: Fetched) -> str | None:
    if not expression:
        return None
    try:
        return plain(jmespath.search(expression, fetched.value))
    except JMESPathError:
        return None
