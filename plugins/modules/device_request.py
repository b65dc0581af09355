# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: device_request
short_description: Compare the wanted certificates of a device with what it serves
version_added: 1.0.0
description:
  - Looks at a device that has a REST API and no shell, and judges what is due and why. All it makes is a TLS handshake; no login
    is sent, unless something is due and the device may be changed in certain states only (C(change_states)).
  - Where a certificate must be issued, a key is made in the memory of the controller's worker. The answer holds a certificate
    request for it, and the key itself encrypted under a key that only the running C(ansible-playbook) knows.
  - A device whose certificate does not validate, whose key is not pinned in the ledger, and whose leaf the ledger does not know as
    its own is refused with the reason V(untrusted).
  - The first step of the flow for devices; M(certfleet.tls.ca_issue), M(certfleet.tls.device_deploy) and M(certfleet.tls.ca_record)
    follow. The role C(tls_certificate) is made of them.
extends_documentation_fragment:
  - certfleet.tls.attributes
  - certfleet.tls.deferral
  - certfleet.tls.attributes.controller_only
attributes:
  check_mode:
    support: full
    details:
      - Needs no CA. Without one it judges by the leaf that is served, and says so.
      - No key is made.
  diff_mode:
    support: full
  idempotent:
    support: partial
    details:
      - Reports C(changed) for as long as something is due, since that is what the next steps go by.
options:
  certificates:
    description:
      - The wanted certificates of this device.
      - Left out, they are read from the variable C(tls_certificate_certificates), and O(apis) from C(tls_certificate_apis). That is
        what the role does, since it costs far less than handing them over as arguments.
    type: list
    elements: dict
    suboptions:
      name:
        description: A name for it, unique on the device. Letters, digits, dot, dash and underscore.
        type: str
        required: true
      identity:
        description: Who it is for, in the ledger. By default C(tls_identity), or the inventory name.
        type: str
      authority:
        description: The authority that issues it.
        type: str
        default: fleet
      profile:
        description: What it is good for, V(server), V(client), V(server_client) or another profile of its authority.
        type: str
        default: server
      common_name:
        description: The common name of the subject. Clients do not compare it.
        type: str
      subject_alt_names:
        description: The names and addresses that clients connect to, each as V(DNS:…) or V(IP:…). By default the inventory name
          and the address.
        type: list
        elements: str
      shared_names:
        description:
          - Those of its names, written as in O(certificates[].subject_alt_names), that a certificate of another identity may have as
            well, such as the address of a cluster; V(CN:…) for the common name. All of them must say so. The CA refuses a name that
            somebody else holds otherwise.
        type: list
        elements: str
      lifetime:
        description: How long it is valid, such as V(90d), which is also the default.
        type: str
      renew_before:
        description:
          - How long before its end its renewal begins, by default a third of its lifetime. Each certificate has a point of its own, which
            follows from its serial number, in the first half of that time.
        type: str
      key:
        description: "The key; by default C({type: rsa-2048}), which every device takes."
        type: dict
        suboptions:
          type:
            description: The type of the key.
            type: str
            choices: [ec-p256, ec-p384, rsa-2048, rsa-3072, rsa-4096, ed25519]
            default: rsa-2048
      api:
        description:
          - The device's REST API and its login.
          - All other fields of a description (see O(apis)) can be given here as well, for a device that deviates from it.
        type: dict
        required: true
        suboptions:
          name:
            description: The name of the API, V(mir) or one that O(apis) describes.
            type: str
            required: true
          change_states:
            description:
              - The states in which the device may be changed, as its C(status) tells them (see O(apis)). Empty means any.
              - Where something is due, a recognised device is logged in to and asked. In another state, or where it cannot be read, the
                certificate is deferred.
            type: list
            elements: raw
            default: []
          options:
            description: Such other fields as a dictionary, for those who keep them in a variable.
            type: dict
          username:
            description: User name of the login.
            type: str
          password:
            description: Password (or token) of the login. It is sent only by M(certfleet.tls.device_deploy), and only over HTTPS to
              a recognised device.
            type: str
          ca_path:
            description: A file on the controller with further CA certificates (PEM), by which the device's present certificate may
              be recognised. With O(certificates[].pair) the CA that clients trust.
            type: path
          verify_hostname:
            description: The name that the device's present certificate carries, where it is another than
              O(certificates[].prove.server_name).
            type: str
          pinned_spki:
            description: SHA-256 fingerprints of keys (SPKI) by which the device may be recognised. Used with
              O(certificates[].pair) only; otherwise pins are kept in the CA's ledger.
            type: list
            elements: str
      prove:
        description: The endpoint at which clients get the certificate.
        type: dict
        suboptions:
          address:
            description: The address that clients connect to. By default C(ansible_host), or the inventory name.
            type: str
          port:
            description: The port.
            type: int
            default: 443
          server_name:
            description: The name or address that clients verify. By default O(certificates[].prove.address).
            type: str
          hold:
            description: For how many seconds it has to stay in service.
            type: float
            default: 10
          timeout:
            description: Within how many seconds after the upload it has to be served. By default what the API's C(wait) says.
            type: float
      on_failure:
        description:
          - What M(certfleet.tls.device_deploy) does when the proof of a new certificate has failed twice.
          - V(keep) leaves it in place, V(remove) asks the device to remove it, so that it serves its built-in one.
        type: str
        choices: [keep, remove]
        default: keep
      pair:
        description:
          - A pair of your own instead of a certificate from the CA. Both are files on the controller, absolute or in C(files) beside
            role or playbook; they may be encrypted with ansible-vault, and are decrypted in memory.
        type: dict
        suboptions:
          certificate:
            description: The leaf and its intermediates, PEM.
            type: path
            required: true
          key:
            description: The private key, PEM, without a passphrase of its own.
            type: path
            required: true
  apis:
    description:
      - "Descriptions of devices' REST APIs by name, beside the built-in V(mir) (one of that name is merged over it). The fields:"
      - "C(base_path): the path before all others."
      - "C(login): C({scheme: basic | basic_sha256 | bearer | header | none}); V(basic_sha256) sends the SHA-256 of the password in
        hexadecimal, V(header) sends the password in the header that C(header) names."
      - "C(headers): headers that every request carries."
      - "C(upload): C(method) (V(POST)), C(path), C(format) (V(json) or V(form)), C(body), the statuses C(accepted) (200, 201, 204)
        and C(already) (409), which means that the served leaf is compared. In the body, C({base64_pem: part}) or C({pem: part})
        stands for a part of the pair: V(certificate), V(chain), V(fullchain) or V(key)."
      - "C(remove): C(method) (V(DELETE)), C(path), the statuses C(accepted) (200, 202, 204) and C(absent) (404). It may be left out."
      - "C(errors): JMESPath expressions; the first that finds a text in an error's body is shown."
      - "C(login_refused): the statuses of a wrong login (401, 403)."
      - "C(wait): C({timeout: 60, interval: 2}), how long the device may take until it serves the new leaf, in seconds."
      - "C(http_ports): ports that are asked, without login, whether the device answers at all when there is no HTTPS."
      - "C(timeout): seconds for one answer (30); C(upload) and C(remove) may have a C(timeout) of their own."
      - "C(status): C(path), C(field) (JMESPath, finds the state in the answer) and C(text) (JMESPath, words for it), for
        C(change_states)."
      - "C(view): of a system that manages devices, see M(certfleet.tls.device_view)."
    type: dict
  ca:
    description: The result of M(certfleet.tls.ca_info). Left out, the variable that the roles register is used.
    type: dict
requirements:
  - On the controller the Python libraries C(cryptography), C(requests) and C(jmespath).
seealso:
  - module: certfleet.tls.device_deploy
  - module: certfleet.tls.device_enrol
author:
  - certfleet contributors (@certfleet)
"""

EXAMPLES = r"""
- name: Is anything due on the robot?
  certfleet.tls.device_request:
    certificates:
      - name: https
        common_name: robot-1
        subject_alt_names: ["DNS:robot-1.plant.example", "IP:198.18.0.11"]
        api:
          name: mir
          username: "{{ robot_username }}"
          password: "{{ robot_password }}"
        prove:
          address: 198.18.0.11
  register: request

- name: A device with another API, described in a few lines
  certfleet.tls.device_request:
    certificates:
      - name: https
        subject_alt_names: ["DNS:camera-1.plant.example"]
        api:
          name: camera
          password: "{{ camera_token }}"
        prove:
          address: camera-1.plant.example
    apis:
      camera:
        base_path: /rest/1
        login: {scheme: bearer}
        upload:
          method: PUT
          path: /system/tls
          body: {tls: {certificate: {pem: fullchain}, private_key: {pem: key}}}
          accepted: [202]
        errors: ["errors[0].detail"]
"""

RETURN = r"""
certificates:
  description:
    - One entry for each wanted certificate, empty when the device is away.
    - Entries whose verdict is not V(none) also hold what the next steps need, among them C(csr) and C(sealed).
  returned: success
  type: list
  elements: dict
  contains:
    id:
      description: The identity and the name of the certificate.
      type: str
      sample: robot-1/https
    identity:
      description: Who it is for.
      type: str
    name:
      description: Its name.
      type: str
    verdict:
      description: V(refuse), V(issue), V(install) (your own pair) or V(none).
      type: str
    reasons:
      description: Why, each with C(code) and C(message).
      type: list
      elements: dict
    notes:
      description: Remarks, such as that no CA was there to ask.
      type: list
      elements: str
    authority:
      description: The authority that issues it.
      type: str
    profile:
      description: What it is good for.
      type: str
    current:
      description: The fields of the certificate that was deployed before, if the device serves such a one.
      type: dict
    served:
      description: The fields of the leaf that the device serves, and whether clients trust it (C(trusted), C(said)).
      type: dict
    deferred:
      description:
        - Why it is left alone for now although it is due. C(code) is V(window), V(backoff) or V(budget), C(message) says it to people,
          and C(until) is when it may be tried again, where that is known.
        - Such a certificate counts neither as due nor as failed.
      type: dict
      returned: when it has to wait
      sample:
        code: window
        message: outside the change windows of this host, the next one opens 2026-11-23T21:00:00Z (tls_change_windows)
        until: "2026-11-23T21:00:00Z"
    unrecorded:
      description:
        - Whether nothing is due, and the ledger does not know that this certificate is in service, since an earlier run could not tell it.
          M(certfleet.tls.ca_record) makes up for that.
      type: bool
      returned: when it is so
    failures:
      description: How often in a row its deploys have failed, by the ledger.
      type: int
      returned: when they have
due:
  description: Whether something has to be done now, that is neither refused nor deferred.
  returned: success
  type: bool
absent:
  description: Whether the device is away, which is no failure.
  returned: success
  type: bool
said:
  description: Why it counts as away.
  returned: when the device is away
  type: str
"""
