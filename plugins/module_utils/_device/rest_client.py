# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Requests to a device whose leaf was just looked at and recognised. Nothing is sent to any other leaf."""

from __future__ import annotations

import json
import socket
import ssl
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from .._probe.connection import TunnelError, Way, endpoint_text, is_ip, open_connection, patience, way_to
from .._probe.errors import ProbeError
from .._probe.tls import trusting
from .acquaintance import Met, Target
from .description import Api
from .errors import DeviceError
from .jmespath_library import JMESPathError, jmespath
from .login import Credentials, login_headers, without_secrets
from .pair import Pair, fill_body
from .requests_library import HTTPAdapter, connect_by, requests, require_requests

_MOST_ANSWER = 64 * 1024
_MOST_LIST = 4 * 1024 * 1024
# What urllib3 and OpenSSL say, during the handshake, of another leaf than the one that was recognised.
_NOT_THE_LEAF = ("ingerprints did not match", "CERTIFICATE_VERIFY_FAILED")


@dataclass(frozen=True)
class Answer:
    """What came back.

    C(kind): accepted; already (409 and the like) or absent, as the description says; login (refused); rejected;
    stranger (another leaf was served than the recognised one: nothing was sent); uncertain (a server error, or the
    connection broke: the request may have taken effect).
    """

    kind: str
    said: str
    status: int | None = None


@dataclass(frozen=True)
class Fetched(Answer):
    """What was read; C(value) is the JSON of an accepted answer. C(kind) is unreadable where that is none."""

    value: Any = None


class _PinnedAdapter(HTTPAdapter):
    """TLS to exactly one leaf.

    Requests would add its own bundle of public CAs to any context when it verifies (versions differ in how): both hooks
    that its documentation offers to subclasses keep it from that.
    """

    def __init__(
        self,
        *,
        context: ssl.SSLContext,
        fingerprint: str,
        server_name: str,
        dial: Callable[[float], socket.socket] | None = None,
    ) -> None:
        self._context, self._fingerprint, self._server_name, self._dial = context, fingerprint, server_name, dial
        self._requirement = "CERT_REQUIRED" if context.verify_mode == ssl.CERT_REQUIRED else "CERT_NONE"
        super().__init__(max_retries=0)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        kwargs.update(ssl_context=self._context, assert_fingerprint=self._fingerprint, cert_reqs=self._requirement)
        if not is_ip(self._server_name):
            kwargs["server_hostname"] = self._server_name
        super().init_poolmanager(*args, **kwargs)
        if self._dial is not None:
            connect_by(self._dial, self.poolmanager)

    def get_connection_with_tls_context(self, request: Any, *_args: Any, **_kwargs: Any) -> Any:
        # requests 2.32 and later; earlier ones do just this.
        return self.poolmanager.connection_from_url(request.url)

    def cert_verify(self, conn: Any, *_args: Any, **_kwargs: Any) -> None:
        conn.cert_reqs, conn.ca_certs, conn.ca_cert_dir = self._requirement, None, None


class DeviceClient:
    """One conversation with a device that was met and recognised."""

    def __init__(self, api: Api, target: Target, met: Met, credentials: Credentials, *, anchors: str | None) -> None:
        require_requests()
        if met.leaf is None or not met.recognised:
            raise DeviceError(f"{target.text}: this peer is not recognised, so nothing is sent to it.")
        self._api, self._target, self._credentials = api, target, credentials
        self._login = login_headers(api, credentials, where=target.text)
        self._session = requests.Session()
        # Neither netrc, nor proxies or CA bundles of the environment: settings come from options alone.
        self._session.trust_env = False
        self._session.headers.update(api.headers)
        context = trusting(anchors) if met.seen.trusted and anchors else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        # The name was verified when the device was met; here its leaf is compared, before the request is sent.
        context.check_hostname = False
        if not met.seen.trusted:
            context.verify_mode = ssl.CERT_NONE
        self._ways = ExitStack()
        self._via: Way | None = None
        dial = self._dial if target.proxy is not None else None
        name, fingerprint = target.server_name, met.leaf.fingerprint
        adapter = _PinnedAdapter(context=context, fingerprint=fingerprint, server_name=name, dial=dial)
        self._session.mount("https://", adapter)
        self._session.mount("http://", _NoPlainHttp())

    def upload(self, pair: Pair) -> Answer:
        """Hand the pair over."""
        upload = self._api.upload
        body = fill_body(upload.body, pair)
        return self._send(upload.method, upload.path, upload.accepted, body=body, timeout=upload.timeout)

    def remove(self) -> Answer:
        """Ask for the built-in certificate back."""
        remove = self._api.remove
        if remove is None:
            raise DeviceError(
                f"{self._target.text}: API '{self._api.name}' does not say how a certificate is removed. Describe 'remove'."
            )
        return self._send(remove.method, remove.path, remove.accepted, absent=remove.absent, timeout=remove.timeout)

    def fetch(self, path: str, *, timeout: float | None = None) -> Fetched:
        """Read one resource; the connection stays open for the next. O(timeout) is in seconds, by default the API's."""
        wait = min(timeout or self._api.timeout, self._api.timeout)
        try:
            status, text = self._exchange("GET", path, wait, most=_MOST_LIST)
        except requests.RequestException as exc:
            broken = self._broken(exc)
            return Fetched(broken.kind, broken.said)
        kind, said = self._kind(status, (200,), (404,)), self._said(status, text)
        if kind != "accepted":
            return Fetched(kind, said, status)
        try:
            return Fetched(kind, said, status, json.loads(text))
        except (ValueError, RecursionError):
            return Fetched("unreadable", f"{self._target.text} answers with something that is no JSON", status)

    def close(self) -> None:
        """End the connection that C(fetch) may have left open, and the way through a proxy."""
        self._session.close()
        self._ways.close()
        self._via = None

    def _dial(self, timeout: float) -> socket.socket:
        """A connection through the proxy."""
        if self._via is None:
            self._via = self._ways.enter_context(way_to(self._target.proxy))
        deadline = time.monotonic() + timeout
        try:
            return open_connection(self._target.address, self._target.port, deadline=deadline, via=self._via)
        except ProbeError as exc:
            raise DeviceError(f"{self._target.text}: {exc}") from exc

    def _send(
        self,
        method: str,
        path: str,
        accepted: tuple[int, ...],
        *,
        timeout: float,
        body: Any = None,
        absent: tuple[int, ...] = (),
    ) -> Answer:
        content: dict[str, Any] = {}
        if body is not None:
            content = {"data": body} if self._api.upload.format == "form" else {"json": body}
        try:
            status, text = self._exchange(method, path, timeout, **content)
        except requests.RequestException as exc:
            return self._broken(exc)
        finally:
            self.close()
        return Answer(self._kind(status, accepted, absent), self._said(status, text), status)

    def _exchange(
        self, method: str, path: str, timeout: float, *, most: int = _MOST_ANSWER, **content: Any
    ) -> tuple[int, str]:
        """(status, the beginning of the body). Raises RequestException."""
        where = endpoint_text(self._target.address, self._target.port)
        with self._session.request(
            method,
            f"https://{where}{self._api.base_path}{path}",
            headers=self._login,
            timeout=(min(patience(self._target.proxy), timeout), timeout),
            allow_redirects=False,
            stream=True,
            **content,
        ) as response:
            return response.status_code, _beginning_of(response, most)

    def _kind(self, status: int, accepted: tuple[int, ...], absent: tuple[int, ...]) -> str:
        if status in accepted:
            return "accepted"
        if status in absent:
            return "absent"
        if status in self._api.login_refused:
            return "login"
        if not absent and status in self._api.upload.already:
            return "already"
        return "uncertain" if status >= 500 else "rejected"

    def _said(self, status: int, text: str) -> str:
        found = _error_in(text, self._api.errors)
        said = without_secrets(found, self._api, self._credentials) if found else ""
        if status in self._api.login_refused:
            hint = f": {said}" if said else ""
            return (
                f"{self._target.text} refuses the login of user '{self._credentials.username}' for API '{self._api.name}' "
                f"(status {status}{hint}). Correct its username and password."
            )
        return f"{self._target.text} answers with status {status}" + (f": {said}" if said else "")

    def _broken(self, exc: Exception) -> Answer:
        reason = str(exc)
        if any(mark in reason for mark in _NOT_THE_LEAF):
            return Answer(
                "stranger",
                f"{self._target.text} suddenly serves another certificate than a moment ago. Nothing was sent.",
            )
        why = type(exc).__name__
        fault = self._via.explain(_tunnel_error_in(exc)) if self._via is not None else exc
        if isinstance(fault, TunnelError):
            why = fault.said.rstrip(".")
        return Answer("uncertain", f"{self._target.text}: the connection broke before the answer was complete ({why})")


class _NoPlainHttp(HTTPAdapter):
    """Plain HTTP is never spoken, wherever an URL may come from."""

    def send(self, request: Any, *_args: Any, **_kwargs: Any) -> Any:
        raise DeviceError(f"{request.url} is plain HTTP: logins and keys are only sent over HTTPS.")


def _tunnel_error_in(exc: BaseException) -> OSError:
    """What stopped the dialling, of which requests only keeps the text; otherwise an error that says that it broke."""
    found: BaseException | None = exc
    while found is not None and not isinstance(found, TunnelError):
        found = found.__cause__ or found.__context__
    return found or ConnectionResetError()


def _beginning_of(response: Any, most: int) -> str:
    content = bytearray()
    for block in response.iter_content(8192):
        content += block
        if len(content) > most:
            break
    return content.decode("utf-8", "replace")


def _error_in(text: str, expressions: tuple[str, ...]) -> str:
    """The first text that an expression finds; of other bodies, what is no page."""
    try:
        value = json.loads(text)
    except ValueError:
        return "" if text.lstrip().startswith("<") else text
    if not isinstance(value, (Mapping, list)):
        return str(value)
    for expression in expressions:
        try:
            found = jmespath.search(expression, value)
        except JMESPathError:
            continue
        if isinstance(found, (str, int, float)) and not isinstance(found, bool) and str(found).strip():
            return str(found)
    return ""
