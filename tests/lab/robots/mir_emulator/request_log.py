# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The log: one JSON object a line, and never a login, a key or a body.

{"event": "request", "time": …, "device": …, "client": …, "scheme": "https", "port": 443, "method": "POST",
 "path": "/api/v2.0.0/ssl/cert", "authorization": true, "body": 3172, "status": 201}
{"event": "handshake", "time": …, "device": …, "client": …, "port": 443, "ok": true}
{"event": "control", "time": …, "device": …, "action": "set", "words": ["https=off"]}
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any


class RequestLog:
    """Appends to a file; each line is written whole and at once."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path

    def write(self, event: str, device: str, **fields: Any) -> None:
        """Add a line. The file is opened anew each time, so that it may be moved away or emptied meanwhile."""
        line = json.dumps({"event": event, "time": round(time.time(), 3), "device": device, **fields})
        with self._path.open("a", encoding="utf-8") as stream:
            stream.write(f"{line}\n")
