# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A device's REST API as data: read from YAML, checked field by field.

  base_path: /api/v2.0.0                    before all paths
  login:     {scheme: basic | basic_sha256 | bearer | header | none, header: X-Api-Key}
  headers:   {Accept-Language: en_US}       sent with every request
  upload:
    method: POST
    path: /ssl/cert
    format: json | form
    body: {cert: {base64_pem: fullchain}, key: {pem: key}}      any nesting; what is no such pair is sent as it is
    accepted: [200, 201, 204]
    already: [409]                          means: compare what is served
  remove:    {method: DELETE, path: /ssl/cert, accepted: [200, 202, 204], absent: [404]}       may be missing
  errors:    [error_human, error.message]   JMESPath, the first that finds a text is shown
  login_refused: [401, 403]
  wait:      {timeout: 60, interval: 2}     seconds until the new certificate must be served
  http_ports: [80, 8080]                    asked, without login, when there is no HTTPS
  timeout: 30                               seconds for one answer; upload and remove may have a timeout of their own
  status, view                              what is only read, see description_reading.py
  change_states: [3, 4]                     states (see status) in which the device may be changed; empty: in any

In a body, C({encoding: part}) stands for a part of the pair: encodings are C(pem) and C(base64_pem), parts are
C(certificate), C(chain) (the intermediates), C(fullchain) (both) and C(key).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from .built_in_apis import BUILT_IN
from .description_fields import Fields
from .description_reading import Status, View, read_status, read_view
from .errors import DeviceError
from .jmespath_library import jmespath, require_jmespath

ENCODINGS = ("pem", "base64_pem")
PARTS = ("certificate", "chain", "fullchain", "key")
SCHEMES = ("basic", "basic_sha256", "bearer", "header", "none")


@dataclass(frozen=True)
class Login:
    """How a login is sent. C(header) is the name of the header for scheme C(header)."""

    scheme: str
    header: str


@dataclass(frozen=True)
class Upload:
    """The request that hands a pair over."""

    method: str
    path: str
    format: str
    body: Mapping[str, Any]
    accepted: tuple[int, ...]
    already: tuple[int, ...]
    timeout: float


@dataclass(frozen=True)
class Remove:
    """The request after which the built-in certificate is served again."""

    method: str
    path: str
    accepted: tuple[int, ...]
    absent: tuple[int, ...]
    timeout: float


@dataclass(frozen=True)
class Api:
    """A device's REST API; times are seconds."""

    name: str
    base_path: str
    login: Login
    headers: Mapping[str, str]
    upload: Upload
    remove: Remove | None
    errors: tuple[str, ...]
    login_refused: tuple[int, ...]
    wait_timeout: float
    wait_interval: float
    http_ports: tuple[int, ...]
    timeout: float
    status: Status | None
    change_states: tuple[str, ...]
    view: View | None


def find_api(
    name: str, *, described: Mapping[str, Any] | None, overrides: Mapping[str, Any] | None = None, where: str
) -> Api:
    """The API of this name: the user's description, merged over the built-in one, with a host's deviations on top.

    Raises DeviceError that names the API, the field and the next step.
    """
    own = (described or {}).get(name)
    if own is None and name not in BUILT_IN:
        known = ", ".join(sorted({*BUILT_IN, *map(str, described or ())}))
        raise DeviceError(
            f"{where}: there is no API '{name}'. There are {known}; describe others under tls_certificate_apis."
        )
    if own is not None and not isinstance(own, Mapping):
        raise DeviceError(f"{where}: the description of API '{name}' is no dictionary. See tls_certificate_apis.")
    return parse_api(name, _merged(_merged(BUILT_IN.get(name, {}), own or {}), overrides or {}), where=where)


def parse_api(name: str, data: Mapping[str, Any], *, where: str) -> Api:
    """Check a whole description. Raises DeviceError."""
    require_jmespath()
    fields = Fields(data, where=f"{where}: API '{name}'")
    wait, timeout = fields.section("wait", default={}), fields.seconds("timeout", default=30.0)
    api = Api(
        name=name,
        base_path=fields.path("base_path", default=""),
        login=_login(fields.section("login")),
        headers=fields.texts("headers"),
        upload=_upload(fields.section("upload"), timeout),
        remove=_remove(fields.section("remove"), timeout) if fields.has("remove") else None,
        errors=_expressions(fields),
        login_refused=fields.statuses("login_refused", default=(401, 403)),
        wait_timeout=wait.seconds("timeout", default=60.0),
        wait_interval=wait.seconds("interval", default=2.0),
        http_ports=fields.ports("http_ports", default=(80,)),
        timeout=timeout,
        status=read_status(fields.section("status")) if fields.has("status") else None,
        change_states=fields.states("change_states"),
        view=read_view(fields.section("view")) if fields.has("view") else None,
    )
    wait.finish()
    fields.finish()
    if api.change_states and api.status is None:
        raise fields.error("change_states", "is given, but no 'status' says how the state is asked for")
    return api


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Sections field by field; a body is replaced as a whole, like every list."""
    result = dict(below)
    for field, value in above.items():
        both = isinstance(value, Mapping) and isinstance(result.get(field), Mapping)
        result[str(field)] = _merged(result[field], value) if both and field != "body" else value
    return result


def _login(fields: Fields) -> Login:
    scheme = fields.text("scheme", choices=SCHEMES)
    login = Login(scheme, fields.text("header", default=None if scheme == "header" else ""))
    fields.finish()
    return login


def _upload(fields: Fields, timeout: float) -> Upload:
    upload = Upload(
        method=fields.text("method", default="POST", choices=("POST", "PUT", "PATCH")),
        path=fields.path("path"),
        format=fields.text("format", default="json", choices=("json", "form")),
        body=fields.mapping("body"),
        accepted=fields.statuses("accepted", default=(200, 201, 204)),
        already=fields.statuses("already", default=(409,)),
        timeout=fields.seconds("timeout", default=timeout),
    )
    fields.finish()
    parts = {part for _encoding, part in _placeholders(upload.body, fields)}
    if "key" not in parts or not parts & {"certificate", "fullchain"}:
        raise fields.error(
            "body",
            "does not hold both the key and the certificate. Write for example {cert: {base64_pem: fullchain}, "
            "key: {base64_pem: key}}",
        )
    return upload


def _remove(fields: Fields, timeout: float) -> Remove:
    remove = Remove(
        method=fields.text("method", default="DELETE", choices=("DELETE", "POST", "PUT")),
        path=fields.path("path"),
        accepted=fields.statuses("accepted", default=(200, 202, 204)),
        absent=fields.statuses("absent", default=(404,)),
        timeout=fields.seconds("timeout", default=timeout),
    )
    fields.finish()
    return remove


def _expressions(fields: Fields) -> tuple[str, ...]:
    expressions = fields.text_list("errors", default=("message",))
    for expression in expressions:
        fields.check_expression("errors", expression)
    return expressions


def placeholder(value: Any) -> tuple[str, str] | None:
    """(encoding, part) where a value of a body stands for a part of the pair."""
    if isinstance(value, Mapping) and len(value) == 1:
        encoding, part = next(iter(value.items()))
        if encoding in ENCODINGS:
            return str(encoding), str(part)
    return None


def _placeholders(value: Any, fields: Fields) -> Iterator[tuple[str, str]]:
    found = placeholder(value)
    if found is not None:
        if found[1] not in PARTS:
            raise fields.error("body", f"asks for '{found[1]}'. Parts of a pair are {', '.join(PARTS)}")
        yield found
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _placeholders(item, fields)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _placeholders(item, fields)


def _compile_built_in() -> None:
    """jmespath keeps what it has compiled: workers that are forked after this import need not do it again."""
    if jmespath is not None:
        for name, data in BUILT_IN.items():
            parse_api(name, data, where="built in")


_compile_built_in()
