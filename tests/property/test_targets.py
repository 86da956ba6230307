"""The check and the HTTP client read a URL alike, whatever is in it."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from pyreqwest.http import Url

from ringtime_dispatcher.callbacks.http import _read_url
from ringtime_shared.callbacks.address_rules import parse_address
from ringtime_shared.callbacks.targets import parse_target
from ringtime_shared.callbacks.url_rules import url_fault

labels = st.text("abcXYZ019-_", min_size=1, max_size=8)
hosts = (
    st.lists(labels, min_size=1, max_size=4).map(".".join)
    | st.ip_addresses(v=4).map(str)
    | st.ip_addresses(v=6).map("[{}]".format)
    | st.ip_addresses(v=4).map("[::ffff:{}]".format)
    | st.text("0123456789abcdefx.:[]%@\\#?-", max_size=24)
)
ports = st.just("") | st.integers(0, 70_000).map(":{}".format) | st.just(":0080")
paths = st.just("") | st.text("/?a%20=&@:.#\\", max_size=12).map("/".__add__)
urls = st.tuples(st.sampled_from(["http://", "https://", "HTTP://"]), hosts, ports, paths).map("".join)


@settings(max_examples=1_500, deadline=None)
@given(urls | st.text().map("http://".__add__))
def test_what_a_create_accepts_is_read_alike_when_it_is_due(text: str) -> None:
    if url_fault(text) is None:
        read = _read_url(text)
        if read is None:
            assert "xn--" in text.lower(), "only the client checks the whole of IDNA"
        else:
            url, target = read
            assert (url.scheme, url.port_or_known_default) == (target.scheme, target.port)
            assert not url.username
            assert not url.fragment


@settings(max_examples=1_500, deadline=None)
@given(urls | st.text().map("http://".__add__))
def test_what_the_client_takes_for_an_address_is_checked_as_one(text: str) -> None:
    """Also in a row that no create of this version would have accepted."""
    read = _read_url(text)
    if read is not None:
        url, target = read
        assert parse_target(text) == target
        assert parse_address((url.host_str or "").strip("[]")) == target.address
        assert Url(text).host_str == url.host_str
