# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""device_deploy within the flow: what request found due and the CA signed, certificate by certificate."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from ansible_collections.certfleet.tls.plugins.module_utils._device.acquaintance import Acquaintance
from ansible_collections.certfleet.tls.plugins.module_utils._device.delivery import (
    Access,
    Delivered,
    Wish,
    check_removable,
    deliver,
)
from ansible_collections.certfleet.tls.plugins.module_utils._device.errors import DeviceError
from ansible_collections.certfleet.tls.plugins.module_utils._device.pair import check_pair, read_pair
from ansible_collections.certfleet.tls.plugins.module_utils._device.settings import Settings, read_settings
from ansible_collections.certfleet.tls.plugins.module_utils._x509.errors import X509Error
from ansible_collections.certfleet.tls.plugins.module_utils._x509.judge import Known

from ._device_entries import deploy_entry, diff_of
from ._engine import EngineError, NotIssuedError, issued_for, reasons_text
from ._seal import SealError, open_sealed


@dataclass(frozen=True)
class Setting:
    """What all certificates of a device have in common: what the CA knows and signed, the APIs, where the device is."""

    host: str
    default_address: str
    ca: Mapping[str, Any] | None
    issued: Mapping[str, Any]
    apis: Mapping[str, Any]
    read_file: Callable[[str], str]

    def known(self, entry: Mapping[str, Any]) -> Known:
        """What the CA knows of the entry's identity."""
        return Known.from_ca_info(self.ca, identity=str(entry["identity"]), authority=str(entry["authority"]))

    def where(self, entry: Mapping[str, Any]) -> str:
        """The certificate's place in messages."""
        return f"{self.host}, certificate '{entry['name']}'"


@dataclass(frozen=True)
class _Order:
    """Everything that one upload needs; nothing of it was sent yet."""

    access: Access
    wish: Wish


def deploy_entries(
    requested: Iterable[Mapping[str, Any]], *, setting: Setting, check_mode: bool
) -> tuple[list[dict[str, Any]], list[dict[str, str]]]:
    """(the entries of the result, the diffs). A certificate that cannot be deployed fails alone."""
    entries, diffs = [], []
    for entry in requested:
        if entry["verdict"] == "none" or entry.get("deferred") or (check_mode and entry["verdict"] != "refuse"):
            continue
        done = _deployed(entry, setting=setting)
        entries.append(deploy_entry(entry, done))
        if done.after is not None and done.outcome not in {"unchanged", "refused", "deferred"}:
            diffs.append(diff_of(str(entry["id"]), done.before, done.after, [reasons_text(entry)]))
    return entries, diffs


def _deployed(entry: Mapping[str, Any], *, setting: Setting) -> Delivered:
    if entry["verdict"] == "refuse":
        return Delivered("refused", None, None, "; ".join(str(reason["message"]) for reason in entry["reasons"]))
    try:
        order = _order(entry, setting=setting)
        return deliver(order.access, order.wish)
    except NotIssuedError as exc:
        return Delivered("not_tried", None, None, str(exc))
    except (DeviceError, X509Error, EngineError, SealError) as exc:
        return Delivered("failed", None, None, str(exc))


def _order(entry: Mapping[str, Any], *, setting: Setting) -> _Order:
    """Open the seal and check the whole pair. Raises before anything is sent."""
    where, spec = setting.where(entry), entry["spec"]
    if "certificate" in spec:
        certificate, chain, anchors = (str(spec[part]) for part in ("certificate", "chain", "anchors"))
    else:
        certificate, chain = issued_for(setting.issued, entry)
        anchors = setting.known(entry).anchors or ""
    access, secret, settings = open_access(entry, setting=setting)
    pair = read_pair(certificate, chain, secret["key_pem"], where=where)
    check_pair(pair, anchors=anchors, server_name=settings.target.server_name, where=where)
    if spec["on_failure"] == "remove":
        check_removable(settings.api, where=where)
    acquaintance = replace(access.acquaintance, leaves=frozenset({pair.leaf.fingerprint}))
    judged = str((entry.get("served") or {}).get("fingerprint") or "")
    wish = Wish(pair, anchors, settings.hold, str(spec["on_failure"]), by="controller", judged=judged)
    return _Order(replace(access, acquaintance=acquaintance), wish)


def open_access(entry: Mapping[str, Any], *, setting: Setting) -> tuple[Access, Mapping[str, Any], Settings]:
    """(the way to the device, what was sealed, its settings) of an entry of the request step. Nothing is sent."""
    where, spec = setting.where(entry), entry["spec"]
    if not entry.get("sealed"):
        raise DeviceError(f"{where}: the request step made no key for it. Run again; nothing was changed.")
    secret = open_sealed(str(entry["sealed"]), context=str(entry["id"]))
    settings = read_settings(
        secret["api"],
        spec["prove"],
        apis=setting.apis,
        default_address=setting.default_address,
        read_file=setting.read_file,
        where=where,
    )
    known, own = setting.known(entry), "certificate" in spec
    acquaintance = Acquaintance(
        known,
        "\n".join(filter(None, (known.anchors, settings.ca, str(spec["anchors"]) if own else ""))) or None,
        pins=settings.pins if own else frozenset(),
    )
    access = Access(str(entry["identity"]), settings.target, settings.api, settings.credentials, acquaintance)
    return access, secret, settings
