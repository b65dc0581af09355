# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: ca_info
short_description: Ask the CA what it knows of the hosts of a batch
version_added: 1.0.0
description:
  - Reads the public half of all authorities and, for some identities, what the ledger knows of them.
  - Runs once for a batch, delegated to the CA host. It changes nothing, takes no lock and opens no key, so it never waits for
    certificates that are just being issued.
  - A CA that does not exist yet, cannot be reached, is damaged, or whose clock is wrong (C(tls_clock_limit)) is an answer as well
    (RV(available), RV(message)), so that hosts can still be looked at without it.
extends_documentation_fragment:
  - certfleet.tls.attributes
  - certfleet.tls.attributes.info_module
  - certfleet.tls.attributes.action
  - certfleet.tls.ca
attributes:
  check_mode:
    support: full
    details:
      - Nothing is modified but the file of O(export), and that only outside check mode.
  idempotent:
    support: full
    details:
      - The file of O(export) is written when the ledger says something else than it.
options:
  identities:
    description:
      - The identities to tell of. With an empty list only the authorities are read.
      - By default those of all hosts of the batch, that is their C(tls_identity) or their name in the inventory.
      - With O(list) the machines whose certificates are listed. There, the default and an empty list mean all of them.
    type: list
    elements: str
  failure_window:
    description:
      - For how long a deploy that went wrong and was not put right since is told in RV(open_failures), such as V(7d) or V(12h).
    type: str
    default: 7d
  failure_budget:
    description:
      - How many certificates may have failed, in this run and in RV(open_failures), before nothing further is begun (RV(pause)).
        A number, or a share of the play's hosts such as V(10%). Left out or empty, there is no limit.
      - Read on the controller.
    type: str
  managers:
    description:
      - Names of hosts that manage devices of the batch, such as a MiR Fleet. Their identities are told of as well.
      - Read on the controller.
    type: list
    elements: str
    default: []
  canary:
    description:
      - The play goes in waves (C(serial)), and its first host answers for all others. As long as none has proved the change, nothing
        further is begun after a failure.
      - Read on the controller.
    type: bool
    default: false
  list:
    description:
      - List certificates in RV(certificates) and RV(refusals).
      - V(issued) are those in force. V(expiring) are those that a machine lives by and that end within O(within), or have ended.
        V(refused) is what the CA refused to sign and has not signed since. V(all) is everything that the ledger holds.
    type: str
    choices: [issued, expiring, refused, all]
  within:
    description: How soon an V(expiring) certificate ends, such as V(30d) or V(12h).
    type: str
    default: 30d
  names:
    description:
      - With O(list), only certificates with one of these names (C(DNS:robot-1.plant.example), C(IP:198.51.100.7), C(CN:robot-1)).
        An empty list means all.
    type: list
    elements: str
    default: []
  export:
    description:
      - A file on the CA host, with its full path, to which the whole ledger is written as JSON lines, whole or not at all, for root
        alone. What was there is replaced.
      - The C(kind) of each line is V(certificate), V(pin), V(outcome), V(failure), V(refusal), V(holder), V(crl), V(act) or
        V(condition). Times are in UTC. Neither keys nor certificates themselves are in it.
    type: path
notes:
  - Needs the standard library alone on the CA host.
seealso:
  - module: certfleet.tls.ca_authority
  - module: certfleet.tls.ca_issue
author:
  - certfleet contributors (@certfleet)
"""

EXAMPLES = r"""
- name: Certificate | What does the CA know of these hosts?
  certfleet.tls.ca_info:
  run_once: true
  delegate_to: "{{ tls_ca_host }}"
  become: true
  no_log: true
  register: ca

- name: Trust | The anchors of all authorities
  certfleet.tls.ca_info:
    identities: []
  run_once: true
  delegate_to: "{{ tls_ca_host }}"
  become: true
  register: ca

- name: Inquire | What ends within a fortnight?
  certfleet.tls.ca_info:
    list: expiring
    within: 14d
  run_once: true
  delegate_to: "{{ tls_ca_host }}"
  become: true
  register: ending

- name: Inquire | The whole ledger, for another program
  certfleet.tls.ca_info:
    identities: []
    export: /root/certificates.jsonl
  run_once: true
  delegate_to: "{{ tls_ca_host }}"
  become: true
"""

RETURN = r"""
available:
  description: Whether there is a CA that answered. The other values are empty when not.
  returned: success
  type: bool
reachable:
  description: Whether the CA host could be reached.
  returned: success
  type: bool
ca_host:
  description: Inventory name of the CA host.
  returned: success
  type: str
message:
  description: Why the CA is not available.
  returned: success
  type: str
authorities:
  description:
    - The public half of each authority, by name. C(anchors) is its root and C(chain) its issuing CA, as PEM. C(profiles) are the
      usages of the certificates that it signs, by the profile's name.
  returned: success
  type: dict
  sample:
    fleet:
      anchors: "-----BEGIN CERTIFICATE-----..."
      chain: "-----BEGIN CERTIFICATE-----..."
      profiles: {server: [serverAuth]}
problems:
  description:
    - Why an authority that is there cannot be used, by its name. It is not among RV(authorities), and all others are.
    - Certificates of such an authority are judged without it, and not issued. What is wrong with the ledger makes the whole CA unavailable.
  returned: success
  type: dict
  sample: {clients: "Half a CA: the authority 'clients' in /var/lib/certfleet/authorities/clients lacks issuing.key. …"}
identities:
  description:
    - What the ledger knows, by identity. Identities that it does not know are left out.
    - C(pins) are keys (SHA-256 of the SPKI) that the identity may be recognised by.
    - C(leaves) are its certificates as far as they matter, newest first. For each certificate name these are the newest three,
      the one brought into service last, and those that are revoked, until their end. After it the revoked ones whose key is compromised
      or C(gone) are still told. C(state) is V(issued), V(superseded), V(revoked) or V(expired).
    - C(installed) is true for a leaf that is known to have been brought into service.
    - C(gone) is true for a leaf of the machine that was there before the identity was replaced or decommissioned. Its key identifies
      nobody unless it was pinned since.
    - C(decommissioned) is true for an identity that gets no certificates until it is readmitted.
  returned: success
  type: dict
  sample:
    robot-1:
      pins: [9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08]
      leaves:
        - name: https
          authority: fleet
          state: issued
          serial: 6335fcd08de751b0d123a971dfe23a35
          fingerprint: 0f892732473b3ee27a75bdda5d070caca8ce32c963a696d9c311abcf658bf2db
          spki: 60303ae22b998861bce3b28f33eec1be758a213c86c93c076dbe9f558c11c752
          not_after: "2027-02-20T04:54:02Z"
          installed: true
      failures:
        https:
          count: 2
          first_at: "2026-11-20T02:00:11Z"
          last_at: "2026-11-21T02:00:09Z"
          outcome: rolled_back
          said: the service did not start
open_failures:
  description:
    - The certificates of all identities whose last deploy went wrong within O(failure_window), the latest first.
  returned: success
  type: list
  elements: dict
  sample: [{identity: robot-1, name: https, count: 2, last_at: "2026-11-21T02:00:09Z"}]
pause:
  description:
    - Why nothing further should be begun (C(message)), apart from what has failed before. Identities in C(except) are not meant.
      V(null) when there is no reason to pause.
  returned: success
  type: dict
hosts:
  description:
    - How many hosts a share in O(failure_budget) is a share of. Those of the play, or of an earlier play whose hosts this one's were
      chosen from.
  returned: when available
  type: int
certificates:
  description:
    - The certificates that O(list) asks for. Fields that do not apply are left out.
    - C(outcome) is how its last deploy ended.
  returned: with O(list), when available
  type: list
  elements: dict
  sample:
    - identity: robot-1
      name: https
      authority: fleet
      profile: server
      common_name: robot-1
      names: ["DNS:robot-1.plant.example", "IP:198.51.100.7"]
      serial: 6335fcd08de751b0d123a971dfe23a35
      fingerprint: 0f892732473b3ee27a75bdda5d070caca8ce32c963a696d9c311abcf658bf2db
      spki: 60303ae22b998861bce3b28f33eec1be758a213c86c93c076dbe9f558c11c752
      state: issued
      not_before: "2026-11-22T03:54:02Z"
      not_after: "2027-02-20T04:54:02Z"
      why: [expiring]
      issued_at: "2026-11-22T04:54:02Z"
      installed_at: "2026-11-22T04:54:11Z"
      outcome: {outcome: installed, at: "2026-11-22T04:54:11Z", said: ""}
refusals:
  description: What the CA refused to sign and has not signed since, the latest first.
  returned: with O(list) V(refused) or V(all), when available
  type: list
  elements: dict
  sample:
    - identity: robot-2
      name: https
      code: name_held
      message: the name DNS:robot-1.plant.example is held by robot-1
      count: 3
      first_at: "2026-11-20T02:00:11Z"
      last_at: "2026-11-22T02:00:09Z"
exported:
  description: The file of O(export) and how many lines of each kind the ledger gives. C(changed) tells whether the file was written.
  returned: with O(export), when available
  type: dict
  sample: {path: /root/certificates.jsonl, changed: true, lines: {certificate: 1204, pin: 30}}
time:
  description: The CA host's clock, in unix seconds.
  returned: when available
  type: int
"""

import time
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.certfleet.tls.plugins.module_utils._ca.errors import CAError
from ansible_collections.certfleet.tls.plugins.module_utils._ca.export import export
from ansible_collections.certfleet.tls.plugins.module_utils._ca.inquiries import KINDS, WITHIN, Inquiry, answer
from ansible_collections.certfleet.tls.plugins.module_utils._ca.known import read_info
from ansible_collections.certfleet.tls.plugins.module_utils._ca.options import directory_option
from ansible_collections.certfleet.tls.plugins.module_utils._ca.store import Store
from ansible_collections.certfleet.tls.plugins.module_utils._x509.duration import parse_duration
from ansible_collections.certfleet.tls.plugins.module_utils._x509.errors import X509Error


def argument_spec() -> dict[str, Any]:
    """The module's options."""
    return {
        **directory_option(),
        "identities": {"type": "list", "elements": "str"},
        "failure_window": {"type": "str", "default": "7d"},
        "failure_budget": {"type": "str"},
        "managers": {"type": "list", "elements": "str", "default": []},
        "canary": {"type": "bool", "default": False},
        "list": {"type": "str", "choices": list(KINDS)},
        "within": {"type": "str", "default": WITHIN},
        "names": {"type": "list", "elements": "str", "default": []},
        "export": {"type": "path"},
    }


def inquire(options: dict[str, Any], *, store: Store, now: int, check: bool) -> dict[str, Any]:
    """What people ask for, besides what the engine needs."""
    told: dict[str, Any] = {}
    if options["list"]:
        identities = options["identities"] or ()
        inquiry = Inquiry.parse(
            options["list"], within=options["within"], identities=identities, names=options["names"]
        )
        told.update(answer(inquiry, store=store, now=now))
    if options["export"]:
        told["exported"] = export(options["export"], store=store, now=now, check=check)
    return told


def main() -> None:
    """Read and answer; the action plugin makes an answer of a failure as well."""
    module = AnsibleModule(argument_spec=argument_spec(), supports_check_mode=True)
    store, now, wanted = Store(module.params["directory"]), int(time.time()), module.params["identities"] or ()
    try:
        window = parse_duration(module.params["failure_window"], where="failure_window")
        known = read_info(store, wanted, now=now, failure_window=window)
        told = inquire(module.params, store=store, now=now, check=module.check_mode)
    except X509Error as exc:
        module.fail_json(msg=str(exc), code="bad_option")
    except CAError as exc:
        module.fail_json(msg=str(exc), code=exc.code)
    module.exit_json(changed=bool(told.get("exported", {}).get("changed")), **known, **told)


if __name__ == "__main__":
    main()
