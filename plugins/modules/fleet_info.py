# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: fleet_info
short_description: Read from the inventory which CA a run speaks to and which endpoints it has to prove
version_added: 1.0.0
description:
  - Reads the variables of all hosts of the play and answers what the inventory alone says, before any host is asked.
  - Runs in the controller, once for a play; nothing is connected to.
  - >-
    A CA host that the inventory does not hold (a slice of a larger one, for example) is added to the run's inventory, with the
    variables of C(tls_ca_connection), such as C({ansible_host: 192.0.2.10, ansible_user: automation}).
  - The endpoints are those of the products' groups (V(mir_robots), V(mir_fleet)) and those listed in a host's
    variable C(tls_endpoints).
options: {}
extends_documentation_fragment:
  - certfleet.tls.attributes
  - certfleet.tls.attributes.info_module
  - certfleet.tls.attributes.controller_only
author:
  - certfleet contributors (@certfleet)
"""

EXAMPLES = r"""
- name: What does the inventory say?
  certfleet.tls.fleet_info:
  run_once: true
  register: fleet
"""

RETURN = r"""
ca_host:
  description: Inventory name of the CA host that most machines of the play name in C(tls_ca_host).
  returned: success
  type: str
other_ca_hosts:
  description: Machines that name another CA host, and which.
  returned: success
  type: dict
endpoints:
  description: All endpoints of the play's hosts.
  returned: success
  type: list
  elements: dict
  sample: [{name: robot-1, host: robot-1, address: 198.19.1.11, port: 443, server_name: 198.19.1.11, product: mir_robot}]
clients:
  description: The machines of the group C(tls_clients), without those that the run has found absent.
  returned: success
  type: list
  elements: str
"""
