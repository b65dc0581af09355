# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Emulated MiR robots and MiR Fleet 2.13, thousands in one process: `serve.py --config FILE`.

Standard library and the `openssl` command only; Python 3.9+. Each device has addresses of its own, and on each of them

  443         HTTPS, the REST API under /api/v2.0.0 (facts: POST and DELETE /ssl/cert swap the certificate live)
  80, 8080    plain HTTP, the same API under /api/v2.0.0 and /v2.0.0
  9090        answers as a rosbridge does to a request that is no WebSocket

The configuration is JSON; everything but `devices` has the default that is shown:

  {
    "state_dir": "/var/lib/robots",              uploaded pairs lie here, a restart keeps them
    "log": "/var/log/robots/requests.jsonl",     see mir_emulator/request_log.py; never holds secrets
    "control": "/run/robots.sock",               where control.py speaks to this process
    "bind": "each",                              "wildcard": one socket per port, the device is picked by the address
                                                 that was connected to (for thousands; a port that is off is then reset
                                                 instead of refused)
    "builtin": "each",                           "shared": one self-signed pair for all devices that name none
    "ports": {"https": 443, "http": [80, 8080, 9090]},     the places in "http" keep their meaning
    "devices": [
      {
        "name": "robot-1",
        "profile": "robot",                      or "fleet", or "appliance" (see mir_emulator/appliance_api.py)
        "addresses": ["127.0.1.1", "::1"],
        "username": "Distributor", "password": "distributor",
        "certificate": "…", "key": "…",          the built-in pair (PEM); made with openssl where it is missing
        "switches": {"login_status": 403}        see mir_emulator/switches.py for all of them
      }
    ]
  }

Once all ports listen it prints one line, `serving N devices`. SIGTERM ends it.
"""

from __future__ import annotations

import sys

from mir_emulator.command import main

if __name__ == "__main__":
    sys.exit(main())
