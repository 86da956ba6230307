"""What goes over the wire: the URL byte for byte, lengths, and the headers that a schedule leaves open."""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.dispatcher.http_rig import SITE, call, calling, delivery, serving

from ringtime_dispatcher.callbacks.http.callback import parse_route, request_bytes
from ringtime_shared.callbacks.http_rules import METHODS
from ringtime_shared.callbacks.protocol import Reply
from ringtime_shared.callbacks.url_rules import url_fault
from ringtime_shared.models.recurring import RunOf
from ringtime_shared.models.sending import Sending
from ringtime_shared.recurring.completing import Completions

HOST = "callback.test"

RESOURCES = [
    *("/", "//", "///a", "/a/", "/a/../b", "/a/./b", "/.", "/..", "/a/%2e%2e/b", "/a/%2E%2E%2fb", "/%2e"),
    *(
        "/a%20b",
        "/%41",
        "/%e2%82%ac",
        "/%C3%bc",
        '/"quoted"',
        "/{id}",
        "/a|b",
        "/<b>",
        "/a^b",
        "/`a`",
        "/[a]",
    ),
    *(
        "/a;b=c",
        "/a:b@c",
        "/a?",
        "/?",
        "/a?b",
        "/a??",
        '/a?b="{|}"',
        "/a?b=/../c",
        "/a?x=1&&y=%00",
        "/*",
        "/~a!$'()",
    ),
]


@pytest.mark.parametrize("resource", RESOURCES)
async def test_path_and_query_are_sent_byte_for_byte(resource: str) -> None:
    async with serving() as site, calling({HOST: [SITE]}) as http:
        url = site.url(HOST, resource)
        assert http.validate({"url": url, "method": "GET"}, "app") == []
        assert await call(http, url, method="GET") == Reply(ok=True, code=200)
        [request] = site.requests
        assert request.split(b"\r\n")[0] == f"GET {resource} HTTP/1.1".encode()


@pytest.mark.parametrize(
    ("url", "line", "host"),
    [
        ("http://A.Example", "/", "a.example"),
        ("HTTP://a.example?b=C", "/?b=C", "a.example"),
        ("http://a.example?", "/?", "a.example"),
        ("http://a.example:80/B", "/B", "a.example"),
        ("https://a.example:443/", "/", "a.example"),
        ("http://a.example:443/", "/", "a.example:443"),
        ("https://a.example:00080", "/", "a.example:80"),
        ("http://[2606:4700:0::1]/", "/", "[2606:4700::1]"),
        ("http://1.2.3.4:8080/x", "/x", "1.2.3.4:8080"),
        ("http://xn--mnchen-3ya.example/", "/", "xn--mnchen-3ya.example"),
    ],
)
def test_a_host_is_sent_as_what_it_means(url: str, line: str, host: str) -> None:
    route = parse_route(url)
    assert route is not None
    assert (route.resource, route.host) == (line, host)


@pytest.mark.parametrize(
    "resource", ["/a b", "/ü", "/a\\b", "/a#b", "/%", "/%2", "/%zz", "/\x7f", "/a\r\nx: y", "/\t"]
)
async def test_what_cannot_be_sent_as_it_is_is_refused_at_create(resource: str) -> None:
    async with calling({HOST: [SITE]}) as http:
        url = f"http://{HOST}:8080{resource}"
        [violation] = http.validate({"url": url, "method": "GET"}, "app")
        assert violation.field == "callback.details.url"
        assert violation.rule
        assert (await call(http, url)).is_final


tails = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7F), max_size=40) | st.text(max_size=10)


GIVEN = delivery("http://a.example/")


@given(st.sampled_from(["http", "https", "HTTP"]), st.sampled_from(["/", "?"]), tails)
def test_a_url_is_refused_or_sent_byte_for_byte(scheme: str, begin: str, tail: str) -> None:
    url = f"{scheme}://a.example:8080{begin}{tail}"
    route = parse_route(url)
    assert (route is None) == (url_fault(url) is not None)
    if route is not None:
        line = request_bytes(route, GIVEN, 0).split(b"\r\n")[0]
        path = begin + tail if begin == "/" else f"/{begin}{tail}"
        assert line == f"POST {path} HTTP/1.1".encode()


def sent(method: str, payload: str, **headers: str) -> tuple[dict[str, str], bytes]:
    """Return the headers of one request, and its body."""
    url = "http://a.example/"
    given = delivery(url, method=method, headers=headers)
    route = parse_route(url)
    assert route is not None
    request = request_bytes(route, replace(given, schedule=replace(given.schedule, payload=payload)), 0)
    head, _, body = request.partition(b"\r\n\r\n")
    lines = [line.partition(": ") for line in head.decode().split("\r\n")[1:]]
    assert len({name.lower() for name, _, _ in lines}) == len(lines), "none twice"
    return {name.lower(): value for name, _, value in lines}, body


@pytest.mark.parametrize("method", METHODS)
def test_an_empty_payload_has_a_length_where_one_is_expected_and_no_type(method: str) -> None:
    headers, body = sent(method, "")
    assert headers.get("content-length") == ("0" if method in ("POST", "PUT", "PATCH") else None)
    assert "content-type" not in headers
    assert body == b""


@pytest.mark.parametrize("method", METHODS)
def test_a_payload_has_a_length_in_bytes_and_a_type(method: str) -> None:
    headers, body = sent(method, '{"to": "Jürgen"}')
    assert (headers["content-length"], headers["content-type"]) == (str(len(body)), "application/json")
    assert "transfer-encoding" not in headers


def test_what_a_schedule_says_goes_first() -> None:
    own = {"content-TYPE": "text/plain", "Accept": "text/*", "user-agent": "me"}
    headers, _ = sent("POST", "", **own)
    assert {name: headers[name.lower()] for name in own} == own


@pytest.mark.parametrize(
    "details",
    [
        {"method": "TRACE"},
        {"method": "GET / HTTP/1.1\r\nx: y"},
        {"headers": {"x": "a\r\ny: z"}},
        {"headers": {"x\r\ny": "z"}},
        {"headers": {"Content-Length": "5"}},
        {"headers": {"Host": "b.example"}},
        {"headers": {"x": "ü"}},
        {"headers": {"x": 7}},
        {"headers": ["x"]},
    ],
)
async def test_details_that_no_create_would_pass_are_not_sent(details: dict[str, object]) -> None:
    """A row may be older than today's rules."""
    async with serving() as site, calling({HOST: [SITE]}) as http:
        reply = await call(http, site.url(HOST), **details)
        assert (reply.ok, reply.is_final) == (False, True)
        assert site.connections == 0


async def test_a_run_that_asks_for_it_says_where_its_end_is_told() -> None:
    run = RunOf(recurring_id=UUID(int=5), version=1, nominal_ms=0)
    completions = Completions("https://ringtime.example/a", "x" * 32)
    async with serving() as site, calling({HOST: [SITE]}, completions=completions) as http:
        plain = delivery(site.url(HOST))
        sending = Sending(completion_ms=60_000)
        asking = replace(
            plain, schedule=replace(plain.schedule, run=run, sending=sending), attempt=3, replay=2
        )
        assert (await http.invoke(asking)).ok
        assert (await http.invoke(plain)).ok
        [line] = [each for each in site.requests[0].split(b"\r\n") if each.startswith(b"Ringtime-Completion")]
        head, token = line.decode().rsplit("/", 1)
        assert head == "Ringtime-Completion-Url: https://ringtime.example/a/goscheduler/completions"
        ticket = completions.read(token, 0)
        assert (ticket.app_id, ticket.schedule_id) == (plain.schedule.app_id, plain.schedule.schedule_id)
        assert (ticket.attempt, ticket.replay) == (3, 2)
        assert ticket.expires_ms == ticket.sent_ms + asking.timeout_ms + 60_000 + 60_000
        assert b"Ringtime-Completion" not in site.requests[1]
    async with serving() as site, calling({HOST: [SITE]}) as http:
        reply = await http.invoke(replace(asking, details={**plain.details, "url": site.url(HOST)}))
        assert not reply.ok
        assert "completion.base_url" in reply.error
        assert not site.requests


def test_a_run_names_its_recurring_schedule_and_others_none() -> None:
    route = parse_route("http://a.example/")
    assert route is not None
    once = delivery("http://a.example/")
    run = RunOf(recurring_id=UUID(int=5), version=1, nominal_ms=0)
    of_run = replace(once, schedule=replace(once.schedule, run=run))
    line = f"Parent-Schedule-Id: {UUID(int=5)}\r\n".encode()
    assert line in request_bytes(route, of_run, 0)
    assert b"Parent-Schedule-Id" not in request_bytes(route, once, 0)
