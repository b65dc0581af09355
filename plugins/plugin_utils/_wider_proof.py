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
# A firewall between may be the one who says this; it counts unless another client got through.
_PERHAPS_NETWORK = frozenset({"refused", "closed"})
_NEW = frozenset({"installed", "reloaded"})


@dataclass(frozen=True)
class Verdict:
    """Whether the others accept a certificate; C(ok) is None where nobody could look. C(said) is for people."""

    ok: bool | None
    said: str


def to_confirm(variables: Mapping[str, Any]) -> Iterator[tuple[Mapping[str, Any], str | None]]:
    """(entry of request, fingerprint that must be served) of this host's certificates that others shall judge.

    That is what deploy has just brought into service, and what an earlier run did and nobody has confirmed since, or what was kept
    although somebody did not accept it.
    """
    request, deploy = variables.get(REQUEST_VARIABLE) or {}, variables.get(DEPLOY_VARIABLE) or {}
    # An earlier use of the role may have left a result that answers another request.
    answers = bool(request.get("ticket")) and deploy.get("ticket") == request["ticket"]
    done = {str(entry["id"]): entry for entry in (deploy.get("certificates") if answers else None) or ()}
    for entry in request.get("certificates") or ():
        deployed = done.get(str(entry["id"]))
        if deployed is not None:
            if deployed["outcome"] in _NEW:
                yield entry, (deployed.get("after") or {}).get("fingerprint")
        elif entry.get("unconfirmed") or was_kept(entry):
            yield entry, (entry.get("current") or {}).get("fingerprint")


def was_kept(entry: Mapping[str, Any]) -> bool:
    """Whether the certificate in service was kept by an earlier run although it was not accepted, and nothing is due since."""
    return entry["verdict"] == "none" and entry.get("last_outcome") == "kept"


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
    registered = task_vars.get(LOOK_VARIABLE)
    looks = list(_looks(registered))
    host = str(task_vars["inventory_hostname"])
    view = ((task_vars.get(VIEW_VARIABLE) or {}).get("devices") or {}).get(host) or {}
    verdicts = {}
    for entry, _fingerprint in to_confirm(task_vars):
        name = str(entry["id"])
        verdict = _verdict([(client, seen[name]) for client, seen in looks if name in seen])
        if registered is not None and not registered.get("results"):
            verdict = Verdict(True, "no clients are named that could be asked")
        elif verdict.ok is False and entry.get("window_opens"):
            # It was brought in by an earlier run. The service must not be disturbed now to go back.
            said = f"{verdict.said}; it stays until the next change window opens {entry['window_opens']} (tls_change_windows)"
            verdict = Verdict(None, said)
        if verdict.ok is None and was_kept(entry) and _is_seen_through_a_proxy(entry):
            verdict = Verdict(True, "the controller accepts it; only a proxy leads there")
        if view.get("worse"):
            verdict = Verdict(False, str(view.get("said") or "its managing system thinks worse of it than before"))
        verdicts[name] = verdict
    return verdicts


def _is_seen_through_a_proxy(entry: Mapping[str, Any]) -> bool:
    """Whether the request step, the only client that gets there, has found it trusted."""
    prove = (entry.get("spec") or {}).get("prove") or {}
    return bool(prove.get("proxy") and (entry.get("served") or {}).get("trusted"))


def accepted_since(variables: Mapping[str, Any], host: str) -> list[Mapping[str, Any]]:
    """The entries of request of certificates that were kept although not accepted, and that clients accept by now."""
    kept = [entry for entry in (variables.get(REQUEST_VARIABLE) or {}).get("certificates") or () if was_kept(entry)]
    verdicts = wider_verdicts({**variables, "inventory_hostname": host}) if kept else {}
    return [entry for entry in kept if (verdict := verdicts.get(str(entry["id"]))) and verdict.ok]


def not_accepted_yet(variables: Mapping[str, Any], host: str) -> list[str]:
    """A sentence for each certificate that was kept although not accepted, and still is not."""
    accepted = [str(entry["id"]) for entry in accepted_since(variables, host)]
    return [
        f"{entry['id']}: kept by an earlier run although it was not accepted, and clients have not been seen to accept it since; look at"
        " what they trust (role tls_trust), and whether any of them can be reached"
        for entry in (variables.get(REQUEST_VARIABLE) or {}).get("certificates") or ()
        if was_kept(entry) and str(entry["id"]) not in accepted
    ]


def _looks(registered: Any) -> Iterator[tuple[str, dict[str, Mapping[str, Any]]]]:
    """(client, what it saw by the certificate's id) of those clients that could look."""
    for result in (registered or {}).get("results") or ():
        if result.get("endpoints") is not None:
            client = str(result.get("__tls_client") or result.get("item") or "client")
            yield client, {str(seen["name"]): seen for seen in result["endpoints"]}


def _verdict(looks: Iterable[tuple[str, Mapping[str, Any]]]) -> Verdict:
    good, bad, away = [], [], []
    seen_by = list(looks)
    someone_got_through = any(_problem(seen) is None for _client, seen in seen_by)
    for client, seen in seen_by:
        problem = _problem(seen)
        if problem is None:
            good.append(client)
        elif seen.get("failure") in _NETWORK or (someone_got_through and seen.get("failure") in _PERHAPS_NETWORK):
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
