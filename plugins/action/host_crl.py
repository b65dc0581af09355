# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Take the CRLs from what the CA said, check their signatures, and hand them to the host."""

from __future__ import annotations

import base64
import time
from collections.abc import Iterator, Mapping
from typing import Any

from ansible.errors import AnsibleConnectionFailure, AnsibleError
from ansible.plugins.action import ActionBase

from ansible_collections.certfleet.tls.plugins.module_utils._x509.crl import Crl, is_crl_of, parse_crls, read_crls
from ansible_collections.certfleet.tls.plugins.module_utils._x509.errors import X509Error
from ansible_collections.certfleet.tls.plugins.module_utils._x509.parse import iso, parse_bundle
from ansible_collections.certfleet.tls.plugins.plugin_utils._clock import clock_limit
from ansible_collections.certfleet.tls.plugins.plugin_utils._engine import (
    CRL_VARIABLE,
    EngineError,
    absent_result,
    failure,
    plain_variables,
    read_ca,
    settle,
)


class ActionModule(ActionBase):
    """Without a CA nothing is touched: a server keeps what it has."""

    _supports_check_mode = True
    _supports_async = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """See the module's documentation."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        variables = plain_variables(task_vars, self._templar)
        try:
            return {**result, **settle(self._handed_over(variables), self, variables)}
        except (AnsibleError, X509Error) as exc:
            return settle({**result, **failure(exc, str(variables["inventory_hostname"]))}, self, variables)

    def _handed_over(self, task_vars: dict[str, Any]) -> dict[str, Any]:
        items = [dict(item) for item in self._task.args.get("crls") or ()]
        if not items:
            return {"changed": False, "absent": False, "files": [], "published": []}
        given = self._task.args.get("ca")
        ca = read_ca(task_vars, {"ca": given if given is not None else task_vars.get(CRL_VARIABLE)}) or {}
        if not ca.get("available"):
            return self._without_ca(str(ca.get("message") or "the CA was not asked"), task_vars)
        crls = [
            _crls_of(
                ca, str(item.get("authority") or ""), is_der=_is_der(item), task_vars=task_vars, templar=self._templar
            )
            for item in items
        ]
        orders = [
            {**_order(item), "content": _content(item, found), "hold": _is_forgotten(ca, item)}
            for item, found in zip(items, crls)
        ]
        arguments = {"crls": items, "orders": orders}
        try:
            answer: dict[str, Any] = self._execute_module(
                module_name="certfleet.tls.host_crl", module_args=arguments, task_vars=task_vars
            )
        except AnsibleConnectionFailure as exc:
            gone = absent_result(f"{task_vars['inventory_hostname']} cannot be reached: {exc}")
            return {field: gone[field] for field in ("absent", "changed", "said", "msg")}
        # What they were is of no interest to anybody, and long.
        answer.pop("invocation", None)
        held = [file.pop("held", None) for file in answer.get("files") or ()]
        if not answer.get("failed"):
            answer["published"] = [
                told
                for item, content, found in zip(items, held, crls)
                if content
                for told in _published(ca, item, content, found)
            ]
        if answer.get("changed"):
            answer.setdefault("warnings", []).extend(_incomplete(ca, items))
        return answer

    def _without_ca(self, why: str, task_vars: Mapping[str, Any]) -> dict[str, Any]:
        said = f"{task_vars['inventory_hostname']}: the CRLs could not be compared: {why}"
        predicted = {"changed": True, "msg": f"would be put there once there is a CA ({why})"}
        return {
            "changed": False,
            "absent": False,
            "files": [],
            "warnings": [said],
            **(predicted if self._task.check_mode else {}),
        }


def _crls_of(
    ca: Mapping[str, Any], authority: str, *, is_der: bool, task_vars: Mapping[str, Any], templar: Any
) -> list[Crl]:
    """The CRLs of an authority that go into the file, each signed by one of its certificates and good now. Raises EngineError."""
    told = (ca.get("crls") or {}).get(authority)
    if told is None:
        problem = (ca.get("problems") or {}).get(authority)
        there = ", ".join(sorted(ca.get("crls") or ())) or "none"
        raise EngineError(
            f"The CRLs of authority '{authority}' could not be had: {problem}"
            if problem
            else f"The CA has no authority '{authority}' (there are: {there}). Nothing was changed. Correct tls_trust_crls, or create it "
            "with the role tls_ca (tls_ca_authorities)."
        )
    where = f"authority '{authority}'"
    issuers = parse_bundle(str(told["chain"]) + str(told["anchors"]), where=where)
    found = parse_crls(str(told["pem"]), where=where)
    if is_der:
        # It holds one alone: whatever became of that of a root elsewhere, revocations get there.
        found = found[:1]
    if told.get("forgotten"):
        # The CA does not know what it has signed last, and its servers are asked for that first.
        is_good = all(crl.next_update > time.time() and not _is_early(crl, task_vars, templar) for crl in found)
        return found if found and is_good and is_crl_of(found[0], issuers[0]) else []
    for crl in found:
        if not any(is_crl_of(crl, issuer) for issuer in issuers):
            raise EngineError(
                f"{where}: the CRL number {crl.number} of {crl.issuer} is not signed by the authority's own key. Nothing was changed. "
                "Look at its folder on the CA host."
            )
        if _is_early(crl, task_vars, templar):
            raise EngineError(
                f"{where}: the CRL number {crl.number} of {crl.issuer} begins only {iso(crl.this_update)}, it is now {iso(time.time())}: "
                "services would refuse everybody. It is left aside, nothing was changed. A clock is wrong: that of the CA host (or of "
                "wherever it was signed), or the controller's. Have it kept right by NTP, then run ca_crl again."
            )
        if crl.next_update <= time.time():
            raise EngineError(
                f"{where}: the CRL number {crl.number} of {crl.issuer} has ended {iso(crl.next_update)}: services would refuse "
                "everybody. Nothing was changed. Sign a new one where its key is, and give it to ca_crl as 'published'."
            )
    if not found or not is_crl_of(found[0], issuers[0]):
        raise EngineError(f"{where}: there is no CRL of its issuing CA. Nothing was changed. Run ca_crl before.")
    return found


def _is_early(crl: Crl, task_vars: Mapping[str, Any], templar: Any) -> bool:
    """Whether it begins later than a difference of clocks explains; who signs a CRL lets it begin in the past."""
    ahead = crl.this_update - time.time()
    return ahead > 0 and ahead > clock_limit(task_vars, templar)


def _is_der(item: Mapping[str, Any]) -> bool:
    return str(item.get("format") or "pem") == "der"


def _is_forgotten(ca: Mapping[str, Any], item: Mapping[str, Any]) -> bool:
    return bool(ca["crls"][item["authority"]].get("forgotten"))


def _published(
    ca: Mapping[str, Any], item: Mapping[str, Any], content: str, known: list[Crl]
) -> Iterator[dict[str, Any]]:
    """Those CRLs of a file that the authority's keys have signed, not before the ones that the restored CA has."""
    told, raw = ca["crls"][item["authority"]], base64.b64decode(content)
    text = raw.decode("ascii", "replace")
    if _is_der(item):
        text = f"-----BEGIN X509 CRL-----\n{base64.encodebytes(raw).decode()}-----END X509 CRL-----\n"
    issuers = parse_bundle(str(told["chain"]) + str(told["anchors"]), where=f"authority '{item['authority']}'")
    # What is damaged tells nothing.
    found, _damaged = read_crls(text, where=str(item.get("path")))
    for crl in found:
        if any(is_crl_of(crl, issuer) for issuer in issuers):
            number = max((other.number for other in known if other.issuer == crl.issuer), default=-1)
            if crl.number >= number:
                yield {"pem": crl.pem, "is_newer": crl.number > number}


def _content(item: Mapping[str, Any], crls: list[Crl]) -> str:
    if not crls:
        return ""
    if _is_der(item):
        return base64.b64encode(crls[0].der).decode()
    return base64.b64encode("".join(crl.pem for crl in crls).encode()).decode()


def _order(item: Mapping[str, Any]) -> dict[str, Any]:
    return {field: item[field] for field in ("path", "owner", "group", "mode", "reload") if item.get(field) is not None}


def _incomplete(ca: Mapping[str, Any], items: list[dict[str, Any]]) -> list[str]:
    """What a service that checks the whole chain would miss."""
    return [
        f"{item['path']}: there is no CRL for every certificate of authority '{item['authority']}', since the root's key is elsewhere. "
        "Services that check the whole chain, such as nginx, refuse every client without. Give the root's CRL to ca_crl as 'published'."
        for item in items
        if not _is_der(item) and not ca["crls"][item["authority"]]["complete"]
    ]
