# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the CA's ledger answered, as lines for people."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

DOCUMENTATION = r"""
name: inquiry_lines
short_description: Put what ca_info has listed into lines for people
version_added: 1.0.0
description:
  - One line for each certificate and each refusal, one for the file that was exported, and one that counts them.
options:
  _input:
    description: The result of M(certfleet.tls.ca_info) with its option O(certfleet.tls.ca_info#module:list).
    type: dict
    required: true
author:
  - certfleet contributors (@certfleet)
"""

EXAMPLES = r"""
- name: Inquire | The answer
  ansible.builtin.debug:
    msg: "{{ ending | certfleet.tls.inquiry_lines }}"
"""

RETURN = r"""
_value:
  description: The lines.
  type: list
  elements: str
"""


def inquiry_lines(answer: Mapping[str, Any]) -> list[str]:
    """Lines for people."""
    certificates = [_certificate(item) for item in answer.get("certificates") or ()]
    refusals = [_refusal(item) for item in answer.get("refusals") or ()]
    exported = [_exported(answer["exported"])] if answer.get("exported") else []
    return [*certificates, *refusals, *exported, f"certificates: {len(certificates)}, refusals: {len(refusals)}"]


def _certificate(item: Mapping[str, Any]) -> str:
    common_name = [f"CN:{item['common_name']}"] if item.get("common_name") else []
    state = f"revoked ({item['revocation_reason']})" if item.get("revocation_reason") else str(item["state"])
    deploy = item.get("outcome")
    words = [
        f"{item['identity']}/{item['name']}",
        f"{item['authority']} {item['profile']}",
        " ".join([*item["names"], *common_name]),
        f"{state}, {'ended' if state == 'expired' else 'until'} {item['not_after']}",
        f"serial {item['serial']}",
        f"{deploy['outcome']} {deploy['at']}" if deploy else "never deployed",
    ]
    return " | ".join(words)


def _refusal(item: Mapping[str, Any]) -> str:
    since = f"{item['count']} times since {item['first_at']}"
    return f"{item['identity']}/{item['name']} | refused ({item['code']}) {since} | {item['message']}"


def _exported(item: Mapping[str, Any]) -> str:
    lines = sum(item["lines"].values())
    return f"{item['path']}: {lines} lines{'' if item['changed'] else ', as before'}"


class FilterModule:
    """The filter by its name."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """What Ansible loads."""
        return {"inquiry_lines": inquiry_lines}
