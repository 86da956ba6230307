"""Forms of URLs that lead inside, each in four ways through the whole product; canaries count who comes.

| way | how a form gets past the first look |
|---|---|
| create | not at all: it is refused |
| redirect | a receiver that may be called sends the caller there |
| rebinding | a name means a receiver that may be called at the create, and the form when it is due |
| replay | a schedule was stored when no rule forbade it, and failed; its dead letter is sent again |
"""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from tests.unit.dispatcher.http_rig import CANARY, SITE, Site, serving
from tests.unit.ingest.rig import Client

from ringtime import CallbackType, Delivery, Reply, Violation
from ringtime.runtime import run
from ringtime_dispatcher.callbacks.http.callback import HttpCallback
from ringtime_ingest.http import create_app
from ringtime_shared.callbacks.egress_policy import EgressPolicy
from ringtime_shared.callbacks.resolver import Resolver
from ringtime_shared.settings import EgressSettings, EmbeddedSettings, ServerSettings, Settings

APPS, SCHEDULES = "/goscheduler/apps", "/goscheduler/schedules"
HOSTS = (
    *("127.0.0.1", "127.1", "127.0.1", "127.255.255.254", "0", "0.0.0.0", "2130706433", "0x7f000001"),
    *("0x7f.0.0.1", "0177.0.0.1", "017700000001", "0x7f.1", "127.0.0.1.", "127.000.000.001"),
    *("１２７.0.0.1", "127。0。0。1", "①②⑦.0.0.1", "127.0.0.1%00.callback.test", "127.0.0.1%2ecallback.test"),
    *("localhost", "LOCALHOST", "localhost.", "localhost.localdomain", "a.localhost", "ip6-loopback"),
    *(
        "[::1]",
        "[::]",
        "[0:0:0:0:0:0:0:1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[0:0:0:0:0:ffff:7f00:1]",
    ),
    *("[::127.0.0.1]", "[64:ff9b::7f00:1]", "[64:ff9b:1::7f00:1]", "[2002:7f00:1::]", "[2001:0:7f00:1::]"),
    *("[::1%25lo]", "[::1%lo]", "[fe80::1%25lo]", "[fd00:ec2::254]", "[fec0::1]", "[ff02::1]", "[::1"),
    *("10.0.0.1", "172.16.0.1", "192.168.0.1", "100.100.100.200", "169.254.169.254", "168.63.129.16"),
    *("192.0.0.192", "198.18.0.1", "224.0.0.1", "255.255.255.255", "[::ffff:169.254.169.254]"),
    *("metadata.google.internal", "metadata.goog", "printer"),
    *("user@127.0.0.1", "callback.test@127.0.0.1", "callback.test\\@127.0.0.1", "127.0.0.1#@callback.test"),
    *("callback.test#@127.0.0.1", "callback.test:80@127.0.0.1", "127.0.0.1\t", " 127.0.0.1", "inside.test"),
)
SCHEMES = (
    "http:{}",
    "http:///{}",
    "//{}",
    "ftp://{}",
    "gopher://{}",
    "dict://{}",
    "http://{}\r\nHost: callback.test",
)
#: what names mean where there is somebody to ask
MEANINGS = dict.fromkeys(("metadata.google.internal", "metadata.goog"), "169.254.169.254") | dict.fromkeys(
    ("localhost", "ip6-loopback", "a.localhost", "localhost.localdomain", "printer", "inside.test"), CANARY
)


def forms(port: int) -> list[str]:
    """Return URLs that lead, or seem to lead, to what listens on this port of this machine."""
    urls = [f"http://{host}:{port}/" for host in HOSTS]
    return urls + [f"{scheme.format(f'127.0.0.1:{port}')}/" for scheme in SCHEMES]


def host_of(url: str) -> str:
    """Return what a name server could answer with to lead where the URL does."""
    return re.sub(r"^\W*|^https?:/*|:\d+/.*$", "", url.replace("http://", "")).strip("[]") or CANARY


@dataclass
class Product:
    """The product with a callback type of the test's choosing."""

    client: Client

    async def ask(self, method: str, target: str, body: object = b"") -> tuple[int, dict[str, Any]]:
        headers = [("host", "127.0.0.1"), ("content-type", "application/json")]
        reply = await self.client.call(method, target, body, headers=headers)
        answer: dict[str, Any] = reply.json
        return reply.status, answer

    async def create(self, url: str, delay_s: int = 1) -> tuple[int, dict[str, Any]]:
        callback = {"type": "http", "details": {"url": url, "method": "POST"}}
        body = {"appId": "shop", "payload": "{}", "delaySeconds": delay_s, "callback": callback}
        return await self.ask("POST", SCHEDULES, body)

    async def create_all(self, urls: Sequence[str], delay_s: int = 1) -> list[str]:
        """Create a schedule for each; return their ids."""
        answers = await asyncio.gather(*(self.create(url, delay_s) for url in urls))
        assert [status for status, _ in answers] == [200] * len(urls), answers
        return [answer["data"]["schedule"]["scheduleId"] for _, answer in answers]

    async def trigger(self, schedule_id: str) -> None:
        """Have it sent now; again where the machine stood still and nothing, or who knows, was changed."""
        status = 503
        errors: set[str] = set()
        async with asyncio.timeout(60):
            while status == 503:
                status, answer = await self.ask("POST", f"{SCHEDULES}/{schedule_id}/trigger")
                errors.add(answer["status"].get("error"))
        was_changed = {"OUTCOME_UNKNOWN", "NOT_CHANGEABLE"} <= errors  # by the try of which nobody knew
        assert status == 200 or was_changed, answer

    async def ended(self, ids: Sequence[str], replay: int = 0) -> list[dict[str, Any]]:
        """Wait until each has failed, so many replays after the first time; return its dead letter."""
        async with asyncio.timeout(60):
            while True:
                _, answer = await self.ask("GET", f"{APPS}/shop/dead-letters?size=1000&replayed=false")
                letters = {each["scheduleId"]: each for each in answer["data"]["deadLetters"]}
                done = [each for each in letters.values() if each["replay"] == replay]
                if {*ids} <= {each["scheduleId"] for each in done}:
                    return [letters[each] for each in ids]
                await asyncio.sleep(0.05)


@asynccontextmanager
async def product(kind: CallbackType, folder: Path) -> AsyncIterator[Product]:
    settings = Settings(embedded=EmbeddedSettings(data=str(folder), loopback_callbacks=False))
    async with run(settings, callbacks={"http": kind}) as runtime:

        async def ready() -> None: ...

        made = Product(Client(create_app(runtime.service, ServerSettings(), ready)))
        once = {"httpRetries": 1, "httpTimeout": 60_000}
        app = {"appId": "shop", "partitions": 4, "active": True, "configuration": once}
        await made.ask("POST", APPS, app)
        yield made


@dataclass
class Lenient(CallbackType):
    """Takes every URL and calls none: rows of a time, or a version, that knew no rule."""

    name = "http"

    def validate(self, details: Mapping[str, object], app_id: str) -> list[Violation]:
        return []

    async def invoke(self, delivery: Delivery) -> Reply:
        return Reply(ok=False, error="failed", is_final=True)


@dataclass
class Names:
    """What names mean: as long as `is_inside` is not set, a receiver that may be called."""

    inside: dict[str, list[str]] = field(default_factory=dict)
    is_inside: bool = False

    def __call__(self, host: str) -> Sequence[str]:
        if host in MEANINGS:
            return [MEANINGS[host]]
        if host in self.inside:
            return self.inside[host] if self.is_inside else [SITE]
        raise OSError(host)


@asynccontextmanager
async def canaries(port: int) -> AsyncIterator[list[Site]]:
    """Listen on this port wherever this machine would be met but at the receiver's own address."""
    async with AsyncExitStack() as stack:
        sites = [await stack.enter_async_context(serving(host=CANARY, port=port))]
        if socket.has_ipv6:
            sites.append(await stack.enter_async_context(serving(host="::1", port=port)))
        yield sites


@pytest.mark.slow
async def test_no_form_in_no_way_gets_inside(tmp_path: Path) -> None:
    sent_to: list[str] = []

    async def redirect(site: Site, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await site.read_request(reader)
            number = re.match(rb"POST /(\d+)", site.requests[-1])
            assert number is not None
            location = urls[int(number[1])].translate({10: None, 13: None})
            sent_to.append(location)
            head = f"HTTP/1.1 307 x\r\nlocation: {location}\r\ncontent-length: 0\r\n\r\n"
            writer.write(head.encode())

    async with serving(redirect) as site, canaries(site.port) as inside:
        urls = forms(site.port)
        assert len(set(urls)) == len(urls) >= 60
        folder = tmp_path / "data"
        async with product(Lenient(), folder) as before:
            stored = await before.create_all(urls)
            await before.ended(stored)

        names = Names({f"r{number}.test": [host_of(url)] for number, url in enumerate(urls)})
        names.inside |= {f"m{number}.test": [SITE, host_of(url)] for number, url in enumerate(urls)}
        egress = EgressSettings(allow=(SITE,), ports=("1-65535",), dns_keep_s=0)
        http = HttpCallback(EgressPolicy.of(egress), Resolver(egress, lookup=names))
        async with product(http, folder) as strict:
            for url in urls:
                status, answer = await strict.create(url)
                assert status == 400, url
                assert [each["field"] for each in answer["status"]["errors"]] == ["callback.details.url"], url

            named = [f"http://{name}:{site.port}/" for name in names.inside]
            bound = await strict.create_all(named, delay_s=3_600)
            names.is_inside = True
            for each in bound:
                await strict.trigger(each)
            letters = await strict.ended(bound)
            assert {each["errorMessage"] for each in letters} == {"the target is not allowed"}

            sent = [f"http://{SITE}:{site.port}/{number}" for number in range(len(urls))]
            letters = await strict.ended(await strict.create_all(sent))
            assert {each["httpCode"] for each in letters} == {307}

            for ids in (stored, bound):
                status, answer = await strict.ask(
                    "POST", f"{APPS}/shop/dead-letters/replay", {"scheduleIds": ids}
                )
                assert (status, answer["data"]["replayed"]) == (200, len(ids))
                await strict.ended(ids, replay=1)
        assert len(site.requests) == len(sent_to) == len(urls)
        assert [each.connections for each in inside] == [0] * len(inside)
