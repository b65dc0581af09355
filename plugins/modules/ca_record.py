# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: ca_record
short_description: Write into the CA's ledger how deploys ended, and which keys are pinned
version_added: 1.0.0
description:
  - Records the outcome of each deploy of a batch. What was brought into service supersedes the older certificates of the same
    identity and name.
  - Pins keys for identities. A peer that shows a pinned key may be spoken to although its certificate does not validate, so pin
    only keys whose fingerprint was compared on site, or is known from elsewhere.
  - All of it is written, or nothing.
extends_documentation_fragment:
  - certfleet.tls.attributes
  - certfleet.tls.attributes.action
  - certfleet.tls.ca
attributes:
  check_mode:
    support: full
    details:
      - Does nothing in check mode.
  diff_mode:
    support: none
  idempotent:
    support: partial
    details:
      - Pins are recorded once. Each outcome is an event of its own and is recorded each time. What the deploy steps of a batch left
        is recorded once; called again after the wider proof, those outcomes that it has changed.
options:
  outcomes:
    description:
      - How deploys ended. Without this and O(pins), what the deploy and enrol steps of all hosts of the batch left; and V(unchanged)
        for certificates that have failed by the ledger, and were found as they should be by the request step.
      - Each has C(identity), C(name) and C(outcome) (such as V(installed) or V(rolled_back)), and may have C(reasons) (codes),
        C(fingerprint) (SHA-256 of the certificate that is served now), C(said) (a sentence for people) and C(revised) (whether it
        takes back the good outcome that was recorded last for this certificate, as a wider proof may do).
      - "The outcomes V(rolled_back), V(failed), V(kept) and V(removed) count as failures, until V(installed), V(reloaded) or
        V(unchanged) puts them right. M(certfleet.tls.ca_info) tells of them, and they are tried again at growing intervals."
    type: list
    elements: dict
    default: []
  pins:
    description:
      - Keys to pin. Each has C(identity) and C(spki) (SHA-256 of the key's SPKI), and may have C(why).
    type: list
    elements: dict
    default: []
notes:
  - Needs the standard library alone on the CA host.
seealso:
  - module: certfleet.tls.ca_info
author:
  - certfleet contributors (@certfleet)
"""

EXAMPLES = r"""
- name: Certificate | Record how it ended
  certfleet.tls.ca_record:
  run_once: true
  delegate_to: "{{ tls_ca_host }}"
  become: true
  no_log: true

- name: Enrol | Pin the key that the robot was delivered with
  certfleet.tls.ca_record:
    pins:
      - identity: robot-1
        spki: 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
        why: compared on site
  delegate_to: "{{ tls_ca_host }}"
  become: true
"""

RETURN = r"""
recorded:
  description: How many outcomes were recorded.
  returned: success
  type: int
pinned:
  description: How many keys were pinned that had not been before.
  returned: success
  type: int
message:
  description: Why the outcomes could not be recorded, when the CA could not be reached or used. Pins that fail, fail the task.
  returned: success
  type: str
"""

import time
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.certfleet.tls.plugins.module_utils._ca.errors import CAError
from ansible_collections.certfleet.tls.plugins.module_utils._ca.options import directory_option
from ansible_collections.certfleet.tls.plugins.module_utils._ca.record import record
from ansible_collections.certfleet.tls.plugins.module_utils._ca.store import Store


def argument_spec() -> dict[str, Any]:
    """The module's options."""
    entries = {"type": "list", "elements": "dict", "default": []}
    return {**directory_option(), "outcomes": entries, "pins": entries}


def main() -> None:
    """Write it down."""
    module = AnsibleModule(argument_spec=argument_spec(), supports_check_mode=True)
    if module.check_mode:
        module.exit_json(changed=False, recorded=0, pinned=0)
    outcomes, pins = module.params["outcomes"], module.params["pins"]
    try:
        done = record(outcomes, pins, store=Store(module.params["directory"]), now=int(time.time()))
    except CAError as exc:
        module.fail_json(msg=str(exc), code=exc.code)
    module.exit_json(changed=bool(done["recorded"] or done["pinned"]), **done)


if __name__ == "__main__":
    main()
