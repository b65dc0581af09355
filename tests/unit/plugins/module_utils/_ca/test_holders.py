# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A name belongs to one identity, unless all that have it share it on purpose."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.certfleet.tls.plugins.module_utils._ca.errors import CAError
from ansible_collections.certfleet.tls.plugins.module_utils._ca.holders import COVERED
from ansible_collections.certfleet.tls.plugins.module_utils._ca.ledger import Ledger
from ansible_collections.certfleet.tls.plugins.module_utils._ca.orders import read_declared

from .workshop import DAY, NOW, Workshop, request

NAME = "DNS:line-1.plant.example"
OTHER = "DNS:line-2.plant.example"


def ask(identity: str, *names: str, **changes: Any) -> dict[str, Any]:
    return request(identity, names=list(names or (NAME,)), **changes)


def results(workshop: Workshop, *requests: dict[str, Any], **options: Any) -> list[str]:
    """For each request: issued, kept (the one in force), or the code of the error."""
    answers = workshop.issue(*requests, **options)["certificates"]
    return [
        answer["error"]["code"] if "error" in answer else ("issued" if answer["issued"] else "kept")
        for answer in (answers[item["id"]] for item in requests)
    ]


def test_a_name_of_another_is_refused_and_its_holder_told(workshop: Workshop) -> None:
    workshop.issue(ask("a"))
    refused = workshop.issue(ask("b", OTHER, NAME))["certificates"]["b/https"]["error"]
    assert refused["code"] == "name_held"
    assert refused["message"].startswith(f"b/https: 'a' holds the name {NAME} in authority 'fleet'. Nothing was issued")
    assert "rename or decommission 'a' first" in refused["message"]
    assert workshop.states() == ["issued"]
    assert results(workshop, ask("b", OTHER)) == ["issued"]


def test_of_one_batch_the_second_is_refused(workshop: Workshop) -> None:
    assert results(workshop, ask("b"), ask("a"), ask("c", OTHER)) == ["issued", "name_held", "issued"]


def test_a_refused_one_takes_no_name_from_others(workshop: Workshop) -> None:
    workshop.issue(ask("a"))
    assert results(workshop, ask("b", NAME, OTHER), ask("c", OTHER)) == ["name_held", "issued"]


def test_own_names_are_no_conflict(workshop: Workshop) -> None:
    workshop.issue(ask("a"))
    assert results(workshop, ask("a"), ask("a", name="api"), ask("a", NAME, OTHER, name="third")) == [
        "kept",
        "issued",
        "issued",
    ]
    workshop.now += 80 * DAY
    assert results(workshop, ask("a")) == ["issued"]


def test_each_authority_has_its_own_names(workshop: Workshop) -> None:
    workshop.create("second")
    assert results(workshop, ask("a"), ask("b", authority="second")) == ["issued", "issued"]


@pytest.mark.parametrize(
    ("profiles", "result"),
    [
        (("server", "server"), "issued"),
        (("server", "client"), "issued"),
        (("client", "server"), "issued"),
        (("client", "client"), "name_held"),
        (("server_client", "client"), "name_held"),
        (("client", "server_client"), "name_held"),
    ],
)
def test_common_names_of_clients_are_held(workshop: Workshop, profiles: tuple[str, str], result: str) -> None:
    workshop.issue(ask("a", common_name="line", profile=profiles[0]))
    assert results(workshop, ask("b", OTHER, common_name="line", profile=profiles[1])) == [result]
    assert results(workshop, ask("c", "DNS:c.example", common_name="Line", profile="client")) == ["issued"]


def test_client_without_other_names(workshop: Workshop) -> None:
    first, second = (request(identity, names=[], common_name="x", profile="client") for identity in "ab")
    assert results(workshop, first, second) == ["issued", "name_held"]
    shared = [{**item, "shared_names": ["CN:x"]} for item in (first, second)]
    assert results(workshop, *shared) == ["kept", "issued"]


WILD, BELOW = "DNS:*.plant.example", "DNS:line-1.plant.example"


@pytest.mark.parametrize(("first", "second"), [(WILD, BELOW), (BELOW, WILD)])
def test_a_wildcard_and_what_it_stands_for_belong_to_one(workshop: Workshop, first: str, second: str) -> None:
    assert results(workshop, ask("a", first), ask("b", second)) == ["issued", "name_held"]
    said = workshop.issue(ask("b", second))["certificates"]["b/https"]["error"]["message"]
    assert f"'a' holds the name {first}" in said
    assert second in said
    # Another level, the domain itself, an address or a common name are nothing to it.
    apart = ["DNS:x.line-9.plant.example", "DNS:plant.example", "IP:198.19.1.9"]
    assert results(workshop, ask("c", *apart, common_name="line-9.plant.example", profile="client")) == ["issued"]
    a, b = ask("a", first, shared_names=[first]), ask("b", second, shared_names=[second])
    assert results(workshop, b) == ["name_held"]
    assert results(workshop, a, b) == ["kept", "issued"]
    assert results(workshop, ask("d", second)) == ["name_held"]


def test_a_machine_may_have_a_wildcard_and_names_below_it(workshop: Workshop) -> None:
    assert results(workshop, ask("a", WILD, BELOW), ask("a", BELOW, name="other")) == ["issued", "issued"]


def test_what_a_wildcard_stands_for_is_looked_up(workshop: Workshop) -> None:
    plan = str(workshop.sql(f"EXPLAIN QUERY PLAN {COVERED}", "[]", "fleet"))
    assert "USING INDEX holders_by_parent (authority=? AND <expr>=?)" in plan


def test_a_wildcard_of_each_authority_and_of_one_that_is_gone(workshop: Workshop) -> None:
    workshop.create("second")
    assert results(workshop, ask("a", BELOW), ask("b", WILD, authority="second")) == ["issued", "issued"]
    workshop.sql("UPDATE certificates SET state = 'revoked' WHERE identity = 'a'")
    assert results(workshop, ask("c", WILD)) == ["issued"]


def test_shared_by_all_in_one_batch(workshop: Workshop) -> None:
    a, b, c = (ask(identity, shared_names=[NAME]) for identity in "abc")
    assert results(workshop, a, b) == ["issued", "issued"]
    assert results(workshop, c) == ["issued"]
    assert results(workshop, ask("d")) == ["name_held"]


def test_shared_names_are_normalised_and_others_are_of_no_account(workshop: Workshop) -> None:
    shared = ["dns:LINE-1.plant.example.", "DNS:never-asked.example"]
    assert results(workshop, ask("a", shared_names=shared), ask("b", shared_names=shared)) == ["issued", "issued"]
    assert results(workshop, ask("c", OTHER), ask("d", OTHER, shared_names=[NAME])) == ["issued", "name_held"]


@pytest.mark.parametrize("shared", ["DNS:line-1.plant.example", ["line-1"], [7], 7])
def test_shared_names_that_are_none(workshop: Workshop, shared: Any) -> None:
    assert results(workshop, ask("a", shared_names=shared)) in (["bad_names"], ["bad_request"])


def test_one_side_alone_does_not_share(workshop: Workshop) -> None:
    workshop.issue(ask("a"))
    asked = ask("b", shared_names=[NAME])
    said = workshop.issue(asked)["certificates"]["b/https"]["error"]["message"]
    assert "'a' has not said that it shares" in said
    assert "run for both of them at once" in said
    assert results(workshop, ask("a", shared_names=[NAME]), asked) == ["kept", "issued"]


def test_the_other_side_may_be_settled_already(workshop: Workshop) -> None:
    workshop.issue(ask("a"))
    declared = read_declared([{"identity": "a", "authority": "fleet", "names": [NAME]}])
    asked = ask("b", shared_names=[NAME])
    elsewhere = read_declared([{"identity": "a", "authority": "second", "names": [NAME]}])
    assert results(workshop, asked, declared=elsewhere) == ["name_held"]
    assert results(workshop, ask("b"), declared=declared) == ["name_held"]
    assert results(workshop, ask("a"), asked, declared=declared) == ["kept", "name_held"]
    assert results(workshop, asked, declared=declared) == ["issued"]


def test_what_is_declared_must_be_names() -> None:
    with pytest.raises(CAError, match=r"shared_names of 'a'.*Nothing was issued"):
        read_declared([{"identity": "a", "authority": "fleet", "names": ["nonsense"]}])


def test_a_name_that_a_whole_fleet_shares_costs_no_question_for_each_pair(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    statements: list[str] = []
    run = Ledger.run
    monkeypatch.setattr(Ledger, "run", lambda self, sql, values=(): (statements.append(sql), run(self, sql, values))[1])
    counts = []
    for count in (3, 30):
        batch = [ask(f"{count}-{number}", OTHER, shared_names=[OTHER]) for number in range(count)]
        assert results(workshop, *batch) == ["issued"] * count
        statements.clear()
        again = [{**item, "names": [OTHER, f"DNS:{item['identity']}.example"]} for item in batch]
        assert results(workshop, *again) == ["issued"] * count
        counts.append(len(statements))
    assert counts[0] == counts[1]


def test_sharing_ends_when_one_no_longer_says_so(workshop: Workshop) -> None:
    a, b = (ask(identity, shared_names=[NAME]) for identity in "ab")
    workshop.issue(a, b)
    assert results(workshop, ask("a")) == ["kept"]
    workshop.now += 80 * DAY
    assert results(workshop, b) == ["name_held"]


def without_it_in_service(workshop: Workshop) -> None:
    workshop.install(workshop.issue_one("a", names=[OTHER]), identity="a")


def revoked(workshop: Workshop) -> None:
    workshop.sql("UPDATE certificates SET state = 'revoked' WHERE identity = 'a'")


def expired(workshop: Workshop) -> None:
    workshop.now += 91 * DAY


@pytest.mark.parametrize("end", [without_it_in_service, revoked, expired])
def test_a_name_is_free_when_its_certificate_has_ended(workshop: Workshop, end: Callable[[Workshop], None]) -> None:
    workshop.issue(ask("a"))
    assert results(workshop, ask("b")) == ["name_held"]
    end(workshop)
    assert results(workshop, ask("b")) == ["issued"]
    assert results(workshop, ask("a")) == ["name_held"]


def test_a_newer_certificate_that_is_not_in_service_frees_nothing(workshop: Workshop) -> None:
    workshop.issue(ask("a"))
    workshop.issue(ask("a", OTHER))
    assert results(workshop, ask("b")) == ["name_held"]


def test_two_may_swap_their_names_in_one_batch(workshop: Workshop) -> None:
    workshop.issue(ask("a", NAME), ask("b", OTHER))
    assert results(workshop, ask("a", OTHER), ask("b", NAME)) == ["issued", "issued"]


def test_a_name_that_is_given_up_for_one_certificate_only_is_still_held(workshop: Workshop) -> None:
    workshop.issue(ask("a", NAME), ask("a", NAME, name="api"))
    assert results(workshop, ask("a", OTHER), ask("b", NAME)) == ["issued", "name_held"]


def test_asking_again_writes_nothing(workshop: Workshop) -> None:
    batch = [ask("a", shared_names=[NAME]), ask("b", shared_names=[NAME])]
    workshop.issue(*batch)
    before = workshop.sql("SELECT * FROM holders")
    workshop.sql("CREATE TRIGGER writes BEFORE UPDATE ON holders BEGIN SELECT RAISE(ABORT, 'written'); END")
    assert results(workshop, *batch) == ["kept", "kept"]
    assert workshop.sql("SELECT * FROM holders") == before


@pytest.fixture(scope="module")
def template() -> Iterator[Path]:
    """A host with the authority fleet, to be copied: making one takes longer than an example."""
    folder = Path(tempfile.mkdtemp())
    Workshop(folder).create()
    yield folder
    shutil.rmtree(folder)


NAMES = [f"DNS:n{number}.example" for number in range(3)]


class Step(NamedTuple):
    """An order, or what happens between orders to the newest certificate of the identity."""

    identity: str
    certificate: str
    names: frozenset[str]
    shared: frozenset[str]
    then: str


STEPS = st.lists(
    st.lists(
        st.builds(
            Step,
            st.sampled_from("abc"),
            st.sampled_from(["https", "api"]),
            st.frozensets(st.sampled_from(NAMES), min_size=1),
            st.frozensets(st.sampled_from(NAMES)),
            st.sampled_from(["", "install", "revoke", "wait"]),
        ),
        min_size=1,
        max_size=3,
        unique_by=lambda step: (step.identity, step.certificate),
    ),
    max_size=6,
)


def in_force(workshop: Workshop) -> list[tuple[str, str, set[str]]]:
    rows = workshop.sql(
        "SELECT identity, name, names FROM certificates WHERE identity != '' AND state = 'issued' AND not_after >= ?",
        workshop.now,
    )
    return [(identity, certificate, set(json.loads(names))) for identity, certificate, names in rows]


def said(batch: Iterable[Step]) -> dict[tuple[str, str], bool]:
    """Whether an identity shares a name, told by all of its orders in a batch together."""
    asked = {(step.identity, name) for step in batch for name in step.names}
    return {
        (identity, name): any(step.identity == identity and name in step.names & step.shared for step in batch)
        for identity, name in asked
    }


def expected(workshop: Workshop, batch: list[Step], shares: dict[tuple[str, str], bool]) -> list[bool]:
    """Who may have all of its names, told from all certificates instead of the table of holders."""
    wanted = {(step.identity, step.certificate): step.names for step in batch}
    says = {**shares, **said(batch)}
    holders = [
        (identity, name)
        for identity, certificate, names in in_force(workshop)
        for name in names & wanted.get((identity, certificate), names)
    ]
    allowed = []
    for step in batch:
        others = [(identity, name) for identity, name in holders if identity != step.identity and name in step.names]
        allowed.append(all(name in step.shared and says.get((identity, name)) for identity, name in others))
        if allowed[-1]:
            holders += [(step.identity, name) for name in step.names]
    return allowed


@given(steps=STEPS)
def test_who_may_have_a_name_is_what_all_certificates_say(template: Path, steps: list[list[Step]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(template, folder, dirs_exist_ok=True)
        workshop = Workshop(Path(folder))
        workshop.now = NOW
        shares: dict[tuple[str, str], bool] = {}
        for number, batch in enumerate(steps):
            allowed = expected(workshop, batch, shares)
            # With a new common name each time nothing is answered from the ledger.
            asked = [
                ask(
                    step.identity,
                    *step.names,
                    name=step.certificate,
                    shared_names=sorted(step.shared),
                    common_name=f"generation-{number}",
                    lifetime=30 * DAY,
                )
                for step in batch
            ]
            workshop.now += 3600
            assert results(workshop, *asked) == ["issued" if may else "name_held" for may in allowed]
            shares.update(said([step for step, may in zip(batch, allowed) if may]))
            for step in batch:
                act(workshop, step)


def act(workshop: Workshop, step: Step) -> None:
    rows = workshop.sql(
        "SELECT fingerprint FROM certificates WHERE identity = ? AND name = ? AND state = 'issued' ORDER BY id DESC",
        step.identity,
        step.certificate,
    )
    if step.then == "wait":
        workshop.now += 16 * DAY
    elif rows and step.then == "install":
        workshop.install({"fingerprint": rows[0][0]}, identity=step.identity, name=step.certificate)
    elif rows and step.then == "revoke":
        workshop.sql("UPDATE certificates SET state = 'revoked' WHERE fingerprint = ?", rows[0][0])


HOST = "line.plant.example"


@pytest.mark.parametrize("profiles", [("server", "server"), ("client", "server"), ("server", "client")])
def test_a_common_name_that_stands_for_a_host_is_held_as_one(workshop: Workshop, profiles: tuple[str, str]) -> None:
    """Without a DNS name OpenSSL takes it for the host's."""
    alone = ask("a", "IP:198.19.1.1", common_name="Line.plant.example", profile=profiles[0])
    assert results(workshop, alone) == ["issued"]
    by_name = ask("b", f"DNS:{HOST}", profile=profiles[1])
    wild = ask("c", "DNS:*.plant.example", profile=profiles[1])
    same = ask("d", "IP:198.19.1.2", common_name=HOST, profile=profiles[1])
    assert results(workshop, by_name, wild, same) == ["name_held"] * 3
    # Where there is a DNS name nobody looks at it; another name is another host.
    apart = ask("e", "DNS:e.example", common_name="Line.plant.example", profile="server")
    label = ask("f", "IP:198.19.1.3", common_name="line", profile="server")
    assert results(workshop, apart, label) == ["issued"] * 2


def test_a_host_is_held_also_by_whom_has_its_name_as_a_dns_name(workshop: Workshop) -> None:
    assert results(workshop, ask("a", f"DNS:{HOST}")) == ["issued"]
    assert results(workshop, ask("b", "IP:198.19.1.1", common_name=HOST, profile="server")) == ["name_held"]


def test_who_shares_a_common_name_shares_the_host(workshop: Workshop) -> None:
    common: dict[str, Any] = {"common_name": HOST, "profile": "client", "shared_names": [f"CN:{HOST}"]}
    first, second = ask("a", "IP:198.19.1.1", **common), ask("b", "IP:198.19.1.2", **common)
    assert results(workshop, first, second) == ["issued", "issued"]
    third = ask("c", "IP:198.19.1.3", **common)
    declared = read_declared(
        [{"authority": "fleet", "identity": identity, "names": [f"CN:{HOST}"]} for identity in "ab"]
    )
    assert results(workshop, third, declared=declared) == ["issued"]
