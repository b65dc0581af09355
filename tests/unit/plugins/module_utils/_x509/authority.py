# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A root, an issuing CA and leaves for tests: `Authority().leaf(names=[...])` in one line."""

from __future__ import annotations

from typing import Any

from ansible_collections.certfleet.tls.plugins.module_utils._x509.build import (
    build_issuing,
    build_root,
    ca_name,
    new_serial,
    sign_leaf,
)
from ansible_collections.certfleet.tls.plugins.module_utils._x509.constraints import Constraints
from ansible_collections.certfleet.tls.plugins.module_utils._x509.keys import new_key
from ansible_collections.certfleet.tls.plugins.module_utils._x509.parse import Leaf, to_leaf
from ansible_collections.certfleet.tls.plugins.module_utils._x509.profiles import BUILT_IN

DAY = 86400
NOW = 1_800_000_000


class Authority:
    """An authority whose clock stands at NOW."""

    def __init__(self, name: str = "fleet", *, constraints: Constraints | None = None) -> None:
        self.root_key, self.issuing_key = new_key("ec-p256"), new_key("ec-p256")
        self.root = build_root(
            self.root_key,
            subject=ca_name(f"{name} root", "Plant"),
            not_before=NOW - DAY,
            not_after=NOW + 3650 * DAY,
        )
        self.issuing = build_issuing(
            self.issuing_key.public_key(),
            root=self.root,
            root_key=self.root_key,
            subject=ca_name(f"{name} issuing", "Plant"),
            not_before=NOW - DAY,
            not_after=NOW + 1825 * DAY,
            constraints=constraints,
        )

    @property
    def issuing_leaf(self) -> Leaf:
        """The issuing CA's own certificate as a value."""
        return to_leaf(self.issuing)

    def leaf(self, *, key: Any = None, names: tuple[str, ...] = ("DNS:robot-1",), **changes: Any) -> Leaf:
        """A leaf of 90 days from NOW on."""
        key = key or new_key("ec-p256")
        profile = changes.pop("profile", "server")
        wanted: dict[str, Any] = {
            "profile": BUILT_IN[profile] if isinstance(profile, str) else profile,
            "common_name": "robot-1",
            "serial": new_serial(),
            "not_before": NOW,
            "not_after": NOW + 90 * DAY,
            **changes,
        }
        return to_leaf(
            sign_leaf(key.public_key(), issuer=self.issuing, issuer_key=self.issuing_key, names=names, **wanted)
        )
