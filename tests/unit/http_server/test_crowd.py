"""Who has to go when there are too many connections: never a client at work."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
from tests.unit.http_server.malformed import HOST
from tests.unit.http_server.raw import RawClient, Site, serving

from ringtime_shared.http_server.crowd import Crowd
from ringtime_shared.settings import ServerSettings

GET = b"GET /a HTTP/1.1\r\n" + HOST + b"\r\n"
HALF = b"POST /a HTTP/1.1\r\n" + HOST + b"Content-Type: application/json\r\nContent-Length: 40000\r\n\r\n"


def test_connections_keep_to_the_share_of_descriptors() -> None:
    assert Crowd(ServerSettings(max_connections=100), 448).most == 100
    assert Crowd(ServerSettings(), 448).most == 448


class Guest:
    """A connection that only notes what it is told."""

    def __init__(self, name: str) -> None:
        self.peer = name
        self.deadline_s = float("inf")
        self.held_bytes = 0
        self.told: list[str] = []

    def expire(self) -> None:
        self.told.append("expired")

    def evict(self) -> None:
        self.told.append("evicted")


def make_crowd(names: str, most: int = 10, **settings: Any) -> tuple[Crowd, list[Guest]]:
    crowd = Crowd(ServerSettings(max_connections=most, **settings), 1 << 30)
    guests = [Guest(name) for name in names]
    for guest in guests:
        crowd.enter(guest)
    return crowd, guests


def evicted(guests: list[Guest]) -> str:
    return "".join(guest.peer for guest in guests if guest.told == ["evicted"])


def test_strangers_go_first_then_who_was_answered_longest_ago_and_nobody_at_work() -> None:
    crowd, guests = make_crowd("abcdefghij")
    for guest in guests[:8]:
        crowd.begin(guest)
    for guest in (guests[2], guests[1], guests[0]):
        crowd.rest(guest)
    order = []
    for name in "123456":
        newcomer = Guest(name)
        crowd.enter(newcomer)
        crowd.begin(newcomer)
        guests.append(newcomer)
        order.append(evicted(guests))
    assert order == ["i", "ij", "cij", "bcij", "abcij", "abcij6"]  # all at work: the newcomer itself
    assert len(crowd) == 10 + 1  # it began although it was sent away; a connection does not


def test_bytes_of_requests_that_are_not_whole_are_bounded_together() -> None:
    crowd, guests = make_crowd("abcd", max_reading_bytes=65_536)
    crowd.begin(guests[0])
    crowd.rest(guests[0])
    for guest, size in zip(guests, (20_000, 20_000, 20_000, 5_000), strict=True):
        crowd.hold(guest, size)
    assert evicted(guests) == ""
    crowd.hold(guests[3], 6_000)
    assert evicted(guests) == "b"
    crowd.leave(guests[2])
    crowd.hold(guests[3], 45_000)
    assert evicted(guests) == "b"
    crowd.hold(guests[3], 46_000)
    assert evicted(guests) == "bd"  # strangers first, itself if need be


def test_deadlines_are_looked_at_for_all_but_those_at_work() -> None:
    crowd, guests = make_crowd("abc")
    for guest in guests:
        guest.deadline_s = 5
    crowd.begin(guests[0])
    guests[1].deadline_s = 6
    crowd.sweep(5.5)
    assert [guest.told for guest in guests] == [[], [], ["expired"]]


def test_refusals_are_counted_and_logged_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    crowd, _ = make_crowd("")
    caplog.set_level(logging.WARNING)
    for second in range(130):
        crowd.note("too long", f"10.0.0.{second}")
        crowd.sweep(second)
    lines = [record.getMessage() for record in caplog.records]
    assert lines == [
        "refused 1 times, last from 10.0.0.0: too long",
        "refused 60 times, last from 10.0.0.60: too long",
        "refused 60 times, last from 10.0.0.120: too long",
    ]


def test_reasons_are_bounded() -> None:
    crowd, _ = make_crowd("")
    for number in range(1_000):
        crowd.note(f"reason {number}", "10.0.0.1")
    assert len(crowd._refused) <= 101


async def fill(site: Site, count: int, sent: bytes) -> list[RawClient]:
    clients = []
    for _ in range(count):
        clients.append(await site.connect())
        await clients[-1].send(sent)
    return clients


@pytest.mark.parametrize("sent", [b"", b"GET /a HT", HALF + b"{" * 30_000])
async def test_a_client_at_work_stays_while_others_fill_the_house(sent: bytes) -> None:
    async with serving(max_connections=10) as site:
        worker = await site.connect()
        await worker.send(GET)
        await worker.read_answers(1)
        others = await fill(site, 40, sent)
        for count in range(2, 20):
            await worker.send(GET)
            await worker.read_answers(count)
        gone = await asyncio.gather(*(other.read_to_end() for other in others[:31]))
        assert {(*answers.statuses,) for answers in gone} == {(503,) if sent else ()}
        assert all(headers["retry-after"] == "1" for answers in gone for headers in answers.headers)


async def test_requests_in_progress_are_not_cut_for_newcomers() -> None:
    async with serving(max_connections=10) as site:
        at_work = await fill(site, 10, b"GET /wait HTTP/1.1\r\n" + HOST + b"\r\n")
        await site.asked(10)
        newcomer = await site.connect()
        assert (await newcomer.read_to_end()).statuses == []
        site.release.set()
        for client in at_work:
            assert (await client.read_answers(1)).statuses == [200]
