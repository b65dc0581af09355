# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: ca_identity
short_description: Rename, replace, decommission or readmit a machine in the CA's ledger
version_added: 1.0.0
description:
  - An identity is who a machine is for the CA, that is its C(tls_identity) or its name in the inventory. Its certificates, its pinned
    keys and the names that it holds hang on it.
  - What happens to a machine in its life is an act of its own here, which is written down in the ledger. Nothing of this is ever
    done because a machine appears in an inventory or vanishes from it.
  - Each act is done wholly or not at all, and only in the ledger. Revoked certificates get into a CRL by M(certfleet.tls.ca_crl).
extends_documentation_fragment:
  - certfleet.tls.attributes
  - certfleet.tls.ca
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  idempotent:
    support: full
    details:
      - A machine that got new certificates or pins after it was replaced is replaced once more when that is asked for again.
options:
  identity:
    description: The machine.
    type: str
    required: true
  state:
    description:
      - V(renamed) gives certificates, pins, history and names to the identity O(to), which must be new to the ledger. The certificates
        stay as they are. Give the machine its new name in the inventory as well.
      - V(replaced) is for another machine that comes into the place of this one, under the same name. Pins and failures are removed,
        and the leaves that are in force are revoked. The new machine is met by C(playbooks/enrol.yml) if it is a device with an API.
        No key that the old one had identifies the new one, until C(playbooks/enrol.yml) pins it because C(tls_expected_spki) names it.
      - V(decommissioned) is for a machine that is not coming back. Besides, its names are free for others, and M(certfleet.tls.ca_issue)
        refuses it (C(decommissioned)), also while it is still in an inventory. Under another name it stays decommissioned.
      - V(present) readmits a decommissioned machine. What it had stays revoked. So does V(replaced), for another machine in its place.
    type: str
    choices: [renamed, replaced, decommissioned, present]
    required: true
  to:
    description: The new identity, for O(state=renamed).
    type: str
  reason:
    description:
      - Why leaves are revoked, for O(state=replaced) (by default V(superseded)) and O(state=decommissioned) (by default
        V(cessation_of_operation)).
      - After V(key_compromise) or V(ca_compromise) no key that the machine ever had identifies it any more, not even for its repair.
        Give one of them when the machine was stolen, sold or sent away with its keys.
      - So do the certificates that other machines or names have for one of these keys, which are revoked as well.
    type: str
    choices:
      - unspecified
      - key_compromise
      - ca_compromise
      - affiliation_changed
      - superseded
      - cessation_of_operation
      - privilege_withdrawn
notes:
  - Needs the standard library alone on the CA host.
seealso:
  - module: certfleet.tls.ca_info
  - module: certfleet.tls.ca_revoke
  - module: certfleet.tls.ca_crl
author:
  - certfleet contributors (@certfleet)
"""

EXAMPLES = r"""
- name: Identity | The robot has a new name in the inventory
  certfleet.tls.ca_identity:
    identity: robot-1
    state: renamed
    to: line-3-robot-1
  become: true

- name: Identity | Another robot in its place; the old one was stolen
  certfleet.tls.ca_identity:
    identity: robot-1
    state: replaced
    reason: key_compromise
  become: true

- name: Identity | It is not coming back
  certfleet.tls.ca_identity:
    identity: robot-1
    state: decommissioned
  become: true

- name: Identity | It has come back after all
  certfleet.tls.ca_identity:
    identity: robot-1
    state: present
  become: true
"""

RETURN = r"""
identity:
  description: What the machine is called now.
  returned: success
  type: str
revoked:
  description: The leaves that were revoked, or in check mode would be, also those of other machines (C(identity)) for a compromised key.
  returned: success
  type: list
  elements: dict
  sample:
    - identity: robot-1
      name: https
      authority: fleet
      serial: 6335fcd08de751b0d123a971dfe23a35
      fingerprint: 0f892732473b3ee27a75bdda5d070caca8ce32c963a696d9c311abcf658bf2db
      not_after: "2027-02-20T04:54:02Z"
code:
  description:
    - What is wrong, in one word, for programs. V(unknown_identity), V(identity_exists), V(bad_request), V(missing), V(frozen),
      V(locked), V(files), V(ledger), V(ledger_missing), V(ledger_newer).
  returned: failure
  type: str
"""

import time
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.certfleet.tls.plugins.module_utils._ca.errors import CAError
from ansible_collections.certfleet.tls.plugins.module_utils._ca.identities import STATES, Act, look, perform
from ansible_collections.certfleet.tls.plugins.module_utils._ca.options import directory_option
from ansible_collections.certfleet.tls.plugins.module_utils._ca.store import Store
from ansible_collections.certfleet.tls.plugins.module_utils._x509.revocation_reasons import REASONS


def argument_spec() -> dict[str, Any]:
    """The module's options."""
    return {
        **directory_option(),
        "identity": {"type": "str", "required": True},
        "state": {"type": "str", "choices": list(STATES), "required": True},
        "to": {"type": "str"},
        "reason": {"type": "str", "choices": list(REASONS)},
    }


def main() -> None:
    """Want, have, decide, apply."""
    module = AnsibleModule(
        argument_spec=argument_spec(), supports_check_mode=True, required_if=[("state", "renamed", ("to",))]
    )
    store, now = Store(module.params["directory"]), int(time.time())
    try:
        act = Act.from_options(module.params)
        do = look if module.check_mode else perform
        effect = do(act, store=store, now=now)
    except CAError as exc:
        module.fail_json(msg=str(exc), code=exc.code)
    result: dict[str, Any] = {"identity": act.to or act.identity, "revoked": list(effect.revoked.values())}
    if effect.changed:
        result["diff"] = {"before": effect.before, "after": effect.after}
    module.exit_json(changed=effect.changed, **result)


if __name__ == "__main__":
    main()
