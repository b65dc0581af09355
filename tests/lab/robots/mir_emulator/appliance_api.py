# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A made-up appliance with another REST API, for device descriptions that users write themselves.

  PUT    /rest/1/system/tls   {"tls": {"certificate": "PEM", "private_key": "PEM"}}    202
  DELETE /rest/1/system/tls                                                            200, 410 when there is none
  GET    /rest/1/system                                                                200

The login is `Authorization: Bearer <password>`, errors are {"errors": [{"detail": "…"}]}.
"""

from __future__ import annotations

import hmac
import json

from .device import Device, UploadError
from .http_messages import Request, Response


def answer(device: Device, request: Request) -> Response:
    """What the appliance answers."""
    if not hmac.compare_digest(request.headers.get("authorization", ""), f"Bearer {device.settings.password}"):
        return _error(device.switches.login_status, "token not accepted")
    if (request.method, request.path) == ("GET", "/rest/1/system"):
        return Response.of(200, {"name": device.name})
    if request.path != "/rest/1/system/tls":
        return _error(404, "no such resource")
    if request.method == "PUT":
        return _upload(device, request)
    if request.method == "DELETE":
        return Response(200, b"{}") if device.remove() else _error(410, "no certificate is installed")
    return _error(405, "method not allowed")


def _upload(device: Device, request: Request) -> Response:
    try:
        pair = json.loads(request.body)["tls"]
        device.upload(str(pair["certificate"]), str(pair["private_key"]))
    except UploadError as exc:
        return _error(exc.status, str(exc))
    except (ValueError, TypeError, KeyError):
        return _error(422, "the body is not as documented")
    return Response(202, b"{}")


def _error(status: int, text: str) -> Response:
    return Response.of(status, {"errors": [{"detail": text}]})
