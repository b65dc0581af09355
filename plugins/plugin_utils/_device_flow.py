# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""device_deploy within the flow: what request found due and the CA signed, certificate by certificate."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
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
from ansible_collections.certfleet.tls.plugins.module_utils._device.settings import read_settings
from ansible_collections.certfleet.tls.plugins.module_utils._x509.errors import X509Error
from ansible_collections.certfleet.tls.plugins.module_utils._x509.judge import Known

from ._device_entries import deploy_entry, diff_of
from ._engine import EngineError, NotIssuedError, issued_for, reasons_text
from ._seal import SealError, open_sealed


@dataclass(frozen=True)
class _Order:
    """Everything that one upload needs; nothing of it was sent yet."""

    access: Access
    wish: Wish


def deploy_entries(
    requested: Iterable[Mapping[str, Any]],
    *,
    issued: Mapping[str, Any],
    ca: Mapping[str, Any] | None,
    apis: Mapping[str, Any],
    host: str,
    default_address: str,
    read_file: Callable[[str], str],
    check_mode: bool,
) -> tuple[list[dict[str, Any]], list[dict[str, str]]]:
    """(the entries of the result, the diffs). A certificate that cannot be deployed fails alone."""
    entries, diffs = [], []
    for entry in requested:
        if entry["verdict"] == "none" or entry.get("deferred") or (check_mode and entry["verdict"] != "refuse"):
            continue
        done = _deployed(
            entry, issued=issued, ca=ca, apis=apis, host=host, default_address=default_address, read_file=read_file
        )
        entries.append(deploy_entry(entry, done))
        if done.after is not None and done.outcome not in {"unchanged", "refused"}:
            diffs.append(diff_of(str(entry["id"]), done.before, done.after, [reasons_text(entry)]))
    return entries, diffs


def _deployed(
    entry: Mapping[str, Any],
    *,
    issued: Mapping[str, Any],
    ca: Mapping[str, Any] | None,
    apis: Mapping[str, Any],
    host: str,
    default_address: str,
    read_file: Callable[[str], str],
) -> Delivered:
    if entry["verdict"] == "refuse":
        return Delivered("refused", None, None, "; ".join(str(reason["message"]) for reason in entry["reasons"]))
    known = Known.from_ca_info(ca, identity=str(entry["identity"]), authority=str(entry["authority"]))
    try:
        order = _order(
            entry, known, issued=issued, apis=apis, host=host, default_address=default_address, read_file=read_file
        )
        return deliver(order.access, order.wish)
    except NotIssuedError as exc:
        return Delivered("not_tried", None, None, str(exc))
    except (DeviceError, X509Error, EngineError, SealError) as exc:
        return Delivered("failed", None, None, str(exc))


def _order(
    entry: Mapping[str, Any],
    known: Known,
    *,
    issued: Mapping[str, Any],
    apis: Mapping[str, Any],
    host: str,
    default_address: str,
    read_file: Callable[[str], str],
) -> _Order:
    """Open the seal and check the whole pair. Raises before anything is sent."""
    where, spec = f"{host}, certificate '{entry['name']}'", entry["spec"]
    own = "certificate" in spec
    if own:
        certificate, chain, anchors = (str(spec[part]) for part in ("certificate", "chain", "anchors"))
    else:
        certificate, chain = issued_for(issued, entry)
        anchors = known.anchors or ""
    if not entry.get("sealed"):
        raise DeviceError(f"{where}: the request step made no key for it. Run again; nothing was changed.")
    secret = open_sealed(str(entry["sealed"]), context=str(entry["id"]))
    settings = read_settings(
        secret["api"],
        spec["prove"],
        apis=apis,
        default_address=default_address,
        read_file=read_file,
        where=where,
    )
    pair = read_pair(certificate, chain, secret["key_pem"], where=where)
    check_pair(pair, anchors=anchors, server_name=settings.target.server_name, where=where)
    if spec["on_failure"] == "remove":
        check_removable(settings.api, where=where)
    acquaintance = Acquaintance(
        known,
        "\n".join(filter(None, (known.anchors, settings.ca, anchors if own else ""))) or None,
        pins=settings.pins if own else frozenset(),
        leaves=frozenset({pair.leaf.fingerprint}),
    )
    access = Access(str(entry["identity"]), settings.target, settings.api, settings.credentials, acquaintance)
    return _Order(access, Wish(pair, anchors, settings.hold, str(spec["on_failure"]), by="controller"))
