# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""When certificates are renewed: the judge and the CA together, over all specifications, and over years of daily runs."""

from __future__ import annotations

import math
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ansible_collections.certfleet.tls.plugins.module_utils._x509.judge import Have, Served, judge
from ansible_collections.certfleet.tls.plugins.module_utils._x509.keys import new_key
from ansible_collections.certfleet.tls.plugins.module_utils._x509.lifespan import renewal_due_at, renewal_window
from ansible_collections.certfleet.tls.plugins.module_utils._x509.names import is_dn_text
from ansible_collections.certfleet.tls.plugins.module_utils._x509.parse import parse_bundle, parse_certificate
from ansible_collections.certfleet.tls.plugins.module_utils._x509.spec import CertificateSpec

from .plant import Plant, known_of, request_of, seen_on_host
from .workshop import DAY, NOW, Workshop

YEAR = 365 * DAY
KEYS = {kind: new_key(kind) for kind in ("ec-p256", "ec-p384", "rsa-2048", "ed25519")}
ISSUING_LIFE = 5 * YEAR


@pytest.fixture(scope="module")
def lasting() -> Iterator[Workshop]:
    """One CA for all examples of a property; each takes a certificate of its own."""
    folder = tempfile.mkdtemp()
    workshop = Workshop(Path(folder))
    workshop.create(
        profiles={"plc": {"usages": ["serverAuth", "clientAuth"], "crl_urls": ["http://crl.plant.example/f"]}}
    )
    yield workshop
    shutil.rmtree(folder)


LABEL = st.text("abcdefghijklmnopqrstuvwxyz0123456789", min_size=1, max_size=12).map(lambda text: f"r{text}")
DNS = st.lists(LABEL, min_size=1, max_size=4).map(lambda labels: "DNS:" + ".".join(labels))
WILDCARD = st.lists(LABEL, min_size=2, max_size=3).map(lambda labels: "DNS:*." + ".".join(labels))
ADDRESS = st.ip_addresses().map(lambda address: f"IP:{address}")
TEXT = st.text(
    st.characters(
        min_codepoint=32, max_codepoint=0x2FF, blacklist_characters=',"\\+<>;=\x7f', blacklist_categories=["Cc"]
    ),
    min_size=1,
    max_size=64,
).filter(is_dn_text)


@st.composite
def descriptions(draw: Any) -> dict[str, Any]:
    """Any certificate that a user may describe."""
    lifetime = draw(st.one_of(st.integers(2, 30 * DAY), st.integers(1, 4000).map(lambda days: days * DAY)))
    wanted: dict[str, Any] = {
        "name": f"c-{uuid.uuid4().hex}",
        "profile": draw(st.sampled_from(["server", "client", "server_client", "plc"])),
        "subject_alt_names": draw(st.lists(st.one_of(DNS, WILDCARD, ADDRESS), min_size=1, max_size=6)),
        "lifetime": lifetime,
        "key": {"type": draw(st.sampled_from(sorted(KEYS)))},
        **draw(st.sampled_from([{"where": {}}, {"api": {}}])),
    }
    if draw(st.booleans()):
        wanted["common_name"] = draw(TEXT)
    if draw(st.booleans()):
        wanted["renew_before"] = draw(st.integers(1, lifetime - 1))
    return wanted


@settings(max_examples=80, deadline=None)
@given(wanted=descriptions(), ages=st.lists(st.floats(0, 1.5), min_size=4, max_size=4))
def test_what_was_just_issued_is_due_from_its_renewal_point_on_and_for_nothing_else(
    lasting: Workshop, wanted: dict[str, Any], ages: list[float]
) -> None:
    # One identity may have any number of certificates for a name.
    spec = CertificateSpec.from_dict(wanted, identity="robot-1", where="robot-1")
    lasting.now = NOW
    answer = lasting.issue(request_of(spec, KEYS[spec.key_type], "missing"))
    leaf = parse_certificate(answer["certificates"][spec.id]["certificate"])
    known = known_of(lasting, spec)
    assert known.chain == tuple(link.fingerprint for link in parse_bundle(answer["chains"]["fleet"]))
    have = seen_on_host(leaf, spki=leaf.spki, chain=known.chain)
    if spec.api is not None:
        have = Have("device", served=Served(leaf, trusted=True))
    point, window = renewal_due_at(leaf, spec.renew_before), renewal_window(leaf, spec.renew_before)
    assert leaf.not_after - window <= point <= leaf.not_after - window // 2
    if spec.lifetime <= ISSUING_LIFE:
        assert point > NOW, "due from its birth on: the next run would renew it again"
    times = {point - 1, point, point + 1, leaf.not_after, leaf.not_after + 1}
    times |= {NOW + int(age * (leaf.not_after - NOW)) for age in ages}
    for now in sorted(time for time in times if time >= NOW):
        judgement = judge(spec, have, known, now=now)
        codes = [reason.code for reason in judgement.reasons]
        assert (judgement.verdict, codes) == (("none", []) if now < point else ("issue", ["expiring"])), now - point


def check_years(plant: Plant, *, life: int, window: int) -> None:
    """After runs on C(plant.day) days: whoever lived for O(life) days and is due within O(window) of its end was renewed so."""
    earliest, latest = life - window, life - window / 2
    for machine in plant.machines:
        ages = [after - before for before, after in zip(machine.issued_on, machine.issued_on[1:])]
        # Never twice in a row, never late: a run comes once a day.
        assert min(ages) >= math.floor(earliest), (machine.spec.id, ages)
        assert max(ages) <= math.ceil(latest) + 1, (machine.spec.id, ages)
        assert (plant.day - 1) // (math.ceil(latest) + 1) <= len(ages) <= (plant.day - 1) // math.floor(earliest)
        assert machine.reasons == ["missing", *["expiring"] * len(ages)]
        assert machine.chains_on == [day for day in plant.reissued_on if day not in machine.issued_on]
    assert plant.notes == [], "cut short with its issuing CA"
    assert plant.warnings == []


def test_three_years_of_daily_runs_past_the_end_of_the_issuing_ca(tmp_path: Path) -> None:
    plant = Plant(
        tmp_path, machines=12, certificate={"lifetime": "90d"}, issuing={"lifetime": "2y"}, root={"lifetime": "6y"}
    )
    while plant.day < 3 * 365:
        plant.run()
    check_years(plant, life=90, window=30)
    # As soon as a new leaf would be cut short, and not before.
    assert plant.reissued_on == [2 * 365 - 89]
    # All were issued on one day. Spread evenly, less than one comes due on each of 15 days, and by and by on any day.
    busiest = plant.renewals().most_common(1)[0]
    assert busiest[1] <= 8, busiest
    first = {machine.issued_on[1] for machine in plant.machines}
    assert len(first) >= 3, first


LIFETIMES = {
    "life": st.integers(6, 120),
    "share": st.one_of(st.none(), st.floats(0.1, 0.7)),
    "issuing": st.integers(260, 400),
}


def check_any_lifetimes(life: int, share: float | None, issuing: int, *, days: int) -> None:
    """Daily runs with leaves that live for O(life) days, of which O(share) is their window, under an issuing CA of so many days."""
    window = max(2, int(life * share)) if share else None
    certificate: dict[str, Any] = {"lifetime": f"{life}d", **({"renew_before": f"{window}d"} if window else {})}
    with tempfile.TemporaryDirectory() as folder:
        options = {"issuing": {"lifetime": f"{issuing}d"}, "root": {"lifetime": "10y"}}
        plant = Plant(Path(folder), machines=2, certificate=certificate, **options)
        while plant.day < days:
            plant.run()
    check_years(plant, life=life, window=window or math.ceil(life / 3))
    # The policy reckons with leaves of 90 days at least, where that is less than half of the issuing CA's life.
    each = issuing - min(max(life, 90), issuing // 2)
    assert len(plant.reissued_on) in (days // (each + 1), days // each)


@settings(max_examples=3, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(**LIFETIMES)
def test_daily_runs_with_any_lifetimes(life: int, share: float | None, issuing: int) -> None:
    check_any_lifetimes(life, share, issuing, days=420)


@pytest.mark.slow
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(**LIFETIMES)
def test_years_of_daily_runs_with_any_lifetimes(life: int, share: float | None, issuing: int) -> None:
    check_any_lifetimes(life, share, issuing, days=3 * 365)


@pytest.mark.slow
def test_nine_years_with_the_lifetimes_that_everybody_has(tmp_path: Path) -> None:
    plant = Plant(tmp_path, machines=60, certificate={})
    while plant.day < 9 * 365:
        plant.run()
    check_years(plant, life=90, window=30)
    assert plant.reissued_on == [5 * 365 - 89]
    assert max(plant.renewals().values()) <= 20
