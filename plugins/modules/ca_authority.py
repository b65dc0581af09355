# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: ca_authority
short_description: Create an authority of the fleet's CA, check the one that is there, and renew its issuing CA
version_added: 1.0.0
description:
  - An authority is a root certificate and an issuing CA under it, with encrypted keys, on the CA host.
  - Where there is none it is created, whole or not at all. Where there is one it is checked, that is files, passphrase, keys,
    signatures and what the ledger knows of it.
  - The issuing CA is reissued under its key and subject when its limits change, and in time before leaves would have to be cut
    short, which is when less than the longest life of its leaves is left; also where it has not begun yet, since a clock was wrong
    when it was made. Leaves stay valid. Where the root is elsewhere a CSR is made instead.
  - Nothing is ever made anew over what is there. Half a CA, a foreign key or a wrong passphrase is an error that says what
    is wrong and where.
  - Nor is a CA made where there has been one and nothing is there now, as when its disk is not mounted. A note beside
    O(passphrase_file), C(<passphrase_file>-<eight digits>.ca), says that there has. With O(passphrase_command) there is none.
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
        choices: [ec-p256, ec-p384, rsa-2048, rsa-3072, rsa-4096, ed25519]
        default: ec-p384
      location:
        description:
          - Where the root's key is kept. V(here) is on this host, encrypted as the others.
          - V(elsewhere) is offline, or at the company's CA. This host then makes a key and a CSR for the issuing CA, which is
            signed there, and adopts the O(chain) that comes back.
        type: str
        choices: [here, elsewhere]
        default: here
      fingerprint:
        description:
          - The SHA-256 of the root certificate that is elsewhere, in hexadecimal digits, as C(openssl x509 -fingerprint -sha256) shows it.
            Colons and case do not matter.
          - The first O(chain) is only adopted with this or O(root_certificate). Without both the authority goes on waiting, and a
            warning says which fingerprint is to be compared.
        type: str
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
        choices: [ec-p256, ec-p384, rsa-2048, rsa-3072, rsa-4096, ed25519]
        default: ec-p256
  domains:
    description:
      - The DNS names that the issuing CA may certify, each with all names below it, such as V(plant.example); also single labels.
      - As soon as O(domains) or O(networks) is given, a kind of which none is given may not be certified at all. Without both
        there are no limits.
      - They are written into the issuing CA as critical name constraints, which verifiers enforce. A change reissues it under
        the same key, so that leaves stay valid. It is refused while certificates in force lie outside.
    type: list
    elements: str
    default: []
  networks:
    description: The networks, IPv4 and IPv6, whose addresses the issuing CA may certify, such as V(192.0.2.0/24). See O(domains).
    type: list
    elements: str
    default: []
  profiles:
    description:
      - Kinds of leaves besides the built-in V(server) (serverAuth), V(client) (clientAuth) and V(server_client) (both), or
        instead of one of these, by name.
      - Each has C(usages) (list of V(serverAuth) and V(clientAuth)) and maybe C(crl_urls), C(issuer_urls), C(ocsp_urls) (lists
        of C(http://) addresses that leaves carry) and C(max_lifetime) (a span, such as V(30d)).
      - A change is in the leaves that are issued from then on.
    type: dict
    default: {}
  profiles_allowed:
    description: The built-in profiles that there are besides O(profiles). By default all.
    type: list
    elements: str
    default: []
  crl_lifetime:
    description:
      - How long a CRL of this authority is good for, at least V(2d). Servers refuse everybody when one has ended, so that below V(7d)
        there is a warning.
    type: str
    default: 30d
  chain:
    description:
      - What was signed elsewhere for the authority's CSR, as PEM text, in any order, that is the issuing CA, and all
        certificates above it up to the root.
      - It is checked (key, signatures, basic constraints, path lengths, key usage, validity) before it is adopted. A renewed
        one must end in the same root.
    type: str
    default: ''
  root_certificate:
    description:
      - The root that is expected above O(chain), as PEM text. By default the self-signed certificate in O(chain), which
        O(root.fingerprint) must name.
    type: str
    default: ''
  generate_passphrase:
    description:
      - Make a random passphrase in O(passphrase_file) when that does not exist.
      - Only ever done while there is no authority yet. The passphrase belongs into your backup.
    type: bool
    default: false
requirements:
  - cryptography >= 38 (not for a prediction in check mode)
notes:
  - An authority whose names or key types differ from the options is kept, with a warning. Changing its root, subject or keys
    needs a new authority.
  - Ed25519 is for authorities whose verifiers are all known to accept it. Browsers and many devices do not.
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

- name: CA | Limited to the names and addresses of the plant
  certfleet.tls.ca_authority:
    name: fleet
    domains: [plant.example]
    networks: [198.18.0.0/15, "2001:2::/48"]
    profiles_allowed: [server]
  become: true

- name: CA | An issuing CA under the company's root, first without a chain, which makes the CSR
  certfleet.tls.ca_authority:
    name: office
    root:
      location: elsewhere
      fingerprint: 3C:5B:2A:1E:E4:51:7C:2F:0D:A5:54:3D:5F:26:10:8A:99:6E:B7:00:5C:F2:41:E3:4B:0A:7D:3E:60:12:9C:5F
    chain: "{{ lookup('ansible.builtin.file', 'office-chain.pem', errors='ignore') | default('', true) }}"
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
      description: The issuing CA as PEM, and what is between it and the root. Servers send it along with their leaf.
      returned: when it exists
      type: str
    root:
      description: Parsed fields of the root certificate.
      returned: when it exists
      type: dict
      sample: {subject: "CN=fleet root CA", key: ec-p384, not_after: "2036-11-19T04:00:00Z"}
    issuing:
      description: Parsed fields of the issuing CA, with the C(domains) and C(networks) that it is limited to.
      returned: when it exists
      type: dict
      sample: {subject: "CN=fleet issuing CA", key: ec-p256, not_after: "2031-11-21T04:00:00Z"}
due:
  description: What was done, or in check mode would be done, as sentences. Empty when all is well.
  returned: success
  type: list
  elements: str
  sample: ["create the authority 'fleet'"]
awaiting:
  description: Whether something must be signed elsewhere, a new authority's issuing CA or its renewal.
  returned: success
  type: bool
csr:
  description: The CSR to be signed, as PEM. None when nothing waits, or before it is made.
  returned: success
  type: str
csr_path:
  description: Where the CSR is on the CA host.
  returned: success
  type: str
  sample: /var/lib/certfleet/pending/office/issuing.csr
cryptography:
  description: Whether the library is there for the Python that runs modules on this host.
  returned: success
  type: bool
code:
  description:
    - What is wrong, in one word, for programs. V(half_ca), V(lost_ca), V(foreign_ca), V(wrong_passphrase), V(passphrase), V(locked),
      V(files), V(ledger), V(ledger_missing), V(ledger_newer), V(bad_request), V(missing_library), V(frozen), V(narrowing)
      (certificates in force would lie outside of new limits), V(bad_chain), V(no_request), V(rollover) (O(chain) ends in another
      root), V(shared_root), V(ca_clock) (something is due, and this host's clock is too far from the controller's).
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
from ansible_collections.certfleet.tls.plugins.module_utils._ca.clock import Clock
from ansible_collections.certfleet.tls.plugins.module_utils._ca.errors import CAError
from ansible_collections.certfleet.tls.plugins.module_utils._ca.options import (
    NEEDED,
    clock_options,
    directory_option,
    passphrase_from,
    passphrase_options,
)
from ansible_collections.certfleet.tls.plugins.module_utils._ca.store import Store
from ansible_collections.certfleet.tls.plugins.module_utils._x509.crypto import CRYPTOGRAPHY_ERROR, HAS_CRYPTOGRAPHY
from ansible_collections.certfleet.tls.plugins.module_utils._x509.errors import X509Error

KEY_TYPES = ["ec-p256", "ec-p384", "rsa-2048", "rsa-3072", "rsa-4096", "ed25519"]


def argument_spec() -> dict[str, Any]:
    """The module's options."""
    return {
        **directory_option(),
        **passphrase_options(),
        **clock_options(),
        "name": {"type": "str", "required": True},
        "organization": {"type": "str", "default": ""},
        "root": _certificate_option(
            lifetime="10y",
            key_type="ec-p384",
            location={"type": "str", "choices": ["here", "elsewhere"], "default": "here"},
            fingerprint={"type": "str"},
        ),
        "issuing": _certificate_option(lifetime="5y", key_type="ec-p256"),
        "domains": {"type": "list", "elements": "str", "default": []},
        "networks": {"type": "list", "elements": "str", "default": []},
        "profiles": {"type": "dict", "default": {}},
        "profiles_allowed": {"type": "list", "elements": "str", "default": []},
        "crl_lifetime": {"type": "str", "default": "30d"},
        "chain": {"type": "str", "default": ""},
        "root_certificate": {"type": "str", "default": ""},
        "generate_passphrase": {"type": "bool", "default": False, "no_log": False},
    }


def _certificate_option(*, lifetime: str, key_type: str, **more: Any) -> dict[str, Any]:
    options = {
        **more,
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
    generate, now, clock = module.params["generate_passphrase"], int(time.time()), Clock.from_options(module.params)
    try:
        wish = Wish.from_options(module.params)
        if not module.check_mode:
            found = ensure(wish, store=store, passphrase=passphrase, generate=generate, now=now, clock=clock)
        elif HAS_CRYPTOGRAPHY:
            found = look(wish, store=store, passphrase=passphrase, generate=generate, now=now)
        else:
            found = predict(wish, store=store, passphrase=passphrase, generate=generate)
        if module.check_mode and found.due:
            clock.refuse_wrong(now=now)
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
        "awaiting": bool(found.request_path),
        "csr": found.request,
        "csr_path": found.request_path or None,
        "cryptography": HAS_CRYPTOGRAPHY,
    }
    if found.due:
        result["diff"] = {"before": found.before, "after": found.after}
    return result


if __name__ == "__main__":
    main()
