# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The one place where C(requests) and C(jmespath) are imported, so that their absence is a clear error."""

from __future__ import annotations

import traceback
from typing import TYPE_CHECKING

from .errors import DeviceError

MISSING: dict[str, str] = {}

if TYPE_CHECKING:
    import jmespath
    import requests
    from jmespath.exceptions import JMESPathError
    from requests.adapters import HTTPAdapter
else:
    try:
        import requests
        from requests.adapters import HTTPAdapter
    except ImportError:
        MISSING["requests"] = traceback.format_exc()
        requests = None
        HTTPAdapter = object
    try:
        import jmespath
        from jmespath.exceptions import JMESPathError
    except ImportError:
        MISSING["jmespath"] = traceback.format_exc()
        jmespath = None
        JMESPathError = ValueError

__all__ = ["MISSING", "HTTPAdapter", "JMESPathError", "jmespath", "requests", "require_libraries"]


def require_libraries() -> None:
    """Raise DeviceError when a library is missing on the controller."""
    if MISSING:
        names = " and ".join(sorted(MISSING))
        raise DeviceError(
            f"Missing on the controller: the Python library {names}. Install it where ansible-playbook runs "
            "(in an execution environment: in its image)."
        )
