# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: ca_crl
short_description: Keep the CRLs of the CA's authorities up to date
version_added: 1.0.0
description:
  - A CRL tells servers which client certificates (and clients which server certificates) were taken back. Each authority has one of
    its issuing CA, and one of its root.
  - Signs a new one when revocations have changed, or a third of the life of the last one is over, so that daily runs renew it long
    before it ends. A server that checks CRLs refuses everybody once one has ended, and before it has begun. One that a fast clock has
    signed is replaced.
  - Numbers always rise, also after an older backup was restored. Then none is signed before it is known what was revoked since;
    see O(published) and O(published_complete).
  - M(certfleet.tls.host_crl) hands the CRLs to servers.
extends_documentation_fragment:
  - certfleet.tls.attributes
  - certfleet.tls.attributes.action
  - certfleet.tls.ca
  - certfleet.tls.ca.keys
  - certfleet.tls.ca.clock
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  idempotent:
    support: full
options:
  authorities:
    description: Whose CRLs are looked after. By default those of all authorities that there are.
    type: list
    elements: str
  published:
    description:
      - CRLs of these authorities as PEM that are out in the world, such as on a server; others are left aside.
      - After an older backup was restored, the revocations on them are learned again, and the next number is above theirs.
      - Where the root's key is elsewhere, the root's CRL that was signed there (and the one of a company's CA between root and issuing
        CA). It is put into place unless the one that is there has a higher number, or it has not begun yet.
      - One that cannot be read, or has no number, is left aside with a warning that names it. Where none of them can be read it is an
        error.
    type: list
    elements: str
    default: []
  published_complete:
    description:
      - Whether nothing later than O(published) is out in the world, since all servers that have CRLs were asked. It only counts after a
        backup was restored, as long as no CRL in O(published) tells what was revoked since.
      - Without it, no CRL is signed then. With it, the one in place is left until its last third, or until something is revoked
        again; then one is signed that does not know the others.
    type: bool
    default: false
requirements:
  - cryptography >= 38
notes:
  - How long a CRL lasts is the authority's O(certfleet.tls.ca_authority#module:crl_lifetime), by default 30 days.
  - Certificates that have ended leave the CRL one such time after their end.
  - The clock of a server may be late. A CRL is good for it too, since it begins an hour before it is signed.
  - When the CA cannot be reached or used, the task does not fail; the result says so, and servers keep the CRLs that they have.
seealso:
  - module: certfleet.tls.ca_revoke
  - module: certfleet.tls.host_crl
author:
  - certfleet contributors (@certfleet)
"""

EXAMPLES = r"""
- name: CRLs | Sign what is due
  certfleet.tls.ca_crl:
  run_once: true
  delegate_to: "{{ tls_ca_host }}"
  become: true
  no_log: true
  register: __tls_crl

- name: CRLs | The root's, which was signed where its key is
  certfleet.tls.ca_crl:
    authorities: [fleet]
    published: ["{{ lookup('ansible.builtin.file', '/media/stick/root-crl.pem') }}"]
  delegate_to: "{{ tls_ca_host }}"
  become: true
"""

RETURN = r"""
crls:
  description: By authority, what servers need that check its certificates.
  returned: success
  type: dict
  contains:
    pem:
      description: All CRLs of its chain that there are, the issuing CA's first, as PEM.
      returned: always
      type: str
    parts:
      description: Parsed fields of each of them.
      returned: always
      type: list
      elements: dict
      sample:
        - issuer: CN=fleet issuing CA
          number: 1795312442
          this_update: "2026-11-22T02:54:02Z"
          next_update: "2026-12-22T03:54:02Z"
          revoked: 3
    complete:
      description: Whether there is one for each certificate of the chain. Servers that check the whole chain need them all.
      returned: always
      type: bool
    forgotten:
      description:
        - Whether the CA was restored from a backup, and has signed none since, so that those which are out there may list more.
          M(certfleet.tls.host_crl) then puts none over another one, and tells what there is on the host.
      returned: always
      type: bool
    chain:
      description: The issuing CA (and what lies between it and the root) as PEM.
      returned: always
      type: str
    anchors:
      description: The root certificate as PEM.
      returned: always
      type: str
forgotten:
  description: The authorities of which C(forgotten) is true.
  returned: success
  type: list
  elements: str
  sample: []
due:
  description: What was done, or in check mode would be done, as sentences. Empty when all is well.
  returned: success
  type: list
  elements: str
  sample: ["fleet: sign the issuing CA's CRL: revocations that are not on it: 1, that have left: 0"]
problems:
  description: By authority, why its CRLs could not be looked after.
  returned: success
  type: dict
  sample: {}
available:
  description: Whether the CA could be reached and used.
  returned: success
  type: bool
message:
  description: Why not.
  returned: success
  type: str
"""

import time
from typing import Any

from ansible.module_utils.basic import AnsibleModule, missing_required_lib

from ansible_collections.certfleet.tls.plugins.module_utils._ca.clock import Clock
from ansible_collections.certfleet.tls.plugins.module_utils._ca.crl import Found, look, refresh
from ansible_collections.certfleet.tls.plugins.module_utils._ca.errors import CAError
from ansible_collections.certfleet.tls.plugins.module_utils._ca.options import (
    NEEDED,
    clock_options,
    directory_option,
    passphrase_from,
    passphrase_options,
)
from ansible_collections.certfleet.tls.plugins.module_utils._ca.store import Store
from ansible_collections.certfleet.tls.plugins.module_utils._x509.crl import Crl
from ansible_collections.certfleet.tls.plugins.module_utils._x509.crypto import CRYPTOGRAPHY_ERROR, HAS_CRYPTOGRAPHY
from ansible_collections.certfleet.tls.plugins.module_utils._x509.parse import iso


def argument_spec() -> dict[str, Any]:
    """The module's options."""
    return {
        **directory_option(),
        **passphrase_options(),
        **clock_options(),
        "authorities": {"type": "list", "elements": "str"},
        "published": {"type": "list", "elements": "str", "default": []},
        "published_complete": {"type": "bool", "default": False},
    }


def main() -> None:
    """Each authority for itself: one that is broken keeps no other from a fresh CRL."""
    module = AnsibleModule(argument_spec=argument_spec(), supports_check_mode=True)
    if not HAS_CRYPTOGRAPHY:
        module.fail_json(msg=missing_required_lib(NEEDED), exception=CRYPTOGRAPHY_ERROR, code="missing_library")
    store = Store(module.params["directory"])
    result: dict[str, Any] = {"changed": False, "crls": {}, "due": [], "problems": {}, "forgotten": []}
    try:
        store.require()
        names = module.params["authorities"] or store.names()
    except CAError as exc:
        module.fail_json(msg=str(exc), code=exc.code)
    # What is wrong with the published ones is the same for all.
    warnings: dict[str, None] = {}
    for name in names:
        try:
            found, before, due = _look_after(name, store, module)
        except CAError as exc:
            result["problems"][name] = str(exc)
            continue
        result["crls"][name] = _told(found)
        result["forgotten"] += [name] if found.forgotten else []
        result["due"] += [f"{name}: {sentence}" for sentence in due]
        if due:
            result["changed"] = True
            diff = result.setdefault("diff", {"before": {}, "after": {}})
            diff["before"][name], diff["after"][name] = before, due if module.check_mode else _parts(found)
        warnings.update(dict.fromkeys(found.warnings))
    for warning in warnings:
        module.warn(warning)
    module.exit_json(**result)


def _look_after(name: str, store: Store, module: AnsibleModule) -> tuple[Found, list[dict[str, Any]], list[str]]:
    """(how the CRLs stand, how they stood before, what is or would be done)."""
    now, published = int(time.time()), "\n".join(module.params["published"])
    is_complete = bool(module.params["published_complete"])
    before = look(store, name, published=published, is_complete=is_complete, now=now)
    if before.due:
        Clock.from_options(module.params).refuse_wrong(now=now)
    if module.check_mode or not before.due:
        return before, _parts(before), before.due
    passphrase = passphrase_from(module.params)
    found, done = refresh(store, name, passphrase=passphrase, published=published, is_complete=is_complete, now=now)
    return found, _parts(before), done


def _told(found: Found) -> dict[str, Any]:
    return {
        "pem": "".join(crl.pem for crl in found.crls),
        "parts": _parts(found),
        "forgotten": found.forgotten,
        "complete": len(found.crls) == len(found.chain.sent) + 1,
        "chain": "".join(leaf.pem for leaf in found.chain.sent),
        "anchors": found.chain.root.pem,
    }


def _parts(found: Found) -> list[dict[str, Any]]:
    return [_fields(crl) for crl in found.crls]


def _fields(crl: Crl) -> dict[str, Any]:
    return {
        "issuer": crl.issuer,
        "number": crl.number,
        "this_update": iso(crl.this_update),
        "next_update": iso(crl.next_update),
        "revoked": len(crl.revoked),
    }


if __name__ == "__main__":
    main()
