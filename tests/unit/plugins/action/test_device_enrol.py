# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a key is pinned that belongs to the machine that was here before."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ansible_collections.certfleet.tls.plugins.action.device_enrol import _state
from ansible_collections.certfleet.tls.plugins.module_utils._x509.judge import Known

from ..module_utils._x509.authority import Authority
from ..module_utils._x509.test_judge import KEY

LEAF = Authority().leaf(key=KEY)
GONE = Known(True, leaves={LEAF.fingerprint: "revoked"}, gone=frozenset({LEAF.fingerprint, LEAF.spki}))
NAMED: dict[str, Any] = {"expected_spki": [LEAF.spki.upper()], "accept": False}
ACCEPTED: dict[str, Any] = {"expected_spki": [], "accept": True}


@pytest.mark.parametrize("trusted", [True, False])
def test_the_old_machine_is_pinned_only_by_who_names_its_key(trusted: bool) -> None:
    state, said = _state(LEAF, trusted, GONE, ACCEPTED, identity="robot-1")
    assert (state, "tls_expected_spki" in said) == ("stranger", True)
    assert _state(LEAF, trusted, GONE, NAMED, identity="robot-1")[0] == "pin"
    pinned = replace(GONE, pins=frozenset({LEAF.spki}))
    assert _state(LEAF, trusted, pinned, ACCEPTED, identity="robot-1")[0] == "known"


@pytest.mark.parametrize("mark", [LEAF.spki, LEAF.fingerprint])
def test_a_compromised_key_is_never_pinned(mark: str) -> None:
    stolen = replace(GONE, compromised=frozenset({mark}))
    assert _state(LEAF, True, stolen, NAMED, identity="robot-1")[0] == "stranger"


def test_nothing_is_pinned_for_a_decommissioned_machine() -> None:
    state, said = _state(LEAF, False, Known(True, decommissioned=True), NAMED, identity="robot-1")
    assert (state, "playbooks/readmit.yml" in said) == ("stranger", True)
