# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: device_enrol
short_description: Look at the key that a new device serves and say whether to pin it
version_added: 1.0.0
description:
  - Makes one TLS handshake with a device, shows the SPKI fingerprint of the key that it serves, and compares it with what
    the operator expects.
  - Nothing else is sent. The answer's RV(pins) go to M(certfleet.tls.ca_record), which writes them into the ledger.
  - A device that already has a certificate of the fleet, or whose key is pinned, needs nothing.
options:
  address:
    description: IP address or DNS name of the device.
    type: str
    required: true
  port:
    description: TCP port of its HTTPS interface.
    type: int
    default: 443
  server_name:
    description: The name or address that a certificate of the fleet would carry. Defaults to O(address).
    type: str
  proxy:
    description:
      - What leads to the device where it cannot be reached directly, V(http://host:port) (HTTP CONNECT, without a login) or
        V(ssh://user@host:port) (a jump host).
      - TLS goes through it from end to end, so it cannot pass for the device.
    type: str
  proxy_ssh_options:
    description: Arguments of the C(ssh) command, such as C(['-i', '/path/of/the/key', '-o', 'UserKnownHostsFile=/path']).
    type: list
    elements: str
    default: []
  authority:
    description: The authority whose certificates the device gets.
    type: str
    default: fleet
  expected_spki:
    description:
      - SHA-256 fingerprints (hexadecimal, colons allowed) of the SubjectPublicKeyInfo that the device may serve, compared on site
        or printed on a label.
    type: list
    elements: str
    default: []
  accept:
    description: Pin whatever key is met, if O(expected_spki) names none. An operator's explicit yes.
    type: bool
    default: false
  ca:
    description: The result of M(certfleet.tls.ca_info). Left out, the variable that the roles register is used.
    type: dict
extends_documentation_fragment:
  - certfleet.tls.attributes
  - certfleet.tls.attributes.controller_only
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
    details:
      - The fingerprint is shown in every run.
  idempotent:
    support: full
author:
  - certfleet contributors (@certfleet)
"""

EXAMPLES = r"""
- name: Meet the robot
  certfleet.tls.device_enrol:
    address: "{{ ansible_host }}"
    expected_spki: "{{ tls_expected_spki }}"
  register: enrol
"""

RETURN = r"""
state:
  description: V(known), V(pin), V(stranger) (the task fails) or V(absent).
  returned: always
  type: str
spki:
  description: SHA-256 of the served SubjectPublicKeyInfo, hexadecimal.
  returned: when the device answered
  type: str
pins:
  description: What M(certfleet.tls.ca_record) is to write.
  returned: always
  type: list
  elements: dict
  contains:
    identity:
      description: The device.
      type: str
    spki:
      description: The key.
      type: str
    why:
      description: Who confirmed it.
      type: str
said:
  description: A sentence for people.
  returned: always
  type: str
absent:
  description: Whether the device could not be reached.
  returned: always
  type: bool
"""
