# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What ca_issue is asked, as the engine's request step would put it."""

from __future__ import annotations

from typing import Any

from ansible_collections.certfleet.tls.plugins.module_utils._x509.build import build_csr
from ansible_collections.certfleet.tls.plugins.module_utils._x509.keys import spki_of


def certificate_request(identity: str, *, key: Any, **changes: Any) -> dict[str, Any]:
    """For the private O(key); the CSR asks for nothing itself. O(changes) are fields that differ."""
    name = changes.get("name", "https")
    asked = {
        "id": f"{identity}/{name}",
        "identity": identity,
        "name": name,
        "authority": "fleet",
        "profile": "server",
        "common_name": None,
        "names": [f"DNS:{identity}.plant.example"],
        "csr": build_csr(key, common_name=None, names=()),
        "spki": spki_of(key.public_key()),
        "lifetime": 90 * 86400,
        "reasons": ["missing"],
    }
    return {**asked, **changes}
