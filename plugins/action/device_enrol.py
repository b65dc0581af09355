# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Meet a device for the first time: show the key that it serves, and say whether the operator expects it.

Nothing is sent to the device but a TLS handshake. The pin itself is written by ca_record.
"""

from __future__ import annotations

from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

from ansible_collections.certfleet.tls.plugins.module_utils._probe.connection import Detour, patience, way_to
from ansible_collections.certfleet.tls.plugins.module_utils._probe.errors import ProbeError
from ansible_collections.certfleet.tls.plugins.module_utils._probe.tls import look
from ansible_collections.certfleet.tls.plugins.module_utils._x509.errors import X509Error
from ansible_collections.certfleet.tls.plugins.module_utils._x509.judge import Known, Served
from ansible_collections.certfleet.tls.plugins.module_utils._x509.parse import Leaf, parse_certificate
from ansible_collections.certfleet.tls.plugins.plugin_utils._engine import identity_of, plain_variables, read_ca, settle

_OPTIONS = {
    "address": {"type": "str", "required": True},
    "port": {"type": "int", "default": 443},
    "server_name": {"type": "str"},
    "proxy": {"type": "str"},
    "proxy_ssh_options": {"type": "list", "elements": "str", "default": []},
    "authority": {"type": "str", "default": "fleet"},
    "expected_spki": {"type": "list", "elements": "str", "default": []},
    "accept": {"type": "bool", "default": False},
    "ca": {"type": "dict"},
}


class ActionModule(ActionBase):
    """Compare the served key with what the operator expects."""

    _supports_check_mode = True
    _supports_async = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """See the module's documentation."""
        super().run(tmp, task_vars)
        task_vars = plain_variables(task_vars, self._templar)
        if self._task.delegate_to:
            raise AnsibleActionFail("device_enrol looks at a device from the controller; it cannot be delegated.")
        _validation, args = self.validate_argument_spec(_OPTIONS)
        identity = identity_of(task_vars)
        known = Known.from_ca_info(read_ca(task_vars, args), identity=identity, authority=args["authority"])
        where = f"{identity} at {args['address']} port {args['port']}"
        name = args["server_name"] or args["address"]
        try:
            with way_to(_proxy(args, where=where)) as via:
                seen = look(
                    args["address"],
                    args["port"],
                    server_name=name,
                    anchors=known.anchors,
                    timeout=patience(via),
                    via=via,
                )
            if seen.failure == "proxy_refuses":
                raise ProbeError(seen.said)
        except ProbeError as exc:
            return settle({"failed": True, "msg": f"{where}: {exc}", "pins": []}, self, task_vars)
        if seen.leaf is None:
            said = f"{where}: no TLS handshake: {seen.said}"
            self._display.display(said)
            return {"changed": False, "absent": True, "state": "absent", "said": said, "msg": said, "pins": []}
        try:
            leaf = parse_certificate(seen.leaf, where=where)
        except X509Error as exc:
            return settle({"failed": True, "msg": str(exc), "pins": []}, self, task_vars)
        state, said = _state(leaf, seen.trusted, known, args, identity=identity)
        self._display.display(
            f"{where}: key {leaf.spki} ({'self-signed' if leaf.self_signed else leaf.issuer}): {said}"
        )
        pins = [{"identity": identity, "spki": leaf.spki, "why": said}] if state == "pin" else []
        result = {"changed": bool(pins), "absent": False, "state": state, "spki": leaf.spki, "said": said, "pins": pins}
        if state == "stranger":
            result.update(failed=True, msg=f"{where}: {said}")
        return settle(result, self, task_vars)


def _proxy(args: dict[str, Any], *, where: str) -> Detour | None:
    if not args["proxy"]:
        return None
    from ansible_collections.certfleet.tls.plugins.module_utils._probe.tunnel import parse_proxy

    return parse_proxy(args["proxy"], args["proxy_ssh_options"], where=where)


def _state(leaf: Leaf, trusted: bool, known: Known, args: dict[str, Any], *, identity: str) -> tuple[str, str]:
    """(known | pin | stranger, a sentence)."""
    if known.decommissioned:
        return "stranger", (
            f"'{identity}' was decommissioned, nothing was pinned. Take it out of the inventory; if it is in use again, run "
            "playbooks/readmit.yml for it first."
        )
    expected = {str(value).replace(":", "").strip().lower() for value in args["expected_spki"]}
    suspicion = known.suspicion(leaf)
    # The old machine may still answer here: only who has named its very key has compared it.
    if suspicion and (leaf.spki not in expected or {leaf.spki, leaf.fingerprint} & known.compromised):
        return "stranger", suspicion
    if suspicion:
        return "pin", "expected by the inventory although it was here before, pinned"
    if trusted:
        return "known", "has a certificate of the fleet, nothing to pin"
    if leaf.spki in known.pins:
        return "known", "pinned already"
    if known.recognises(Served(leaf, trusted)):
        return "known", "serves a certificate that the ledger knows as its own"
    if leaf.spki in expected:
        return "pin", "expected by the inventory, pinned"
    if expected:
        return "stranger", (
            f"it serves the key {leaf.spki}, but tls_expected_spki expects {', '.join(sorted(expected))}. It was not pinned. "
            "Find out who answers at this address before anything else."
        )
    if args["accept"]:
        return "pin", "accepted by the operator of this run, pinned"
    return "stranger", (
        f"it serves the key {leaf.spki}, which nobody has confirmed. Compare it on site and put it into the inventory as "
        "tls_expected_spki, or accept what answers now with -e tls_enrol_accept=true."
    )
