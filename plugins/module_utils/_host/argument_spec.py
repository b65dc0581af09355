# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options of a wanted certificate, as the host modules take them."""

from __future__ import annotations

from typing import Any

KEY: dict[str, Any] = {
    "type": {
        "type": "str",
        "choices": ["ec-p256", "ec-p384", "rsa-2048", "rsa-3072", "rsa-4096", "ed25519"],
        "default": "ec-p256",
    },
}
WHERE: dict[str, Any] = {
    "certificate": {"type": "str", "required": True},
    "key": {"type": "str", "required": True, "no_log": False},
    "chain": {"type": "str"},
    "owner": {"type": "str"},
    "group": {"type": "str"},
    "mode": {"type": "str", "default": "0644"},
    "key_mode": {"type": "str", "default": "0600", "no_log": False},
}
RELOAD: dict[str, Any] = {
    "method": {"type": "str", "choices": ["docker", "systemd", "command", "signal", "none"], "default": "none"},
    "name": {"type": "str"},
    "project": {"type": "str"},
    "service": {"type": "str"},
    "action": {"type": "str", "choices": ["restart", "reload"]},
    "command": {"type": "list", "elements": "str"},
    "pid_file": {"type": "str"},
    "signal": {"type": "str", "choices": ["HUP", "USR1", "USR2"]},
    "timeout": {"type": "float", "default": 120},
}
PROVE: dict[str, Any] = {
    "address": {"type": "str", "required": True},
    "port": {"type": "int", "default": 443},
    "server_name": {"type": "str"},
    "hold": {"type": "float", "default": 10},
    "timeout": {"type": "float", "default": 60},
}
WATCHDOG: dict[str, Any] = {
    "method": {"type": "str", "choices": ["systemd", "none"], "default": "systemd"},
    "limit": {"type": "float"},
}
CERTIFICATE: dict[str, Any] = {
    "name": {"type": "str", "required": True},
    "identity": {"type": "str"},
    "authority": {"type": "str", "default": "fleet"},
    "profile": {"type": "str", "default": "server"},
    "common_name": {"type": "str"},
    "subject_alt_names": {"type": "list", "elements": "str"},
    "shared_names": {"type": "list", "elements": "str"},
    "lifetime": {"type": "str"},
    "renew_before": {"type": "str"},
    # What it is like, not a key itself.
    "key": {"type": "dict", "options": KEY, "no_log": False},
    "where": {"type": "dict", "options": WHERE, "required": True},
    "reload": {"type": "dict", "options": RELOAD},
    "prove": {"type": "dict", "options": PROVE},
    "watchdog": {"type": "dict", "options": WATCHDOG},
}
