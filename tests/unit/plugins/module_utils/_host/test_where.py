# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which files, and who may read them."""

from __future__ import annotations

import grp
import os
import pwd
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.certfleet.tls.plugins.module_utils._host import access
from ansible_collections.certfleet.tls.plugins.module_utils._host.errors import HostError
from ansible_collections.certfleet.tls.plugins.module_utils._host.where import Where

RIGHT = {"certificate": "/tls/cert.pem", "key": "/tls/key.pem"}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"certificate": None}, "lacks the path of the certificate"),
        ({"key": "tls/key.pem"}, "no plain absolute path for the key"),
        ({"key": "/tls/../key.pem"}, "no plain absolute path"),
        ({"key": "/tls//key.pem"}, "no plain absolute path"),
        ({"key": "/tls/key\n.pem"}, "no plain absolute path"),
        ({"key": "/tls/cert.pem"}, "must be different files"),
        ({"chain": "/tls/key.pem"}, "must be different files"),
        ({"mode": 420}, "mode '420' is no file mode"),
        ({"mode": "u=rw"}, "is no file mode"),
        ({"key_mode": "0644"}, "key_mode 0644 opens the private key"),
        ({"key_mode": "0660"}, "key_mode 0660 opens the private key"),
        ({"modus": "0600"}, "has no field modus"),
    ],
)
def test_wrong_descriptions_name_host_and_item(change: dict[str, Any], said: str) -> None:
    with pytest.raises(HostError, match=f"(?s)host-1/https: .*{said}"):
        Where.from_dict({**RIGHT, **change}, where="host-1/https")


def test_empty_settings_are_the_defaults() -> None:
    where = Where.from_dict({**RIGHT, "chain": "", "owner": None, "mode": ""}, where="x")
    assert where == Where("/tls/cert.pem", "/tls/key.pem", None, None, None, 0o644, 0o600)
    assert (where.uid(), where.gid()) == (-1, -1)


def test_accounts_are_names_or_numbers_of_this_host() -> None:
    where = Where.from_dict({**RIGHT, "owner": pwd.getpwuid(0).pw_name, "group": 7}, where="x")
    assert (where.uid(), where.gid()) == (0, 7)
    with pytest.raises(HostError, match="The owner 'no-such-user' of"):
        Where.from_dict({**RIGHT, "owner": "no-such-user"}, where="x").uid()
    with pytest.raises(HostError, match="The group 'no-such-group'"):
        Where.from_dict({**RIGHT, "group": "no-such-group"}, where="x").gid()


@pytest.fixture
def where(tmp_path: Path) -> Where:
    for name in ("cert.pem", "key.pem"):
        (tmp_path / name).touch()
    return Where(str(tmp_path / "cert.pem"), str(tmp_path / "key.pem"))


def test_deviations_say_what_is_and_what_should_be(where: Where) -> None:
    os.chmod(where.certificate, 0o644)
    os.chmod(where.key, 0o640)
    assert access.deviations(where) == [f"{where.key} has mode 0640, should be 0600"]
    other = Where(where.certificate, where.key, owner="12345", group="54321", key_mode=0o640)
    assert access.deviations(other) == [
        f"{where.certificate} belongs to user {os.getuid()}, should belong to 12345",
        f"{where.certificate} belongs to group {os.getgid()}, should belong to 54321",
        f"{where.key} belongs to user {os.getuid()}, should belong to 12345",
        f"{where.key} belongs to group {os.getgid()}, should belong to 54321",
    ]


def test_obstacles_come_with_the_next_step(where: Where, tmp_path: Path) -> None:
    assert access.obstacle(where) is None
    gone = Where(str(tmp_path / "gone/cert.pem"), where.key)
    assert "never created silently: install the product first" in str(access.obstacle(gone))
    (tmp_path / "folder").mkdir()
    assert "is a folder" in str(access.obstacle(Where(where.certificate, str(tmp_path / "folder"))))
    assert "Create the user" in str(access.obstacle(Where(where.certificate, where.key, owner="no-such-user")))
    os.seteuid(65534)
    try:
        assert "cannot be written to by user 65534" in str(access.obstacle(Where("/etc/cert.pem", "/etc/key.pem")))
    finally:
        os.seteuid(0)


def test_what_a_service_can_read_goes_by_modes_of_files_and_folders(tmp_path: Path) -> None:
    user, group = pwd.getpwnam("nobody"), grp.getgrgid(pwd.getpwnam("nobody").pw_gid)
    base = tmp_path / "tls"
    base.mkdir(mode=0o755)
    key = base / "key.pem"
    key.touch(mode=0o600)
    for folder in (tmp_path, *tmp_path.parents):
        if str(folder).startswith("/tmp/"):  # which pytest makes for their owner alone
            folder.chmod(0o755)
    files = {"/service/key.pem": str(key)}
    assert "/service/key.pem cannot be read by user nobody" in str(access.unreadable_for("nobody", files))
    os.chown(key, user.pw_uid, -1)
    assert access.unreadable_for("nobody", files) is None
    os.chown(key, 0, group.gr_gid)
    key.chmod(0o640)
    assert access.unreadable_for(str(user.pw_uid), files) is None
    base.chmod(0o700)
    assert f"cannot enter {base} on the way to /service/key.pem" in str(access.unreadable_for("nobody", files))
    assert access.unreadable_for("root", files) is None
    assert access.unreadable_for("no-such-user", files) is None
