# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: host_deploy
short_description: Bring certificates of a host into service and prove them, or put the old ones back
version_added: 1.0.0
description:
  - For each certificate that M(certfleet.tls.host_request) found due, validates the pair as a strict client would, lets the
    service's paths read it from one instant to the next, reloads the service, and proves from this host that clients get it.
  - What is not proved is taken back. The former pair is in place again, the service has followed, and its leaf is seen served.
  - The service's paths become relative links into a folder C(.certfleet-<name>) beside the key. Files that were there before
    are kept in it until the new pair is proved.
  - If the run breaks off between the promotion and the proof, the host goes back by itself, after a time limit and at its next
    start. A unit of systemd is armed for that before the promotion, and is gone when the new pair is proved or taken back.
  - The previous pair can stay on the host until others have proved the new one as well (C(tls_certificate_keeps_previous)), see
    O(step).
  - All certificates of a host travel in one round trip.
extends_documentation_fragment:
  - certfleet.tls.attributes
  - certfleet.tls.attributes.action
attributes:
  check_mode:
    support: full
    details:
      - Does nothing. What would be done is what M(certfleet.tls.host_request) answers.
  diff_mode:
    support: none
    details:
      - M(certfleet.tls.host_request) shows what is different and why.
  idempotent:
    support: full
options:
  step:
    description:
      - V(deploy) brings into service what is due.
      - V(confirm) comes after machines of C(tls_clients) have looked. Where they accept a certificate, the previous pair is removed
        from the host, which is no change; where they do not, it is put back into service and proved (V(rolled_back)), and the
        new one waits staged for another try. Without a previous pair nothing is taken away (V(kept)). Answers the whole
        result of the deploy again.
      - V(restore) is set by the action plugin; not for playbooks.
    type: str
    choices: [deploy, confirm, restore]
    default: deploy
  certificates:
    description:
      - The entries of M(certfleet.tls.host_request). By default what the role C(tls_certificate) registered.
    type: list
    elements: dict
  issued:
    description:
      - The result of M(certfleet.tls.ca_issue). By default what the role C(tls_certificate) registered.
    type: dict
  ca:
    description:
      - The result of M(certfleet.tls.ca_info). By default what the role C(tls_certificate) registered.
    type: dict
  orders:
    description: Set by the action plugin; not for playbooks.
    type: list
    elements: dict
    default: []
  by:
    description: Set by the action plugin; not for playbooks.
    type: str
    default: ''
requirements:
  - Python 3.9 and the command C(openssl) (1.1.1 or 3) on the host
notes:
  - The task does not fail where a certificate is not as wanted, so that the ledger can record the outcome first. Assert that
    RV(problems) and RV(untried) are empty afterwards, as the role C(tls_certificate) does.
  - A service that is stopped is not started. One that failed by itself is restarted.
  - A lost connection does not end a deploy; one that is killed is taken back by the host itself (C(tls_certificate_watchdog)). The
    next M(certfleet.tls.host_request) tells of that.
author:
  - certfleet contributors (@certfleet)
"""

EXAMPLES = r"""
- name: Bring what was issued into service
  certfleet.tls.host_deploy:
  become: true
  register: __tls_certificate_deploy

- name: Did all of it work?
  ansible.builtin.assert:
    that: not __tls_certificate_deploy.problems + __tls_certificate_deploy.untried
    fail_msg: "{{ (__tls_certificate_deploy.problems + __tls_certificate_deploy.untried) | join('\n') }}"
"""

RETURN = r"""
certificates:
  description: One entry for each certificate that was due.
  returned: always
  type: list
  elements: dict
  contains:
    id:
      description: Identity and name.
      type: str
      sample: gateway-1/https
    outcome:
      description:
        - V(installed) or V(reloaded), proved; V(rolled_back), the former leaf is served again; V(failed), see RV(certificates[].said);
          V(kept), others do not accept it and there is no previous pair, or none that they could accept; V(refused), nothing was
          sent; V(not_tried), there was nothing to install (the CA did not answer), or another run is at work on the pair. That is
          no failure of the host.
      type: str
    before:
      description: The leaf that was served before (without an endpoint, on disk), in parsed fields.
      type: dict
    after:
      description: The leaf that is served now (without an endpoint, on disk), in parsed fields.
      type: dict
    proof:
      description: What was seen by whom at which endpoint, of the new pair.
      type: dict
      sample: {by: gateway-1, endpoint: "198.18.0.4:443", leaf: true, chain: true, name: true, time: true, ok: true,
               said: serves the expected certificate}
    said:
      description: What happened, for people.
      type: str
    reasons:
      description: Why it was due.
      type: list
      elements: dict
    unconfirmed:
      description: Whether the previous pair is kept on the host until others have confirmed this one.
      type: bool
    revised:
      description: Whether the confirm step has decided otherwise than a deploy before, or what an earlier run had left open.
      returned: when the confirm step has changed it
      type: bool
confirmed:
  description: That this is the answer of O(step=confirm).
  returned: with O(step=confirm)
  type: bool
untried:
  description: A sentence for each certificate that was due and could not be begun, which is no failure of the host.
  returned: always
  type: list
  elements: str
problems:
  description: A sentence for each certificate that is not as wanted.
  returned: always
  type: list
  elements: str
"""

import signal
from collections.abc import Callable, Mapping
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ..module_utils._host.confirmation import Confirmation
from ..module_utils._host.errors import HostError
from ..module_utils._host.transaction import Outcome, Transaction

ARGUMENTS = {
    "step": {"type": "str", "choices": ["deploy", "confirm", "restore"], "default": "deploy"},
    "certificates": {"type": "list", "elements": "dict"},
    "issued": {"type": "dict"},
    "ca": {"type": "dict"},
    "orders": {"type": "list", "elements": "dict", "default": []},
    "by": {"type": "str", "default": ""},
}


def work_of(order: Mapping[str, Any], *, step: str, by: str) -> Callable[[], Outcome]:
    """What is to be done for one certificate."""
    if step == "deploy":
        return Transaction(order, by=by).run
    confirmation = Confirmation(order, by=by)
    return confirmation.confirm if step == "confirm" else confirmation.restore


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    if module.check_mode:
        module.exit_json(changed=False, certificates=[])
    # A connection that is lost must not end what has begun. Ignored by a handler: what is started here shall not inherit it.
    signal.signal(signal.SIGHUP, lambda _number, _frame: None)
    step, by = module.params["step"], module.params["by"]
    try:
        # All orders are understood before the first is carried out.
        works = [work_of(order, step=step, by=by) for order in module.params["orders"]]
    except (HostError, KeyError) as exc:
        module.fail_json(msg=f"Nothing was changed: {exc}")
    outcomes = [work() for work in works]
    module.exit_json(
        changed=any(outcome.touched for outcome in outcomes), certificates=[outcome.as_dict() for outcome in outcomes]
    )


if __name__ == "__main__":
    main()
