# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The proof by others: what machines of the inventory see of a new certificate, with the trust store that they really use.

Deploy has proved it from where it runs. Whether the plant's clients agree is known after they have looked; until then a host
keeps its previous pair. For devices, what a managing system (MiR Fleet) thinks of them counts as well.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ._engine import DEPLOY_VARIABLE, REQUEST_VARIABLE, batch_variables

LOOK_VARIABLE = "__tls_certificate_look"
VIEW_VARIABLE = "__tls_certificate_view"

# The client did not come as far as the endpoint: that says nothing about the certificate.
_NETWORK = frozenset({"timeout", "unreachable", "unusable"})
_NEW = frozenset({"installed", "reloaded"})


@dataclass(frozen=True)
class Verdict:
    """Whether the others accept a certificate; C(ok) is None where nobody could look. C(said) is for people."""

    ok: bool | None
    said: str


def to_confirm(variables: Mapping[str, Any]) -> Iterator[tuple[Mapping[str, Any], str | None]]:
    """(entry of request, fingerprint that must be served) of this host's certificates that others shall judge.

    That is what deploy has just brought into service, and what an earlier run did and nobody has confirmed since.
    """
    done = {str(entry["id"]): entry for entry in (variables.get(DEPLOY_VARIABLE) or {}).get("certificates") or ()}
    for entry in (variables.get(REQUEST_VARIABLE) or {}).get("certificates") or ():
        deployed = done.get(str(entry["id"]))
        if deployed is not None:
            if deployed["outcome"] in _NEW:
                yield entry, (deployed.get("after") or {}).get("fingerprint")
        elif entry.get("unconfirmed"):
            yield entry, (entry.get("current") or {}).get("fingerprint")


def batch_endpoints(task_vars: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The endpoints of the batch that clients shall look at, named by the certificate's id."""
    found = []
    for host, variables in batch_variables(task_vars, REQUEST_VARIABLE, DEPLOY_VARIABLE, "ansible_host"):
        for entry, fingerprint in to_confirm(variables):
            endpoint = _endpoint(entry, default_address=str(variables.get("ansible_host") or host))
            if endpoint is not None:
                found.append({"name": str(entry["id"]), "expected": fingerprint, **endpoint})
    return found


def _endpoint(entry: Mapping[str, Any], *, default_address: str) -> dict[str, Any] | None:
    """Where clients connect to; None where the specification names no endpoint, or one that only a tunnel leads to."""
    spec = entry.get("spec") or {}
    prove = spec.get("prove") or {}
    # A host without an endpoint has nothing that could be looked at; a device is its endpoint.
    if prove.get("proxy") or not (prove.get("address") or "on_failure" in spec):
        return None
    address = str(prove.get("address") or default_address)
    port = int(prove.get("port") or 443)
    return {"address": address, "port": port, "server_name": str(prove.get("server_name") or address)}


def wider_verdicts(task_vars: Mapping[str, Any]) -> dict[str, Verdict]:
    """By certificate's id, what clients and managing systems say of this host's new certificates."""
    looks = list(_looks(task_vars.get(LOOK_VARIABLE)))
    host = str(task_vars["inventory_hostname"])
    view = ((task_vars.get(VIEW_VARIABLE) or {}).get("devices") or {}).get(host) or {}
    verdicts = {}
    for entry, _fingerprint in to_confirm(task_vars):
        name = str(entry["id"])
        verdict = _verdict([(client, seen[name]) for client, seen in looks if name in seen])
        if view.get("worse"):
            verdict = Verdict(False, str(view.get("said") or "its managing system thinks worse of it than before"))
        verdicts[name] = verdict
    return verdicts


def _looks(registered: Any) -> Iterator[tuple[str, dict[str, Mapping[str, Any]]]]:
    """(client, what it saw by the certificate's id) of those clients that could look."""
    for result in (registered or {}).get("results") or ():
        if result.get("endpoints") is not None:
            client = str(result.get("__tls_client") or result.get("item") or "client")
            yield client, {str(seen["name"]): seen for seen in result["endpoints"]}


def _verdict(looks: Iterable[tuple[str, Mapping[str, Any]]]) -> Verdict:
    good, bad, away = [], [], []
    for client, seen in looks:
        problem = _problem(seen)
        if problem is None:
            good.append(client)
        elif seen.get("failure") in _NETWORK:
            away.append(f"{client}: {problem}")
        else:
            bad.append(f"{client}: {problem}")
    if bad:
        return Verdict(False, f"clients do not accept it: {'; '.join(bad)}")
    aside = f" ({'; '.join(away)})" if away else ""
    if good:
        return Verdict(True, f"{', '.join(good)} accepted it as well{aside}")
    return Verdict(None, f"no other machine could look at it{aside}")


def _problem(seen: Mapping[str, Any]) -> str | None:
    """Why this client would not be content, or None."""
    if not seen.get("trusted"):
        return str(seen.get("said") or seen.get("failure") or "not trusted")
    if seen.get("expected") and seen.get("fingerprint") != seen["expected"]:
        return "another certificate is served than the one that was deployed"
    return None
