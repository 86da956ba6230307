"""What HTTP callbacks must not reach: canaries on the loopback interface that count who comes."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import cycle

import pytest
from tests.unit.dispatcher.http_rig import CANARY, OPEN, SITE, answering, call, calling, delivery, serving

from ringtime_shared.callbacks.protocol import Reply
from ringtime_shared.settings import EgressSettings

HOST = "callback.test"
BLOCKED = Reply(ok=False, error="the target is not allowed", is_final=True)
ANY_PORT = EgressSettings(ports=("1-65535",), dns_keep_s=0)


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "0.0.0.0", "[::]", "[::1]", "[::127.0.0.1]", "printer"],
)
async def test_this_machine_is_not_called(host: str) -> None:
    names = {"localhost": [CANARY], "printer": [CANARY]}
    async with serving(host=CANARY) as canary, calling(names, settings=ANY_PORT) as http:
        assert await call(http, canary.url(host)) == BLOCKED
        assert canary.connections == 0


@pytest.mark.parametrize(
    "addresses",
    [
        [CANARY],
        ["::ffff:127.0.0.1"],
        ["1.1.1.1", CANARY],
        [CANARY, "1.1.1.1"],
        [SITE, CANARY],
        ["0.0.0.0"],
        ["fe80::1%lo"],
        ["169.254.169.254"],
    ],
)
async def test_a_name_that_leads_inside_is_not_called_at_all(addresses: Sequence[str]) -> None:
    """Not even at the address of it that would be allowed."""
    async with (
        serving(host=CANARY) as canary,
        serving(port=canary.port) as site,
        calling({HOST: addresses}, settings=OPEN) as http,
    ):
        assert await call(http, canary.url(HOST)) == BLOCKED
        assert [canary.connections, site.connections] == [0, 0]


async def test_a_name_that_changes_its_meaning_between_check_and_connect() -> None:
    """Each lookup gets the other answer, so whoever asks twice for one attempt meets the canary."""
    answers: Iterator[list[str]] = cycle([[SITE], [CANARY]])
    asked: Counter[str] = Counter()

    def flip(host: str) -> list[str]:
        asked[host] += 1
        return next(answers)

    async with (
        serving(host=CANARY) as canary,
        serving(port=canary.port) as site,
        calling(flip, settings=OPEN) as http,
    ):
        replies = [await call(http, canary.url(HOST)) for _ in range(40)]
        assert replies == [Reply(ok=True, code=200), BLOCKED] * 20
        assert asked == {HOST: 40}
        assert [canary.connections, len(site.requests)] == [0, 20]


async def test_a_pooled_connection_does_not_survive_the_name() -> None:
    """The connection to the allowed address is open and idle; the name has moved inside since."""
    answers = {HOST: [SITE]}
    async with serving() as site, calling(answers, settings=OPEN) as http:
        assert (await call(http, site.url(HOST))).ok
        answers[HOST] = [CANARY]
        assert await call(http, site.url(HOST)) == BLOCKED
        assert len(site.requests) == 1


async def test_a_name_that_moves_is_followed_at_once() -> None:
    settings = replace(OPEN, allow=(SITE, "127.0.0.3"))
    answers = {HOST: [SITE]}
    async with (
        serving() as old,
        serving(host="127.0.0.3", port=old.port) as new,
        calling(answers, settings=settings) as http,
    ):
        assert (await call(http, old.url(HOST))).ok
        answers[HOST] = ["127.0.0.3"]
        assert (await call(http, old.url(HOST))).ok
        assert [len(old.requests), len(new.requests)] == [1, 1]


@pytest.mark.parametrize(
    "status", ["301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"]
)
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_redirect_is_an_answer(status: str, method: str) -> None:
    async with serving(host=CANARY) as canary:
        act = answering(status, f"location: {canary.url(CANARY)}", "refresh: 0; url=/")
        async with serving(act) as site, calling({HOST: [SITE]}) as http:
            reply = await call(http, site.url(HOST), method=method)
        assert (reply.ok, reply.code) == (False, int(status[:3]))
        assert canary.connections == 0


async def test_ports_and_scheme_are_checked_again_when_it_is_due() -> None:
    """The operator may have closed one since the schedule was created."""
    async with serving() as site:
        for settings in (replace(OPEN, ports=("443",)), replace(OPEN, https_only=True)):
            async with calling({HOST: [SITE]}, settings=settings) as http:
                assert await call(http, site.url(HOST)) == BLOCKED
                assert await call(http, site.url(SITE)) == BLOCKED
        assert site.connections == 0


async def test_what_a_refusal_tells() -> None:
    """The same, whatever was found, and nothing about how long the network took."""
    async with serving(host=CANARY) as canary, calling(lambda _: [CANARY], settings=ANY_PORT) as http:
        replies = await asyncio.gather(
            *(
                http.invoke(delivery(url))
                for url in (canary.url(HOST), "http://10.0.0.1/", "http://127.0.0.1:1/")
            )
        )
        assert set(replies) == {BLOCKED}
        assert not BLOCKED.blames_destination
