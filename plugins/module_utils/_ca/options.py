# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options that the modules of the CA host have in common (see the doc fragment certfleet.tls.ca)."""

from __future__ import annotations

from typing import Any

from .passphrase import Passphrase
from .store import DEFAULT_DIRECTORY

NEEDED = "cryptography (the role certfleet.tls.tls_ca installs it: python3-cryptography of the distribution)"


def directory_option() -> dict[str, Any]:
    """The CA's folder."""
    return {"directory": {"type": "path", "default": DEFAULT_DIRECTORY}}


def passphrase_options() -> dict[str, Any]:
    """Where the passphrase comes from. These are no secrets themselves."""
    return {
        "passphrase_file": {"type": "path", "default": "/etc/certfleet/passphrase", "no_log": False},
        "passphrase_command": {"type": "list", "elements": "str", "default": [], "no_log": False},
    }


def clock_options() -> dict[str, Any]:
    """What this host's clock is compared with (see _ca/clock.py)."""
    return {"controller_time": {"type": "float"}, "clock_limit": {"type": "int", "default": 1800}}


def passphrase_from(params: dict[str, Any]) -> Passphrase:
    """The passphrase that the options name; nothing is read yet."""
    return Passphrase(file=params["passphrase_file"], command=params["passphrase_command"])
