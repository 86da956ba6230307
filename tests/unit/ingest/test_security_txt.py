"""`/.well-known/security.txt`: for whoever asks, the one path with a dot first, and never half of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.unit.ingest.rig import Client, make_rig

from ringtime_ingest.http import create_app
from ringtime_shared.errors import RingtimeError
from ringtime_shared.http_server import SECURITY_TXT
from ringtime_shared.http_server.heads import Head, parse_head
from ringtime_shared.settings import ServerSettings, Settings, check_settings

CONTACTS = ("mailto:security@example.org", "https://example.org/report?a=b")
TOLD = ServerSettings(security_contacts=CONTACTS, security_expires="2027-06-30")


async def test_it_says_what_the_settings_say_and_nothing_without() -> None:
    rig = make_rig()
    reply = await Client(create_app(rig.service, TOLD, rig.store.check_ready)).call("GET", SECURITY_TXT)
    assert (reply.status, reply.headers["content-type"]) == (200, "text/plain; charset=utf-8")
    assert reply.body.decode().splitlines() == [
        "Contact: mailto:security@example.org",
        "Contact: https://example.org/report?a=b",
        "Expires: 2027-06-30T00:00:00Z",
    ]
    assert (await rig.client.call("GET", SECURITY_TXT)).status == 404


@pytest.mark.parametrize(
    ("path", "passes"),
    [
        (SECURITY_TXT, True),
        ("/.well-known/security.txt2", False),
        ("/.well-known/", False),
        ("/.well-known/../goscheduler", False),
        ("/goscheduler/.well-known/security.txt", False),
        ("//.well-known/security.txt", False),
    ],
)
def test_it_is_the_one_path_with_a_dot_first(path: str, passes: bool) -> None:
    head = parse_head(f"GET {path} HTTP/1.1\r\nHost: localhost".encode())
    assert isinstance(head, Head) is passes


@pytest.mark.parametrize(
    "wrong",
    [
        {"security_expires": ""},
        {"security_contacts": ()},
        {"security_expires": "2027-02-30"},
        {"security_expires": "soon"},
        {"security_contacts": ("security@example.org",)},
        {"security_contacts": ("mailto:a@b\nContact: x",)},
    ],
)
def test_half_of_it_or_what_is_none_stops_the_start(wrong: dict[str, Any]) -> None:
    check_settings(Settings(server=TOLD))
    with pytest.raises(RingtimeError, match=r"server\.security_"):
        check_settings(Settings(server=replace(TOLD, **wrong)))
