# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""URLs of MiR's REST API."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

import pytest
from ansible.errors import AnsibleFilterError
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.certfleet.tls.plugins.filter.mir_https_url import FilterModule, mir_https_url

HOSTS = st.one_of(
    st.ip_addresses(v=4).map(str),
    st.ip_addresses(v=6).map(lambda address: f"[{address}]"),
    st.from_regex(r"[a-z][a-z0-9-]{0,20}(\.[a-z]{2,5})?", fullmatch=True),
)
PATHS = st.from_regex(r"(/[a-z0-9_:-]{1,12}){0,3}", fullmatch=True)
QUERIES = st.one_of(st.just(""), st.from_regex(r"\?[a-z]{1,5}=[a-z0-9%]{1,8}(&[a-z]=[0-9])?", fullmatch=True))
FORMS = ("http://{host}:8080/v2.0.0", "http://{host}/api/v2.0.0", "http://{host}:80/api/v2.0.0")


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://198.18.0.11:8080/v2.0.0/status", "https://198.18.0.11:443/api/v2.0.0/status"),
        ("http://198.18.0.11/api/v2.0.0/status", "https://198.18.0.11:443/api/v2.0.0/status"),
        ("https://198.18.0.11:443/api/v2.0.0/status", "https://198.18.0.11:443/api/v2.0.0/status"),
        ("https://198.18.0.11/api/v2.0.0/status", "https://198.18.0.11:443/api/v2.0.0/status"),
        # half way through the steps of the vendor's guide
        ("https://198.18.0.11:8080/v2.0.0/status", "https://198.18.0.11:443/api/v2.0.0/status"),
        ("https://198.18.0.11:443/v2.0.0/status", "https://198.18.0.11:443/api/v2.0.0/status"),
        ("http://[2001:2::b]:8080/v2.0.0/robots?x=1&y=2", "https://[2001:2::b]:443/api/v2.0.0/robots?x=1&y=2"),
        ("http://robot-1.plant.example:8080/v2.0.0", "https://robot-1.plant.example:443/api/v2.0.0"),
        ("http://robot-1.plant.example/", "https://robot-1.plant.example:443/"),
        (
            "https://robot-1.plant.example:8443/api/v2.0.0/status",
            "https://robot-1.plant.example:8443/api/v2.0.0/status",
        ),
    ],
)
def test_forms(url: str, expected: str) -> None:
    assert mir_https_url(url) == expected


@given(form=st.sampled_from(FORMS), host=HOSTS, path=PATHS, query=QUERIES)
def test_every_http_form_gives_the_same_and_doing_it_again_changes_nothing(
    form: str, host: str, path: str, query: str
) -> None:
    url = mir_https_url(form.format(host=host) + path + query)
    assert url == f"https://{host}:443/api/v2.0.0{path}{query}"
    assert mir_https_url(url) == url


@given(text=st.text(max_size=60))
def test_any_text_gives_an_https_url_or_a_clear_error(text: str) -> None:
    try:
        url = mir_https_url(text)
    except AnsibleFilterError as exc:
        assert str(exc).startswith("mir_https_url: ")
    else:
        assert urlsplit(url).scheme == "https"
        assert mir_https_url(url) == url


@given(address=st.ip_addresses(v=6))
def test_ipv6_hosts_keep_their_brackets(address: ipaddress.IPv6Address) -> None:
    assert mir_https_url(f"http://[{address}]:8080/v2.0.0/status") == f"https://[{address}]:443/api/v2.0.0/status"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "198.18.0.11",
        "198.18.0.11:8080/v2.0.0/status",
        "ftp://198.18.0.11/v2.0.0",
        "http://",
        "http:///v2.0.0/status",
        "http://2001:2::b:8080/v2.0.0",
        "http://198.18.0.11:port/v2.0.0",
        "http://198.18.0.11:9090/",
        "http://user:secret@198.18.0.11:8080/v2.0.0",
        "http://user:secret@198.18.0.11:port/v2.0.0",
        "http://user:secret@198 18 0 11:8080/v2.0.0",
        "http://198.18.0.11:8080/v2.0.0/a b",
        "http://[2001:2::b/v2.0.0",
    ],
)
def test_what_is_no_url_is_a_clear_error(text: str) -> None:
    with pytest.raises(AnsibleFilterError, match="mir_https_url: ") as caught:
        mir_https_url(text)
    assert "secret" not in str(caught.value)


def test_the_filter_has_its_name() -> None:
    assert FilterModule().filters() == {"mir_https_url": mir_https_url}
