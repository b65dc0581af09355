# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Settings of a device from its specification, logins, and texts without secrets."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

import pytest

from ansible_collections.certfleet.tls.plugins.module_utils._device.description import find_api
from ansible_collections.certfleet.tls.plugins.module_utils._device.errors import DeviceError
from ansible_collections.certfleet.tls.plugins.module_utils._device.login import (
    Credentials,
    login_headers,
    without_secrets,
)
from ansible_collections.certfleet.tls.plugins.module_utils._device.settings import Settings, read_settings

SPKI = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"


def settings(api: dict[str, Any], prove: dict[str, Any] | None = None) -> Settings:
    return read_settings(
        api, prove, apis={}, default_address="198.18.0.11", read_file=lambda path: f"text of {path}", where="robot-1"
    )


def test_defaults() -> None:
    found = settings({"name": "mir"})
    assert (found.target.address, found.target.port, found.target.server_name) == ("198.18.0.11", 443, "198.18.0.11")
    assert (found.hold, found.ca, found.pins) == (10, "", frozenset())
    assert found.api.wait_timeout == 60


def test_everything_that_can_be_said() -> None:
    found = settings(
        {
            "name": "mir",
            "username": "u",
            "password": "p",
            "ca_path": "ca.pem",
            "verify_hostname": "old.example",
            "pinned_spki": [":".join(SPKI.upper()[i : i + 2] for i in range(0, 64, 2))],
            "upload": {"accepted": [202]},
        },
        {"address": "[2001:2::b]", "port": "8443", "server_name": "robot-1.example", "hold": "0", "timeout": "5"},
    )
    target = found.target
    assert (target.address, target.port, target.text) == ("2001:2::b", 8443, "[2001:2::b]:8443")
    assert (target.server_name, target.verify_hostname) == ("robot-1.example", "old.example")
    assert (found.credentials.username, found.credentials.password) == ("u", "p")
    assert (found.ca, set(found.pins)) == ("text of ca.pem", {SPKI})
    assert (found.hold, found.api.wait_timeout, found.api.upload.accepted) == (0, 5, (202,))


@pytest.mark.parametrize(
    ("api", "prove", "said"),
    [
        ({}, None, "api names no API"),
        ({"name": "mir", "pasword": "x"}, None, "has no field 'pasword'"),
        ({"name": "mir", "pinned_spki": ["abc"]}, None, "pinned_spki"),
        ({"name": "mir"}, {"adress": "x"}, "prove has no field adress"),
        ({"name": "mir"}, {"port": 70000}, "prove.port is '70000'"),
        ({"name": "mir"}, {"hold": "long"}, "prove.hold is 'long'"),
    ],
)
def test_what_is_wrong(api: dict[str, Any], prove: dict[str, Any] | None, said: str) -> None:
    with pytest.raises(DeviceError, match="robot-1") as caught:
        settings(api, prove)
    assert said in str(caught.value)


def headers(scheme: str, credentials: Credentials, **login: str) -> dict[str, str]:
    return login_headers(api(scheme, **login), credentials, where="robot-1")


def api(scheme: str, **login: str) -> Any:
    return find_api("mir", described={}, overrides={"login": {"scheme": scheme, **login}}, where="robot-1")


def test_login_schemes() -> None:
    user = Credentials("operator", "pässword")
    basic = base64.b64encode("operator:pässword".encode()).decode()
    digest = hashlib.sha256("pässword".encode()).hexdigest()
    sha256 = base64.b64encode(f"operator:{digest}".encode()).decode()
    assert headers("basic", user) == {"Authorization": f"Basic {basic}"}
    assert headers("basic_sha256", user) == {"Authorization": f"Basic {sha256}"}
    assert headers("bearer", Credentials("", "token")) == {"Authorization": "Bearer token"}
    assert headers("header", Credentials("", "token"), header="X-Api-Key") == {"X-Api-Key": "token"}
    assert headers("none", Credentials("", "")) == {}


@pytest.mark.parametrize(
    ("scheme", "username", "password", "said"),
    [
        ("basic", "", "p", "no login is given"),
        ("basic_sha256", "u", "", "no login is given"),
        ("bearer", "u", "", "Set its password"),
        ("bearer", "", "to\r\nken", "line break"),
    ],
)
def test_missing_logins(scheme: str, username: str, password: str, said: str) -> None:
    with pytest.raises(DeviceError) as caught:
        headers(scheme, Credentials(username, password))
    assert said in str(caught.value)
    assert "ken" not in str(caught.value).replace("token", "")


def test_passwords_do_not_show_in_representations() -> None:
    assert "geheim" not in repr(Credentials("u", "geheim"))


@pytest.mark.parametrize("echo", ["plain", "digest", "login", "base64"])
def test_what_a_device_echoes_is_shown_without_the_login(echo: str) -> None:
    password = "geheim-geheim"
    digest = hashlib.sha256(password.encode()).hexdigest()
    login = base64.b64encode(f"operator:{digest}".encode()).decode()
    secret = {
        "plain": password,
        "digest": digest,
        "login": login,
        "base64": base64.b64encode(password.encode()).decode(),
    }
    said = without_secrets(f"wrong:\n {secret[echo]} !", api("basic_sha256"), Credentials("operator", password))
    assert secret[echo].rstrip("=") not in said
    assert said.startswith("wrong: ")


def test_what_a_device_echoes_is_shown_without_keys_and_short() -> None:
    key = base64.b64encode(b"k" * 600).decode()
    said = without_secrets(f"cannot load {key} " + "word " * 100, api("basic"), Credentials("u", "p-word"))
    assert key[:40] not in said
    assert len(said) <= 200
