# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Creating authorities, and every way in which one can be broken: an error, and never a new CA in its place."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.certfleet.tls.plugins.module_utils._ca.authority import look, predict, to_result
from ansible_collections.certfleet.tls.plugins.module_utils._ca.errors import CAError
from ansible_collections.certfleet.tls.plugins.module_utils._x509.errors import X509Error
from ansible_collections.certfleet.tls.plugins.module_utils._x509.keys import key_to_pem, load_key, new_key
from ansible_collections.certfleet.tls.plugins.module_utils._x509.parse import is_issued_by

from .workshop import DAY, NOW, Workshop, wish


def snapshot(workshop: Workshop) -> dict[str, bytes]:
    """All files of the authorities and the passphrase."""
    roots = [Path(workshop.store.authorities), workshop.passphrase_file.parent]
    return {str(path): path.read_bytes() for root in roots for path in root.rglob("*") if path.is_file()}


def folder(workshop: Workshop, name: str = "fleet") -> Path:
    return Path(workshop.store.path(name))


def test_creation_then_nothing_to_do(empty: Workshop) -> None:
    found = empty.create(organization="Example Plant")
    assert found.due == ["create the authority 'fleet'"]
    assert found.leaves is not None
    root, issuing = found.leaves
    assert is_issued_by(issuing, root)
    assert (root.subject, issuing.subject) == (
        "CN=fleet root CA,O=Example Plant",
        "CN=fleet issuing CA,O=Example Plant",
    )
    assert (root.not_after, issuing.not_after) == (NOW + 3650 * DAY, NOW + 1825 * DAY)
    before = snapshot(empty)
    again = empty.create(organization="Example Plant")
    assert (again.due, again.warnings) == ([], [])
    assert to_result(again, "fleet") == to_result(found, "fleet")
    assert snapshot(empty) == before


def test_everything_is_private_and_keys_are_encrypted(workshop: Workshop) -> None:
    for path in [Path(workshop.store.directory), *Path(workshop.store.directory).rglob("*")]:
        assert path.stat().st_mode & 0o777 == (0o700 if path.is_dir() else 0o600), path
    for part in ("root", "issuing"):
        pem = (folder(workshop) / f"{part}.key").read_bytes()
        assert pem.startswith(b"-----BEGIN ENCRYPTED PRIVATE KEY-----")
        load_key(pem, workshop.passphrase().get())


def test_openssl_accepts_the_chain(workshop: Workshop, tmp_path: Path) -> None:
    answer = workshop.issue_one()
    (tmp_path / "leaf.pem").write_text(answer["certificate"])
    command = [
        "openssl",
        "verify",
        "-x509_strict",
        "-attime",
        str(NOW),
        "-purpose",
        "sslserver",
        "-no-CApath",
        "-no-CAstore",
    ]
    where = ["-verify_hostname", "robot-1.plant.example", "-CAfile", str(folder(workshop) / "root.pem")]
    chain = ["-untrusted", str(folder(workshop) / "issuing.pem"), str(tmp_path / "leaf.pem")]
    subprocess.run([*command, *where, *chain], check=True, capture_output=True)


def test_issuing_ca_does_not_outlive_the_root(empty: Workshop) -> None:
    found = empty.create(root={"lifetime": "1y"}, issuing={"lifetime": "5y"})
    assert found.leaves is not None
    assert found.leaves[1].not_after == found.leaves[0].not_after


def test_what_differs_from_the_wish_is_kept_and_said(workshop: Workshop) -> None:
    before = snapshot(workshop)
    found = workshop.create(root={"common_name": "Another Root", "key_type": "ec-p384"})
    assert found.due == []
    assert [warning.split("'")[3::2] for warning in found.warnings] == [
        ["CN=fleet root CA", "CN=Another Root"],
        ["ec-p256", "ec-p384"],
    ]
    assert snapshot(workshop) == before


def test_expired_authority_is_said(workshop: Workshop) -> None:
    workshop.now += 3651 * DAY
    assert [warning for warning in workshop.create().warnings if "expired" in warning] != []


def test_second_authority_shares_passphrase_and_ledger(workshop: Workshop) -> None:
    before = snapshot(workshop)
    workshop.create("thin_edge_clients")
    after = snapshot(workshop)
    assert workshop.store.names() == ["fleet", "thin_edge_clients"]
    assert {path: after[path] for path in before} == before


def test_modes_are_repaired(workshop: Workshop) -> None:
    key = folder(workshop) / "issuing.key"
    key.chmod(0o644)
    folder(workshop).chmod(0o755)
    found = workshop.create()
    assert found.due == [
        f"close {folder(workshop)} to others (mode 0755, should be 0700)",
        f"close {key} to others (mode 0644, should be 0600)",
    ]
    assert found.before == {str(folder(workshop)): "mode 0755", str(key): "mode 0644"}
    assert key.stat().st_mode & 0o777 == 0o600
    assert workshop.create().due == []


def remove(name: str) -> Callable[[Workshop], None]:
    return lambda workshop: (folder(workshop) / name).unlink()


def write(name: str, content: bytes) -> Callable[[Workshop], object]:
    return lambda workshop: (folder(workshop) / name).write_bytes(content)


def foreign_key(workshop: Workshop) -> None:
    pem = key_to_pem(new_key("ec-p256"), workshop.passphrase().get())
    (folder(workshop) / "issuing.key").write_bytes(pem)


def other_passphrase(workshop: Workshop) -> None:
    workshop.passphrase_file.write_text("another one\n")


def foreign_folder(workshop: Workshop) -> None:
    """A whole authority, with the same passphrase, from another CA."""
    other = Workshop(workshop.folder / "other")
    other.passphrase_file = workshop.passphrase_file
    other.create()
    shutil.rmtree(folder(workshop))
    shutil.copytree(folder(other), folder(workshop))


def exchanged_root(workshop: Workshop) -> None:
    workshop.create("second")
    for file in ("root.pem", "root.key"):
        shutil.copy(folder(workshop, "second") / file, folder(workshop) / file)


def swapped_folder(workshop: Workshop) -> None:
    """Both belong to this CA, and its passphrase opens both."""
    workshop.create("second")
    shutil.rmtree(folder(workshop))
    shutil.copytree(folder(workshop, "second"), folder(workshop))


def lost_folder(workshop: Workshop) -> None:
    shutil.rmtree(folder(workshop))


def lost_ledger(workshop: Workshop) -> None:
    Path(workshop.store.ledger).unlink()


# What is done, the error's code and words, and whether it stops a second authority from being made as well.
BREAKAGES: list[tuple[Callable[[Workshop], object], str, str, bool]] = [
    (remove("root.pem"), "half_ca", "lacks root.pem", True),
    (remove("root.key"), "half_ca", "lacks root.key", False),
    (remove("issuing.pem"), "half_ca", "lacks issuing.pem", True),
    (remove("issuing.key"), "half_ca", "lacks issuing.key", True),
    (write("root.pem", b""), "half_ca", "root.pem is no PEM certificate", True),
    (write("issuing.pem", b"nonsense"), "half_ca", "issuing.pem is no PEM certificate", True),
    (write("issuing.key", b""), "half_ca", "issuing.key is no encrypted private key", True),
    (
        write("root.key", b"-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n"),
        "wrong_passphrase",
        "cannot be opened",
        False,
    ),
    (foreign_key, "half_ca", "issuing.key is not the key of", True),
    (exchanged_root, "half_ca", "issuing.pem is no CA certificate that root.pem signed", True),
    (foreign_folder, "foreign_ca", "the ledger does not know the certificates of authority 'fleet'", False),
    (
        swapped_folder,
        "foreign_ca",
        "in the folder of authority 'fleet' are the certificates of authority 'second'. Nothing was changed",
        False,
    ),
    (other_passphrase, "wrong_passphrase", "gives another passphrase", True),
    (lambda workshop: workshop.passphrase_file.unlink(), "passphrase", "does not exist", True),
    (lambda workshop: workshop.passphrase_file.chmod(0o644), "passphrase", "open to others", True),
    (lost_folder, "half_ca", "knows the authority 'fleet', but", False),
    (lost_ledger, "ledger_missing", "The ledger is not there", True),
    (lambda workshop: Path(workshop.store.ledger).write_bytes(b""), "ledger", "is no ledger of certfleet", True),
    (lambda workshop: Path(workshop.store.ledger).write_bytes(b"x" * 5000), "ledger", "not a database", True),
    (
        lambda workshop: workshop.sql("UPDATE schema_version SET version = 99"),
        "ledger_newer",
        "written by a newer",
        True,
    ),
]


@pytest.mark.parametrize(("breakage", "code", "said", "stops_others"), BREAKAGES)
def test_broken_ca_is_an_error_and_stays_as_it_is(
    workshop: Workshop, breakage: Callable[[Workshop], object], code: str, said: str, stops_others: bool
) -> None:
    breakage(workshop)
    before = snapshot(workshop)
    for name in ("fleet", "fresh") if stops_others else ("fleet",):
        with pytest.raises(CAError, match=said) as refused:
            workshop.create(name)
        assert refused.value.code == code
    assert snapshot(workshop) == before


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"name": "../x"}, "'../x' is no name of an authority"),
        ({"organization": "Plant, Ltd"}, "organization: 'Plant, Ltd'"),
        ({"root": {"common_name": "x" * 65}}, "root, common_name"),
        ({"root": {"common_name": "a\nb"}}, "root, common_name"),
        ({"root": {"lifetime": "soon"}}, "root, lifetime: 'soon' is no span of time"),
        ({"root": {"lifetime": "9999y"}}, "root, lifetime: '9999y' is more than 100 years"),
        ({"issuing": {"lifetime": "101y"}}, "issuing, lifetime: '101y' is more than 100 years"),
        ({"crl_lifetime": "9999y"}, "crl_lifetime: '9999y' is more than 100 years"),
        (
            {"profiles": {"server": {"usages": ["serverAuth"], "max_lifetime": 10**20}}},
            "profile 'server', max_lifetime: '1(0){20}' is more than 100 years",
        ),
    ],
)
def test_bad_wish_names_the_field(empty: Workshop, options: dict[str, Any], said: str) -> None:
    with pytest.raises((CAError, X509Error), match=said):
        empty.create(**options)
    assert not Path(empty.store.directory).exists()


def test_without_a_passphrase_nothing_is_created(empty: Workshop) -> None:
    with pytest.raises(CAError, match="does not exist"):
        empty.create(generate=False)
    assert list(empty.folder.iterdir()) == []


def test_prediction_writes_nothing(empty: Workshop) -> None:
    options: dict[str, Any] = {"store": empty.store, "passphrase": empty.passphrase(), "generate": True}
    looked, predicted = look(wish(), now=NOW, **options), predict(wish(), **options)
    assert looked == predicted
    assert looked.due == ["create the authority 'fleet'"]
    assert looked.after["root"] == {"common_name": "fleet root CA", "key": "ec-p256", "lifetime": "3650 days"}
    assert list(empty.folder.iterdir()) == []


def test_folder_that_must_not_be_read_is_no_absence(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: str) -> None:
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr("os.scandir", refuse)
    with pytest.raises(CAError, match="Permission denied") as refused:
        workshop.info()
    assert refused.value.code == "files"
