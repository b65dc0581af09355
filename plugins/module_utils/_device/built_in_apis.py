# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The APIs that are built in. Users describe others in the same form under C(tls_certificate_apis)."""

from __future__ import annotations

from typing import Any

BUILT_IN: dict[str, dict[str, Any]] = {
    # MiR robots and MiR Fleet 2.x, https://<address>/api/v2.0.0 (software 2.10 and later)
    "mir": {
        "base_path": "/api/v2.0.0",
        "login": {"scheme": "basic_sha256"},
        "headers": {"Accept-Language": "en_US"},
        "upload": {
            "method": "POST",
            "path": "/ssl/cert",
            "body": {"cert_pem_file": {"base64_pem": "fullchain"}, "cert_key_file": {"base64_pem": "key"}},
            "accepted": [200, 201, 204],
            "already": [409],
            # A robot may take its time over the answer.
            "timeout": 60,
        },
        "remove": {"method": "DELETE", "path": "/ssl/cert", "accepted": [200, 202, 204], "absent": [404]},
        "errors": ["error_human", "error.message", "message"],
        "http_ports": [80, 8080, 9090],
        # Robots answer with an object, Fleet with a list.
        "status": {"path": "/status", "field": "state_id || [0].state", "text": "state_text"},
        # Of MiR Fleet. The list may hold nothing but ids and addresses of records.
        "view": {
            "list": "/robots",
            "id": "id",
            "item": "/robots/{id}",
            "address": "ip",
            "serial": "serial_number",
            "name": "status.robot_name || robot_name",
            # Which values there are is documented nowhere. Clients in public source know "None" and "Unavailable" of fleet_state;
            # the rest is guessed, and each line can be replaced, or switched off with null.
            "health": {
                "active": {"field": "active", "order": [[True], [False]]},
                "fleet_state": {
                    "field": "fleet_state_text || fleet_state",
                    "order": [
                        ["Ready", "Idle", "Executing", "Pause", "Charging"],
                        ["Unavailable", "None", "Disconnected", "Offline", "0", "1"],
                        ["Error"],
                    ],
                },
                "state": {"field": "status.state_id", "order": [["3", "4", "5", "11"], ["12"]]},
            },
        },
    },
}
