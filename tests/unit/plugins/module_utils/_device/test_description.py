# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Descriptions of devices' APIs: what is built in, what users write, what is wrong with it."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.certfleet.tls.plugins.module_utils._device.built_in_apis import BUILT_IN
from ansible_collections.certfleet.tls.plugins.module_utils._device.description import find_api, parse_api
from ansible_collections.certfleet.tls.plugins.module_utils._device.errors import DeviceError

CAMERA: dict[str, Any] = {
    "base_path": "/rest/1",
    "login": {"scheme": "bearer"},
    "upload": {
        "method": "PUT",
        "path": "/tls",
        "body": {"tls": {"certificate": {"pem": "fullchain"}, "private_key": {"pem": "key"}}, "apply": True},
    },
}


def changed(**fields: Any) -> dict[str, Any]:
    return {**CAMERA, **fields}


def upload(**fields: Any) -> dict[str, Any]:
    return changed(upload={**CAMERA["upload"], **fields})


def without(section: dict[str, Any], field: str) -> dict[str, Any]:
    return {name: value for name, value in section.items() if name != field}


@pytest.mark.parametrize("name", sorted(BUILT_IN))
def test_what_is_built_in_is_valid(name: str) -> None:
    assert find_api(name, described={}, where="host").name == name


def test_mir_says_what_the_facts_say() -> None:
    api = find_api("mir", described=None, where="host")
    assert (api.base_path, api.upload.path, api.login.scheme) == ("/api/v2.0.0", "/ssl/cert", "basic_sha256")
    assert api.headers == {"Accept-Language": "en_US"}
    assert (api.upload.accepted, api.upload.already) == ((200, 201, 204), (409,))
    assert api.remove is not None
    assert api.remove.absent == (404,)
    assert (api.wait_timeout, api.wait_interval, api.http_ports) == (60, 2, (80, 8080, 9090))


def test_a_few_lines_suffice_for_another_api() -> None:
    api = find_api("camera", described={"camera": CAMERA}, where="host")
    assert api.remove is None
    assert (api.upload.method, api.upload.format, api.upload.accepted) == ("PUT", "json", (200, 201, 204))
    assert (api.login_refused, api.timeout) == ((401, 403), 30)


def test_deviations_are_merged_section_by_section_and_bodies_replaced() -> None:
    own = {"mir": {"upload": {"accepted": [202]}, "headers": {"Accept-Language": "de_DE", "X-Site": "1"}}}
    body = {"pair": {"base64_pem": "fullchain"}, "key": {"base64_pem": "key"}}
    api = find_api("mir", described=own, overrides={"upload": {"body": body}, "remove": None}, where="host")
    assert (api.upload.accepted, api.upload.path) == ((202,), "/ssl/cert")
    assert api.headers == {"Accept-Language": "de_DE", "X-Site": "1"}
    assert api.upload.body == body
    assert api.remove is None


@pytest.mark.parametrize(
    ("description", "said"),
    [
        (without(CAMERA, "login"), "login (how the API is logged in to, such as {scheme: basic}) is missing"),
        (without(CAMERA, "upload"), "upload (the request that takes certificate and key) is missing"),
        (changed(upload=without(CAMERA["upload"], "path")), "upload.path"),
        (changed(upload=without(CAMERA["upload"], "body")), "upload.body"),
        (changed(login={"scheme": "digest"}), "is 'digest', not one of basic, basic_sha256"),
        (changed(login={"scheme": "header"}), "login.header"),
        (changed(login="basic"), "login (how the API is logged in to, such as {scheme: basic}) is no dictionary"),
        (changed(uplaod={}), "has no field 'uplaod'"),
        (upload(acepted=[200]), "has no field 'acepted'"),
        (upload(accepted=[20]), "is no list of HTTP status codes"),
        (upload(accepted=200), "upload.accepted is no list"),
        (upload(path="tls"), "is 'tls', which is no path that begins with a slash"),
        (upload(method="GET"), "is 'GET', not one of POST, PUT, PATCH"),
        (upload(body={"key": {"pem": "key"}}), "does not hold both the key and the certificate"),
        (upload(body={"pair": {"pem": "bundle"}, "key": {"pem": "key"}}), "asks for 'bundle'"),
        (changed(errors=["message["]), "'message[', which is no JMESPath expression"),
        (changed(wait={"timeout": 0}), "wait.timeout is '0', which is no number of seconds"),
        (changed(wait={"intervall": 1}), "has no field 'intervall'"),
        (changed(http_ports=["http"]), "is no list of TCP ports"),
        (changed(remove={"method": "DELETE"}), "remove.path"),
        (changed(headers={"X": {}}), "headers is no dictionary of texts"),
    ],
)
def test_what_is_wrong_names_the_api_the_field_and_the_next_step(description: dict[str, Any], said: str) -> None:
    with pytest.raises(DeviceError) as caught:
        parse_api("camera", description, where="camera-1")
    text = str(caught.value)
    assert said in text
    assert text.startswith("camera-1: API 'camera': ")
    assert "Correct the description under tls_certificate_apis" in text


def test_an_unknown_api_lists_those_there_are() -> None:
    with pytest.raises(DeviceError, match="there is no API 'mri'"):
        find_api("mri", described={"camera": CAMERA}, where="host")
