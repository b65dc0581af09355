# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The one place where C(jmespath) is imported, and the words for a library that the controller lacks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .errors import DeviceError

if TYPE_CHECKING:
    import jmespath
    from jmespath.exceptions import JMESPathError
else:
    try:
        import jmespath
        from jmespath.exceptions import JMESPathError
    except ImportError:
        jmespath = None
        JMESPathError = ValueError

__all__ = ["JMESPathError", "jmespath", "missing", "require_jmespath"]


def missing(library: str) -> DeviceError:
    """The error that a library is missing."""
    return DeviceError(
        f"Missing on the controller: the Python library {library}. Install it where ansible-playbook runs "
        "(in an execution environment: in its image)."
    )


def require_jmespath() -> None:
    """Raise DeviceError when it is missing on the controller."""
    if jmespath is None:
        raise missing("jmespath")
