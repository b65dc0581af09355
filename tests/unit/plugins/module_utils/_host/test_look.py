# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a look tells of a host's files, and that it changes nothing."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ansible_collections.certfleet.tls.tests.unit.tls_peers import TlsPeer

from .conftest import ADDRESS, Site


def everything_in(folder: Path) -> dict[str, tuple[int, int]]:
    """Inode and time of the last change of all that is there."""
    found = [folder, *folder.rglob("*")]
    return {str(path): (path.lstat().st_ino, path.lstat().st_mtime_ns) for path in found}


def test_nothing_there_is_no_error(site: Site) -> None:
    before = everything_in(site.folder)
    found = site.look()
    assert found == {
        "id": "host-1/https",
        "blocked": None,
        "unfinished": False,
        "unconfirmed": False,
        "went_back": None,
        "staged": None,
        "certificate": None,
        "certificate_error": None,
        "chain": None,
        "key_spki": None,
        "key_type": None,
        "key_error": None,
        "deviations": [],
        "served": None,
    }
    assert everything_in(site.folder) == before


def test_a_pair_is_read_with_its_chain(site: Site) -> None:
    pair = site.put(site.authority.pair("DNS:a.example", key_type="rsa-2048"))
    found = site.look()
    assert (found["certificate"], found["chain"]) == (pair.certificate, pair.chain)
    assert (found["key_spki"], found["key_type"]) == (pair.leaf.spki, "rsa-2048")
    assert len(found["deviations"]) == 2
    assert all("a file of its own" in item for item in found["deviations"])
    assert "PRIVATE" not in str(found)


@pytest.mark.parametrize(
    ("content", "said"),
    [("", "holds no certificate in PEM"), ("hello", "holds no certificate"), (None, "Is a directory")],
)
def test_a_certificate_that_cannot_be_read_is_told(site: Site, content: str | None, said: str) -> None:
    path = site.folder / "cert.pem"
    if content is None:
        path.mkdir()
    else:
        path.write_text(content)
    assert said in site.look()["certificate_error"]


def test_a_link_that_leads_nowhere_is_a_missing_file(site: Site) -> None:
    for name in ("cert.pem", "key.pem"):
        (site.folder / name).symlink_to("gone")
    found = site.look()
    assert (found["certificate"], found["certificate_error"]) == (None, None)
    assert (found["key_spki"], found["key_error"]) == (None, None)


def test_what_is_served_is_seen(site: Site) -> None:
    pair = site.authority.pair(f"IP:{ADDRESS}")
    with TlsPeer(pair) as peer:
        site.port = peer.port
        served = site.look()["served"]
    assert (served["leaf"], served["trusted"]) == (pair.certificate, True)
    assert site.look()["served"]["failure"] == "refused"


def test_a_staged_pair_is_seen_until_it_is_in_use(site: Site) -> None:
    staged = site.request()
    assert site.look()["staged"] == {"spki": staged["spki"], "certificate": None}
    assert site.deploy(site.order(spki=staged["spki"], certificate=site.issue(staged))).outcome == "installed"
    assert site.look()["staged"] is None
    # Left over by a run that ended between its commit and tidying up.
    (site.store / "staged").mkdir()
    for name in ("key.pem", "certificate.pem"):
        (site.store / "staged" / name).write_bytes((site.store / "current" / name).read_bytes())
    assert site.look()["staged"] is None


def test_a_damaged_staged_key_does_not_count(site: Site) -> None:
    site.request()
    (site.store / "staged" / "key.pem").write_text("half a key")
    assert site.look()["staged"] is None
    assert site.request()["spki"]


def test_what_would_stop_a_deploy_is_told(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.reload = {"method": "command", "command": ["no-such-command"]}
    assert "no-such-command" in site.look()["blocked"]
    site.reload = {"method": "none"}
    site.store.write_text("not a folder")
    assert "something else" in site.look()["blocked"]
    site.store.unlink()
    site.store.mkdir()
    os.chown(site.store, 12345, 12345)
    assert "belongs to user 12345, who could exchange keys" in site.look()["blocked"]
    os.chown(site.store, os.getuid(), os.getgid())
    monkeypatch.setenv("PATH", str(site.folder))
    assert "no openssl command" in site.look()["blocked"]


def test_a_missing_folder_is_told_and_not_made(site: Site) -> None:
    site.folder.rmdir()
    assert "never created silently" in site.look()["blocked"]
    assert not site.folder.exists()
