# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: ca_authority
short_description: Create an authority of the fleet's CA, and check the one that is there
version_added: 1.0.0
description:
  - An authority is a root certificate and an issuing CA under it, with encrypted keys, on the CA host.
  - Where there is none it is created, whole or not at all. Where there is one it is checked, that is files, passphrase, keys,
    signatures and what the ledger knows of it, and left as it is.
  - Nothing is ever made anew over what is there. Half a CA, a foreign key or a wrong passphrase is an error that says what
    is wrong and where.
extends_documentation_fragment:
  - certfleet.tls.attributes
  - certfleet.tls.ca
  - certfleet.tls.ca.keys
attributes:
  check_mode:
    support: full
    details:
      - Predicts a creation also without the C(cryptography) library and without the CA's folder.
  diff_mode:
    support: full
  idempotent:
    support: full
options:
  name:
    description: The name of the authority, as certificates refer to it.
    type: str
    required: true
  organization:
    description: The organization in the subject of root and issuing CA.
    type: str
    default: ''
  root:
    description: The root certificate.
    type: dict
    suboptions:
      common_name:
        description: The common name; by default the authority's name and C(root CA).
        type: str
      lifetime:
        description: How long it is valid, such as V(10y) or V(3650d).
        type: str
        default: 10y
      key_type:
        description: The type of its key.
        type: str
        choices: [ec-p256, ec-p384, rsa-2048, rsa-3072, rsa-4096]
        default: ec-p384
  issuing:
    description: The issuing CA, which signs the leaves. It does not outlive the root.
    type: dict
    suboptions:
      common_name:
        description: The common name; by default the authority's name and C(issuing CA).
        type: str
      lifetime:
        description: How long it is valid, such as V(5y) or V(1825d).
        type: str
        default: 5y
      key_type:
        description: The type of its key.
        type: str
        choices: [ec-p256, ec-p384, rsa-2048, rsa-3072, rsa-4096]
        default: ec-p256
  generate_passphrase:
    description:
      - Make a random passphrase in O(passphrase_file) when that does not exist.
      - Only ever done while there is no authority yet. The passphrase belongs into your backup.
    type: bool
    default: false
requirements:
  - cryptography >= 38 (not for a prediction in check mode)
notes:
  - An authority whose names or key types differ from the options is kept, with a warning. Changing its subject, keys or
    lifetime needs a new authority.
seealso:
  - module: certfleet.tls.ca_info
  - module: certfleet.tls.ca_issue
author:
  - certfleet contributors (@certfleet)
"""

EXAMPLES = r"""
- name: CA | The authority of the fleet
  certfleet.tls.ca_authority:
    name: fleet
    organization: Example Plant
    generate_passphrase: true
  become: true

- name: CA | One for clients, its passphrase from a vault's command
  certfleet.tls.ca_authority:
    name: thin_edge_clients
    passphrase_command: [/usr/local/bin/read-secret, certfleet]
    root:
      lifetime: 20y
  become: true
"""

RETURN = r"""
authority:
  description:
    - The public half of the authority.
    - Only its name when it does not exist, in check mode, or could not be looked at for lack of C(cryptography).
  returned: success
  type: dict
  contains:
    name:
      description: The name of the authority.
      returned: always
      type: str
    anchors:
      description: The root certificate as PEM, which clients trust.
      returned: when it exists
      type: str
    chain:
      description: The issuing CA as PEM, which servers send along with their leaf.
      returned: when it exists
      type: str
    root:
      description: Parsed fields of the root certificate.
      returned: when it exists
      type: dict
      sample: {subject: "CN=fleet root CA", key: ec-p384, not_after: "2036-11-19T04:00:00Z"}
    issuing:
      description: Parsed fields of the issuing CA.
      returned: when it exists
      type: dict
      sample: {subject: "CN=fleet issuing CA", key: ec-p256, not_after: "2031-11-21T04:00:00Z"}
due:
  description: What was done, or in check mode would be done, as sentences. Empty when all is well.
  returned: success
  type: list
  elements: str
  sample: ["create the authority 'fleet'"]
cryptography:
  description: Whether the library is there for the Python that runs modules on this host.
  returned: success
  type: bool
code:
  description:
    - What is wrong, in one word, for programs. V(half_ca), V(foreign_ca), V(wrong_passphrase), V(passphrase), V(locked),
      V(files), V(ledger), V(ledger_missing), V(ledger_newer), V(bad_request), V(missing_library).
  returned: failure
  type: str
"""

import time
from typing import Any

from ansible.module_utils.basic import AnsibleModule, missing_required_lib

from ansible_collections.certfleet.tls.plugins.module_utils._ca.authority import (
    Found,
    Wish,
    ensure,
    look,
    predict,
    to_result,
)
from ansible_collections.certfleet.tls.plugins.module_utils._ca.errors import CAError
from ansible_collections.certfleet.tls.plugins.module_utils._ca.options import (
    NEEDED,
    directory_option,
    passphrase_from,
    passphrase_options,
)
from ansible_collections.certfleet.tls.plugins.module_utils._ca.store import Store
from ansible_collections.certfleet.tls.plugins.module_utils._x509.crypto import CRYPTOGRAPHY_ERROR, HAS_CRYPTOGRAPHY
from ansible_collections.certfleet.tls.plugins.module_utils._x509.errors import X509Error

KEY_TYPES = ["ec-p256", "ec-p384", "rsa-2048", "rsa-3072", "rsa-4096"]


def argument_spec() -> dict[str, Any]:
    """The module's options."""
    return {
        **directory_option(),
        **passphrase_options(),
        "name": {"type": "str", "required": True},
        "organization": {"type": "str", "default": ""},
        "root": _certificate_option(lifetime="10y", key_type="ec-p384"),
        "issuing": _certificate_option(lifetime="5y", key_type="ec-p256"),
        "generate_passphrase": {"type": "bool", "default": False, "no_log": False},
    }


def _certificate_option(*, lifetime: str, key_type: str) -> dict[str, Any]:
    options = {
        "common_name": {"type": "str"},
        "lifetime": {"type": "str", "default": lifetime},
        "key_type": {"type": "str", "choices": KEY_TYPES, "default": key_type, "no_log": False},
    }
    return {"type": "dict", "options": options, "apply_defaults": True}


def main() -> None:
    """Want, have, decide, apply."""
    module = AnsibleModule(argument_spec=argument_spec(), supports_check_mode=True)
    if not HAS_CRYPTOGRAPHY and not module.check_mode:
        module.fail_json(msg=missing_required_lib(NEEDED), exception=CRYPTOGRAPHY_ERROR, code="missing_library")
    store, passphrase = Store(module.params["directory"]), passphrase_from(module.params)
    generate, now = module.params["generate_passphrase"], int(time.time())
    try:
        wish = Wish.from_options(module.params)
        if not module.check_mode:
            found = ensure(wish, store=store, passphrase=passphrase, generate=generate, now=now)
        elif HAS_CRYPTOGRAPHY:
            found = look(wish, store=store, passphrase=passphrase, generate=generate, now=now)
        else:
            found = predict(wish, store=store, passphrase=passphrase, generate=generate)
    except (CAError, X509Error) as exc:
        module.fail_json(msg=str(exc), code=getattr(exc, "code", "bad_request"))
    for warning in found.warnings:
        module.warn(warning)
    module.exit_json(**_result(wish, found))


def _result(wish: Wish, found: Found) -> dict[str, Any]:
    result: dict[str, Any] = {
        "changed": bool(found.due),
        "authority": to_result(found, wish.name),
        "due": found.due,
        "cryptography": HAS_CRYPTOGRAPHY,
    }
    if found.due:
        result["diff"] = {"before": found.before, "after": found.after}
    return result


if __name__ == "__main__":
    main()
