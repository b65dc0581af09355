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
        },
        "remove": {"method": "DELETE", "path": "/ssl/cert", "accepted": [200, 202, 204], "absent": [404]},
        "errors": ["error_human", "error.message", "message"],
        "http_ports": [80, 8080, 9090],
    },
}
