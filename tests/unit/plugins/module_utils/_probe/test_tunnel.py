# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How users write proxies."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.certfleet.tls.plugins.module_utils._probe.errors import ProbeError
from ansible_collections.certfleet.tls.plugins.module_utils._probe.tunnel import Proxy, parse_proxy


@pytest.mark.parametrize(
    ("url", "proxy", "text"),
    [
        ("http://198.19.0.30:8888", Proxy("http", "198.19.0.30", 8888), "http://198.19.0.30:8888"),
        (" http://proxy.plant.example:3128/ ", Proxy("http", "proxy.plant.example", 3128), None),
        ("http://[2001:2::30]:8888", Proxy("http", "2001:2::30", 8888), "http://[2001:2::30]:8888"),
        ("ssh://operator@198.19.0.30", Proxy("ssh", "198.19.0.30", 22, "operator"), "ssh://operator@198.19.0.30:22"),
        ("ssh://[2001:2::30]:2222", Proxy("ssh", "2001:2::30", 2222), "ssh://[2001:2::30]:2222"),
    ],
)
def test_both_kinds(url: str, proxy: Proxy, text: str | None) -> None:
    parsed = parse_proxy(url, where="robot-4")
    assert parsed == proxy
    assert text is None or proxy.text == text


@pytest.mark.parametrize("url", ["", None])
def test_no_proxy(url: str | None) -> None:
    assert parse_proxy(url, ["-i", "key"], where="robot-4") is None


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("198.19.0.30:8888", "http://host:port or ssh://"),
        ("https://198.19.0.30:8888", "http://host:port or ssh://"),
        ("socks5://198.19.0.30:8888", "http://host:port or ssh://"),
        ("http://198.19.0.30", "has no port"),
        ("http://198.19.0.30:99999", "no URL"),
        ("http://198.19.0.30:8888/path", "http://host:port or ssh://"),
        ("http://a b:8888", "host or user"),
        ("http://x\r\nHost:y:8888", "host:port"),
        ("ssh://-oProxyCommand=x:22", "host or user"),
        ("ssh://-oProxyCommand=x@198.19.0.30", "host or user"),
        ("http://me:hunter2@198.19.0.30:8888", "not supported"),
        ("ssh://me:hunter2@198.19.0.30", "not supported"),
    ],
)
def test_what_is_no_proxy(url: str, said: str) -> None:
    with pytest.raises(ProbeError, match="robot-4") as caught:
        parse_proxy(url, where="robot-4")
    assert said in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_ssh_options_go_to_ssh_as_they_are() -> None:
    options = ["-i", "/keys/operator", "-oUserKnownHostsFile=/keys/known", "-4", "-o", "StrictHostKeyChecking=yes"]
    proxy = parse_proxy("ssh://198.19.0.30", options, where="robot-4")
    assert proxy is not None
    assert proxy.ssh_options == tuple(options)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["elsewhere.example"], "cannot hold 'elsewhere.example'"),
        (["-N"], "cannot hold '-N'"),
        (["-f"], "cannot hold '-f'"),
        (["-4", "-i"], "lacks its value"),
        (["-o", "StrictHostKeyChecking=no"], "always verified"),
        (["-oStrictHostKeyChecking accept-new"], "always verified"),
        (["-o", "stricthostkeychecking = off"], "always verified"),
        ("-i /keys/operator", "list of texts"),
        ([7], "list of texts"),
    ],
)
def test_ssh_options_that_cannot_be(options: Any, said: str) -> None:
    with pytest.raises(ProbeError, match="robot-4") as caught:
        parse_proxy("ssh://198.19.0.30", options, where="robot-4")
    assert said in str(caught.value)
