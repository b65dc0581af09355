# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: endpoint_info
short_description: Look at TLS endpoints as a client does
version_added: 1.0.0
description:
  - Connects from the machine of the task to each endpoint, validates what it serves, and tells the leaf, why it is not trusted, and
    if asked what plain HTTP does on other ports.
  - An endpoint that cannot be reached, or is not trusted, is an answer and no failure.
  - Nothing is sent but TLS handshakes, and plain HTTP requests without any login.
extends_documentation_fragment:
  - certfleet.tls.attributes
  - certfleet.tls.attributes.info_module
  - certfleet.tls.attributes.action
options:
  endpoints:
    description:
      - The endpoints. Other fields than these are returned as they are.
      - By default those of the certificates that the hosts of the batch have just brought into service, as the role
        P(certfleet.tls.tls_certificate#role) registered them, named by the certificates' ids.
    type: list
    elements: dict
    suboptions:
      name:
        description: A name for it in the answer. By default address and port.
        type: str
      address:
        description: The IP address or host name to connect to.
        type: str
        required: true
      port:
        description: The TCP port.
        type: int
        default: 443
      server_name:
        description: The name or address that is verified. By default the address.
        type: str
      proxy:
        description:
          - What leads to the endpoint where it cannot be reached directly, V(http://host:port) (HTTP CONNECT, without a login) or
            V(ssh://user@host:port) (a jump host, with the C(ssh) command of the machine that looks).
          - TLS goes through it from end to end.
        type: str
      proxy_ssh_options:
        description:
          - Arguments of the C(ssh) command, such as C(['-i', '/path/of/the/key', '-o', 'UserKnownHostsFile=/path']).
          - It never asks anything, and verifies the jump host's key.
        type: list
        elements: str
        default: []
  anchors:
    description: The CA certificates to trust, as PEM text; no others are trusted. Without any nothing can be verified.
    type: str
  use_system_trust:
    description: Trust what the operating system of this machine trusts, as most programs on it do.
    type: bool
    default: false
  chain:
    description: Whether to return all certificates that each endpoint sends.
    type: bool
    default: false
  http_ports:
    description: Ports of each endpoint's address that are asked over plain HTTP.
    type: list
    elements: int
    default: []
  timeout:
    description: Seconds for one connection; through a proxy three times as long.
    type: float
    default: 5
  parallel:
    description: How many endpoints are looked at at a time.
    type: int
    default: 16
  client_may_be_away:
    description:
      - Whether it is an answer and no failure when the machine of the task cannot be reached or cannot look.
      - RV(reachable) is false then, and there are no RV(endpoints).
    type: bool
    default: false
requirements:
  - The C(openssl) command, 1.1.1 or newer. For a jump host the C(ssh) command.
author:
  - certfleet contributors (@certfleet)
"""

EXAMPLES = r"""
- name: What do the robots serve, as this machine sees it?
  certfleet.tls.endpoint_info:
    endpoints:
      - {name: robot-1, address: 198.18.0.11}
      - {name: fleet, address: 198.18.0.20, server_name: fleet.plant.example}
    anchors: "{{ lookup('ansible.builtin.file', 'fleet-anchors.pem') }}"
    http_ports: [80, 8080]
  register: seen

- name: What does a robot serve that only the plant's gateway leads to?
  certfleet.tls.endpoint_info:
    endpoints:
      - {name: robot-4, address: 198.19.1.14, proxy: "http://198.19.0.30:8888"}

- name: Every robot is trusted
  ansible.builtin.assert:
    that: seen.endpoints | rejectattr('trusted') | length == 0
"""

RETURN = r"""
reachable:
  description: Whether the machine of the task looked.
  returned: always
  type: bool
said:
  description: Why it could not.
  returned: when not reachable
  type: str
endpoints:
  description: One entry for each endpoint, in the same order.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: Its name.
      type: str
    address:
      description: Where it was connected to.
      type: str
    port:
      description: The TCP port.
      type: int
    server_name:
      description: What was verified.
      type: str
    trusted:
      description: Whether chain, name and time are right.
      type: bool
    checks:
      description: Which of C(chain), C(name) and C(time) were established.
      type: dict
    failure:
      description: The first that was wrong, V(proxy_away), V(proxy_refuses), V(refused), V(timeout), V(unreachable), V(closed),
        V(not_tls), V(chain), V(name), V(time), or V(unusable) for an endpoint that cannot be tried. Null when nothing was.
      type: str
    said:
      description: A sentence for people.
      type: str
    leaf:
      description: The leaf as PEM, null when none was served.
      type: str
    fingerprint:
      description: SHA-256 of the leaf, hexadecimal.
      type: str
    spki:
      description: SHA-256 of its SubjectPublicKeyInfo, hexadecimal.
      type: str
    subject:
      description: Its subject.
      type: str
    issuer:
      description: Its issuer.
      type: str
    self_signed:
      description: Whether both are the same.
      type: bool
    serial:
      description: Its serial number, hexadecimal.
      type: str
    names:
      description: Its subject alternative names, each as C(DNS:…) or C(IP:…).
      type: list
      elements: str
    not_before:
      description: When it begins to be valid, such as V(2026-11-22T04:00:00Z).
      type: str
    not_after:
      description: When it ends.
      type: str
    protocol:
      description: The version of TLS.
      type: str
    cipher:
      description: The cipher suite.
      type: str
    chain:
      description: All certificates that were sent, as PEM, if O(chain).
      type: list
      elements: str
    http:
      description: What each of O(http_ports) does, with C(port), C(answers), C(status), C(location), C(https_redirect) and C(said).
      type: list
      elements: dict
"""

import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.certfleet.tls.plugins.module_utils._host.certificate_fields import certificate_fields
from ansible_collections.certfleet.tls.plugins.module_utils._host.errors import HostError
from ansible_collections.certfleet.tls.plugins.module_utils._host.trust_stores import STORES
from ansible_collections.certfleet.tls.plugins.module_utils._probe.chain import served_chain
from ansible_collections.certfleet.tls.plugins.module_utils._probe.connection import endpoint_text, way_to
from ansible_collections.certfleet.tls.plugins.module_utils._probe.errors import ProbeError
from ansible_collections.certfleet.tls.plugins.module_utils._probe.plain_http import plain_http
from ansible_collections.certfleet.tls.plugins.module_utils._probe.tls import look, trusting
from ansible_collections.certfleet.tls.plugins.module_utils._probe.tunnel import parse_proxy


def look_at(endpoint: Mapping[str, Any], *, anchors: str | None, options: Mapping[str, Any]) -> dict[str, Any]:
    """Everything about one endpoint."""
    address, timeout = str(endpoint["address"]), options["timeout"]
    port = int(endpoint.get("port") or 443)
    server_name = str(endpoint.get("server_name") or address)
    found = {"name": endpoint_text(address, port), **endpoint, "port": port, "server_name": server_name}
    try:
        proxy = parse_proxy(endpoint.get("proxy"), endpoint.get("proxy_ssh_options"), where=found["name"])
        with way_to(proxy) as via:
            limit: dict[str, Any] = {"timeout": timeout if via is None else 3 * timeout, "via": via}
            seen = look(address, port, server_name=server_name, anchors=anchors, **limit).as_dict()
            checks = {check: seen.pop(check) for check in ("chain", "name", "time")}
            known = {field: value for field, value in seen.items() if field not in ("address", "port")}
            found.update(known, checks=checks)
            if seen["leaf"]:
                found.update(certificate_fields(seen["leaf"], where=found["name"]))
            if seen["leaf"] and options["chain"]:
                longer = {**limit, "timeout": 2 * limit["timeout"]}
                found["chain"] = served_chain(address, port, server_name=server_name, **longer)
            found["http"] = [plain_http(address, http_port, **limit) for http_port in options["http_ports"]]
    except (ProbeError, HostError) as exc:
        found.update(trusted=False, failure=found.get("failure") or "unusable", said=str(exc))
    return found


def anchors_of(options: Mapping[str, Any]) -> str | None:
    """The PEM text to trust, checked once for all endpoints. Raises ProbeError or HostError."""
    if options["use_system_trust"]:
        bundles = [store.bundle for store in STORES if os.path.isfile(store.bundle)]
        if not bundles:
            raise HostError("This host has no bundle of trusted certificates. Install the package ca-certificates.")
        with open(bundles[0], encoding="utf-8") as stream:
            return stream.read()
    if not (options["anchors"] or "").strip():
        return None
    trusting(options["anchors"])
    return str(options["anchors"])


def argument_spec() -> dict[str, Any]:
    """The module's options."""
    return {
        "endpoints": {"type": "list", "elements": "dict"},
        "anchors": {"type": "str"},
        "use_system_trust": {"type": "bool", "default": False},
        "chain": {"type": "bool", "default": False},
        "http_ports": {"type": "list", "elements": "int", "default": []},
        "timeout": {"type": "float", "default": 5},
        "parallel": {"type": "int", "default": 16},
        "client_may_be_away": {"type": "bool", "default": False},
    }


def main() -> None:
    """Look at all endpoints and answer in their order."""
    module = AnsibleModule(
        argument_spec=argument_spec(), mutually_exclusive=[("anchors", "use_system_trust")], supports_check_mode=True
    )
    options = module.params
    endpoints = options["endpoints"] or []
    nameless = [endpoint for endpoint in endpoints if not endpoint.get("address")]
    if nameless:
        module.fail_json(msg=f"{len(nameless)} of the endpoints have no address. Give each one.")
    try:
        anchors = anchors_of(options)
    except (ProbeError, HostError, OSError) as exc:
        module.fail_json(msg=str(exc))
    with ThreadPoolExecutor(max_workers=max(1, min(64, options["parallel"]))) as pool:
        found = list(pool.map(lambda endpoint: look_at(endpoint, anchors=anchors, options=options), endpoints))
    module.exit_json(changed=False, reachable=True, endpoints=found)


if __name__ == "__main__":
    main()
