# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Look at a device from the controller's worker and say what is due. No key leaves in the clear, and no login is sent, but to ask a
device on which something is due whether its state allows a change."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from importlib.util import find_spec
from typing import Any

from ansible.errors import AnsibleError
from ansible.plugins.action import ActionBase

from ansible_collections.certfleet.tls.plugins.module_utils._device.clock import read_clock
from ansible_collections.certfleet.tls.plugins.module_utils._device.errors import DeviceError
from ansible_collections.certfleet.tls.plugins.module_utils._device.inspection import (
    Finding,
    acquaintance_of,
    inspect,
    inspect_own,
    read_own_pair,
)
from ansible_collections.certfleet.tls.plugins.module_utils._device.jmespath_library import missing
from ansible_collections.certfleet.tls.plugins.module_utils._device.settings import Settings, read_settings
from ansible_collections.certfleet.tls.plugins.module_utils._x509.crypto import HAS_CRYPTOGRAPHY
from ansible_collections.certfleet.tls.plugins.module_utils._x509.errors import X509Error
from ansible_collections.certfleet.tls.plugins.module_utils._x509.judge import Known
from ansible_collections.certfleet.tls.plugins.module_utils._x509.spec import CertificateSpec
from ansible_collections.certfleet.tls.plugins.plugin_utils._before_fork import prepare_workers
from ansible_collections.certfleet.tls.plugins.plugin_utils._clock import clock_error, refuse_by_clock
from ansible_collections.certfleet.tls.plugins.plugin_utils._controller_files import file_reader
from ansible_collections.certfleet.tls.plugins.plugin_utils._deferral import defer, is_plan
from ansible_collections.certfleet.tls.plugins.plugin_utils._device_entries import (
    refuse_delegation,
    request_entry,
    with_defaults,
    with_new_key,
    with_own_pair,
)
from ansible_collections.certfleet.tls.plugins.plugin_utils._device_states import defer_busy
from ansible_collections.certfleet.tls.plugins.plugin_utils._engine import (
    absent_result,
    failure,
    identity_of,
    plain_variables,
    read_ca,
    request_result,
    settle,
)
from ansible_collections.certfleet.tls.plugins.plugin_utils._references import resolve

# Deploy needs it. It is looked for, but not loaded: a larger parent forks more slowly.
_HAS_REQUESTS = find_spec("requests") is not None
_OPTIONS = {
    "certificates": {"type": "list", "elements": "dict"},
    "apis": {"type": "dict"},
    "ca": {"type": "dict"},
}
# Only deploy logs in, so in the steady state nobody asks a vault for these.
_LATE = ("username", "password")

prepare_workers()


class _AwayError(Exception):
    """The device is not there."""


class ActionModule(ActionBase):
    """Everything happens in the worker: the parent has imported what is heavy before it forks."""

    _supports_check_mode = True
    _supports_async = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """See the module's documentation."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        task_vars = plain_variables(task_vars, self._templar)
        try:
            refuse_delegation(self._task)
            _require_cryptography()
            if not _HAS_REQUESTS:
                raise missing("requests")
            args = self._arguments(task_vars)
            ca = read_ca(task_vars, args)
            entries = [self._entry(item, args, ca, task_vars) for item in args["certificates"]]
            _check_names(entries)
            plans = is_plan(entries, task_vars, self._templar)
        except _AwayError as exc:
            return {**result, **absent_result(str(exc))}
        except (DeviceError, X509Error) as exc:
            return settle({**result, "failed": True, "msg": str(exc)}, self, task_vars)
        except AnsibleError as exc:  # an undefined variable or a vault without its password, for example
            return settle({**result, **failure(exc, str(task_vars["inventory_hostname"]))}, self, task_vars)
        told = request_result(entries, check_mode=self._task.check_mode, plans=plans)
        return settle({**result, **told}, self, task_vars)

    def _arguments(self, task_vars: dict[str, Any]) -> dict[str, Any]:
        """The task's options; those that were left out come from the role's variables, without Jinja where that is possible."""
        args = dict(self.validate_argument_spec(_OPTIONS)[1]) if self._task.args else {}
        for option in ("certificates", "apis"):
            if args.get(option) is None:
                raw = task_vars.get(f"tls_certificate_{option}") or ([] if option == "certificates" else {})
                args[option] = resolve(raw, task_vars, self._templar, leave=_LATE)
        return args

    def _entry(
        self, item: Mapping[str, Any], args: Mapping[str, Any], ca: Mapping[str, Any] | None, task_vars: dict[str, Any]
    ) -> dict[str, Any]:
        host = str(task_vars["inventory_hostname"])
        item = with_defaults(item, host=host, address=str(task_vars.get("ansible_host") or host))
        spec = CertificateSpec.from_dict(item, identity=identity_of(task_vars), where=host)
        where = f"{host}, certificate '{spec.name}'"
        if spec.api is None:
            raise DeviceError(f"{where}: this describes files of a host. Use host_request, or give 'api'.")
        settings = read_settings(
            spec.api,
            spec.prove,
            apis=args["apis"],
            default_address=str(task_vars.get("ansible_host") or host),
            read_file=file_reader(self, where=where),
            where=where,
        )
        known = Known.from_ca_info(ca, identity=spec.identity, authority=spec.authority)
        try:
            return self._judged(spec, settings, known, ca, task_vars, where=where)
        except DeviceError as exc:
            if str(exc).startswith(host):
                raise
            raise DeviceError(f"{where}: {exc}") from exc

    def _judged(
        self,
        spec: CertificateSpec,
        settings: Settings,
        known: Known,
        ca: Mapping[str, Any] | None,
        task_vars: dict[str, Any],
        *,
        where: str,
    ) -> dict[str, Any]:
        now, check_mode = int(time.time()), bool(self._task.check_mode)
        own = None
        if spec.pair:
            certificate, key = _paths(spec.pair, where=where)
            read = file_reader(self, where=where)
            own = read_own_pair(read(certificate), read(key), settings=settings, known=known, where=where)
            finding = inspect_own(spec, settings, known, own, now=now, check_mode=check_mode)
        else:
            finding = inspect(spec, settings, known, now=now)
        if finding.absent:
            raise _AwayError(finding.absent)
        entry = request_entry(spec, finding, known)
        defer([entry], {spec.id: known}, task_vars=task_vars, templar=self._templar, ca=ca, now=now)
        if entry["verdict"] in {"none", "refuse"} or entry.get("deferred"):
            return entry
        if not own:
            self._check_clock(entry, settings, finding, task_vars)
        plans = is_plan([entry], task_vars, self._templar)
        if entry["verdict"] == "refuse" or check_mode or (plans and not settings.api.change_states):
            return entry
        spec = replace(spec, api=resolve(spec.api, task_vars, self._templar))
        defer_busy(entry, spec.api or {}, settings, acquaintance_of(settings, known, own=own), finding.met)
        if plans or entry.get("deferred"):
            return entry
        return with_own_pair(entry, spec, own) if own else with_new_key(entry, spec)

    def _check_clock(
        self, entry: dict[str, Any], settings: Settings, finding: Finding, task_vars: dict[str, Any]
    ) -> None:
        """A second connection, to those devices alone that are to get a certificate now."""
        if entry["verdict"] != "issue" or finding.met is None:
            return
        before = time.time()
        clock, after = read_clock(settings.target, finding.met), time.time()
        if clock is None:
            entry["notes"].append("its clock could not be compared: it answers without a date")
            return
        # The date is in whole seconds.
        error = clock_error(clock, before=before - 1, after=after)
        refuse_by_clock([entry], error, now=after, task_vars=task_vars, templar=self._templar)


def _paths(pair: Mapping[str, Any], *, where: str) -> tuple[str, str]:
    if not isinstance(pair, Mapping) or set(pair) != {"certificate", "key"} or not all(pair.values()):
        raise DeviceError(f"{where}: write your own pair as pair: {{certificate: <path>, key: <path>}}.")
    return str(pair["certificate"]), str(pair["key"])


def _check_names(entries: list[dict[str, Any]]) -> None:
    seen: set[str] = set()
    for entry in entries:
        if entry["id"] in seen:
            raise DeviceError(f"{entry['id']}: two certificates have this name. Names are unique on a host.")
        seen.add(entry["id"])


def _require_cryptography() -> None:
    if not HAS_CRYPTOGRAPHY:
        raise DeviceError(
            "The Python library cryptography is missing on the controller. Install it where ansible-playbook runs."
        )
