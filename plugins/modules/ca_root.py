# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: ca_root
short_description: Keep a root whose key is not on the CA host, and sign issuing CAs with it
version_added: 1.0.0
description:
  - Runs where the root's key is, which may be a machine without a network. Requests and chains are files that are carried there and back.
  - Makes the root where there is none, if asked for it (O(state=present)). It signs the CSR of an issuing CA, keeps the root's CRL
    fresh, and takes issuing CAs back. What it has signed is in a ledger of its own.
  - The name constraints of a request only limit it, so they are taken from it unless O(domains) or O(networks) say others. All else
    that it asks for, but its key and its name, is ignored.
extends_documentation_fragment:
  - certfleet.tls.attributes
  - certfleet.tls.ca.keys
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  idempotent:
    support: full
    details:
      - An issuing CA of which half the life is over is signed anew when its request is there again.
options:
  directory:
    description:
      - Where the root and its ledger are kept.
      - The folder of a CA (a backup of it that was restored here, for example) serves as well, if the root's key is in it.
    type: path
    default: /var/lib/certfleet-root
  name:
    description: The name of the authority, as the CA host knows it.
    type: str
    required: true
  state:
    description:
      - V(present) makes the root where there is none, and sees to its CRL. A O(request) is only told of (RV(request)).
      - V(signed) signs the O(request) besides, V(revoked) takes issuing CAs back. Neither makes a root. In a folder without it they
        fail, in check mode as well.
    type: str
    choices: [present, signed, revoked]
    default: present
  organization:
    description: The organization in the subject of a root that is made.
    type: str
    default: ''
  root:
    description: The root that is made where there is none.
    type: dict
    suboptions:
      common_name:
        description: The common name; by default the authority's name and C(root CA).
        type: str
      lifetime:
        description: How long it is valid, such as V(20y).
        type: str
        default: 20y
      key_type:
        description: The type of its key.
        type: str
        choices: [ec-p256, ec-p384, rsa-2048, rsa-3072, rsa-4096, ed25519]
        default: ec-p384
  issuing:
    description: The issuing CA that is signed. It does not outlive the root.
    type: dict
    suboptions:
      lifetime:
        description: How long it is valid, such as V(5y).
        type: str
        default: 5y
  domains:
    description:
      - The DNS names to which the issuing CA is limited, with all below them.
      - By default, and without O(networks), what the request asks for.
    type: list
    elements: str
  networks:
    description:
      - The networks to which the issuing CA is limited.
      - By default, and without O(domains), what the request asks for.
    type: list
    elements: str
  crl_lifetime:
    description: How long the root's CRL lasts. A new one is signed in each run in which less than two thirds of it are left.
    type: str
    default: 1y
  request:
    description: The file with the CSR of an issuing CA.
    type: path
  chain:
    description: The file to which the signed issuing CA is written, with the root after it.
    type: path
  crl:
    description: The file to which the root's CRL is written.
    type: path
  spki:
    description:
      - For O(state=signed), the key (SHA-256 of the SPKI) that the request must be for. M(certfleet.tls.ca_authority) shows it on the CA
        host. Bring it by another way than the file itself, which somebody may exchange.
      - For O(state=revoked), the key of the issuing CA, of which all certificates are revoked.
    type: str
  serial:
    description: For O(state=revoked), the serial of the one certificate that is revoked.
    type: str
  reason:
    description: For O(state=revoked), why.
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
  generate_passphrase:
    description: Make a random passphrase in O(passphrase_file) when that does not exist and there is no root yet.
    type: bool
    default: false
requirements:
  - cryptography >= 38
notes:
  - The CA host takes RV(chain) as the option O(certfleet.tls.ca_authority#module:chain), and RV(crl) as the option
    O(certfleet.tls.ca_crl#module:published).
seealso:
  - module: certfleet.tls.ca_authority
  - module: certfleet.tls.ca_crl
author:
  - certfleet contributors (@certfleet)
"""

EXAMPLES = r"""
- name: Ceremony | Make the root, if there is none. What was brought?
  certfleet.tls.ca_root:
    name: fleet
    request: /media/stick/issuing.csr
    generate_passphrase: true
  register: brought

- name: Ceremony | Sign it, once the key has been compared
  certfleet.tls.ca_root:
    name: fleet
    state: signed
    request: /media/stick/issuing.csr
    spki: 60303ae22b998861bce3b28f33eec1be758a213c86c93c076dbe9f558c11c752
    chain: /media/stick/chain.pem
    crl: /media/stick/root-crl.pem

- name: Ceremony | An issuing CA's key was stolen
  certfleet.tls.ca_root:
    name: fleet
    state: revoked
    spki: 60303ae22b998861bce3b28f33eec1be758a213c86c93c076dbe9f558c11c752
    reason: ca_compromise
    crl: /media/stick/root-crl.pem
"""

RETURN = r"""
root:
  description: Parsed fields of the root certificate.
  returned: when it exists
  type: dict
  sample: {subject: "CN=fleet root CA", key: ec-p384, not_after: "2046-11-17T04:00:00Z"}
request:
  description: What the request asks for.
  returned: with O(request)
  type: dict
  sample:
    subject: CN=fleet issuing CA
    key: ec-p256
    spki: 60303ae22b998861bce3b28f33eec1be758a213c86c93c076dbe9f558c11c752
    limits: plant.example, 198.18.0.0/15
chain:
  description: The signed issuing CA and the root, as PEM.
  returned: with O(state=signed), not before it was signed
  type: str
crl:
  description: The root's CRL, as PEM.
  returned: when there is one
  type: str
issued:
  description:
    - The issuing CAs that the root has ever signed, the latest last. C(state) is V(issued), V(superseded), V(revoked) or V(expired).
  returned: when the root exists
  type: list
  elements: dict
  sample:
    - serial: 6335fcd08de751b0d123a971dfe23a35
      spki: 60303ae22b998861bce3b28f33eec1be758a213c86c93c076dbe9f558c11c752
      subject: CN=fleet issuing CA
      limits: plant.example, 198.18.0.0/15
      not_before: "2026-11-22T03:00:00Z"
      not_after: "2031-11-21T04:00:00Z"
      state: issued
due:
  description: What was done, or in check mode would be done, as sentences. Empty when all is well.
  returned: success
  type: list
  elements: str
  sample: ["make the root 'fleet'", "sign the issuing CA 'CN=fleet issuing CA'", "sign the root's CRL: there is none yet"]
code:
  description:
    - What is wrong, in one word, for programs. V(bad_csr), V(spki_mismatch), V(compromised_key), V(issuer_expired),
      V(unknown_certificate), V(missing), V(half_ca), V(lost_ca), V(foreign_ca), V(wrong_passphrase), V(passphrase), V(frozen),
      V(locked), V(files), V(ledger), V(ledger_missing), V(ledger_newer), V(bad_request), V(missing_library).
  returned: failure
  type: str
"""

import time
from typing import Any

from ansible.module_utils.basic import AnsibleModule, missing_required_lib

from ansible_collections.certfleet.tls.plugins.module_utils._ca.ceremony import Ceremony, Held
from ansible_collections.certfleet.tls.plugins.module_utils._ca.errors import CAError
from ansible_collections.certfleet.tls.plugins.module_utils._ca.options import (
    NEEDED,
    passphrase_from,
    passphrase_options,
)
from ansible_collections.certfleet.tls.plugins.module_utils._ca.root_signing import hold, predict
from ansible_collections.certfleet.tls.plugins.module_utils._ca.store import Store
from ansible_collections.certfleet.tls.plugins.module_utils._x509.crypto import CRYPTOGRAPHY_ERROR, HAS_CRYPTOGRAPHY
from ansible_collections.certfleet.tls.plugins.module_utils._x509.errors import X509Error
from ansible_collections.certfleet.tls.plugins.module_utils._x509.keys import KEY_TYPES
from ansible_collections.certfleet.tls.plugins.module_utils._x509.revocation_reasons import REASONS

DEFAULT_DIRECTORY = "/var/lib/certfleet-root"


def argument_spec() -> dict[str, Any]:
    """The module's options."""
    key_type = {"type": "str", "choices": list(KEY_TYPES), "default": "ec-p384", "no_log": False}
    root = {"common_name": {"type": "str"}, "lifetime": {"type": "str", "default": "20y"}, "key_type": key_type}
    return {
        **passphrase_options(),
        "directory": {"type": "path", "default": DEFAULT_DIRECTORY},
        "name": {"type": "str", "required": True},
        "state": {"type": "str", "choices": ["present", "signed", "revoked"], "default": "present"},
        "organization": {"type": "str", "default": ""},
        "root": {"type": "dict", "options": root, "apply_defaults": True},
        "issuing": {
            "type": "dict",
            "options": {"lifetime": {"type": "str", "default": "5y"}},
            "apply_defaults": True,
        },
        "domains": {"type": "list", "elements": "str"},
        "networks": {"type": "list", "elements": "str"},
        "crl_lifetime": {"type": "str", "default": "1y"},
        **{path: {"type": "path"} for path in ("request", "chain", "crl")},
        "spki": {"type": "str"},
        "serial": {"type": "str"},
        "reason": {"type": "str", "choices": list(REASONS), "default": "unspecified"},
        "generate_passphrase": {"type": "bool", "default": False, "no_log": False},
    }


def to_result(ceremony: Ceremony, held: Held) -> dict[str, Any]:
    """What the module answers."""
    result: dict[str, Any] = {"changed": bool(held.due), "due": held.due}
    told = {"root": held.root, "chain": held.chain, "crl": held.crl}
    result.update({field: value for field, value in told.items() if value is not None})
    if held.root is not None:
        result["issued"] = held.issued
    if ceremony.request is not None:
        result["request"] = ceremony.request.describe()
    if held.due:
        result["diff"] = {"before": held.before, "after": held.after}
    return result


def main() -> None:
    """Want, have, decide, apply."""
    module = AnsibleModule(argument_spec=argument_spec(), supports_check_mode=True)
    if not HAS_CRYPTOGRAPHY:
        module.fail_json(msg=missing_required_lib(NEEDED), exception=CRYPTOGRAPHY_ERROR, code="missing_library")
    store, passphrase = Store(module.params["directory"]), passphrase_from(module.params)
    try:
        ceremony = Ceremony.from_options(module.params)
        do = predict if module.check_mode else hold
        generate = module.params["generate_passphrase"]
        held = do(ceremony, store=store, passphrase=passphrase, generate=generate, now=int(time.time()))
    except (CAError, X509Error) as exc:
        module.fail_json(msg=str(exc), code=getattr(exc, "code", "bad_request"))
    for warning in held.warnings:
        module.warn(warning)
    module.exit_json(**to_result(ceremony, held))


if __name__ == "__main__":
    main()
