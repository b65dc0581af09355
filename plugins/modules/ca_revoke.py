# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: ca_revoke
short_description: Take certificates back before their end
version_added: 1.0.0
description:
  - Revokes all certificates of a machine, one of them, or a certificate by its serial or itself, in the CA's ledger.
  - A revoked certificate is replaced by the next run on its machine. Others hear of it by the CRL, which M(certfleet.tls.ca_crl)
    makes and M(certfleet.tls.host_crl) hands to servers; C(playbooks/revoke.yml) does all three.
  - All of it is revoked, or nothing. A revocation is never taken back.
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
options:
  identity:
    description:
      - The machine whose certificates are revoked, that is those that have not ended.
      - With O(serial) or O(certificate), whose it must be; or is, if the ledger does not know it.
    type: str
  name:
    description: Only the certificate of this name, such as V(https).
    type: str
  serial:
    description: The serial of one certificate, as hexadecimal digits, with or without colons.
    type: str
  certificate:
    description:
      - One certificate as PEM. It may be one that the ledger does not know, since an older backup was restored, provided that an
        authority's issuing key has signed it. It is entered into the ledger first.
    type: str
  reason:
    description:
      - Why, as CRLs say it (RFC 5280).
      - After V(key_compromise) or V(ca_compromise) the key identifies nobody any more, also where it validates or is pinned. All
        certificates of the machine are meant then, ended ones too, and what was revoked for another reason gets this one. So are all
        others of the same keys, whichever machine or name has them.
      - With every other reason, a machine that still shows the revoked certificate is recognised, so that it can be repaired.
    type: str
    choices:
      - unspecified
      - key_compromise
      - ca_compromise
      - affiliation_changed
      - superseded
      - cessation_of_operation
      - privilege_withdrawn
    default: unspecified
requirements:
  - cryptography >= 38 (with O(certificate))
notes:
  - A machine that is replaced or is not coming back is told to M(certfleet.tls.ca_identity), which revokes as well.
seealso:
  - module: certfleet.tls.ca_crl
  - module: certfleet.tls.ca_identity
  - module: certfleet.tls.host_crl
author:
  - certfleet contributors (@certfleet)
"""

EXAMPLES = r"""
- name: Revocation | All certificates of a robot whose disk was read by somebody else
  certfleet.tls.ca_revoke:
    identity: robot-1
    reason: key_compromise
  become: true

- name: Revocation | One certificate
  certfleet.tls.ca_revoke:
    serial: 6335fcd08de751b0d123a971dfe23a35
    reason: superseded
  become: true

- name: Revocation | One that the ledger has forgotten, since an older backup was restored
  certfleet.tls.ca_revoke:
    certificate: "{{ lookup('ansible.builtin.file', 'lost.pem') }}"
    identity: robot-3
    name: https
    reason: superseded
  become: true
"""

RETURN = r"""
revoked:
  description: What was revoked, or in check mode would be.
  returned: success
  type: list
  elements: dict
  sample: &sample
    - identity: robot-1
      name: https
      authority: fleet
      serial: 6335fcd08de751b0d123a971dfe23a35
      fingerprint: 0f892732473b3ee27a75bdda5d070caca8ce32c963a696d9c311abcf658bf2db
      not_after: "2027-02-20T04:54:02Z"
already:
  description: What was meant as well, and had been revoked before.
  returned: success
  type: list
  elements: dict
  sample: *sample
reason:
  description: Why.
  returned: success
  type: str
code:
  description:
    - What is wrong, in one word, for programs. V(not_found), V(mismatch), V(own_certificate), V(foreign_certificate),
      V(bad_request), V(missing), V(missing_library), V(half_ca), V(frozen), V(locked), V(files), V(ledger), V(ledger_missing),
      V(ledger_newer).
  returned: failure
  type: str
"""

import time
from typing import Any

from ansible.module_utils.basic import AnsibleModule, missing_required_lib

from ansible_collections.certfleet.tls.plugins.module_utils._ca.errors import CAError
from ansible_collections.certfleet.tls.plugins.module_utils._ca.options import NEEDED, directory_option
from ansible_collections.certfleet.tls.plugins.module_utils._ca.revoke import Effect, Target, describe, look, revoke
from ansible_collections.certfleet.tls.plugins.module_utils._ca.store import Store
from ansible_collections.certfleet.tls.plugins.module_utils._x509.crypto import CRYPTOGRAPHY_ERROR, HAS_CRYPTOGRAPHY
from ansible_collections.certfleet.tls.plugins.module_utils._x509.revocation_reasons import REASONS


def argument_spec() -> dict[str, Any]:
    """The module's options."""
    return {
        **directory_option(),
        "identity": {"type": "str"},
        "name": {"type": "str"},
        "serial": {"type": "str"},
        "certificate": {"type": "str"},
        "reason": {"type": "str", "choices": list(REASONS), "default": "unspecified"},
    }


def main() -> None:
    """Want, have, decide, apply."""
    module = AnsibleModule(
        argument_spec=argument_spec(),
        supports_check_mode=True,
        required_one_of=[("identity", "serial", "certificate")],
        mutually_exclusive=[("serial", "certificate")],
    )
    if module.params["certificate"] and not HAS_CRYPTOGRAPHY:
        module.fail_json(msg=missing_required_lib(NEEDED), exception=CRYPTOGRAPHY_ERROR, code="missing_library")
    try:
        target = Target.from_options(module.params)
        do = look if module.check_mode else revoke
        effect = do(target, store=Store(module.params["directory"]), now=int(time.time()))
    except CAError as exc:
        module.fail_json(msg=str(exc), code=exc.code)
    for warning in effect.warnings:
        module.warn(warning)
    module.exit_json(**_result(effect, target.reason))


def _result(effect: Effect, reason: str) -> dict[str, Any]:
    told = {
        "revoked": [describe(entry) for entry in effect.revoked],
        "already": [describe(entry) for entry in effect.already],
    }
    result: dict[str, Any] = {"changed": bool(effect.revoked), "reason": reason, **told}
    if effect.revoked:
        before = {f"{entry.identity}/{entry.name} {entry.serial}": _state(entry) for entry in effect.revoked}
        result["diff"] = {"before": before, "after": dict.fromkeys(before, f"revoked ({reason})")}
    return result


def _state(entry: Any) -> str:
    return f"revoked ({entry.revocation_reason})" if entry.state == "revoked" else str(entry.state)


if __name__ == "__main__":
    main()
