# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read a role's data without Jinja where it only refers to variables.

Each worker compiles its own templates, about a millisecond each: the two dozen of one robot's description cost more than
looking at the robot. A text that is nothing but C({{ variable }}), or C({{ variable | default('') }}) (or [] or {}), is looked
up here; any other template goes to Ansible.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from copy import copy
from typing import Any

try:
    from ansible.template import is_trusted_as_template
except ImportError:  # ansible-core before 2.19 marks what must not be templated instead
    from ansible.utils.unsafe_proxy import AnsibleUnsafe

    def is_trusted_as_template(value: object) -> bool:
        """Whether a text may be a template."""
        return not isinstance(value, AnsibleUnsafe)


_REFERENCE = re.compile(r"\{\{\s*([A-Za-z_][A-Za-z0-9_]*)\s*\}\}\Z")
_OR_EMPTY = re.compile(r"\{\{\s*([A-Za-z_][A-Za-z0-9_]*)\s*\|\s*default\((''|\[\]|\{\})\)\s*\}\}\Z")
_EMPTY: Mapping[str, Any] = {"''": "", "[]": [], "{}": {}}
_DEPTH = 20


def resolve(value: Any, variables: Mapping[str, Any], templar: Any, *, leave: Collection[str] = ()) -> Any:
    """The value with all templates replaced, as Ansible would; fields of dictionaries named in O(leave) stay as they are.

    What is left can be resolved later, when it is needed: a password in a vault costs time too.
    """
    return _resolve(value, variables, templar, frozenset(leave), _DEPTH)


def _resolve(value: Any, variables: Mapping[str, Any], templar: Any, leave: frozenset[str], depth: int) -> Any:
    if isinstance(value, Mapping):
        return {
            str(name): item if name in leave else _resolve(item, variables, templar, leave, depth)
            for name, item in value.items()
        }
    if isinstance(value, (list, tuple)):
        return [_resolve(item, variables, templar, leave, depth) for item in value]
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, str) and "{" not in value:
        return value
    if not (depth and isinstance(value, str) and is_trusted_as_template(value)):
        return templar.template(value)
    found = _REFERENCE.match(value)
    if found and found[1] in variables:
        return _resolve(variables[found[1]], variables, templar, leave, depth - 1)
    optional = _OR_EMPTY.match(value)
    if optional and optional[1] not in variables:
        return copy(_EMPTY[optional[2]])
    if optional and not _is_template(variables[optional[1]]):
        return _resolve(variables[optional[1]], variables, templar, leave, depth - 1)
    return templar.template(value)


def _is_template(value: Any) -> bool:
    """Whether Ansible must see to it: a template that comes out undefined gets the default as well."""
    return isinstance(value, str) and "{" in value
