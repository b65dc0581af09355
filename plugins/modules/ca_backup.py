# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: ca_backup
short_description: Back up the fleet's CA, try a backup out, restore it, and freeze a CA that moves
version_added: 1.0.0
description:
  - A backup is one sealed file with the ledger, the authorities (their keys are encrypted twice then) and what waits for a signature,
    all of one moment. Issuing goes on meanwhile.
  - It does not hold the passphrase. Keep that apart from it; without it no backup can be opened.
  - The playbooks C(certfleet.tls.backup), C(certfleet.tls.restore) and C(certfleet.tls.move_ca) use this module.
extends_documentation_fragment:
  - certfleet.tls.attributes
  - certfleet.tls.attributes.action
  - certfleet.tls.ca
  - certfleet.tls.ca.keys
attributes:
  check_mode:
    support: full
    details:
      - For O(state=verified) and O(state=restored) the backup is opened and checked in check mode as well, which needs the library.
  diff_mode:
    support: full
  idempotent:
    support: partial
    details:
      - O(state=present) writes a further backup each time. All other states are reached once.
options:
  state:
    description:
      - V(present) writes a backup into O(folder), whole or not at all, readable by root alone, and reads it back. Of a CA that is not
        whole itself none is written, and none is removed. What is no part of a CA is left out, with a warning.
      - V(verified) is the drill. It opens a backup in a temporary folder and checks all of it, that is the seal, the ledger, and that the
        passphrase opens each key and each key belongs to its certificate. It touches nothing else.
      - V(restored) makes a backup the CA in O(directory). There must be no CA yet, or a frozen one of which the backup knows every
        certificate and revocation.
      - V(frozen) lets nothing be written any more. The CA can still be read and backed up, and the backup is frozen too.
      - V(moved) notes on a frozen CA that the one on O(to) goes on in its place. It cannot be thawed by mistake then.
      - V(thawed) takes a frozen CA into use.
    type: str
    choices: [present, verified, restored, frozen, moved, thawed]
    default: present
  folder:
    description:
      - Where backups lie on the CA host.
      - Bring them to another machine from there. A disk that breaks takes both.
    type: path
    default: /var/backups/certfleet
  keep:
    description: How many backups are left in O(folder) by O(state=present), the newest ones; V(0) removes none.
    type: int
    default: 14
  file:
    description:
      - The backup that is verified or restored; by default the newest in O(folder) of the CA in O(directory).
      - Where that has no ledger that could be asked, and O(folder) has backups of several CAs, it must be named.
    type: path
  backup_passphrase_file:
    description:
      - A file on the CA host with the passphrase that seals backups, one line, readable by its owner alone.
      - Without this and O(backup_passphrase_command) they are sealed with the passphrase of the CA's keys.
    type: path
  backup_passphrase_command:
    description:
      - A program on the CA host, and its arguments, that prints the passphrase that seals backups as one line.
      - It is started without a shell, gets no input, and must end within 30 seconds.
    type: list
    elements: str
    default: []
  to:
    description: Where the CA is being moved to, for O(state=frozen) and O(state=moved). Whoever wants to write to it is told.
    type: str
  although_moved:
    description:
      - With O(state=thawed), thaw also a CA that has moved.
      - Only when the one that went on in its place is lost for ever and has no backup. Two CAs that both write no longer know each
        other's certificates.
    type: bool
    default: false
requirements:
  - cryptography >= 38 (not for O(state=frozen), O(state=moved) and O(state=thawed), nor to foretell O(state=present) in check mode)
notes:
  - After an old backup, certificates that were issued since then are unknown to the ledger, and revocations since then are forgotten.
    M(certfleet.tls.ca_revoke) takes them as PEM. No serial repeats, and the next CRL has a higher number than all that were published.
seealso:
  - module: certfleet.tls.ca_authority
  - module: certfleet.tls.ca_crl
  - module: certfleet.tls.ca_revoke
author:
  - certfleet contributors (@certfleet)
"""

EXAMPLES = r"""
- name: Backup | Write one, keep the last thirty
  certfleet.tls.ca_backup:
    keep: 30
  become: true

- name: Backup | Is the newest good for anything?
  certfleet.tls.ca_backup:
    state: verified
  become: true

- name: Restore | On a new CA host
  certfleet.tls.ca_backup:
    state: restored
    file: /root/certfleet-20261122T040000Z-1f2e3d4c.backup
  become: true

- name: Move | Nothing is written here any more
  certfleet.tls.ca_backup:
    state: frozen
    to: ca-2
  become: true
"""

RETURN = r"""
file:
  description: The backup that was written, verified or restored.
  returned: for those states
  type: str
  sample: /var/backups/certfleet/certfleet-20261122T040000Z-1f2e3d4c.backup
size:
  description: The size of the file in octets.
  returned: when one was written
  type: int
sha256:
  description: SHA-256 of the file as lower-case hex, to compare after it was carried elsewhere.
  returned: when one was written
  type: str
removed:
  description: Older backups that were removed.
  returned: when one was written
  type: list
  elements: str
backup:
  description: What the backup says about itself.
  returned: when one was written, verified or restored
  type: dict
  contains:
    id:
      description: A random name of this backup.
      returned: always
      type: str
    created:
      description: When it was written, in UTC.
      returned: always
      type: str
    age:
      description: For how many seconds it has existed.
      returned: always
      type: int
    frozen:
      description: Whether the CA was frozen then, so that a restored one is as well until it is thawed.
      returned: always
      type: bool
    certificates:
      description: How many leaves its ledger has, by state.
      returned: always
      type: dict
      sample: {issued: 412, superseded: 1630, revoked: 3, expired: 12480, reserved: 0}
authorities:
  description:
    - By name, the SHA-256 fingerprints of C(root) and C(issuing), the C(keys) that are there and could be opened, and C(not_after) of
      whichever ends first. A root that M(certfleet.tls.ca_root) made has no issuing CA there.
  returned: when a backup was verified or restored
  type: dict
crl_numbers:
  description: The last CRL number by authority and part, such as C(fleet/issuing).
  returned: when a backup was verified or restored
  type: dict
frozen:
  description: Why the CA is not in use, or nothing when it is.
  returned: for O(state=frozen), O(state=moved) and O(state=thawed)
  type: str
moved_to:
  description: Where the CA has moved to, or nothing.
  returned: for O(state=frozen), O(state=moved) and O(state=thawed)
  type: str
cryptography:
  description: Whether the library is there for the Python that runs modules on this host.
  returned: success, and where it is missing
  type: bool
code:
  description:
    - What is wrong, in one word, for programs. V(missing) (no CA, or no backup), V(exists) (a CA that would be lost), V(bad_backup),
      V(backup_newer), V(wrong_passphrase), V(passphrase), V(moved), V(locked), V(files), V(half_ca), V(foreign_ca), V(ledger),
      V(ledger_missing), V(ledger_newer), V(bad_request), V(missing_library), V(unreachable).
  returned: failure
  type: str
"""

import tempfile
import time
from typing import Any

from ansible.module_utils.basic import AnsibleModule, missing_required_lib

from ansible_collections.certfleet.tls.plugins.module_utils._ca.backup import (
    DEFAULT_FOLDER,
    Manifest,
    to_facts,
    write_backup,
)
from ansible_collections.certfleet.tls.plugins.module_utils._ca.errors import CAError
from ansible_collections.certfleet.tls.plugins.module_utils._ca.freezing import bring_to, plan, read_standing
from ansible_collections.certfleet.tls.plugins.module_utils._ca.options import (
    NEEDED,
    directory_option,
    passphrase_from,
    passphrase_options,
)
from ansible_collections.certfleet.tls.plugins.module_utils._ca.passphrase import Passphrase
from ansible_collections.certfleet.tls.plugins.module_utils._ca.restore import (
    Content,
    backup_in,
    predict_restore,
    restore,
    verify,
)
from ansible_collections.certfleet.tls.plugins.module_utils._ca.store import Store
from ansible_collections.certfleet.tls.plugins.module_utils._x509.crypto import CRYPTOGRAPHY_ERROR, HAS_CRYPTOGRAPHY
from ansible_collections.certfleet.tls.plugins.module_utils._x509.errors import X509Error

STANDINGS = ("frozen", "moved", "thawed")
# They are worth something only when the backup has really been opened, in check mode too.
TRIALS = ("verified", "restored")
NOT_TRIED = " The backup was not opened, so nothing was tried. Install python3-cryptography there, or do this on a machine that has it."


def argument_spec() -> dict[str, Any]:
    """The module's options."""
    return {
        **directory_option(),
        **passphrase_options(),
        "state": {"type": "str", "choices": ["present", *TRIALS, *STANDINGS], "default": "present"},
        "folder": {"type": "path", "default": DEFAULT_FOLDER},
        "keep": {"type": "int", "default": 14},
        "file": {"type": "path"},
        "backup_passphrase_file": {"type": "path", "no_log": False},
        "backup_passphrase_command": {"type": "list", "elements": "str", "default": [], "no_log": False},
        "to": {"type": "str"},
        "although_moved": {"type": "bool", "default": False},
    }


class Task:
    """One call of the module: the CA's folder, the two passphrases, and the time."""

    def __init__(self, module: AnsibleModule) -> None:
        self.params: dict[str, Any] = module.params
        self.check: bool = module.check_mode
        self.tmpdir: str = module.tmpdir
        self.store = Store(self.params["directory"])
        self.passphrase = passphrase_from(self.params)
        file, command = self.params["backup_passphrase_file"], self.params["backup_passphrase_command"]
        own = Passphrase(file=file, command=command, of="the backups")
        self.secret = own if file or command else self.passphrase
        self.now = int(time.time())

    def run(self) -> dict[str, Any]:
        """What the state asks for."""
        state = self.params["state"]
        if state in STANDINGS:
            return self._standing(state)
        return {"present": self._present, "verified": self._verified, "restored": self._restored}[state]()

    def _present(self) -> dict[str, Any]:
        keep = self.params["keep"]
        if keep < 0:
            raise CAError(
                "keep: a number of backups is 0 or more. Nothing was changed. Correct it.", code="bad_request"
            )
        if self.check:
            self.store.require()
            self.secret.get()
            return {"changed": True}
        written = write_backup(
            self.store,
            folder=self.params["folder"],
            secret=self.secret,
            passphrase=self.passphrase,
            keep=keep,
            now=self.now,
        )
        return {
            "changed": True,
            "file": written.file,
            "size": written.size,
            "sha256": written.sha256,
            "removed": list(written.removed),
            "backup": self._facts(written.manifest),
            "warnings": list(written.warnings),
            "diff": {
                "before": {},
                "after": {"backup": written.file, "certificates": dict(written.manifest.certificates)},
            },
        }

    def _verified(self) -> dict[str, Any]:
        file = backup_in(self.params["folder"], self.params["file"], store=self.store)
        return {"changed": False, **self._told(file, self._checked(file))}

    def _restored(self) -> dict[str, Any]:
        file = backup_in(self.params["folder"], self.params["file"], store=self.store)
        options: dict[str, Any] = {"store": self.store, "secret": self.secret, "passphrase": self.passphrase}
        if self.check:
            with tempfile.TemporaryDirectory(dir=self.tmpdir) as folder:
                done = predict_restore(file, folder=folder, **options)
        else:
            done = restore(file, now=self.now, **options)
        result = {"changed": done.changed, "warnings": list(done.warnings), **self._told(file, done.content)}
        if done.changed:
            after = {"authorities": result["authorities"], "certificates": dict(done.content.manifest.certificates)}
            result["diff"] = {"before": {"ca": done.before}, "after": after}
        return result

    def _standing(self, state: str) -> dict[str, Any]:
        options = {"state": state, "to": self.params["to"], "although_moved": self.params["although_moved"]}
        if self.check:
            before = read_standing(self.store)
            after = plan(before, **options)
        else:
            before, after = bring_to(self.store, now=self.now, **options)
        found = [{"frozen": standing.frozen, "moved_to": standing.moved_to} for standing in (before, after)]
        diff = {"diff": {"before": found[0], "after": found[1]}} if after != before else {}
        return {"changed": after != before, **found[1], **diff}

    def _checked(self, file: str) -> Content:
        with tempfile.TemporaryDirectory(dir=self.tmpdir) as folder:
            return verify(file, folder=folder, secret=self.secret, passphrase=self.passphrase)

    def _told(self, file: str, content: Content) -> dict[str, Any]:
        return {
            "file": file,
            "backup": self._facts(content.manifest),
            "authorities": {name: dict(found) for name, found in content.authorities.items()},
            "crl_numbers": dict(content.crl_numbers),
        }

    def _facts(self, manifest: Manifest) -> dict[str, Any]:
        return {**to_facts(manifest), "age": max(0, self.now - manifest.created)}


def main() -> None:
    """Do it, or say what is in the way."""
    module = AnsibleModule(argument_spec=argument_spec(), supports_check_mode=True)
    state = module.params["state"]
    if not HAS_CRYPTOGRAPHY and (state in TRIALS or (state == "present" and not module.check_mode)):
        msg = missing_required_lib(NEEDED) + (NOT_TRIED if state in TRIALS else "")
        module.fail_json(msg=msg, exception=CRYPTOGRAPHY_ERROR, code="missing_library", cryptography=False)
    try:
        result = Task(module).run()
    except (CAError, X509Error) as exc:
        module.fail_json(msg=str(exc), code=getattr(exc, "code", "bad_backup"))
    for warning in result.pop("warnings", []):
        module.warn(warning)
    module.exit_json(**result, cryptography=HAS_CRYPTOGRAPHY)


if __name__ == "__main__":
    main()
