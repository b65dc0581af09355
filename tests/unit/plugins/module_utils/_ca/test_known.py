# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What whoever judges is told: of leaves that identify nobody, and of authorities that cannot be used."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from ansible_collections.certfleet.tls.plugins.module_utils._ca.errors import CAError
from ansible_collections.certfleet.tls.plugins.module_utils._x509.judge import Known

from .test_ledger import issue_many, told
from .workshop import DAY, Workshop


def test_of_revoked_leaves_that_have_ended_only_those_are_told_that_identify_nobody(workshop: Workshop) -> None:
    serials = [answer["serial"] for answer in issue_many(workshop, 8)]
    for serial, reason, gone_at in zip(serials, ("superseded", "key_compromise", "superseded"), (None, None, 1)):
        workshop.sql(
            "UPDATE certificates SET state = 'revoked', revocation_reason = ?, gone_at = ? WHERE serial = ?",
            reason,
            gone_at,
            serial,
        )
    assert [serial for serial, _state in told(workshop)] == [*serials[:4:-1], *serials[2::-1]]
    workshop.now += 90 * DAY
    assert [serial for serial, _state in told(workshop)] == [*serials[:4:-1], serials[2], serials[1]]
    leaves = workshop.info("robot-1")["identities"]["robot-1"]["leaves"]
    assert [leaf.get("gone") for leaf in leaves] == [None, None, None, True, None]


def lose_key(folder: Path) -> None:
    (folder / "second" / "issuing.key").unlink()


def add_folder(folder: Path) -> None:
    (folder / "second").rename(folder.parent / "second")
    (folder / "second").mkdir()


def copy_over(folder: Path) -> None:
    shutil.rmtree(folder / "second")
    shutil.copytree(folder / "fleet", folder / "second")


def spoil_policy(folder: Path) -> None:
    (folder / "second" / "policy.json").write_text("{")


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lose_key, "lacks issuing.key"),
        (add_folder, "lacks root.pem, issuing.pem, issuing.key"),
        (copy_over, "are the certificates of authority 'fleet'"),
        (spoil_policy, "policy.json cannot be understood"),
    ],
)
def test_one_broken_authority_keeps_nobody_from_the_others(
    workshop: Workshop, spoil: Callable[[Path], None], said: str
) -> None:
    workshop.create("second")
    whole = workshop.info("robot-1")
    assert (set(whole["authorities"]), whole["problems"]) == ({"fleet", "second"}, {})
    spoil(Path(workshop.store.authorities))
    told = workshop.info("robot-1")
    assert told["authorities"] == {"fleet": whole["authorities"]["fleet"]}
    assert [name for name, problem in told["problems"].items() if said in problem] == ["second"]
    # Whoever lives by it is judged without it, and told why.
    broken, healthy = (Known.from_ca_info(told, identity="robot-1", authority=name) for name in ("second", "fleet"))
    assert (broken.issuing, broken.anchors, broken.message) == (None, None, told["problems"]["second"])
    assert (healthy.message, healthy.issuing is None) == ("", False)


def test_a_damaged_ledger_is_a_problem_of_all(workshop: Workshop) -> None:
    workshop.sql("ALTER TABLE certificates RENAME TO lost")
    with pytest.raises(CAError) as refused:
        workshop.info()
    assert refused.value.code == "ledger"
