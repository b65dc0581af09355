# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Have the CRLs looked after. This runs once for all hosts, so that a CA which is away is an answer, not a failure of the first."""

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase

from ansible_collections.certfleet.tls.plugins.plugin_utils._ca_call import (
    CACallError,
    ca_host,
    call_signer,
    options_of,
)

_OPTIONS = ("directory", "passphrase_file", "passphrase_command", "authorities", "published", "published_complete")
_FIELDS = ("changed", "crls", "due", "problems", "forgotten", "diff", "warnings")


class ActionModule(ActionBase):
    """Return the module's fields, and whether there is a CA."""

    _supports_check_mode = True
    _supports_async = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """See the module's documentation."""
        super().run(tmp, task_vars)
        task_vars = task_vars or {}
        told: dict[str, Any] = {
            "changed": False,
            "crls": {},
            "due": [],
            "problems": {},
            "forgotten": [],
            "available": True,
            "message": "",
            "ca_host": ca_host(self, task_vars),
        }
        try:
            answer = call_signer(self, "ca_crl", options_of(self, *_OPTIONS), task_vars)
        except CACallError as exc:
            said = str(exc)
            self._display.warning(f"The CRLs were not looked after: {said}")
            return {**told, "available": False, "message": said}
        told.update({field: answer[field] for field in _FIELDS if field in answer})
        for said in told["problems"].values():
            self._display.warning(f"A CRL was not looked after: {said}")
        return told
