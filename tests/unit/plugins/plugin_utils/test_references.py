# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""References are looked up, everything else is Ansible's own business, and the result is the same."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar

from ansible_collections.certfleet.tls.plugins.plugin_utils._references import resolve

try:
    from ansible.template import trust_as_template
except ImportError:

    def trust_as_template(value: str) -> str:
        return value


def trusted(value: Any) -> Any:
    """As texts are after they were read from an inventory or a role."""
    if isinstance(value, dict):
        return {name: trusted(item) for name, item in value.items()}
    if isinstance(value, list):
        return [trusted(item) for item in value]
    return trust_as_template(value) if isinstance(value, str) else value


VARIABLES = trusted(
    {
        "address": "198.18.0.1",
        "port": 443,
        "names": ["DNS:a", "IP:{{ address }}"],
        "again": "{{ address }}",
        "sum": "{{ port + 1 }}",
        "nested": {"one": "{{ again }}", "two": ["{{ sum }}"]},
        "empty": "",
        "braces": "{ not a template }",
        "list": ["-i", "{{ address }}"],
        "undefined": "{{ nowhere }}",
    }
)


class CountingTemplar:
    """Ansible's own, and how often it was needed."""

    def __init__(self, variables: dict[str, Any]) -> None:
        self.calls = 0
        self._templar = Templar(loader=DataLoader(), variables=variables)

    def template(self, value: Any) -> Any:
        self.calls += 1
        return self._templar.template(value)


@pytest.mark.parametrize(
    ("value", "calls"),
    [
        ("plain", 0),
        ("{{ address }}", 0),
        ("{{again}}", 0),
        ("{{ port }}", 0),
        ("{{ empty }}", 0),
        ("{{ names }}", 1),
        ("{{ sum }}", 1),
        ("{{ nested }}", 1),
        ("{{ address }}:{{ port }}", 1),
        ("x {{ address }}", 1),
        ("{{ address | default('') }}", 0),
        ("{{ nowhere | default('') }}", 0),
        ("{{ nowhere|default([]) }}", 0),
        ("{{ nowhere | default({}) }}", 0),
        ("{{ undefined | default('') }}", 1),
        ("{{ again | default('') }}", 1),
        ("{{ nowhere | default('x') }}", 1),
        ("{{ nowhere | default('') or address }}", 1),
        ({"a": "{{ again }}", "b": [1, None, True, "{{ port }}"]}, 0),
    ],
)
def test_the_result_is_ansibles(value: Any, calls: int) -> None:
    templar = CountingTemplar(VARIABLES)
    made = resolve(trusted(value), VARIABLES, templar)
    assert made == Templar(loader=DataLoader(), variables=VARIABLES).template(trusted(value))
    assert templar.calls == calls


def test_a_list_or_nothing() -> None:
    templar = CountingTemplar(VARIABLES)
    assert resolve(trusted("{{ list | default([]) }}"), VARIABLES, templar) == ["-i", "198.18.0.1"]
    empty = resolve(trusted("{{ nowhere | default([]) }}"), VARIABLES, templar)
    empty.append("mine")
    assert resolve(trusted("{{ nowhere | default([]) }}"), VARIABLES, templar) == []


def test_what_is_left_is_resolved_later() -> None:
    templar = CountingTemplar(VARIABLES)
    api = trusted({"name": "mir", "password": "{{ sum }}", "port": "{{ port }}"})
    early = resolve(api, VARIABLES, templar, leave={"password"})
    assert (early, templar.calls) == ({"name": "mir", "password": "{{ sum }}", "port": 443}, 0)
    assert resolve(early, VARIABLES, templar)["password"] == 444


def test_a_variable_that_is_not_there_is_an_error_of_ansibles() -> None:
    with pytest.raises(Exception, match="nowhere"):
        resolve(trusted("{{ nowhere }}"), VARIABLES, CountingTemplar(VARIABLES))


def test_a_circle_ends() -> None:
    variables = trusted({"a": "{{ b }}", "b": "{{ a }}"})
    with pytest.raises(Exception, match=r"(?i)recurs"):
        resolve(trusted("{{ a }}"), variables, CountingTemplar(variables))
