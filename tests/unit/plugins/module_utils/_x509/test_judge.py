# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The verdict: one table row for each reason, and properties over time."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.certfleet.tls.plugins.module_utils._x509.build import new_serial
from ansible_collections.certfleet.tls.plugins.module_utils._x509.constraints import Constraints
from ansible_collections.certfleet.tls.plugins.module_utils._x509.errors import X509Error
from ansible_collections.certfleet.tls.plugins.module_utils._x509.judge import (
    Failure,
    Have,
    Judgement,
    Known,
    Served,
    Staged,
    judge,
    with_history,
)
from ansible_collections.certfleet.tls.plugins.module_utils._x509.keys import new_key, spki_of
from ansible_collections.certfleet.tls.plugins.module_utils._x509.lifespan import renewal_due_at
from ansible_collections.certfleet.tls.plugins.module_utils._x509.parse import Leaf, to_leaf
from ansible_collections.certfleet.tls.plugins.module_utils._x509.profiles import Profile
from ansible_collections.certfleet.tls.plugins.module_utils._x509.spec import CertificateSpec

from .authority import DAY, NOW, Authority

FLEET = Authority()
STRANGER = Authority("stranger")
KEY = new_key("ec-p256")
LEAF = FLEET.leaf(key=KEY)
BUILT_IN = to_leaf(STRANGER.root)
KNOWN = Known(True, issuing=FLEET.issuing_leaf, chain=(FLEET.issuing_leaf.fingerprint,))
WHERE = {"certificate": "/c", "key": "/k"}


def spec(**changes: Any) -> CertificateSpec:
    wanted = {
        "name": "https",
        "subject_alt_names": ["DNS:robot-1"],
        "common_name": "robot-1",
        "key": {"type": "ec-p256"},
    }
    target = {} if "api" in changes else {"where": WHERE}
    return CertificateSpec.from_dict({**wanted, **target, **changes}, identity="robot-1", where="robot-1")


def host(leaf: Leaf | None = LEAF, **changes: Any) -> Have:
    usual: dict[str, Any] = {
        "leaf": leaf,
        "key_spki": leaf.spki if leaf else None,
        "chain": KNOWN.chain,
        "served": Served(leaf, trusted=True),
    }
    return Have("host", **{**usual, **changes})


def device(leaf: Leaf | None, *, trusted: bool, said: str = "") -> Have:
    return Have("device", served=Served(leaf, trusted, said))


def codes(judgement: Judgement) -> list[str]:
    return [reason.code for reason in judgement.reasons]


HOST_CASES = [
    ("all is right", host(), KNOWN, spec(), "none", []),
    ("nothing there", host(None, served=None), KNOWN, spec(), "issue", ["missing"]),
    (
        "certificate damaged",
        host(None, leaf_error="/c: no certificate", served=None),
        KNOWN,
        spec(),
        "issue",
        ["unreadable"],
    ),
    ("key gone", host(key_spki=None), KNOWN, spec(), "issue", ["missing"]),
    ("key unreadable", host(key_spki=None, key_error="/k: encrypted"), KNOWN, spec(), "issue", ["unreadable"]),
    ("another key", host(key_spki="00" * 32), KNOWN, spec(), "issue", ["key_mismatch"]),
    ("key type changed", host(), KNOWN, spec(key={"type": "rsa-2048"}), "issue", ["key_policy"]),
    ("profile changed", host(), KNOWN, spec(profile="server_client"), "issue", ["profile_changed"]),
    ("name added", host(), KNOWN, spec(subject_alt_names=["DNS:robot-1", "IP:::1"]), "issue", ["names_changed"]),
    ("common name changed", host(), KNOWN, spec(common_name="other"), "issue", ["names_changed"]),
    ("another CA's", host(STRANGER.leaf(key=KEY)), KNOWN, spec(), "issue", ["issuer_changed"]),
    ("revoked", host(), replace(KNOWN, leaves={LEAF.fingerprint: "revoked"}), spec(), "issue", ["revoked"]),
    ("chain missing", host(chain=()), KNOWN, spec(), "install", ["chain_changed"]),
    ("modes", host(deviations=("/k has mode 0644, should be 0600",)), KNOWN, spec(), "install", ["mode_changed"]),
    ("crashed run", host(unfinished=True), KNOWN, spec(), "install", ["unproved"]),
    ("stale daemon", host(served=Served(BUILT_IN, False)), KNOWN, spec(), "reload", ["not_served"]),
    ("daemon down", host(served=Served(None, False, "refused")), KNOWN, spec(), "reload", ["not_served"]),
    (
        "stale and modes: the worse wins",
        host(served=Served(BUILT_IN, False), deviations=("m",)),
        KNOWN,
        spec(),
        "install",
        ["mode_changed", "not_served"],
    ),
]
HOST_CASES += [
    ("the product's own", host(BUILT_IN), KNOWN, spec(key={"type": "rsa-2048"}), "issue", ["issuer_changed"]),
    ("the product's own, no CA", host(BUILT_IN), Known(False, "down"), spec(), "issue", ["issuer_changed"]),
    (
        "a new pair mends the modes too",
        host(key_spki="00" * 32, deviations=("m",)),
        KNOWN,
        spec(),
        "issue",
        ["key_mismatch"],
    ),
]
PINNED = replace(KNOWN, pins=frozenset({BUILT_IN.spki}))
OWN = replace(KNOWN, leaves={LEAF.fingerprint: "issued"})
STOLEN = Known.from_ca_info(
    {
        "authorities": {"fleet": {"anchors": "ROOT", "chain": FLEET.issuing_leaf.pem}},
        "identities": {
            "robot-1": {
                "leaves": [
                    {
                        "fingerprint": LEAF.fingerprint,
                        "spki": LEAF.spki,
                        "state": "revoked",
                        "revocation_reason": "key_compromise",
                    }
                ]
            }
        },
    },
    identity="robot-1",
    authority="fleet",
)
ROBOT = spec(api={"name": "mir"})
DEVICE_CASES = [
    ("validated", device(LEAF, trusted=True), KNOWN, ROBOT, "none", []),
    ("stranger", device(BUILT_IN, trusted=False), KNOWN, ROBOT, "refuse", ["untrusted"]),
    ("pinned built-in", device(BUILT_IN, trusted=False), PINNED, ROBOT, "issue", ["missing"]),
    ("own leaf, not validating", device(LEAF, trusted=False), OWN, ROBOT, "none", []),
    (
        "own leaf, name changed",
        device(LEAF, trusted=False),
        OWN,
        spec(api={"name": "mir"}, subject_alt_names=["DNS:r"]),
        "issue",
        ["names_changed"],
    ),
    (
        "own leaf, revoked and not validating: for repair",
        device(LEAF, trusted=False),
        replace(KNOWN, leaves={LEAF.fingerprint: "revoked"}),
        ROBOT,
        "issue",
        ["revoked"],
    ),
    (
        "validates, but somebody else may have its key",
        device(LEAF, trusted=True),
        STOLEN,
        ROBOT,
        "refuse",
        ["untrusted"],
    ),
    (
        "another leaf of a key that somebody else may have",
        device(replace(LEAF, fingerprint="another"), trusted=True),
        STOLEN,
        ROBOT,
        "refuse",
        ["untrusted"],
    ),
    (
        "pinned, but somebody else may have its key",
        device(LEAF, trusted=False),
        replace(STOLEN, pins=frozenset({LEAF.spki})),
        ROBOT,
        "refuse",
        ["untrusted"],
    ),
    (
        "validates though revoked",
        device(LEAF, trusted=True),
        replace(KNOWN, leaves={LEAF.fingerprint: "revoked"}),
        ROBOT,
        "issue",
        ["revoked"],
    ),
    ("no certificate at all", device(None, trusted=False, said="reset"), KNOWN, ROBOT, "refuse", ["untrusted"]),
    ("widened chain waits", Have("device", served=Served(LEAF, True), chain=()), KNOWN, ROBOT, "none", []),
    (
        "without a CA a built-in one is due, not refused",
        device(BUILT_IN, trusted=False),
        Known(False, "down"),
        ROBOT,
        "issue",
        ["missing"],
    ),
    ("without a CA a leaf is judged as it is", device(LEAF, trusted=False), Known(False, "down"), ROBOT, "none", []),
]


@pytest.mark.parametrize(("title", "have", "known", "wanted", "verdict", "reasons"), HOST_CASES + DEVICE_CASES)
def test_each_reason(
    title: str, have: Have, known: Known, wanted: CertificateSpec, verdict: str, reasons: list[str]
) -> None:
    judgement = judge(wanted, have, known, now=NOW + DAY)
    assert (judgement.verdict, codes(judgement)) == (verdict, reasons), title
    assert all(reason.message for reason in judgement.reasons)


PROFILES = {"server": ("serverAuth",), "plc": ("clientAuth", "serverAuth")}


def test_a_profile_is_what_its_authority_says() -> None:
    own, wanted = replace(KNOWN, profiles=PROFILES), spec(profile="plc")
    assert codes(judge(wanted, host(), own, now=NOW)) == ["profile_changed"]
    both = FLEET.leaf(key=KEY, profile=Profile("plc", ("clientAuth", "serverAuth")))
    assert judge(wanted, host(both), own, now=NOW).verdict == "none"
    # Without the CA nobody knows what it is good for: nothing is due because of it.
    assert judge(wanted, host(both), Known(False, "down"), now=NOW).verdict == "none"
    assert judge(wanted, host(), Known(False, "down"), now=NOW).verdict == "none"


def test_a_profile_that_there_is_not() -> None:
    for known, has in ((replace(KNOWN, profiles=PROFILES), "plc, server"), (KNOWN, "client, server, server_client")):
        with pytest.raises(X509Error, match=f"^robot-1/https: its authority has no profile 'plx', there are {has}\\."):
            judge(spec(profile="plx"), host(), known, now=NOW)


LIMITED = Authority(constraints=Constraints(domains=("plant.example",), networks=("198.18.0.0/15",)))
WITHIN_LIMITS = replace(KNOWN, issuing=LIMITED.issuing_leaf, chain=(LIMITED.issuing_leaf.fingerprint,))


@pytest.mark.parametrize("have", [host(None), device(BUILT_IN, trusted=False)])
def test_names_that_the_authority_may_not_certify_are_refused_before_a_key_is_made(have: Have) -> None:
    target = {} if have.kind == "host" else {"api": {"name": "mir"}}
    known = replace(WITHIN_LIMITS, pins=frozenset({BUILT_IN.spki}))
    inside = spec(subject_alt_names=["DNS:robot-1.plant.example", "IP:198.19.0.7"], **target)
    assert judge(inside, have, known, now=NOW).verdict == "issue"
    outside = spec(subject_alt_names=["DNS:robot-1.plant.example", "IP:203.0.113.7", "IP:2001:2::7"], **target)
    judgement = judge(outside, have, known, now=NOW)
    assert (judgement.verdict, codes(judgement)) == ("refuse", ["not_permitted"])
    message = judgement.reasons[0].message
    assert "may not certify IP:2001:2::7, IP:203.0.113.7 (it may: plant.example; 198.18.0.0/15)" in message
    assert "tls_ca_networks" in message
    assert "It is due (missing: " in message


def test_a_staged_pair_with_such_names_is_not_tried_either() -> None:
    key = new_key("ec-p256")
    staged = Staged(spki_of(key.public_key()), LIMITED.leaf(key=key))
    judgement = judge(spec(), host(None, staged=staged), WITHIN_LIMITS, now=NOW + DAY)
    assert codes(judgement) == ["not_permitted"]


def test_what_is_in_service_stays_although_its_names_are_outside_by_now() -> None:
    leaf = LIMITED.leaf(key=KEY)
    have = host(leaf, chain=WITHIN_LIMITS.chain)
    assert judge(spec(), have, WITHIN_LIMITS, now=NOW + DAY).verdict == "none"
    assert codes(judge(spec(), have, WITHIN_LIMITS, now=NOW + 80 * DAY)) == ["not_permitted"]


def test_a_refusal_names_the_key_and_the_next_step() -> None:
    message = judge(ROBOT, device(BUILT_IN, trusted=False, said="self-signed"), KNOWN, now=NOW).reasons[0].message
    assert BUILT_IN.spki in message
    assert "enrol.yml" in message


def test_a_staged_pair_that_fits_is_tried_before_a_new_one_is_issued() -> None:
    next_key = new_key("ec-p256")
    fresh = FLEET.leaf(key=next_key, not_before=NOW + 60 * DAY, not_after=NOW + 150 * DAY)
    staged = Staged(spki_of(next_key.public_key()), fresh)
    judgement = judge(spec(), host(staged=staged), KNOWN, now=NOW + 80 * DAY)
    assert (judgement.verdict, codes(judgement)) == ("install", ["expiring", "staged"])
    foreign = Staged(staged.spki, STRANGER.leaf(key=next_key, not_before=NOW + 60 * DAY, not_after=NOW + 150 * DAY))
    assert judge(spec(), host(staged=foreign), KNOWN, now=NOW + 80 * DAY).verdict == "issue"
    assert judge(spec(), host(staged=Staged("00" * 32, fresh)), KNOWN, now=NOW + 80 * DAY).verdict == "issue"
    assert judge(spec(), host(staged=staged), KNOWN, now=NOW + DAY).verdict == "none"


def test_what_the_ca_could_not_tell_is_said() -> None:
    assert judge(spec(), host(), Known(False, "CA down"), now=NOW).notes == ("judged without the CA: CA down",)
    assert judge(spec(), host(), KNOWN, now=NOW).notes == ()


SERIALS = st.integers(min_value=1, max_value=2**127).map(lambda number: f"{number:x}")


@given(
    st.integers(min_value=1, max_value=3650),
    st.integers(min_value=0, max_value=2 * 3650 * DAY),
    st.floats(0.01, 0.9),
    SERIALS,
)
def test_due_exactly_from_the_renewal_point_on(days: int, age: int, share: float, serial: str) -> None:
    lifetime = days * DAY
    renew_before = max(1, int(lifetime * share))
    leaf = replace(LEAF, serial=serial, not_before=NOW, not_after=NOW + lifetime)
    wanted = replace(spec(), lifetime=lifetime, renew_before=renew_before)
    judgement = judge(wanted, host(leaf, served=None), KNOWN, now=NOW + age)
    assert codes(judgement) == (["expiring"] if NOW + age >= renewal_due_at(leaf, renew_before) else [])
    if age < lifetime - renew_before:
        assert judgement.verdict == "none"
    if age >= lifetime - renew_before // 2:
        assert judgement.verdict == "issue"


@given(st.integers(min_value=3, max_value=10**9), SERIALS)
def test_by_default_the_last_third_of_the_life_is_the_window(lifetime: int, serial: str) -> None:
    leaf = replace(LEAF, serial=serial, not_before=NOW, not_after=NOW + lifetime)
    share = (renewal_due_at(leaf, None) - NOW) / lifetime
    assert 2 / 3 <= share <= 5 / 6 + 1 / lifetime


@given(st.integers(min_value=3, max_value=10**9), st.integers(min_value=0, max_value=10**9), SERIALS)
def test_a_leaf_that_was_cut_short_is_not_due_from_its_birth_on(lifetime: int, more: int, serial: str) -> None:
    # As the CA backdates them.
    leaf = replace(LEAF, serial=serial, not_before=NOW - min(3600, lifetime // 10), not_after=NOW + lifetime)
    assert renewal_due_at(leaf, lifetime + more) == renewal_due_at(leaf, None)


def test_leaves_of_one_day_are_renewed_on_different_days() -> None:
    window = 30 * DAY
    leaves = [replace(LEAF, serial=f"{new_serial():x}") for _number in range(2000)]
    days = [(renewal_due_at(leaf, window) - (LEAF.not_after - window)) // DAY for leaf in leaves]
    assert days == [(renewal_due_at(leaf, window) - (LEAF.not_after - window)) // DAY for leaf in leaves]
    counts = [days.count(day) for day in range(15)]
    assert sum(counts) == len(leaves)  # all in the first half of the window
    # An even share would be 133 a day.
    assert min(counts) > 70
    assert max(counts) < 210


FAILED: dict[str, Any] = {
    "count": 2,
    "first_at": "2026-11-20T02:00:11Z",
    "last_at": "2026-11-21T02:00:09Z",
    "outcome": "kept",
    "said": "no",
}


def test_ca_info_is_picked_apart_by_identity() -> None:
    ca = {
        "available": True,
        "authorities": {"fleet": {"anchors": "ROOT", "chain": FLEET.issuing_leaf.pem}},
        "identities": {
            "robot-1": {"pins": ["aa"], "leaves": [{"fingerprint": "bb", "state": "issued"}]},
            "robot-2": {"pins": ["cc"], "leaves": [], "failures": {"https": FAILED}},
        },
    }
    known = Known.from_ca_info(ca, identity="robot-1", authority="fleet")
    assert (known.pins, known.leaves, known.anchors) == (frozenset({"aa"}), {"bb": "issued"}, "ROOT")
    assert known.chain == (FLEET.issuing_leaf.fingerprint,)
    assert known.failures == {}
    failures = Known.from_ca_info(ca, identity="robot-2", authority="fleet").failures
    assert failures == {"https": Failure(2, FAILED["first_at"], FAILED["last_at"], "kept", "no")}
    other = Known.from_ca_info(ca, identity="robot-3", authority="clients")
    assert (other.available, other.issuing, other.pins) == (True, None, frozenset())
    assert "no authority 'clients'" in other.message
    assert not Known.from_ca_info(None, identity="x", authority="fleet").available


@pytest.mark.parametrize(("seconds", "reasons"), [(-1, []), (0, ["expiring"]), (1, ["expiring"])])
def test_the_renewal_point_itself_is_due(seconds: int, reasons: list[str]) -> None:
    point = renewal_due_at(LEAF, 30 * DAY)
    assert NOW + 60 * DAY <= point < NOW + 75 * DAY
    wanted = replace(spec(), renew_before=30 * DAY)
    assert codes(judge(wanted, host(), KNOWN, now=point + seconds)) == reasons


ONCE = Failure(1, "2026-11-21T02:00:09Z", "2026-11-21T02:00:09Z", "rolled_back", "the service did\nnot start")
OFTEN = replace(ONCE, count=3, first_at="2026-11-19T02:00:11Z")


@pytest.mark.parametrize(
    ("failure", "story"),
    [
        (None, ""),
        (ONCE, "; this has failed once, 2026-11-21T02:00:09Z (rolled_back): the service did not start"),
        (
            replace(OFTEN, said="no"),
            "; this has failed 3 times in a row since 2026-11-19T02:00:11Z, last 2026-11-21T02:00:09Z (rolled_back): no",
        ),
        (replace(ONCE, said=""), "; this has failed once, 2026-11-21T02:00:09Z (rolled_back): no reason given"),
    ],
)
def test_the_first_reason_says_what_went_wrong_last_time(failure: Failure | None, story: str) -> None:
    plain = judge(spec(), host(served=Served(BUILT_IN, False), deviations=("m",)), KNOWN, now=NOW)
    told = with_history(plain, failure)
    assert [reason.message for reason in told.reasons] == [f"m{story}", plain.reasons[1].message]
    assert (told.verdict, codes(told)) == (plain.verdict, codes(plain))


def test_old_failures_are_not_told_where_nothing_is_sent_or_due() -> None:
    for have, known, wanted in ((host(), KNOWN, spec()), (device(BUILT_IN, trusted=False), KNOWN, ROBOT)):
        judgement = judge(wanted, have, known, now=NOW)
        assert with_history(judgement, OFTEN) == judgement


def test_a_long_story_is_cut_short() -> None:
    judgement = with_history(judge(spec(), host(None), KNOWN, now=NOW), replace(ONCE, said="x" * 5000))
    assert len(judgement.reasons[0].message) < 500
