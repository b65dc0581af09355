# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The one place where C(requests) is imported. Only deploy needs it: a parent without it is smaller, and forks faster."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .jmespath_library import missing

if TYPE_CHECKING:
    import requests
    from requests.adapters import HTTPAdapter
else:
    try:
        import requests
        from requests.adapters import HTTPAdapter
    except ImportError:
        requests = None
        HTTPAdapter = object

__all__ = ["HTTPAdapter", "requests", "require_requests"]


def require_requests() -> None:
    """Raise DeviceError when it is missing on the controller."""
    if requests is None:
        raise missing("requests")
