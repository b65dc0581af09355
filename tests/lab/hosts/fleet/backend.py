# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The plain backend behind Traefik: as much of MiR Fleet 3.x as a client needs to see that it reached it."""

from __future__ import annotations

import argparse
import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

STATUS = [{"state": "running", "default_state": "running", "url": "/v2.0.0/status"}]
PAGE = b"<!doctype html>\n<title>MiR Fleet</title>\n<h1>MiR Fleet</h1>\n"


class Fleet(BaseHTTPRequestHandler):
    """Answers the status and a page; everything else is not there."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if self.path == "/api/v2.0.0/status":
            self._answer(200, "application/json", json.dumps(STATUS).encode())
        elif self.path == "/":
            self._answer(200, "text/html; charset=utf-8", PAGE)
        else:
            error = {"error_code": "NotFound", "error_human": f"There is nothing at {self.path}."}
            self._answer(404, "application/json", json.dumps(error).encode())

    def _answer(self, status: int, content_type: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--address", required=True)
    parser.add_argument("--port", required=True, type=int)
    given = parser.parse_args()
    ThreadingHTTPServer((given.address, given.port), Fleet).serve_forever()


if __name__ == "__main__":
    main()
