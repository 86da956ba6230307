"""Which requests come from where they may: by `Host`, by what browsers say of a page, and by content type."""

from __future__ import annotations

import pytest

from ringtime_shared.http_server.heads import Door, Head, parse_head
from ringtime_shared.settings import ServerSettings

LOOPBACK = ServerSettings()
OPEN = ServerSettings(host="0.0.0.0")
NAMED = ServerSettings(host="0.0.0.0", hosts=("api.internal", "Ui.Example.com"))


def judge(settings: ServerSettings, lines: str, method: str = "GET", address: str = "127.0.0.1") -> int:
    """Return the status that a request with these header lines gets; 200 if it may come in."""
    head = parse_head(f"{method} /a HTTP/1.1\r\n{lines}".encode())
    assert isinstance(head, Head)
    refusal = Door(settings).judge(head, address)
    return 200 if refusal is None else refusal.status


@pytest.mark.parametrize(
    ("settings", "host", "address", "status"),
    [
        (LOOPBACK, "localhost", "127.0.0.1", 200),
        (LOOPBACK, "LOCALHOST:8080", "127.0.0.1", 200),
        (LOOPBACK, "ringtime.localhost:8080", "127.0.0.1", 200),
        (LOOPBACK, "127.0.0.1:8080", "127.0.0.1", 200),
        (ServerSettings(host="::1"), "[::1]:8080", "::1", 200),
        (ServerSettings(host="localhost"), "127.0.0.1", "127.0.0.1", 200),
        (LOOPBACK, "127.0.0.2", "127.0.0.1", 421),
        (LOOPBACK, "10.0.0.1", "127.0.0.1", 421),
        (LOOPBACK, "rebound.example.com", "127.0.0.1", 421),
        (LOOPBACK, "localhost.", "127.0.0.1", 421),
        (OPEN, "anything.example.com", "10.1.2.3", 200),
        (NAMED, "api.internal", "10.1.2.3", 200),
        (NAMED, "API.internal:80", "10.1.2.3", 200),
        (NAMED, "10.1.2.3:8080", "10.1.2.3", 200),  # a probe of the pod
        (NAMED, "localhost", "127.0.0.1", 200),
        (NAMED, "other.internal", "10.1.2.3", 421),
    ],
)
def test_names(settings: ServerSettings, host: str, address: str, status: int) -> None:
    assert judge(settings, f"Host: {host}", address=address) == status


@pytest.mark.parametrize("settings", [LOOPBACK, OPEN])
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE", "OPTIONS"])
@pytest.mark.parametrize(
    ("lines", "status"),
    [
        ("Origin: http://example.com", 403),
        ("Origin: null", 403),
        ("Origin: ", 403),
        ("Origin: http://localhost:3000", 403),  # another program of this machine
        ("Origin: http://localhost", 403),
        ("Origin: http://localhost:8080.example.com", 403),
        ("Origin: http://localhost:8080@example.com", 403),
        ("Origin: http://localhost:8080", 200),
        ("Origin: HTTP://LOCALHOST:8080\r\nSec-Fetch-Site: same-origin", 200),
    ],
)
def test_pages_of_other_origins(settings: ServerSettings, method: str, lines: str, status: int) -> None:
    assert judge(settings, f"Host: localhost:8080\r\n{lines}", method) == status


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_what_browsers_say_without_an_origin(site: str) -> None:
    lines = f"Host: localhost\r\nSec-Fetch-Site: {site}"
    assert judge(LOOPBACK, lines) == 200  # a link to the documentation
    assert judge(LOOPBACK, lines, "POST") == 403
    assert judge(LOOPBACK, lines, "DELETE") == 403
    assert judge(LOOPBACK, "Host: localhost\r\nSec-Fetch-Site: none", "POST") == 200


def test_named_pages_may_call() -> None:
    origin = "Origin: https://ui.example.com"
    assert judge(NAMED, f"Host: api.internal\r\n{origin}", "POST") == 200
    assert judge(NAMED, f"Host: api.internal\r\n{origin}\r\nSec-Fetch-Site: cross-site", "POST") == 200
    assert judge(NAMED, "Host: api.internal\r\nOrigin: https://example.com", "POST") == 403


@pytest.mark.parametrize(
    ("content_type", "status"),
    [
        ("application/json", 200),
        ("Application/JSON ; charset=utf-8", 200),
        ("text/plain", 415),
        ("application/x-www-form-urlencoded", 415),
        ("multipart/form-data; boundary=x", 415),
        ("text/plain;application/json", 415),
        ("application/json-seq", 415),
        ("", 415),
    ],
)
@pytest.mark.parametrize("length", ["Content-Length: 2", "Transfer-Encoding: chunked"])
def test_bodies_are_json_where_pages_could_send_them(content_type: str, status: int, length: str) -> None:
    lines = f"Host: localhost\r\nContent-Type: {content_type}\r\n{length}"
    assert judge(LOOPBACK, lines, "POST") == status
    assert judge(NAMED, lines, "POST") == status
    assert judge(OPEN, lines, "POST") == 200  # a gateway stands before it


def test_no_body_needs_no_type() -> None:
    for length in ("", "\r\nContent-Length: 0"):
        assert judge(LOOPBACK, f"Host: localhost{length}", "POST") == 200


@pytest.mark.parametrize(
    ("path", "kind", "status"),
    [
        ("/ui/look", "application/x-www-form-urlencoded", 200),
        ("/ui/look", "Application/X-WWW-Form-Urlencoded; charset=utf-8", 200),
        ("/ui/look", "text/plain", 415),
        ("/ui/look", "multipart/form-data; boundary=x", 415),
        ("/goscheduler/schedules", "application/x-www-form-urlencoded", 415),
    ],
)
def test_forms_may_be_sent_where_there_are_pages_and_nowhere_else(path: str, kind: str, status: int) -> None:
    lines = f"Host: localhost\r\nContent-Length: 3\r\nContent-Type: {kind}"
    head = parse_head(f"POST {path} HTTP/1.1\r\n{lines}".encode())
    assert isinstance(head, Head)
    refusal = Door(LOOPBACK, lambda path: path.startswith("/ui/")).judge(head, "127.0.0.1")
    assert (200 if refusal is None else refusal.status) == status
