# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A root elsewhere: CSR out, signed by a company with the openssl command, chain in; and every chain that must not be adopted."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.certfleet.tls.plugins.module_utils._ca.authority import Found, look, predict
from ansible_collections.certfleet.tls.plugins.module_utils._ca.errors import CAError
from ansible_collections.certfleet.tls.plugins.module_utils._ca.signed_chain import read_signed
from ansible_collections.certfleet.tls.plugins.module_utils._x509.build import build_ca_csr, ca_name
from ansible_collections.certfleet.tls.plugins.module_utils._x509.crypto import x509
from ansible_collections.certfleet.tls.plugins.module_utils._x509.keys import key_to_pem, load_key, new_key
from ansible_collections.certfleet.tls.plugins.module_utils._x509.parse import parse_certificate, parse_csr

from .company import USAGE, Company
from .workshop import DAY, NOW, Workshop, wish

ELSEWHERE: dict[str, Any] = {
    "root": {"location": "elsewhere"},
    "domains": ["plant.example"],
    "networks": ["198.18.0.0/15"],
}
CA_ONLY = "basicConstraints = critical, CA:TRUE, pathlen:0"


def snapshot(workshop: Workshop) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in Path(workshop.store.directory).rglob("*.*") if path.is_file()}


def request_of(workshop: Workshop, **options: Any) -> str:
    found = workshop.create(**{**ELSEWHERE, **options})
    assert found.request is not None
    return found.request


def adopted(workshop: Workshop, company: Company, **how: Any) -> str:
    """An authority under the company's root; returns the chain."""
    chain = company.chain(request_of(workshop), **how)
    workshop.create(**ELSEWHERE, chain=chain)
    return chain


def test_request_out_chain_in(empty: Workshop, company: Company) -> None:
    found = empty.create(**ELSEWHERE)
    path = empty.store.pending_path("fleet", "issuing.csr")
    assert found.due == [f"make a key and a CSR for the issuing CA of authority 'fleet', {path}"]
    assert (found.leaves, found.request_path, found.request) == (None, path, Path(path).read_text())
    spki = parse_csr(str(found.request)).spki
    assert [f"have {path} (SPKI of its key: {spki}) signed" in warning for warning in found.warnings] == [True]
    assert empty.store.names() == []
    # It waits, and nothing changes meanwhile.
    empty.create("other")
    assert f"waits for its chain: it signs nothing until {path}" in empty.issue_one()["error"]["message"]
    before = snapshot(empty)
    again = empty.create(**ELSEWHERE)
    assert (again.due, again.request, again.warnings) == ([], found.request, found.warnings)
    assert snapshot(empty) == before
    chain = company.chain(str(found.request))
    done = empty.create(**ELSEWHERE, chain=chain)
    assert done.due == [
        "adopt the chain that was signed for authority 'fleet' by 'CN=Company Intermediate,O=Company,C=DE'"
    ]
    assert (done.warnings, done.request, done.request_path) == ([], None, "")
    folder = Path(empty.store.path("fleet"))
    assert sorted(path.name for path in folder.iterdir()) == ["issuing.key", "issuing.pem", "policy.json", "root.pem"]
    assert empty.store.pending_names() == []
    for options in ({"chain": chain}, {}):
        after = empty.create(**ELSEWHERE, **options)
        assert (after.due, after.warnings) == ([], [])
    assert empty.sql("SELECT act FROM acts") == [("adopted",)]


def test_openssl_accepts_a_leaf_with_the_chain_that_is_sent_along(
    empty: Workshop, company: Company, tmp_path: Path
) -> None:
    adopted(empty, company)
    answer = empty.issue_one()
    (tmp_path / "sent.pem").write_text(answer["certificate"] + empty.issue()["chains"].get("fleet", ""))
    (tmp_path / "leaf.pem").write_text(answer["certificate"])
    command = ["openssl", "verify", "-x509_strict", "-attime", str(NOW + 60), "-no-CApath", "-no-CAstore"]
    files = ["-CAfile", str(company.folder / "root.pem"), "-untrusted", empty.store.path("fleet", "issuing.pem")]
    subprocess.run([*command, *files, str(tmp_path / "leaf.pem")], check=True, capture_output=True)
    assert empty.info()["authorities"]["fleet"]["chain"].count("BEGIN CERTIFICATE") == 2


def test_leaves_end_with_the_first_of_the_chain(empty: Workshop, company: Company) -> None:
    # The company's people gave the issuing CA longer than their own intermediate has.
    adopted(empty, company, days=4500)
    end = parse_certificate(company.intermediate).not_after
    empty.now = end - 30 * DAY
    answer = empty.issue_one(lifetime=90 * DAY)
    assert parse_certificate(answer["certificate"]).not_after == end


def test_the_request_asks_for_what_is_wanted(empty: Workshop) -> None:
    csr = x509.load_pem_x509_csr(request_of(empty, organization="Plant").encode())
    assert csr.subject.rfc4514_string() == "CN=fleet issuing CA,O=Plant"
    asked = {type(item.value).__name__: item.critical for item in csr.extensions}
    assert asked == {"BasicConstraints": True, "KeyUsage": True, "SubjectKeyIdentifier": False, "NameConstraints": True}


def test_another_wish_makes_another_request_with_the_same_key(empty: Workshop) -> None:
    first = request_of(empty)
    found = empty.create(**{**ELSEWHERE, "networks": ["10.0.0.0/8"]})
    assert "anew for the same key" in found.due[0]
    assert found.request is not None
    old, new = (x509.load_pem_x509_csr(pem.encode()) for pem in (first, found.request))
    assert old.public_key() == new.public_key()
    assert first != found.request


def test_prediction_with_and_without_the_library(empty: Workshop) -> None:
    options: dict[str, Any] = {"store": empty.store, "passphrase": empty.passphrase(), "generate": True}
    looked, predicted = look(wish(**ELSEWHERE), now=NOW, **options), predict(wish(**ELSEWHERE), **options)
    assert looked == predicted
    assert list(empty.folder.iterdir()) == []
    request_of(empty)
    assert predict(wish(**ELSEWHERE), **options).due == []


def ca_file(extensions: str) -> Callable[[Company, str], str]:
    return lambda company, csr: company.chain(csr, extensions=extensions)


def other_request() -> str:
    return build_ca_csr(new_key("ec-p256"), subject=ca_name("fleet issuing CA"))


# How the chain was made, and what is said of it.
BAD_CHAINS: list[tuple[Callable[[Company, str], str], str]] = [
    (lambda _company, _csr: "nonsense", "none of its 0 certificates is for the key of the CSR"),
    (lambda company, _csr: company.chain(other_request()), "none of its 3 certificates is for the key of the CSR"),
    (lambda company, csr: company.sign(csr), "which is not there: give all certificates up to the root"),
    (
        lambda company, csr: company.sign(csr) + company.intermediate,
        "is signed by 'CN=Company Root,O=Company,C=DE', which is",
    ),
    (ca_file("basicConstraints = critical, CA:FALSE"), "'CN=fleet issuing CA' is no CA certificate"),
    (ca_file(f"{CA_ONLY}\nkeyUsage = critical, digitalSignature"), "may not sign certificates and CRLs"),
    (ca_file(f"{CA_ONLY}\nkeyUsage = critical, keyCertSign"), "may not sign certificates and CRLs"),
    (lambda company, csr: company.chain(csr, begin=NOW - 90 * DAY, days=60), "is valid from .* to .*, it is now"),
    (lambda company, csr: company.chain(csr, begin=NOW + DAY), "is valid from .* to .*, it is now"),
    (
        lambda company, csr: company.sign(csr).replace("A", "B", 20) + company.intermediate + company.root,
        "is no X.509 certificate|none of its|which is not there",
    ),
]


@pytest.mark.parametrize(("make", "said"), BAD_CHAINS)
def test_a_bad_chain_is_not_adopted(
    empty: Workshop, company: Company, make: Callable[[Company, str], str], said: str
) -> None:
    chain = make(company, request_of(empty))
    before = snapshot(empty)
    with pytest.raises(CAError, match=said) as refused:
        empty.create(**ELSEWHERE, chain=chain)
    assert refused.value.code == "bad_chain"
    assert "Nothing was changed" in str(refused.value)
    assert snapshot(empty) == before
    assert empty.store.names() == []


def test_a_path_length_that_forbids_it(empty: Workshop, company: Company) -> None:
    # Signed below the issuing CA of another: one CA certificate too many.
    key, csr = new_key("ec-p256"), request_of(empty)
    between = company.sign(
        build_ca_csr(key, subject=ca_name("Between")),
        extensions=f"basicConstraints = critical, CA:TRUE, pathlen:0\n{USAGE}",
    )
    (company.folder / "between.pem").write_text(between)
    (company.folder / "between.key").write_bytes(key_to_pem(key))
    chain = company.sign(csr, by="between") + between + company.intermediate + company.root
    with pytest.raises(CAError, match=r"'CN=Between' permits only 0 further CA certificates below it .*, there are 1"):
        empty.create(**ELSEWHERE, chain=chain)


def test_another_root_than_the_one_that_is_named(empty: Workshop, company: Company, stranger: Company) -> None:
    chain = company.chain(request_of(empty))
    with pytest.raises(CAError, match=r"signed by 'CN=Company Root,O=Company,C=DE', which is not there"):
        empty.create(**ELSEWHERE, chain=chain, root_certificate=stranger.root)
    # Named, it need not be in the chain; and strangers in the chain do no harm.
    without = chain.replace(company.root, stranger.root)
    assert len(empty.create(**ELSEWHERE, chain=without, root_certificate=company.root).due) == 1
    assert empty.store.read("fleet").anchors == parse_certificate(company.root).pem


def test_a_root_that_nobody_has_vouched_for_is_not_adopted(empty: Workshop, stranger: Company) -> None:
    """Whoever can write into the exchange folder would otherwise choose what the fleet trusts."""
    request = request_of(empty)
    before, chain = snapshot(empty), stranger.chain(request)
    found = empty.create(**ELSEWHERE, chain=chain, compared=False)
    fingerprint = parse_certificate(stranger.root).fingerprint
    assert (found.due, found.request, found.chain) == ([], request, None)
    assert [f"fingerprint {fingerprint}. Nothing says that this is your root" in said for said in found.warnings] == [
        True
    ]
    assert (snapshot(empty), empty.store.names()) == (before, [])
    colons = ":".join(fingerprint[at : at + 2] for at in range(0, 64, 2)).upper()
    named = {**ELSEWHERE, "root": {"location": "elsewhere", "fingerprint": colons}}
    assert len(empty.create(**named, chain=chain, compared=False).due) == 1
    # Machines trust it from then on, so that it needs no further word.
    assert empty.create(**ELSEWHERE, chain=chain, compared=False).warnings == []


def test_another_root_than_the_fingerprint_says(empty: Workshop, company: Company, stranger: Company) -> None:
    wanted = {"location": "elsewhere", "fingerprint": parse_certificate(company.root).fingerprint}
    chain = stranger.chain(request_of(empty))
    with pytest.raises(CAError, match=r"ends in 'CN=Stranger Root,.* the root that is expected") as refused:
        empty.create(**{**ELSEWHERE, "root": wanted}, chain=chain, compared=False)
    assert refused.value.code == "bad_chain"


@pytest.mark.parametrize("fingerprint", ["abc", "AB:" * 20, "x" * 64])
def test_what_is_no_fingerprint(fingerprint: str) -> None:
    with pytest.raises(CAError, match="is no SHA-256 of a certificate"):
        wish(root={"location": "elsewhere", "fingerprint": fingerprint})


def test_a_chain_without_a_request(empty: Workshop, company: Company) -> None:
    with pytest.raises(CAError, match="no key that it belongs to") as refused:
        empty.create(**ELSEWHERE, chain=company.chain(other_request()))
    assert refused.value.code == "no_request"


def test_limits_that_the_company_left_out_are_said_and_kept(empty: Workshop, company: Company) -> None:
    csr = request_of(empty)
    chain = (
        company.sign(build_unlimited(csr, empty), extensions=f"{CA_ONLY}\n{USAGE}")
        + company.intermediate
        + company.root
    )
    found = empty.create(**ELSEWHERE, chain=chain)
    said = "the issuing CA that was signed elsewhere has no limits, asked for is plant.example, 198.18.0.0/15"
    assert [said in warning for warning in found.warnings] == [True]
    again = empty.create(**ELSEWHERE, chain=chain)
    assert (again.due, again.warnings, again.request) == ([], found.warnings, None)
    # The CA itself heeds them all the same.
    refused = empty.issue_one(names=["DNS:a.other.example"])
    assert refused["error"]["code"] == "outside_constraints"
    assert empty.issue_one()["issued"]


def build_unlimited(csr: str, workshop: Workshop) -> str:
    """What remains when a company's CA copies no extensions: the same key and subject without the wishes."""
    pem = Path(workshop.store.pending_path("fleet", "issuing.key")).read_bytes()
    subject = x509.load_pem_x509_csr(csr.encode()).subject
    return build_ca_csr(load_key(pem, workshop.passphrase().get()), subject=subject)


def renewal_request(workshop: Workshop, chain: str) -> Found:
    workshop.now = parse_certificate(chain).not_after - 80 * DAY
    return workshop.create(**ELSEWHERE, chain=chain)


def test_renewal_by_request(empty: Workshop, company: Company) -> None:
    chain = adopted(empty, company)
    leaf = empty.issue_one()
    found = renewal_request(empty, chain)
    path = empty.store.pending_path("fleet", "issuing.csr")
    assert [sentence.partition(":")[0] for sentence in found.due] == [
        f"make a CSR for the issuing CA of authority 'fleet', {path}"
    ]
    assert "before 2029-10-10T08:00:00Z" in found.warnings[-1]
    assert sorted(item.name for item in Path(path).parent.iterdir()) == ["issuing.csr"]
    again = empty.create(**ELSEWHERE, chain=chain)
    assert (again.due, again.warnings, again.request) == ([], found.warnings, found.request)
    renewed = company.chain(str(found.request), begin=empty.now - DAY, days=500)
    done = empty.create(**ELSEWHERE, chain=renewed)
    assert done.due == ["adopt the renewed chain of authority 'fleet'"]
    assert (done.warnings, done.request_path) == ([], "")
    assert done.leaves is not None
    assert done.leaves[1].spki == parse_certificate(chain).spki
    assert empty.store.pending_names() == []
    states = empty.sql("SELECT name, state FROM certificates WHERE identity = '' ORDER BY id")
    assert states == [("root", "issued"), ("issuing", "superseded"), ("issuing", "issued")]
    assert (empty.create(**ELSEWHERE, chain=renewed).due, empty.create(**ELSEWHERE).due) == ([], [])
    assert leaf["fingerprint"] != empty.issue_one()["fingerprint"]
    # An old chain that was left lying about changes nothing any more.
    old = empty.create(**ELSEWHERE, chain=chain)
    assert (old.due, ["is an older one" in warning for warning in old.warnings]) == ([], [True])


def test_new_limits_by_request(empty: Workshop, company: Company) -> None:
    chain = adopted(empty, company)
    wider = {**ELSEWHERE, "networks": ["198.18.0.0/15", "10.0.0.0/8"], "chain": chain}
    found = empty.create(**wider)
    assert (
        "its limits are plant.example, 198.18.0.0/15, wanted are plant.example, 10.0.0.0/8, 198.18.0.0/15"
        in found.due[0]
    )
    assert empty.create(**wider).due == []
    assert empty.create(**wider).request == found.request
    renewed = company.chain(str(found.request))
    assert len(empty.create(**{**wider, "chain": renewed}).due) == 1
    assert (empty.create(**{**wider, "chain": renewed}).warnings, empty.store.pending_names()) == ([], [])


def test_a_wish_that_is_taken_back_takes_the_request_back(empty: Workshop, company: Company) -> None:
    adopted(empty, company)
    assert empty.create(**{**ELSEWHERE, "networks": ["10.0.0.0/8"]}).request is not None
    found = empty.create(**ELSEWHERE)
    assert "nothing needs to be signed any more" in found.due[0]
    assert (found.request, empty.store.pending_names()) == (None, [])


def test_another_root_is_a_rollover(empty: Workshop, company: Company, stranger: Company) -> None:
    chain = adopted(empty, company)
    found = renewal_request(empty, chain)
    with pytest.raises(CAError, match="ends in another root") as refused:
        empty.create(**ELSEWHERE, chain=stranger.chain(str(found.request), begin=empty.now - DAY))
    assert refused.value.code == "rollover"


def test_another_subject_is_refused(empty: Workshop, company: Company) -> None:
    adopted(empty, company)
    pem = Path(empty.store.path("fleet", "issuing.key")).read_bytes()
    csr = build_ca_csr(load_key(pem, empty.passphrase().get()), subject=ca_name("another"))
    with pytest.raises(CAError, match="its leaves would not belong to it any more") as refused:
        empty.create(**ELSEWHERE, chain=company.chain(csr))
    assert refused.value.code == "bad_chain"


def test_two_authorities_do_not_share_a_root(empty: Workshop, company: Company) -> None:
    adopted(empty, company)
    found = empty.create("clients", **ELSEWHERE)
    with pytest.raises(CAError, match="is that of authority 'fleet' already") as refused:
        empty.create("clients", **ELSEWHERE, chain=company.chain(str(found.request)))
    assert refused.value.code == "shared_root"
    assert empty.store.names() == ["fleet"]


def test_serials_that_others_gave_twice_do_no_harm(empty: Workshop, company: Company, stranger: Company) -> None:
    adopted(empty, company)
    serial = parse_certificate(stranger.root).serial
    empty.sql("UPDATE certificates SET serial = ? WHERE name = 'issuing'", serial)
    found = empty.create("clients", **ELSEWHERE)
    empty.create("clients", **ELSEWHERE, chain=stranger.chain(str(found.request)))
    assert empty.create("clients", **ELSEWHERE).due == []
    assert empty.store.names() == ["clients", "fleet"]


def test_a_root_key_that_was_carried_away(workshop: Workshop) -> None:
    options: dict[str, Any] = {"root": {"location": "elsewhere"}}
    still = workshop.create(**options)
    assert (still.due, ["root.key is still here" in warning for warning in still.warnings]) == ([], [True])
    Path(workshop.store.path("fleet", "root.key")).unlink()
    away = workshop.create(**options)
    assert (away.due, away.warnings) == ([], [])
    with pytest.raises(CAError, match=r"lacks root\.key"):
        workshop.create()
    assert workshop.issue_one()["issued"]


def test_a_waiting_authority_is_not_made_here(empty: Workshop) -> None:
    request_of(empty)
    with pytest.raises(CAError, match="waits for a chain from elsewhere"):
        empty.create()


def test_a_lost_passphrase_is_not_replaced_while_a_key_waits(empty: Workshop) -> None:
    request_of(empty)
    secret = empty.passphrase_file.read_bytes()
    empty.passphrase_file.unlink()
    for name, options in (("fleet", ELSEWHERE), ("clients", {})):
        with pytest.raises(CAError) as refused:
            empty.create(name, **options)
        assert refused.value.code == "passphrase"
    # Nor is another one taken for a second authority.
    empty.passphrase_file.write_bytes(b"another one\n")
    empty.passphrase_file.chmod(0o600)
    with pytest.raises(CAError) as refused:
        empty.create("clients")
    assert refused.value.code == "wrong_passphrase"
    empty.passphrase_file.write_bytes(secret)
    assert empty.create("clients").due == ["create the authority 'clients'"]


def test_a_chain_is_only_for_a_root_elsewhere(empty: Workshop, company: Company) -> None:
    with pytest.raises(CAError, match="only for an authority whose root is elsewhere"):
        empty.create(chain=company.root)


def test_limits_of_which_the_company_left_out_a_part_are_kept_as_well(empty: Workshop, company: Company) -> None:
    dns_only = f"{CA_ONLY}\n{USAGE}\nnameConstraints = critical, permitted;DNS:plant.example"
    adopted(empty, company, extensions=dns_only)
    refused = empty.issue_one(names=["DNS:robot-1.plant.example", "IP:192.0.2.1"])
    assert refused["error"]["code"] == "outside_constraints"
    assert "IP:192.0.2.1" in refused["error"]["message"]
    assert empty.issue_one(names=["DNS:robot-1.plant.example", "IP:198.19.1.11"])["issued"]


def test_an_earlier_answer_that_nobody_had_adopted_is_left_aside(empty: Workshop, company: Company) -> None:
    request = request_of(empty)
    sooner, chain = company.chain(request, days=100), company.chain(request)
    empty.create(**ELSEWHERE, chain=chain)
    found = empty.create(**ELSEWHERE, chain=sooner)
    assert (found.due, ["sooner than the one in force" in said for said in found.warnings]) == ([], [True])
    assert parse_certificate(empty.store.read_text("fleet", "issuing.pem")) == parse_certificate(chain)
    # Where the one in force was taken back, it is welcome.
    empty.sql("UPDATE certificates SET state = 'revoked', revocation_reason = 'superseded' WHERE name = 'issuing'")
    assert empty.create(**ELSEWHERE, chain=sooner).due == ["adopt the renewed chain of authority 'fleet'"]


def test_a_renewed_chain_that_would_cut_off_leaves_in_force_is_refused(empty: Workshop, company: Company) -> None:
    request = request_of(empty)
    empty.create(**ELSEWHERE, chain=company.chain(request))
    assert empty.issue_one()["issued"]
    narrower = f"{CA_ONLY}\n{USAGE}\nnameConstraints = critical, permitted;DNS:other.example"
    before = snapshot(empty)
    with pytest.raises(CAError, match="robot-1/https has DNS:robot-1") as refused:
        empty.create(**ELSEWHERE, chain=company.chain(request, days=1200, extensions=narrower))
    assert refused.value.code == "narrowing"
    assert snapshot(empty) == before


def test_a_company_that_signs_with_pss(empty: Workshop, tmp_path: Path) -> None:
    (tmp_path / "issuing.csr").write_text(request_of(empty))
    (tmp_path / "extensions").write_text(
        f"{CA_ONLY}\n{USAGE}\nsubjectKeyIdentifier = hash\nauthorityKeyIdentifier = keyid\n"
    )

    def openssl(*arguments: str) -> str:
        command = ["openssl", *arguments, "-sha256", "-sigopt", "rsa_padding_mode:pss", "-days", "2000"]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout

    root = openssl(
        *("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "root.key", "-subj", "/CN=Root"),
        *("-addext", USAGE.replace(" = ", "=")),
    )
    (tmp_path / "root.pem").write_text(root)
    sign = ("-req", "-in", "issuing.csr", "-CA", "root.pem", "-CAkey", "root.key", "-extfile", "extensions")
    issuing = openssl("x509", *sign)
    assert read_signed(wish(**ELSEWHERE, chain=issuing + root), spki=parse_certificate(issuing).spki).root.subject == (
        "CN=Root"
    )
    key = ("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "other.key", "-subj", "/CN=Root")
    with pytest.raises(CAError, match="does not fit the signature"):
        read_signed(wish(**ELSEWHERE, chain=issuing + openssl(*key)), spki=parse_certificate(issuing).spki)
