# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""device_deploy on its own: one device, a pair that the user brings (or none), and nobody else involved."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ansible_collections.certfleet.tls.plugins.module_utils._device.acquaintance import Acquaintance, stranger_text
from ansible_collections.certfleet.tls.plugins.module_utils._device.delivery import (
    Access,
    Delivered,
    Wish,
    check_removable,
    deliver,
    remove,
)
from ansible_collections.certfleet.tls.plugins.module_utils._device.errors import DeviceError
from ansible_collections.certfleet.tls.plugins.module_utils._device.inspection import read_own_pair
from ansible_collections.certfleet.tls.plugins.module_utils._device.no_https import explain_no_leaf
from ansible_collections.certfleet.tls.plugins.module_utils._device.settings import Settings, read_settings
from ansible_collections.certfleet.tls.plugins.module_utils._x509.judge import Known
from ansible_collections.certfleet.tls.plugins.module_utils._x509.parse import Leaf, describe

from ._device_entries import diff_of

OPTIONS: dict[str, dict[str, Any]] = {
    "address": {"type": "str"},
    "port": {"type": "int", "default": 443},
    "server_name": {"type": "str"},
    "verify_hostname": {"type": "str"},
    "proxy": {"type": "str"},
    "proxy_ssh_options": {"type": "list", "elements": "str"},
    "api": {"type": "str", "default": "mir"},
    "api_options": {"type": "dict", "default": {}},
    "username": {"type": "str"},
    "password": {"type": "str", "no_log": True},
    "certificate": {"type": "path"},
    "key": {"type": "path", "no_log": False},
    "ca_path": {"type": "path"},
    "pinned_spki": {"type": "list", "elements": "str", "default": []},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "hold": {"type": "float", "default": 10},
    "timeout": {"type": "float"},
    "on_failure": {"type": "str", "choices": ["keep", "remove"], "default": "keep"},
}
_OF_PROVE = ("address", "port", "server_name", "hold", "timeout", "proxy", "proxy_ssh_options")
_NOBODY = Known(available=False, message="no CA is involved")


def deploy_single(
    args: Mapping[str, Any], *, host: str, read_file: Callable[[str], str], check_mode: bool
) -> dict[str, Any]:
    """The whole result of the task. Raises DeviceError."""
    where = f"{host}, {args['address']}"
    settings = _settings(args, read_file=read_file, where=where)
    if args["state"] == "absent":
        return _removed(settings, host=host, where=where, check_mode=check_mode)
    if not (args["certificate"] and args["key"]):
        raise DeviceError(f"{where}: state present needs certificate and key, the paths of your own pair.")
    own = read_own_pair(
        read_file(args["certificate"]), read_file(args["key"]), settings=settings, known=_NOBODY, where=where
    )
    if args["on_failure"] == "remove":
        check_removable(settings.api, where=where)
    pins, leaves = settings.pins, frozenset({own.pair.leaf.fingerprint})
    acquaintance = Acquaintance(_NOBODY, f"{settings.ca}\n{own.anchors}", pins=pins, leaves=leaves)
    access = Access(host, settings.target, settings.api, settings.credentials, acquaintance)
    if check_mode:
        done = _predicted(access, own.pair.leaf, "installed")
    else:
        done = deliver(access, Wish(own.pair, own.anchors, settings.hold, args["on_failure"], by="controller"))
    return _result(done, good=("installed", "unchanged", "deferred"), where=where)


def _settings(args: Mapping[str, Any], *, read_file: Callable[[str], str], where: str) -> Settings:
    own = {field: args[field] for field in ("username", "password", "ca_path", "verify_hostname", "pinned_spki")}
    strange = sorted(set(args["api_options"]) & {"name", *own})
    if strange:
        raise DeviceError(f"{where}: api_options holds {', '.join(strange)}, which are options of the task itself.")
    prove = {field: args[field] for field in _OF_PROVE}
    return read_settings(
        {**args["api_options"], **own, "name": args["api"]},
        prove,
        apis=args["apis"],
        default_address=str(args["address"]),
        read_file=read_file,
        where=where,
    )


def _removed(settings: Settings, *, host: str, where: str, check_mode: bool) -> dict[str, Any]:
    check_removable(settings.api, where=where)
    if not (settings.ca or settings.pins):
        raise DeviceError(f"{where}: nothing says which device to trust. Give ca_path or pinned_spki.")
    acquaintance = Acquaintance(_NOBODY, settings.ca or None, pins=settings.pins)
    access = Access(host, settings.target, settings.api, settings.credentials, acquaintance)
    done = _predicted(access, None, "removed") if check_mode else remove(access)
    return _result(done, good=("removed", "unchanged"), where=where)


def _predicted(access: Access, wanted: Leaf | None, change: str) -> Delivered:
    """What would happen, seen from one look. A device that serves a self-signed leaf has most likely nothing to remove."""
    met = access.meet()
    if met.seen.leaf is None:
        return Delivered("failed", None, None, explain_no_leaf(met.seen, access.target, access.api))
    if not met.recognised:
        return Delivered("refused", met.leaf, met.leaf, stranger_text(met, identity=access.identity))
    same = wanted is not None and met.leaf is not None and met.leaf.fingerprint == wanted.fingerprint
    if (same and met.seen.trusted) or (wanted is None and met.leaf is not None and met.leaf.self_signed):
        return Delivered("unchanged", met.leaf, met.leaf, met.seen.said)
    return Delivered(change, met.leaf, wanted, f"would be {change}")


def _result(done: Delivered, *, good: tuple[str, ...], where: str) -> dict[str, Any]:
    result: dict[str, Any] = {
        "changed": done.outcome in {"installed", "kept", "removed", "rolled_back"},
        "outcome": done.outcome,
        "before": describe(done.before) if done.before else None,
        "after": describe(done.after) if done.after else None,
        "proof": done.proof,
        "said": done.said,
        "diff": diff_of(where, done.before, done.after),
    }
    if done.outcome not in good:
        result.update(failed=True, msg=f"{where}: {done.outcome}: {done.said}")
    return result
