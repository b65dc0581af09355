# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""device_view within the flow: which devices of the batch are looked for, and the managing systems as the task describes them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from ansible_collections.certfleet.tls.plugins.module_utils._device.acquaintance import Acquaintance
from ansible_collections.certfleet.tls.plugins.module_utils._device.delivery import Access
from ansible_collections.certfleet.tls.plugins.module_utils._device.description_reading import View
from ansible_collections.certfleet.tls.plugins.module_utils._device.errors import DeviceError
from ansible_collections.certfleet.tls.plugins.module_utils._device.health import Wanted
from ansible_collections.certfleet.tls.plugins.module_utils._device.manager import Manager
from ansible_collections.certfleet.tls.plugins.module_utils._device.settings import read_settings
from ansible_collections.certfleet.tls.plugins.module_utils._device.view import Source
from ansible_collections.certfleet.tls.plugins.module_utils._x509.errors import X509Error
from ansible_collections.certfleet.tls.plugins.module_utils._x509.judge import Known

from ._engine import DEPLOY_VARIABLE, REQUEST_VARIABLE, batch_variables, is_open

_SERIAL_VARIABLE = "device_serial_number"


def due_devices(task_vars: Mapping[str, Any]) -> list[Wanted]:
    """The devices of the batch to which something is about to be uploaded."""
    return list(_devices(task_vars, lambda variables: _due(variables) if is_open(variables) else []))


def changed_devices(task_vars: Mapping[str, Any]) -> list[Wanted]:
    """The devices of the batch that have just got a new certificate."""
    return list(_devices(task_vars, _changed))


def given_devices(items: Iterable[Mapping[str, Any]]) -> list[Wanted]:
    """Devices that the task names itself."""
    return [
        Wanted.of(
            str(item["name"]),
            addresses=[str(item["address"])] if item.get("address") else [],
            serial=str(item.get("serial_number") or ""),
            names=[str(item["name"])],
        )
        for item in items
    ]


def _devices(
    task_vars: Mapping[str, Any], entries_of: Callable[[Mapping[str, Any]], list[Mapping[str, Any]]]
) -> Iterator[Wanted]:
    wanted = (REQUEST_VARIABLE, DEPLOY_VARIABLE, "ansible_host", "tls_identity", _SERIAL_VARIABLE)
    for host, variables in batch_variables(task_vars, *wanted):
        entries = entries_of(variables)
        if entries:
            yield _wanted(host, variables, entries)


def _wanted(host: str, variables: Mapping[str, Any], entries: list[Mapping[str, Any]]) -> Wanted:
    addresses = [host, str(variables.get("ansible_host") or host)]
    names = [host, str(variables.get("tls_identity") or host)]
    for entry in entries:
        addresses.append(str((entry["spec"].get("prove") or {}).get("address") or ""))
        addresses += [str(name)[3:] for name in entry.get("names") or () if str(name).startswith("IP:")]
        names.append(str(entry.get("common_name") or ""))
    return Wanted.of(host, addresses=addresses, serial=str(variables.get(_SERIAL_VARIABLE) or ""), names=names)


def _requested(variables: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The entries of devices; files of a host have no on_failure."""
    for entry in (variables.get(REQUEST_VARIABLE) or {}).get("certificates") or ():
        if "on_failure" in (entry.get("spec") or {}):
            yield entry


def _due(variables: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [
        entry
        for entry in _requested(variables)
        if entry["verdict"] in {"issue", "install"} and not entry.get("deferred")
    ]


def _changed(variables: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    deployed = (variables.get(DEPLOY_VARIABLE) or {}).get("certificates") or ()
    installed = {entry["id"] for entry in deployed if entry["outcome"] == "installed"}
    return [entry for entry in _requested(variables) if entry["id"] in installed]


def sources_of(
    views: Iterable[Mapping[str, Any]],
    *,
    ca: Mapping[str, Any] | None,
    apis: Mapping[str, Any],
    read_file: Callable[[str], str],
) -> list[Source]:
    """The managing systems. What is wrong with the description of one is said when it is to be asked."""
    return [_source(view, ca=ca, apis=apis, read_file=read_file) for view in views]


def _source(
    view: Mapping[str, Any], *, ca: Mapping[str, Any] | None, apis: Mapping[str, Any], read_file: Callable[[str], str]
) -> Source:
    name = str(view["name"])

    def access() -> Access:
        return _access(view, ca=ca, apis=apis, read_file=read_file)

    def described() -> View:
        found = access().api.view
        if found is None:
            raise DeviceError(f"{name}: its API does not say how devices are listed. Describe 'view'.")
        return found

    hosts = view.get("hosts")
    return Source(
        name,
        None if hosts is None else frozenset(map(str, hosts)),
        described,
        lambda deadline: Manager(access(), deadline=deadline),
    )


def _access(
    view: Mapping[str, Any], *, ca: Mapping[str, Any] | None, apis: Mapping[str, Any], read_file: Callable[[str], str]
) -> Access:
    name, api = str(view["name"]), view.get("api")
    where = f"view '{name}'"
    if api is not None and not isinstance(api, (str, Mapping)):
        raise DeviceError(f"{where}: api is neither the name of an API nor a dictionary with what differs from 'mir'.")
    described = dict(api) if isinstance(api, Mapping) else {"name": api}
    described.update(name=described.get("name") or "mir", username=view.get("username"), password=view.get("password"))
    fields = ("address", "port", "server_name", "proxy", "proxy_ssh_options")
    settings = read_settings(
        described,
        {field: view[field] for field in fields if view.get(field)},
        apis=apis,
        default_address=name,
        read_file=read_file,
        where=where,
    )
    identity, authority = str(view.get("identity") or name), str(view.get("authority") or "fleet")
    try:
        known = Known.from_ca_info(ca, identity=identity, authority=authority)
    except X509Error as exc:
        raise DeviceError(str(exc)) from exc
    anchors = "\n".join(filter(None, (known.anchors, settings.ca))) or None
    return Access(identity, settings.target, settings.api, settings.credentials, Acquaintance(known, anchors))
