# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations


class ModuleDocFragment:
    """What every module of the collection declares about itself.

    The plain fragment only describes the attributes: a module that extends it states its own C(support) for
    C(check_mode), C(diff_mode) and C(idempotent). The parts below add the attributes that not every module has.
    """

    DOCUMENTATION = r"""
options: {}
attributes:
  check_mode:
    description: Can run in check mode and return the change it predicts without modifying the target.
  diff_mode:
    description:
      - Returns details on what has changed (or, in check mode, would change) when in diff mode.
      - Diffs show parsed fields of certificates (subject, names, dates, fingerprint) and reasons, never keys or PEM.
  idempotent:
    description:
      - When run twice in a row outside check mode with the same arguments, the second run reports no change.
      - This assumes that nothing else has changed on the target, and that nothing became due in between.
  platform:
    description: Target operating systems that can be operated against.
    platforms: posix
    support: full
"""

    # For modules that read and never change anything.
    INFO_MODULE = r"""
options: {}
attributes:
  check_mode:
    support: full
    details:
      - This module does not modify anything.
  diff_mode:
    support: N/A
    details:
      - This module does not modify anything.
  idempotent:
    support: full
    details:
      - This module does not modify anything.
"""

    # For modules that have an action plugin of the same name.
    ACTION = r"""
options: {}
attributes:
  action:
    description: Has a corresponding action plugin, so that a part of it runs on the controller.
    support: full
"""

    # For modules whose action plugin does everything: nothing runs on, or is sent to, the target of the task.
    CONTROLLER_ONLY = r"""
options: {}
attributes:
  action:
    description: Has a corresponding action plugin that does all the work in the worker of the controller.
    support: full
  delegation:
    description: Can be used together with C(delegate_to).
    support: none
    details:
      - The work is done in the worker of the controller, delegation is refused.
"""
