# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: host_crl
short_description: Hand the CRLs of authorities to services of a host that check them
version_added: 1.0.0
description:
  - Puts the CRLs that M(certfleet.tls.ca_crl) answered into a file, and has the service read it. The signatures are checked on the
    controller, with the authority's own certificates.
  - Never puts an older CRL over a newer one, nor one that has ended or has not begun yet, by the controller's clock (a difference of
    C(tls_clock_limit) is allowed).
  - Where the CA was restored from a backup and has signed none since (RV(certfleet.tls.ca_crl#module:crls.forgotten)), puts none over
    another, which may list more, and tells which there are.
  - Where the service does not take the new file, the former one is put back, and the service reads that.
  - A run that is cut off between the file and the service leaves a mark, and the next one tells the service.
extends_documentation_fragment:
  - certfleet.tls.attributes
  - certfleet.tls.attributes.action
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  idempotent:
    support: full
options:
  crls:
    description: The files that services of this host read.
    type: list
    elements: dict
    required: true
    suboptions:
      authority:
        description: The authority whose certificates the service checks.
        type: str
        required: true
      path:
        description: The file. Its folder must be there; a link is followed.
        type: str
        required: true
      format:
        description:
          - V(pem) is one file with the CRLs of the whole chain, as nginx, HAProxy, Apache and Mosquitto read it.
          - V(der) is the issuing CA's alone, as it is published at an address that certificates name.
        type: str
        choices: [pem, der]
        default: pem
      owner:
        description: The owner of the file, a name or a number. By default it stays, a new file is root's.
        type: str
      group:
        description: Its group, likewise.
        type: str
      mode:
        description: Its mode. There is nothing secret in a CRL.
        type: str
        default: '0644'
      reload:
        description:
          - 'How the service is brought to read it, with C(method) and its fields as of M(certfleet.tls.host_request), such as
            C({method: systemd, name: nginx, action: reload}). By default it notices by itself.'
          - A service that is stopped is not started; it reads the file when it starts.
        type: dict
  ca:
    description: The result of M(certfleet.tls.ca_crl). By default what the role C(tls_trust) registered.
    type: dict
  orders:
    description: Set by the action plugin; not for playbooks.
    type: list
    elements: dict
    default: []
requirements:
  - the command C(openssl) on the host
notes:
  - A host that cannot be reached is listed as absent; the task does not fail.
  - Without a CA the files stay as they are, with a warning. A CRL that has ended makes services refuse everybody.
seealso:
  - module: certfleet.tls.ca_crl
  - module: certfleet.tls.ca_revoke
author:
  - certfleet contributors (@certfleet)
"""

EXAMPLES = r"""
- name: CRLs | What nginx checks its clients with
  certfleet.tls.host_crl:
    crls:
      - authority: thing_clients
        path: /etc/nginx/thing_clients-crl.pem
        reload: {method: systemd, name: nginx, action: reload}
  become: true
"""

RETURN = r"""
files:
  description:
    - Each file, and whether it is V(unchanged), was V(installed), V(replaced) or V(repaired) (owner or mode), or the service was
      V(reloaded) since an earlier run had not come to it, or it V(failed).
  returned: when the host was reached and there is a CA
  type: list
  elements: dict
  sample: [{path: /etc/nginx/thing_clients-crl.pem, state: replaced, said: ''}]
published:
  description:
    - CRLs of the authorities that were on the host, at least as new as the CA's, where the CA was restored from a backup.
    - They are for O(certfleet.tls.ca_crl#module:published). C(is_newer) says that the CA does not know them.
  returned: when the host was reached and there is a CA
  type: list
  elements: dict
  sample: []
absent:
  description: Whether the host could not be reached.
  returned: always
  type: bool
said:
  description: Why the host could not be reached.
  returned: when absent
  type: str
"""

import base64
import signal
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ..module_utils._host.crl_files import Wanted, carry_out, plan_for
from ..module_utils._host.errors import HostError

CRL: dict[str, Any] = {
    "authority": {"type": "str", "required": True},
    "path": {"type": "str", "required": True},
    "format": {"type": "str", "choices": ["pem", "der"], "default": "pem"},
    "owner": {"type": "str"},
    "group": {"type": "str"},
    "mode": {"type": "str", "default": "0644"},
    "reload": {"type": "dict"},
}
ARGUMENTS: dict[str, Any] = {
    "crls": {"type": "list", "elements": "dict", "options": CRL, "required": True},
    "ca": {"type": "dict"},
    "orders": {"type": "list", "elements": "dict", "default": []},
}


def main() -> None:
    """Each file for itself: one that is not taken keeps no other from a fresh CRL."""
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    # A connection that is lost must not end what has begun. Ignored by a handler: what is started here shall not inherit it.
    signal.signal(signal.SIGHUP, lambda _number, _frame: None)
    result: dict[str, Any] = {"changed": False, "absent": False, "files": [], "diff": []}
    for order in module.params["orders"]:
        result["files"].append(_hand_over(order, module, result))
    said = [item["said"] for item in result["files"] if item["said"]]
    if said:
        module.fail_json(msg=" ".join(said), **result)
    module.exit_json(**result)


def _hand_over(order: dict[str, Any], module: AnsibleModule, result: dict[str, Any]) -> dict[str, str]:
    """One file; what is changed goes into the result. One that is held is told as it was."""
    path = str(order.get("path"))
    try:
        plan = plan_for(Wanted.from_order(order))
        if plan.is_due:
            result["diff"].append(plan.diff())
            if not module.check_mode:
                carry_out(plan)
            result["changed"] = True
    except HostError as exc:
        return {"path": path, "state": "failed", "said": str(exc)}
    except OSError as exc:
        said = (
            f"{path}: {exc.filename or path} could not be written: {exc.strerror}. Run with become, and check the disk."
        )
        return {"path": path, "state": "failed", "said": said}
    held = {"held": base64.b64encode(plan.former).decode()} if plan.wanted.hold and plan.former else {}
    return {"path": path, "state": plan.state, "said": "", **held}


if __name__ == "__main__":
    main()
