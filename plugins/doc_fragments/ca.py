# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations


class ModuleDocFragment:
    """Options that the modules of the CA host have in common."""

    DOCUMENTATION = r"""
options:
  directory:
    description:
      - Where the CA keeps its ledger and its authorities, on the CA host.
      - It belongs to root alone, so the task needs C(become).
    type: path
    default: /var/lib/certfleet
"""

    # For modules that open the CA's keys.
    KEYS = r"""
options:
  passphrase_file:
    description:
      - A file on the CA host with the passphrase of the CA's keys, one line. It must be readable by its owner alone.
      - Not used when O(passphrase_command) is given.
    type: path
    default: /etc/certfleet/passphrase
  passphrase_command:
    description:
      - A program on the CA host, and its arguments, that prints the passphrase of the CA's keys as one line.
      - It is started without a shell, gets no input, and must end within 30 seconds.
    type: list
    elements: str
    default: []
"""

    # For modules that sign.
    CLOCK = r"""
options:
  controller_time:
    description:
      - Set by the action plugin, the controller's clock when it begins the call, in seconds since 1970.
      - Nothing is signed by a clock that differs by more than O(clock_limit). Without it clocks are not compared.
    type: float
  clock_limit:
    description: Set by the action plugin from C(tls_clock_limit), in seconds.
    type: int
    default: 1800
"""
