"""The check, the request and another parser read a URL alike, whatever is in it."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyreqwest.http import Url

from ringtime_dispatcher.callbacks.http.callback import parse_route
from ringtime_shared.callbacks.address_rules import parse_address
from ringtime_shared.callbacks.url_rules import parse_target, url_fault

pytestmark = pytest.mark.slow

labels = st.text("abcXYZ019-_", min_size=1, max_size=8)
international = st.text(st.characters(min_codepoint=0x61, max_codepoint=0x500), min_size=1, max_size=4).map(
    lambda letters: "xn--" + letters.encode("punycode").decode()
)
hosts = (
    st.lists(labels | international, min_size=1, max_size=4).map(".".join)
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
def test_what_a_create_accepts_is_sent_where_another_parser_would_send_it(text: str) -> None:
    """WHATWG's, as browsers have it: a receiver that logs or routes by it sees what was checked."""
    route = parse_route(text)
    assert (route is None) == (url_fault(text) is not None)
    if route is not None:
        other, target = Url(text), route.target
        assert parse_target(text) == target
        assert (other.scheme, other.port_or_known_default) == (target.scheme, target.port)
        assert not other.username
        assert not other.fragment
        host = (other.host_str or "").strip("[]")
        assert host == target.host or parse_address(host) == target.address
        assert (target.address is None) == (parse_address(host) is None)
