# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Answers with what it was given: what it costs to bring a payload to a host and back, and nothing else."""

from __future__ import annotations

DOCUMENTATION = r"""
module: echo_payload
short_description: Answer with what was given
description:
  - For the benchmarks alone.
options:
  requests:
    description: Anything.
    type: list
    elements: dict
    required: true
author: certfleet contributors (@certfleet)
"""

from ansible.module_utils.basic import AnsibleModule


def main() -> None:
    """Echo."""
    module = AnsibleModule(argument_spec={"requests": {"type": "list", "elements": "dict", "required": True}})
    module.exit_json(changed=False, requests=module.params["requests"])


if __name__ == "__main__":
    main()
