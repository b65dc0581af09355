# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Look at a host in one round trip, judge here, and go back only to stage a key where a certificate must be issued."""

from __future__ import annotations

import time
from typing import Any

from ansible.errors import AnsibleConnectionFailure, AnsibleError
from ansible.plugins.action import ActionBase

from ansible_collections.certfleet.tls.plugins.module_utils._host.errors import HostError
from ansible_collections.certfleet.tls.plugins.module_utils._x509.crypto import HAS_CRYPTOGRAPHY
from ansible_collections.certfleet.tls.plugins.module_utils._x509.errors import X509Error
from ansible_collections.certfleet.tls.plugins.module_utils._x509.judge import Known
from ansible_collections.certfleet.tls.plugins.plugin_utils._clock import clock_error, refuse_by_clock
from ansible_collections.certfleet.tls.plugins.plugin_utils._deferral import defer, is_plan
from ansible_collections.certfleet.tls.plugins.plugin_utils._engine import (
    absent_result,
    failure,
    identity_of,
    plain_variables,
    read_ca,
    request_result,
    settle,
)
from ansible_collections.certfleet.tls.plugins.plugin_utils._host_entries import (
    Wish,
    obstacles,
    request_entry,
    watchdog_of,
    wishes_of,
)


class ActionModule(ActionBase):
    """Decide on the controller, look on the target."""

    _supports_check_mode = True
    _supports_async = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """See the module's documentation."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        task_vars = plain_variables(task_vars, self._templar)
        host = str(task_vars["inventory_hostname"])
        if not HAS_CRYPTOGRAPHY:
            raise AnsibleError(
                "The Python library cryptography is missing on the controller. Install it where ansible-playbook runs."
            )
        try:
            certificates, watchdog = self._task.args.get("certificates"), watchdog_of(task_vars)
            wishes = wishes_of(certificates, identity=identity_of(task_vars), host=host, watchdog=watchdog)
            ca = read_ca(task_vars, self._task.args)
            known = {
                wish.spec.id: Known.from_ca_info(ca, identity=wish.spec.identity, authority=wish.spec.authority)
                for wish in wishes
            }
            entries, error = self._look(wishes, known, host, task_vars) if wishes else ([], 0)
            now = int(time.time())
            defer(entries, known, task_vars=task_vars, templar=self._templar, ca=ca, now=now)
            refuse_by_clock(entries, error, now=now, task_vars=task_vars, templar=self._templar)
            plans = is_plan(entries, task_vars, self._templar)
            if not (plans or self._task.check_mode):
                self._stage(entries, wishes, known, host, task_vars)
        except AnsibleConnectionFailure as exc:
            return {**result, **absent_result(f"{host} cannot be reached: {exc}")}
        except (HostError, X509Error) as exc:
            return settle({**result, "failed": True, "msg": str(exc)}, self, task_vars)
        except AnsibleError as exc:  # another CA, or no way to become root, for example
            return settle({**result, **failure(exc, host)}, self, task_vars)
        told = request_result(entries, check_mode=self._task.check_mode, plans=plans)
        return settle({**result, **told}, self, task_vars)

    def _look(
        self, wishes: list[Wish], known: dict[str, Known], host: str, task_vars: dict[str, Any]
    ) -> tuple[list[dict[str, Any]], int]:
        """(the entries, by how many seconds the host's clock is fast)."""
        before = time.time()
        found, clock = self._ask(wishes, known, host, task_vars, step="look")
        now = int(time.time())
        entries = [request_entry(wish, found[wish.spec.id], known[wish.spec.id], now=now) for wish in wishes]
        blocked = obstacles(host, entries, found)
        if blocked:
            raise HostError("\n".join(blocked))
        return entries, 0 if clock is None else clock_error(clock, before=before, after=time.time())

    def _stage(
        self,
        entries: list[dict[str, Any]],
        wishes: list[Wish],
        known: dict[str, Known],
        host: str,
        task_vars: dict[str, Any],
    ) -> None:
        """Have keys made where certificates are issued now: a second round trip, for those hosts alone."""
        to_issue = {
            entry["id"]: entry for entry in entries if entry["verdict"] == "issue" and not entry.get("deferred")
        }
        if not to_issue:
            return
        wanted = [wish for wish in wishes if wish.spec.id in to_issue]
        staged, _clock = self._ask(wanted, known, host, task_vars, step="stage")
        for name, entry in to_issue.items():
            entry.update(spki=staged[name]["spki"], csr=staged[name]["csr"])

    def _ask(
        self, wishes: list[Wish], known: dict[str, Known], host: str, task_vars: dict[str, Any], *, step: str
    ) -> tuple[dict[str, dict[str, Any]], float | None]:
        """One round trip: the module's answers by the certificate's id, and the host's clock."""
        anchors = {wish.spec.authority: known[wish.spec.id].anchors for wish in wishes}
        arguments = {"step": step, "certificates": [wish.argument for wish in wishes], "anchors": anchors}
        if step == "stage":
            arguments["avoid"] = sorted(set().union(*(known[wish.spec.id].strange for wish in wishes)))
        answer = self._execute_module(
            module_name="certfleet.tls.host_request", module_args=arguments, task_vars=task_vars
        )
        if answer.get("failed") or "certificates" not in answer:
            said = str(answer.get("msg") or "the module gave no reason").strip()
            details = str(answer.get("module_stderr") or "").strip()[-300:]
            raise HostError(f"{host}: the host could not be looked at: {said} {details}".strip())
        return {str(item["id"]): item for item in answer["certificates"]}, answer.get("time")
