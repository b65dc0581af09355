# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is sealed opens in the same run, for the same certificate, and nowhere else."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.certfleet.tls.plugins.plugin_utils._seal import SealError, open_sealed, seal


@given(st.dictionaries(st.text(max_size=10), st.text(max_size=50), max_size=4), st.text(min_size=1, max_size=20))
def test_what_is_sealed_opens_again(payload: dict[str, str], context: str) -> None:
    assert open_sealed(seal(payload, context=context), context=context) == payload


def test_the_same_payload_never_looks_the_same_and_shows_nothing() -> None:
    payload = {"password": "correct horse battery staple"}
    first, second = seal(payload, context="robot-1/https"), seal(payload, context="robot-1/https")
    assert first != second
    assert "horse" not in first


@pytest.mark.parametrize(
    "spoil",
    [lambda token: token[:-8] + "AAAAAAA=", lambda _token: "", lambda _token: "not base64!", lambda token: token[4:]],
)
def test_a_spoilt_one_is_refused(spoil: Callable[[str], str]) -> None:
    token = seal({"a": "b"}, context="robot-1/https")
    with pytest.raises(SealError, match="robot-1/https"):
        open_sealed(spoil(token), context="robot-1/https")


def test_another_certificates_is_refused() -> None:
    with pytest.raises(SealError):
        open_sealed(seal({"a": "b"}, context="robot-1/https"), context="robot-2/https")


def test_another_process_cannot_open_it() -> None:
    code = (
        "import sys, json\n"
        "from ansible_collections.certfleet.tls.plugins.plugin_utils._seal import SealError, open_sealed\n"
        "try:\n    print(json.dumps(open_sealed(sys.argv[1], context='x')))\n"
        "except SealError as exc:\n    print(json.dumps(str(exc)))\n"
    )
    token = seal({"a": "secret"}, context="x")
    done = subprocess.run([sys.executable, "-c", code, token], capture_output=True, text=True, check=True, timeout=60)
    assert "was not made by this run" in json.loads(done.stdout)
