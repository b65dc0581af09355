# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: ca_issue
short_description: Sign the certificates of a batch
version_added: 1.0.0
description:
  - Signs all CSRs of a batch in one process on the CA host. Each certificate succeeds or fails alone.
  - Every serial is in the ledger before anything is signed with it, and every certificate before it leaves the CA host. A run
    that is killed at any point leaves no certificate that the ledger does not know.
  - What is asked for again is not signed again. A certificate for the same identity, name, key, authority, profile, names and
    common name that is in force and not due for renewal is returned as it is.
  - The names come from the request and the usages from the profile. What the CSR itself asks for is ignored.
  - A name that a certificate in force of another identity has is refused. So are names outside the limits of the authority, before
    anything is signed. What is refused stays in the ledger until it is issued after all; M(certfleet.tls.ca_info) lists it.
extends_documentation_fragment:
  - certfleet.tls.attributes
  - certfleet.tls.attributes.action
  - certfleet.tls.ca
  - certfleet.tls.ca.keys
  - certfleet.tls.ca.clock
attributes:
  check_mode:
    support: full
    details:
      - Does nothing and returns nothing in check mode. What would be issued is told by the request step.
  diff_mode:
    support: none
  idempotent:
    support: full
options:
  requests:
    description:
      - What is to be signed. By default what the request steps of all hosts of the batch asked for.
      - Each has C(id) (V(<identity>/<name>)), C(identity), C(name), C(authority), C(profile) (V(server), V(client),
        V(server_client) or another one of that authority), C(names) (a list of V(DNS:...) and V(IP:...)), C(csr) (PEM) and
        C(lifetime) (seconds).
      - Each may have C(common_name), C(spki) (SHA-256 of the key's SPKI, which the CSR must match), C(renew_before) (seconds, by
        default a third of the certificate's validity), C(shared_names) (those of its names that other identities have as well, on
        purpose; V(CN:...) is the common name of a client) and C(reasons) (codes, for the ledger).
    type: list
    elements: dict
    default: []
  shared_names:
    description:
      - Names that identities share on purpose which ask for nothing now. By default what the request steps of all hosts of the run
        said, as soon as a request of the batch shares one. A name is only shared when all that have it say so.
    type: list
    elements: dict
    default: []
    suboptions:
      identity:
        description: Who shares them.
        type: str
        required: true
      authority:
        description: The authority of the certificate that has them.
        type: str
        required: true
      names:
        description: The names, V(DNS:...), V(IP:...) or V(CN:...).
        type: list
        elements: str
        required: true
requirements:
  - cryptography >= 38
notes:
  - Certificates are valid from an hour ago, for devices whose clock is late, and end with their issuing CA at the latest.
seealso:
  - module: certfleet.tls.ca_authority
  - module: certfleet.tls.ca_info
  - module: certfleet.tls.ca_record
author:
  - certfleet contributors (@certfleet)
"""

EXAMPLES = r"""
- name: Certificate | Sign what the hosts of this batch asked for
  certfleet.tls.ca_issue:
  run_once: true
  delegate_to: "{{ tls_ca_host }}"
  become: true
  no_log: true
  register: issued

- name: CA | Sign one CSR
  certfleet.tls.ca_issue:
    requests:
      - id: gateway-1/https
        identity: gateway-1
        name: https
        authority: fleet
        profile: server
        names: ["DNS:gateway-1.plant.example"]
        csr: "{{ lookup('ansible.builtin.file', 'gateway-1.csr') }}"
        lifetime: 7776000
  delegate_to: "{{ tls_ca_host }}"
  become: true
"""

RETURN = r"""
chains:
  description: The intermediates, as PEM, of each authority that a certificate comes from.
  returned: success
  type: dict
  sample: {fleet: "-----BEGIN CERTIFICATE-----..."}
certificates:
  description:
    - The answer to each request, by its id.
    - A certificate has C(certificate) (the leaf as PEM), C(authority), C(serial), C(fingerprint), C(not_before), C(not_after),
      C(issued) (V(false) when it was in force already) and C(notes).
    - A refused request has C(error) with C(code) and C(message). Codes are V(bad_request), V(bad_csr), V(bad_key), V(spki_mismatch),
      V(bad_profile), V(bad_names), V(bad_lifetime), V(duplicate_id), V(outside_constraints), V(name_held), V(unknown_authority),
      V(issuer_expired), V(issuer_not_begun), V(not_signed), and those about an authority as a whole, V(half_ca), V(foreign_ca),
      V(wrong_passphrase), V(passphrase).
    - A frozen CA, since it has moved, signs nothing at all. The module fails with the code V(frozen) then, and with V(ca_clock) where
      something is to be signed by a clock that is too far from the controller's.
    - C(notes) says where a certificate ends earlier than asked, with its issuing CA or since its profile allows no more.
    - When the CA as a whole cannot be used each request has the error V(ca_unreachable), V(ca_failed) or V(ca_clock).
  returned: success
  type: dict
  sample:
    robot-1/https:
      certificate: "-----BEGIN CERTIFICATE-----..."
      authority: fleet
      serial: 6335fcd08de751b0d123a971dfe23a35
      fingerprint: 0f892732473b3ee27a75bdda5d070caca8ce32c963a696d9c311abcf658bf2db
      not_before: "2026-11-22T03:54:02Z"
      not_after: "2027-02-20T04:54:02Z"
      issued: true
      notes: []
    robot-2/https:
      error:
        code: spki_mismatch
        message: "robot-2/https: the CSR is for another key (...) than the request (...). Run again: a new CSR is made."
"""

import time
from typing import Any

from ansible.module_utils.basic import AnsibleModule, missing_required_lib

from ansible_collections.certfleet.tls.plugins.module_utils._ca.clock import Clock
from ansible_collections.certfleet.tls.plugins.module_utils._ca.errors import CAError
from ansible_collections.certfleet.tls.plugins.module_utils._ca.issue import issue
from ansible_collections.certfleet.tls.plugins.module_utils._ca.local import LocalIssuer
from ansible_collections.certfleet.tls.plugins.module_utils._ca.options import (
    NEEDED,
    clock_options,
    directory_option,
    passphrase_from,
    passphrase_options,
)
from ansible_collections.certfleet.tls.plugins.module_utils._ca.orders import read_declared
from ansible_collections.certfleet.tls.plugins.module_utils._ca.store import Store
from ansible_collections.certfleet.tls.plugins.module_utils._x509.crypto import CRYPTOGRAPHY_ERROR, HAS_CRYPTOGRAPHY


def argument_spec() -> dict[str, Any]:
    """The module's options. A bad request must not fail the others: requests are checked one by one, not here."""
    shared = {
        "identity": {"type": "str", "required": True},
        "authority": {"type": "str", "required": True},
        "names": {"type": "list", "elements": "str", "required": True},
    }
    return {
        **directory_option(),
        **passphrase_options(),
        **clock_options(),
        "requests": {"type": "list", "elements": "dict", "default": []},
        "shared_names": {"type": "list", "elements": "dict", "default": [], "options": shared},
    }


def main() -> None:
    """Sign the batch."""
    module = AnsibleModule(argument_spec=argument_spec(), supports_check_mode=True)
    if module.check_mode or not module.params["requests"]:
        module.exit_json(changed=False, chains={}, certificates={})
    if not HAS_CRYPTOGRAPHY:
        module.fail_json(msg=missing_required_lib(NEEDED), exception=CRYPTOGRAPHY_ERROR, code="missing_library")
    store, passphrase = Store(module.params["directory"]), passphrase_from(module.params)
    try:
        answer = issue(
            module.params["requests"],
            store=store,
            open_issuer=lambda authority: LocalIssuer(store, authority, passphrase),
            now=int(time.time()),
            clock=Clock.from_options(module.params),
            declared=read_declared(module.params["shared_names"]),
        )
    except CAError as exc:
        module.fail_json(msg=str(exc), code=exc.code)
    module.exit_json(changed=any(item.get("issued") for item in answer["certificates"].values()), **answer)


if __name__ == "__main__":
    main()
