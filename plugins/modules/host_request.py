# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: host_request
short_description: Compare the wanted certificates of a host with its files and with what it serves
version_added: 1.0.0
description:
  - Looks on the host at the files, the service and the endpoint of each certificate, all in one round trip, and judges on
    the controller what is due and why.
  - Where a certificate must be issued, it makes a key on the host that does not leave it, and answers a certificate request.
    That costs a second round trip; in check mode it is left out.
  - The first step of the flow; M(certfleet.tls.ca_issue), M(certfleet.tls.host_deploy) and M(certfleet.tls.ca_record) follow.
    The role C(tls_certificate) is made of them.
extends_documentation_fragment:
  - certfleet.tls.attributes
  - certfleet.tls.deferral
  - certfleet.tls.attributes.action
attributes:
  check_mode:
    support: full
    details:
      - Needs no CA. Without one it judges by what is on disk and served, and says so.
  diff_mode:
    support: full
  idempotent:
    support: partial
    details:
      - Reports C(changed) for as long as something is due, since that is what the next steps go by.
options:
  certificates:
    description:
      - The wanted certificates of this host.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: A name for it, unique on the host. Letters, digits, dot, dash and underscore.
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
        description: The names and addresses that clients connect to, each as V(DNS:…) or V(IP:…).
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
        description: "The key; by default C({type: ec-p256})."
        type: dict
        suboptions:
          type:
            description: The type of the key.
            type: str
            choices: [ec-p256, ec-p384, rsa-2048, rsa-3072, rsa-4096, ed25519]
            default: ec-p256
      where:
        description: The files that the service reads. Their folders must exist.
        type: dict
        required: true
        suboptions:
          certificate:
            description: Path of the certificate; the intermediates stand behind it.
            type: str
            required: true
          key:
            description: Path of the key, PKCS#8, not encrypted. The pairs are kept in a folder beside it.
            type: str
            required: true
          chain:
            description: Path of the intermediates, for a service that wants them in a file of their own.
            type: str
          owner:
            description: The files' owner, a name or number of the host.
            type: str
          group:
            description: The files' group, a name or number of the host.
            type: str
          mode:
            description: The mode of certificate and chain, as a quoted octal number.
            type: str
            default: "0644"
          key_mode:
            description: The mode of the key, at most V(0640).
            type: str
            default: "0600"
      reload:
        description: How the service is brought to read its files again. By default not at all.
        type: dict
        suboptions:
          method:
            description:
              - V(docker) restarts a container or the containers of a compose service, V(systemd) restarts or reloads a unit,
                V(command) runs a command, such as an init script, V(signal) sends a signal to the process of a pid file,
                V(none) does nothing.
            type: str
            choices: [docker, systemd, command, signal, none]
            default: none
          name:
            description: The container or unit.
            type: str
          project:
            description: The compose project, instead of a container's name. No compose command is needed on the host.
            type: str
          service:
            description: The service in that project; all its replicas that run are restarted.
            type: str
          action:
            description: What is done to a unit, by default V(restart). A container can only be restarted.
            type: str
            choices: [restart, reload]
          command:
            description: The command and its arguments, such as V([/etc/init.d/nginx, reload]). No shell is involved.
            type: list
            elements: str
          pid_file:
            description:
              - The file in which the daemon writes its process number. It must be a plain file of root's, or of the user of the
                process, since whoever may write it chooses who is signalled.
            type: str
          signal:
            description: The signal at which the daemon reads its files again, by default V(HUP).
            type: str
            choices: [HUP, USR1, USR2]
          timeout:
            description:
              - After how many seconds a service that hangs is given up. A command is ended with all that it started, and the former
                pair goes back into service, for which it has as long again.
            type: float
            default: 120
      prove:
        description: The endpoint at which clients get the certificate. Left out, nothing is proved, as for a client's own.
        type: dict
        suboptions:
          address:
            description: The address that clients connect to.
            type: str
            required: true
          port:
            description: The port.
            type: int
            default: 443
          server_name:
            description: The name or address that clients verify. By default O(certificates[].prove.address).
            type: str
          hold:
            description: How many seconds it has to be served without a gap.
            type: float
            default: 10
          timeout:
            description: Within how many seconds after the reload it has to be served.
            type: float
            default: 60
      watchdog:
        description:
          - What puts the previous pair back if a deploy breaks off before its proof, whatever becomes of the controller. By default
            what C(tls_certificate_watchdog) and C(tls_certificate_watchdog_limit) say, or V(systemd).
        type: dict
        suboptions:
          method:
            description:
              - V(systemd) arms units on the host before the promotion, for a time limit and for the host's next start, and removes
                them with the proof. A host without systemd is refused. V(none) leaves a pair whose run broke off in place,
                unproved, until the next run.
            type: str
            choices: [systemd, none]
            default: systemd
          limit:
            description:
              - After how many seconds the host goes back. By default a minute more than a deploy may take, which is also the least
                (C(reload.timeout), C(prove.timeout) and C(prove.hold) together).
            type: float
  ca:
    description:
      - The result of M(certfleet.tls.ca_info). By default what the role C(tls_certificate) registered.
    type: dict
  step:
    description: Set by the action plugin; not for playbooks.
    type: str
    choices: [look, stage]
    default: look
  anchors:
    description: Set by the action plugin, the anchors of each authority as PEM; not for playbooks.
    type: dict
    default: {}
  avoid:
    description: Set by the action plugin; not for playbooks.
    type: list
    elements: str
    default: []
requirements:
  - Python 3.9 and the command C(openssl) (1.1.1 or 3) on the host
  - the Python library C(cryptography) on the controller
notes:
  - A host that cannot be reached is listed as absent; the task does not fail.
  - What could not work, such as a missing folder or container, fails the task before anything is changed.
author:
  - certfleet contributors (@certfleet)
"""

EXAMPLES = r"""
- name: Is the certificate of nginx as wanted?
  certfleet.tls.host_request:
    certificates:
      - name: https
        subject_alt_names: ["DNS:gateway-1.plant.example", "IP:198.18.0.4"]
        where:
          certificate: /etc/nginx/tls/cert.pem
          key: /etc/nginx/tls/key.pem
        reload:
          method: systemd
          name: nginx
          action: reload
        prove:
          address: 198.18.0.4
          server_name: gateway-1.plant.example
  become: true
  register: __tls_certificate_request
"""

RETURN = r"""
certificates:
  description:
    - One entry for each certificate, with its verdict and reasons.
    - Where something is due it also holds what the next steps need; never a key.
  returned: always
  type: list
  elements: dict
  contains:
    id:
      description: Identity and name.
      type: str
      sample: gateway-1/https
    identity:
      description: Who it is for.
      type: str
    name:
      description: Its name on the host.
      type: str
    verdict:
      description: What has to be done.
      type: str
      sample: issue
    reasons:
      description: Why, each with C(code) and C(message). That the host has put a pair back by itself is told here too.
      type: list
      elements: dict
      sample: [{code: expiring, message: expires 2026-12-01T00:00:00Z}]
    notes:
      description: Remarks on the judgement.
      type: list
      elements: str
    authority:
      description: The authority that issues it.
      type: str
    profile:
      description: What it is good for.
      type: str
    current:
      description: The certificate on disk, in parsed fields.
      type: dict
    served:
      description: The certificate that clients get, in parsed fields, with C(trusted) and C(said).
      type: dict
    unconfirmed:
      description: Whether the previous pair is still kept on the host, since no other machine has confirmed the one in service.
      type: bool
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
    spki:
      description: The key that deploy uses, as lower-case hex SHA-256 of its public half.
      type: str
    csr:
      description: The certificate request, where one must be issued.
      type: str
due:
  description: Whether something has to be done now, that is neither refused nor deferred.
  returned: always
  type: bool
absent:
  description: Whether the host could not be reached.
  returned: always
  type: bool
said:
  description: Why the host could not be reached.
  returned: when absent
  type: str
"""

import time

from ansible.module_utils.basic import AnsibleModule

from ..module_utils._host.argument_spec import CERTIFICATE
from ..module_utils._host.errors import HostError
from ..module_utils._host.look import look_at
from ..module_utils._host.staging import stage

ARGUMENTS = {
    "certificates": {"type": "list", "elements": "dict", "required": True, "options": CERTIFICATE},
    "ca": {"type": "dict"},
    "step": {"type": "str", "choices": ["look", "stage"], "default": "look"},
    "anchors": {"type": "dict", "default": {}},
    "avoid": {"type": "list", "elements": "str", "default": []},
}


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    step, anchors = module.params["step"], module.params["anchors"]
    if step == "stage" and module.check_mode:
        module.fail_json(msg="In check mode nothing is staged.")
    try:
        if step == "look":
            found = [look_at(wanted, anchors.get(wanted["authority"])) for wanted in module.params["certificates"]]
        else:
            found = [stage(wanted, avoid=module.params["avoid"]) for wanted in module.params["certificates"]]
    except HostError as exc:
        module.fail_json(msg=str(exc))
    except OSError as exc:
        module.fail_json(msg=f"The host's files cannot be looked at: {exc.filename}: {exc.strerror}. Run with become.")
    # By its clock the controller knows whether what is issued now is valid here.
    module.exit_json(changed=step == "stage", certificates=found, time=time.time())


if __name__ == "__main__":
    main()
