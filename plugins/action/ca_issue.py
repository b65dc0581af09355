# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Send all CSRs of the batch to the CA in one call. Each certificate succeeds or fails alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible.plugins.action import ActionBase

from ansible_collections.certfleet.tls.plugins.plugin_utils._ca_call import (
    CACallError,
    ca_host,
    call_signer,
    options_of,
)
from ansible_collections.certfleet.tls.plugins.plugin_utils._engine import (
    DEPLOY_VARIABLE,
    REQUEST_VARIABLE,
    batch_variables,
    is_open,
    raw_variables,
)

_FIELDS = (
    "id",
    "identity",
    "name",
    "authority",
    "profile",
    "common_name",
    "names",
    "csr",
    "lifetime",
    "renew_before",
    "spki",
    "shared_names",
)


class ActionModule(ActionBase):
    """Gather the batch's requests, sign them where the CA is, and return the contract's fields."""

    _supports_check_mode = True
    _supports_async = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """See the module's documentation."""
        super().run(tmp, task_vars)
        task_vars = task_vars or {}
        host = ca_host(self, task_vars)
        if self._task.args.get("requests") is not None:
            requests = [dict(item) for item in self._task.args["requests"]]
            strangers: dict[str, Any] = {}
        else:
            requests, strangers = _batch_requests(task_vars, host)
        result: dict[str, Any] = {"changed": False, "chains": {}, "certificates": strangers}
        if not requests or self._task.check_mode:
            return result
        arguments = options_of(self, "directory", "passphrase_file", "passphrase_command", "shared_names")
        if "shared_names" not in arguments and any(item.get("shared_names") for item in requests):
            arguments["shared_names"] = _shared_by_all(task_vars)
        try:
            answer = call_signer(self, "ca_issue", {**arguments, "requests": requests}, task_vars)
        except CACallError as exc:
            error = {"error": {"code": exc.code, "message": str(exc)}}
            result["certificates"].update({item["id"]: error for item in requests})
            return result
        result["chains"] = answer.get("chains") or {}
        result["certificates"].update(answer.get("certificates") or {})
        result["changed"] = bool(answer.get("changed"))
        return result


def _batch_requests(task_vars: dict[str, Any], host: str) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """(what is to be signed, errors of hosts that name another CA)."""
    requests: list[dict[str, Any]] = []
    strangers: dict[str, Any] = {}
    for name, found in batch_variables(task_vars, REQUEST_VARIABLE, DEPLOY_VARIABLE, "tls_ca_host"):
        if not is_open(found):
            continue
        for entry in (found.get(REQUEST_VARIABLE) or {}).get("certificates") or ():
            if entry["verdict"] != "issue" or not entry.get("csr"):
                continue
            if str(found.get("tls_ca_host") or host) != host:
                message = f"{name} names another CA host ('{found['tls_ca_host']}') than this run's ('{host}')"
                strangers[entry["id"]] = {"error": {"code": "other_ca", "message": message}}
                continue
            requests.append(_plain(entry))
    return requests, strangers


def _shared_by_all(task_vars: dict[str, Any]) -> list[dict[str, Any]]:
    """What the hosts of this run share on purpose, also those that are done already and ask for nothing."""
    return [
        {"identity": entry["identity"], "authority": entry["authority"], "names": list(entry["shared_names"])}
        for found in raw_variables(task_vars, map(str, task_vars["hostvars"]), REQUEST_VARIABLE)
        for entry in (found.get(REQUEST_VARIABLE) or {}).get("certificates") or ()
        if entry.get("shared_names")
    ]


def _plain(entry: Mapping[str, Any]) -> dict[str, Any]:
    request = {field: entry[field] for field in _FIELDS if entry.get(field) is not None}
    request["reasons"] = [str(reason["code"]) for reason in entry.get("reasons") or ()]
    return request
