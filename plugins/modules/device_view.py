# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: device_view
short_description: Ask a managing system what it thinks of devices, before and after a change
version_added: 1.0.0
description:
  - A device may serve its new certificate well and still have lost its place, since the system that manages it (a MiR Fleet its
    robots) does not accept it. This asks that system before the change, and again afterwards, until no device is worse off than
    before or O(timeout) is over.
  - It only reads. The system has to be recognised like every peer (by the fleet's anchors, a pin or a leaf that the ledger knows)
    before it is sent the login. One that cannot be asked, or that is not recognised, is no failure; the answer says so.
  - It is run once for a whole batch, between M(certfleet.tls.ca_issue) and M(certfleet.tls.device_deploy), and again before
    M(certfleet.tls.device_deploy) with O(certfleet.tls.device_deploy#module:step=confirm).
extends_documentation_fragment:
  - certfleet.tls.attributes
  - certfleet.tls.attributes.info_module
  - certfleet.tls.attributes.controller_only
attributes:
  check_mode:
    support: full
    details:
      - Nothing is changed in check mode, so nobody is asked.
options:
  step:
    description:
      - V(before) finds the devices and notes what is thought of them.
      - V(after) compares. Whatever the system says of a device for a moment only, such as while it reconnects, does not count.
    type: str
    choices: [before, after]
    required: true
  views:
    description: The managing systems, such as each MiR Fleet. Without one nothing is done.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Its name, usually that in the inventory.
        type: str
        required: true
      address:
        description: Where it is reached. By default its name.
        type: str
      port:
        description: The port of its HTTPS interface.
        type: int
        default: 443
      server_name:
        description: The name or address to verify. By default the address.
        type: str
      username:
        description: User name of the login.
        type: str
      password:
        description: Password of the login.
        type: str
      api:
        description:
          - The name of its API (V(mir)), or a dictionary with the fields in which it differs from that one (its field C(name) may name
            another API).
          - An API's C(view) tells how devices are listed and by what a device is seen to be worse, see O(apis).
        type: raw
      proxy:
        description: The proxy through which it is reached, see M(certfleet.tls.device_request).
        type: str
      proxy_ssh_options:
        description: Options of the C(ssh) command, where the proxy is reached by that.
        type: list
        elements: str
      identity:
        description: Who it is in the CA's ledger. By default its name.
        type: str
      authority:
        description: The authority that its certificate is from.
        type: str
        default: fleet
      hosts:
        description: The inventory names of the devices that it manages. By default it may manage any.
        type: list
        elements: str
  devices:
    description: The devices to look for. By default those of the batch that are due (V(before)), or that have just got a new
      certificate (V(after)).
    type: list
    elements: dict
    suboptions:
      name:
        description: The inventory name. A device is found by it only if neither address nor serial number fits.
        type: str
        required: true
      address:
        description: Its address.
        type: str
      serial_number:
        description: Its serial number. In the flow it is read from the variable C(device_serial_number).
        type: str
  before:
    description: With V(after), the answer of V(before). Left out, the variable that the roles register is used.
    type: dict
  timeout:
    description: For how many seconds it asks, in all.
    type: float
    default: 60
  interval:
    description: With V(after), seconds between two looks.
    type: float
    default: 2
  apis:
    description:
      - Descriptions of REST APIs by name, like those of M(certfleet.tls.device_request). Beside the fields that are explained there,
        C(view) holds C(list) (the path of the request for all devices), C(items) (JMESPath of the list in the answer), C(id)
        (JMESPath of the id in an item), C(item) (the path of the request for one device, with C({id}) in it), C(address), C(serial)
        and C(name) (JMESPath, by which a device is found), and C(health).
      - "C(health) holds entries C(<name>: {field: <JMESPath>, order: [[good values], [worse values], …]}). A value that no list names
        counts as good. What is built in for V(mir) is partly guessed; each entry can be replaced, or switched off with V(null)."
    type: dict
    default: {}
  ca:
    description: The result of M(certfleet.tls.ca_info). Left out, the variable that the roles register is used.
    type: dict
requirements:
  - On the controller the Python libraries C(cryptography), C(requests) and C(jmespath).
seealso:
  - module: certfleet.tls.device_deploy
author:
  - certfleet contributors (@certfleet)
"""

EXAMPLES = r"""
- name: What does Fleet think of the robots that are about to get a certificate?
  certfleet.tls.device_view:
    step: before
    views:
      - name: fleet
        address: 198.18.0.2
        username: "{{ fleet_username }}"
        password: "{{ fleet_password }}"
  run_once: true
  register: before

- name: And afterwards?
  certfleet.tls.device_view:
    step: after
    before: "{{ before }}"
    views:
      - name: fleet
        address: 198.18.0.2
        username: "{{ fleet_username }}"
        password: "{{ fleet_password }}"
        # This release names a state that nobody knew of.
        api: {view: {health: {fleet_state: {order: [[Ready, Docked], [Unavailable, Lost]]}}}}
  run_once: true
"""

RETURN = r"""
available:
  description: Whether a managing system could be asked.
  returned: always
  type: bool
said:
  description: A sentence for people.
  returned: always
  type: str
  sample: none of 3 devices is worse than before
devices:
  description: One entry for each device that was looked for, by inventory name.
  returned: always
  type: dict
  contains:
    manager:
      description: The system that knows it, none where no one does.
      type: str
    before:
      description: What that system thought of it before, with C(id), C(by) (by what it was found) and C(values).
      type: dict
      sample: {id: "3", by: address, values: {active: "true", fleet_state: Ready, state: "3"}}
    now:
      description: What it thinks now. None with V(before), and for a device that is not listed any more.
      type: dict
    worse:
      description: Whether it is worse. None where that was to be compared and could not.
      type: bool
    said:
      description: A sentence for people.
      type: str
      sample: "fleet thinks worse of it than before the change: fleet_state was Ready and is Unavailable"
"""
