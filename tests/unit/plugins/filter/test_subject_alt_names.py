# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hosts and addresses as subject alternative names."""

from __future__ import annotations

import pytest
from ansible.errors import AnsibleFilterError

from ansible_collections.certfleet.tls.plugins.filter.subject_alt_names import subject_alt_names


@pytest.mark.parametrize(
    ("hosts", "names"),
    [
        (["robot-1", "198.19.1.11"], ["DNS:robot-1", "IP:198.19.1.11"]),
        (["2001:2:0::1", "[2001:2::1]"], ["IP:2001:2::1"]),
        (["DNS:a", "ip:::1", "", "a"], ["DNS:a", "ip:::1"]),
        ([], []),
    ],
)
def test_names(hosts: list[str], names: list[str]) -> None:
    assert subject_alt_names(hosts) == names


def test_a_text_is_no_list() -> None:
    with pytest.raises(AnsibleFilterError, match="takes a list"):
        subject_alt_names("robot-1")
