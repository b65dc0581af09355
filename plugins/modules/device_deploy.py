# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: device_deploy
short_description: Upload a certificate and its key to a device and prove it
version_added: 1.0.0
description:
  - Speaks to a device that has a REST API and no shell. Before anything is sent, the pair is verified as a whole, and the device must
    be recognised; the request then goes to exactly the leaf that was recognised, never over plain HTTP.
  - The new leaf is proved as a client would, and has to stay in service for O(hold) seconds. If that fails, the pair is uploaded once
    more; after that O(on_failure) decides. A device's former key is gone by then, so there is no way back to it.
  - Within the flow (without O(address)) it deploys what M(certfleet.tls.device_request) found due and M(certfleet.tls.ca_issue) signed.
    The task does not fail when a certificate is not as wanted; its answer says so, the ledger records it, then the role fails the host.
  - With O(step=confirm) it has the last word on what it has deployed, after other machines and M(certfleet.tls.device_view) have looked.
    What they do not accept is left in place or removed, as the certificate's C(on_failure) says; what nobody could look at stays, with a
    note.
  - A device whose API names C(change_states) is asked for its state right before the upload, and left alone in any other.
  - With O(address) it works alone, on a pair that you bring, and fails when that is not served and proved in the end.
extends_documentation_fragment:
  - certfleet.tls.attributes
  - certfleet.tls.attributes.controller_only
attributes:
  check_mode:
    support: full
    details:
      - Within the flow it does nothing in check mode, since nothing was issued.
      - With O(address) it looks at the device and predicts; nothing is sent. Whether there is a certificate to remove can only be
        guessed from whether the one that is served is self-signed.
  diff_mode:
    support: full
  idempotent:
    support: partial
    details:
      - Bringing a pair is. O(state=absent) asks the device each time, since nothing but its answer tells whether there is anything
        to remove; V(404) means that there was not.
options:
  step:
    description:
      - V(deploy) uploads and proves what is due.
      - V(confirm) answers with the whole result of V(deploy) once more, revised where others do not accept a certificate. It is no
        change, unless a certificate was removed.
    type: str
    choices: [deploy, confirm]
    default: deploy
  address:
    description: IP address or DNS name of the device, to work alone on a pair that you bring.
    type: str
  port:
    description: TCP port of its HTTPS interface.
    type: int
    default: 443
  server_name:
    description: The name or address that clients verify. Defaults to O(address).
    type: str
  verify_hostname:
    description: The name that the device's present certificate carries, where it is another than O(server_name).
    type: str
  proxy:
    description:
      - What leads to the device where it cannot be reached directly, V(http://host:port) (HTTP CONNECT, without a login) or
        V(ssh://user@host:port) (a jump host).
      - TLS goes through it from end to end, so it sees neither key nor login.
    type: str
  proxy_ssh_options:
    description: Arguments of the C(ssh) command, such as C(['-i', '/path/of/the/key', '-o', 'UserKnownHostsFile=/path']).
    type: list
    elements: str
  api:
    description: The name of the device's API, V(mir) or one that O(apis) describes.
    type: str
    default: mir
  api_options:
    description: Fields of the API's description that are different for this device.
    type: dict
    default: {}
  username:
    description: User name of the API's login.
    type: str
  password:
    description: Password (or token) of the API's login.
    type: str
  certificate:
    description:
      - File on the controller with the leaf and its intermediates (PEM), absolute or in C(files) beside role or playbook. It may be
        encrypted with ansible-vault, and is decrypted in memory.
      - Required with O(state=present) and O(address).
    type: path
  key:
    description: File on the controller with the private key (PEM, without a passphrase of its own); like O(certificate).
    type: path
  ca_path:
    description:
      - File on the controller with the CA certificates (PEM) that clients trust. The device may be recognised by them, and the new
        certificate is proved under them.
      - It can be left out if the file of O(certificate) holds its root as well.
    type: path
  pinned_spki:
    description: SHA-256 fingerprints of keys (SPKI, hexadecimal) by which the device is recognised, for the first upload over its
      built-in certificate.
    type: list
    elements: str
    default: []
  state:
    description:
      - V(present) uploads and proves the pair.
      - V(absent) removes what was uploaded, and checks that another leaf is served afterwards.
    type: str
    choices: [present, absent]
    default: present
  hold:
    description: For how many seconds the new certificate has to stay in service.
    type: float
    default: 10
  timeout:
    description: Within how many seconds after the upload it has to be served. By default what the API's C(wait) says.
    type: float
  on_failure:
    description:
      - What to do when the proof has failed twice. V(keep) leaves the new certificate in place, V(remove) asks the device to remove
        it, so that it serves its built-in one.
    type: str
    choices: [keep, remove]
    default: keep
  apis:
    description: Descriptions of devices' REST APIs by name; their fields are those of M(certfleet.tls.device_request).
    type: dict
    default: {}
  certificates:
    description: Within the flow, the entries of M(certfleet.tls.device_request). Left out, the variable that the roles register is used.
    type: list
    elements: dict
  issued:
    description: Within the flow, the result of M(certfleet.tls.ca_issue). Left out, the variable that the roles register is used.
    type: dict
  ca:
    description: Within the flow, the result of M(certfleet.tls.ca_info). Left out, the variable that the roles register is used.
    type: dict
requirements:
  - On the controller the Python libraries C(cryptography), C(requests) and C(jmespath).
seealso:
  - module: certfleet.tls.device_request
author:
  - certfleet contributors (@certfleet)
"""

EXAMPLES = r"""
- name: Deploy what was requested and issued before
  certfleet.tls.device_deploy:

- name: Keep or remove what clients did not accept
  certfleet.tls.device_deploy:
    step: confirm

- name: Bring a pair of the company's own CA to a robot
  certfleet.tls.device_deploy:
    address: 198.18.0.11
    username: "{{ robot_username }}"
    password: "{{ robot_password }}"
    certificate: robot-1.pem
    key: robot-1.key
    ca_path: /etc/ssl/certs/company-ca.pem
    pinned_spki:
      - 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08

- name: Back to the robot's built-in certificate
  certfleet.tls.device_deploy:
    address: 198.18.0.11
    username: "{{ robot_username }}"
    password: "{{ robot_password }}"
    ca_path: /etc/ssl/certs/company-ca.pem
    state: absent
"""

RETURN = r"""
certificates:
  description: One entry for each certificate that was due.
  returned: within the flow
  type: list
  elements: dict
  contains:
    id:
      description: The identity and the name of the certificate.
      type: str
      sample: robot-1/https
    outcome:
      description: Like RV(outcome); and V(not_tried), there was nothing to upload since the CA issued nothing.
      type: str
    before:
      description: Like RV(before).
      type: dict
    after:
      description: Like RV(after).
      type: dict
    proof:
      description: Like RV(proof).
      type: dict
    said:
      description: Like RV(said).
      type: str
    reasons:
      description: Why it was due.
      type: list
      elements: dict
    confirmed:
      description: With O(step=confirm), that others accept it.
      type: bool
    revised:
      description: With O(step=confirm), that it came out otherwise than the deploy had said.
      type: bool
confirmed:
  description: That this is the answer of O(step=confirm).
  returned: with O(step=confirm)
  type: bool
untried:
  description: A sentence for each certificate that was due and could not be begun, which is no failure of the host.
  returned: within the flow
  type: list
  elements: str
problems:
  description: A sentence for each certificate that is not as wanted.
  returned: within the flow
  type: list
  elements: str
outcome:
  description:
    - V(installed) is proved; V(unchanged) was right already.
    - V(failed) means that something else than the new certificate is served; V(kept) that the new one is served, but could not be
      proved; V(removed) that it was removed; V(rolled_back) that the former one is served again.
    - V(refused) means that the device was not recognised and nothing was sent; V(absent) that it is away.
    - V(deferred) means that the device's state did not allow a change, and nothing was sent to it.
  returned: with O(address)
  type: str
before:
  description: The fields of the leaf that was served before.
  returned: with O(address)
  type: dict
after:
  description: The fields of the leaf that is served now.
  returned: with O(address)
  type: dict
proof:
  description: What a client saw.
  returned: with O(address), once something was uploaded
  type: dict
  sample:
    by: controller
    endpoint: 198.18.0.11:443
    leaf: true
    chain: true
    name: true
    time: true
    held: 10
    ok: true
    said: 198.18.0.11:443 serves the expected certificate, trusted, for 10 s.
said:
  description: A sentence for people.
  returned: with O(address)
  type: str
"""
