# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: host_trust
short_description: Put the fleet's anchors into the trust store of a host's operating system
version_added: 1.0.0
description:
  - Writes each anchor as a file of its own into the folder that the distribution has for anchors of the administrator, and
    makes the bundle anew with the distribution's own command.
  - Compares the certificates that the bundle really holds. An anchor that is missing there is repaired, also when its file is
    in place.
  - The anchors under a name are exactly those given. What other names and other people put there is left alone.
  - A bundle that loses certificates nobody asked to remove is an error, and is put back.
extends_documentation_fragment:
  - certfleet.tls.attributes
  - certfleet.tls.attributes.action
attributes:
  check_mode:
    support: full
    details:
      - While there is no CA yet, the action plugin predicts a change.
  diff_mode:
    support: full
  idempotent:
    support: full
options:
  anchors:
    description:
      - The anchors. Without this option the action plugin takes those of O(authorities).
    type: list
    elements: dict
    suboptions:
      name:
        description: The name of its file, without ending. Letters, digits, dash and underscore.
        type: str
        required: true
      certificate:
        description:
          - One or several certificates as PEM; each becomes a file of its own.
          - With O(state=absent) only these are removed, or all of that name when it is left out.
        type: str
  authorities:
    description:
      - The authorities whose anchors are taken from O(ca). Their files are called C(certfleet-<authority>.crt).
    type: list
    elements: str
    default: [fleet]
  ca:
    description:
      - The result of M(certfleet.tls.ca_info). By default what the role C(tls_trust) or C(tls_certificate) registered.
    type: dict
  state:
    description: Whether the anchors should be there.
    type: str
    choices: [present, absent]
    default: present
requirements:
  - the commands C(openssl) and the distribution's (C(update-ca-certificates), C(update-ca-trust) or C(trust))
notes:
  - A host that cannot be reached is listed as absent; the task does not fail.
  - Programs that read trust once at their start have to be restarted.
author:
  - certfleet contributors (@certfleet)
"""

EXAMPLES = r"""
- name: What the role tls_trust does
  certfleet.tls.host_trust:
    authorities: [fleet]
  become: true

- name: Trust a root of the house as well
  certfleet.tls.host_trust:
    anchors:
      - name: house-root
        certificate: "{{ lookup('ansible.builtin.file', 'house-root.pem') }}"
  become: true

- name: Remove it again
  certfleet.tls.host_trust:
    anchors:
      - name: house-root
    state: absent
  become: true
"""

RETURN = r"""
bundle:
  description: The bundle that clients on the host read.
  returned: when the host was reached and the anchors are known
  type: str
  sample: /etc/ssl/certs/ca-certificates.crt
anchors:
  description: Each anchor, its file, and whether it is V(present), V(added), V(repaired) (it was not in the bundle) or V(removed).
  returned: when the host was reached and the anchors are known
  type: list
  elements: dict
  sample: [{name: certfleet-fleet, path: /usr/local/share/ca-certificates/certfleet-fleet.crt, state: present}]
absent:
  description: Whether the host could not be reached.
  returned: always
  type: bool
said:
  description: Why the host could not be reached.
  returned: when absent
  type: str
"""

from ansible.module_utils.basic import AnsibleModule

from ..module_utils._host.anchors import Anchors
from ..module_utils._host.errors import HostError
from ..module_utils._host.trust_stores import this_store

ANCHOR = {"name": {"type": "str", "required": True}, "certificate": {"type": "str"}}
ARGUMENTS = {
    "anchors": {"type": "list", "elements": "dict", "options": ANCHOR},
    "authorities": {"type": "list", "elements": "str", "default": ["fleet"]},
    "ca": {"type": "dict"},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
}


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    try:
        store = this_store()
        anchors = Anchors(store)
        plan = anchors.plan(module.params["anchors"] or [], state=module.params["state"])
        result = {"changed": plan.is_due, "bundle": store.bundle, "anchors": plan.anchors, "absent": False}
        if plan.is_due and module._diff:
            result["diff"] = plan.diff(store.bundle)
        if plan.is_due and not module.check_mode:
            anchors.carry_out(plan)
    except HostError as exc:
        module.fail_json(msg=f"The trust store could not be brought up to date: {exc}")
    except OSError as exc:
        module.fail_json(msg=f"The trust store could not be written: {exc.filename}: {exc.strerror}. Run with become.")
    module.exit_json(**result)


if __name__ == "__main__":
    main()
