# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: endpoint_report
short_description: Print what a run did to each endpoint, and whether a client accepts it
version_added: 1.0.0
description:
  - >-
    Prints a table (endpoint, before, after, proof) and the line C(proved: n/N endpoints).
  - Reads what the role P(certfleet.tls.tls_certificate#role) registered for each host in this run.
  - It does not fail itself, since one task speaks for all hosts. RV(complaints) says which hosts should, and why.
options:
  endpoints:
    description: All endpoints there are to prove, as M(certfleet.tls.fleet_info) lists them.
    type: list
    elements: dict
    required: true
  seen:
    description: What a client saw, as the RV(certfleet.tls.endpoint_info#module:endpoints) of M(certfleet.tls.endpoint_info).
    type: list
    elements: dict
    required: true
  client:
    description: Inventory name of that client, for the table.
    type: str
    required: true
  seen_by_controller:
    description: What the controller saw of those endpoints that O(seen) does not tell of.
    type: list
    elements: dict
    default: []
  absent_fails:
    description: Whether a host or device that could not be reached is complained about.
    type: bool
    default: false
  unseen_fails:
    description: Whether an endpoint that nobody could look at is complained about.
    type: bool
    default: true
  problems:
    description: What is wrong with the run as a whole. Printed below the table, and a complaint about the play's first host.
    type: list
    elements: str
    default: []
  remarks:
    description: Sentences on the run as a whole, printed below the table.
    type: list
    elements: str
    default: []
extends_documentation_fragment:
  - certfleet.tls.attributes
  - certfleet.tls.attributes.info_module
  - certfleet.tls.attributes.controller_only
author:
  - certfleet contributors (@certfleet)
"""

EXAMPLES = r"""
- name: Show what was proved
  certfleet.tls.endpoint_report:
    endpoints: "{{ fleet.endpoints }}"
    seen: "{{ look.endpoints }}"
    client: workstation-1
  run_once: true
"""

RETURN = r"""
rows:
  description: One item for each endpoint.
  returned: always
  type: list
  elements: dict
  sample: [{endpoint: "robot-1 198.19.1.11:443", before: "self-signed, until 2036-01-01", after: "installed (missing), until 2027-02-20",
            proof: "client: chain, name and time right", state: proved}]
total:
  description: How many endpoints there are to prove.
  returned: always
  type: int
proved:
  description: Endpoints that a client accepts.
  returned: always
  type: list
  elements: str
absent:
  description: Endpoints whose host or device could not be reached.
  returned: always
  type: list
  elements: str
unproved:
  description: Endpoints that answer, and that a client does not accept.
  returned: always
  type: list
  elements: str
standings:
  description:
    - How the machines with certificates came out of the run, as lists of their names. V(new), V(old) (as before), V(rolled_back), V(kept),
      V(removed), V(failed), V(refused), V(absent), V(deferred), V(not_tried), or in check mode V(due).
  returned: always
  type: dict
  sample: {new: [robot-1], old: [robot-2, robot-3]}
unseen:
  description: Endpoints that nobody could look at.
  returned: always
  type: list
  elements: str
complaints:
  description:
    - By host, what an operator must hear of (a refused request, a bad outcome, an endpoint that no client accepts).
    - In check mode endpoints that are not proved yet are no complaint.
  returned: always
  type: dict
"""
