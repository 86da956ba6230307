"""One-time schedules beyond create, on a running deployment: changes that race what they change, and what a
schedule says itself (bytes, a timeout, a priority, hooks)."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from random import Random
from typing import Any

from tests.harness.client import Answer, LoadClient
from tests.harness.load import wait_until
from tests.harness.planned import http_to, register, until_ended
from tests.harness.receiver import Arrival, Receiver

FROM_S, TO_S = -2.0, 1.0  #: of the fire time: when changes are asked for
_LATER_MS = (1_500, 3_000)  #: after the time it had: when a changed one is due
BYTES = bytes(range(256))
TEXT_OF_BYTES = base64.b64encode(BYTES).decode()


@dataclass(slots=True)
class Racing:
    """A schedule, and its change."""

    number: int
    fire_ms: int
    schedule_id: str = ""
    later_ms: int = 0
    status: int = 0
    word: str = ""  #: of the error

    @property
    def told(self) -> str:
        if self.status == 200:
            return "done"
        return "unknown" if self.word == "OUTCOME_UNKNOWN" or self.status <= 0 else "refused"


async def race(
    clients: Sequence[LoadClient],
    receiver: Receiver,
    apps: Sequence[str],
    rng: Random,
    count: int,
    over_s: float,
    lead_s: float,
) -> tuple[Counter[str], list[str]]:
    """Change schedules as they come due, each once, to another time and callback; return what the clients
    were told, and what is wrong, in words. None is changed if making them took nearly all of `lead_s`."""
    begins_ms = int((time.time() + lead_s) * 1000)
    racing = [Racing(n, begins_ms + int(over_s * 1000 * n / count)) for n in range(count)]

    async def create(each: Racing) -> None:
        callback = http_to(f"{receiver.url}?n={each.number}&v=0")
        body = {
            "appId": rng.choice(apps),
            "payload": "{}",
            "scheduleTime": each.fire_ms / 1000,
            "callback": callback,
        }
        answer = await clients[each.number % len(clients)].request("POST", "/schedules", body)
        assert answer.status == 200, answer
        each.schedule_id = answer.data["schedule"]["scheduleId"]

    async def change(each: Racing) -> None:
        await asyncio.sleep(each.fire_ms / 1000 + rng.uniform(FROM_S, TO_S) - time.time())
        each.later_ms = each.fire_ms + rng.randint(*_LATER_MS)
        callback = http_to(f"{receiver.url}?n={each.number}&v=1")
        body = {"scheduleTime": each.later_ms / 1000, "callback": callback, "payload": "new"}
        client = clients[(each.number + 1) % len(clients)]  # another pod than the one that made it
        answer = await client.request("PATCH", f"/schedules/{each.schedule_id}", body)
        each.status = answer.status
        each.word = "" if answer.status in (200, -1, 0) else _word(answer)

    await asyncio.gather(*map(create, racing))
    is_in_time = time.time() * 1000 < begins_ms + FROM_S * 1000
    if is_in_time:
        await asyncio.gather(*map(change, racing))
    await until_ended(clients[0], [each.schedule_id for each in racing], timeout_s=90)
    if not is_in_time:
        return Counter(), []
    arrivals = receiver.arrivals()
    told = Counter(each.told for each in racing)
    told["both"] = sum({v for v, _ in _sent(each, arrivals)} == {0, 1} for each in racing)
    return told, [wrong for each in racing for wrong in _judge(each, arrivals)]


def _word(answer: Answer) -> str:
    return str(json.loads(answer.body)["status"]["error"])


def _sent(each: Racing, arrivals: Mapping[str, Sequence[Arrival]]) -> list[tuple[int, float]]:
    """Return what came of a schedule: which of the two, and when."""
    return [(int(one.target[-1]), one.at_ms) for one in arrivals[each.schedule_id]]


def _judge(each: Racing, arrivals: Mapping[str, Sequence[Arrival]]) -> list[str]:
    """Return what must not be. Of an unknown change both may have been sent, and one must."""
    sent = _sent(each, arrivals)
    came = {version for version, _ in sent}
    wanted = {"done": {1}, "refused": {0}}.get(each.told)
    due_ms = (each.fire_ms, each.later_ms)
    is_early = any(at_ms < due_ms[version] for version, at_ms in sent)
    is_right = came == wanted if wanted is not None else bool(came)
    if is_right and not is_early and len(sent) == len(came):
        return []
    return [f"{each}: {'early' if is_early else each.told}, {sent}"]


@dataclass(slots=True)
class Listener:
    """An HTTP server that keeps bodies: it answers what the path asks for."""

    url: str = ""
    got: dict[str, list[tuple[dict[str, str], bytes]]] = field(default_factory=dict)  #: by path, in order

    async def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            headers = {n.lower(): v for n, _, v in (line.partition(": ") for line in head[1:] if line)}
            body = await reader.readexactly(int(headers.get("content-length", "0")))
            path = head[0].split(" ")[1]
            self.got.setdefault(path, []).append((headers, body))
            if path == "/deaf":
                await reader.read()  # until the caller gives up
                return
            if path == "/slow":
                await asyncio.sleep(0.05)
            status = 410 if path == "/gone" else 200
            writer.write(b"HTTP/1.1 %d x\r\nconnection: close\r\ncontent-length: 0\r\n\r\n" % status)
            await writer.drain()
        finally:
            writer.close()

    def told(self, path: str) -> list[dict[str, Any]]:
        """Return what hooks said there."""
        return [json.loads(body) for _, body in self.got.get(path, ())]


@asynccontextmanager
async def listening() -> AsyncIterator[Listener]:
    listener = Listener()
    server = await asyncio.start_server(listener.take, "127.0.0.1", 0)
    listener.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield listener
    finally:
        server.close()
        await server.wait_closed()


async def _create(client: LoadClient, app_id: str, callback: Mapping[str, object], **said: object) -> str:
    body = {"appId": app_id, "payload": "{}", "callback": callback} | said
    if "scheduleTime" not in said:
        body.setdefault("delaySeconds", 1.5)
    answer = await client.request("POST", "/schedules", body)
    assert answer.status == 200, answer
    return str(answer.data["schedule"]["scheduleId"])


async def say_much(client: LoadClient, other: LoadClient, app_id: str, topic: str) -> None:
    """Create, at one pod, what says itself how it is sent, and change it at another one; hold what comes over
    HTTP, and what is recorded, to what was said. The topic gets BYTES and a hook."""
    loud, late, ranked = f"{app_id}-loud", f"{app_id}-late", f"{app_id}-ranked"
    hooks = {"payloadEncoding": "base64", "payload": TEXT_OF_BYTES}
    to_topic = {"type": "kafka", "details": {"topic": topic}}
    once = {"retryPolicy": {"attempts": 1}}
    async with listening() as listener:
        to = {path: http_to(f"{listener.url}/{path}") for path in ("bytes", "deaf", "gone", "slow", "hook")}
        await register(client, loud, hooks={"onFailure": to["hook"]})
        await register(client, late, partitions=1, maxLatenessSeconds=1)
        await register(client, ranked, partitions=1, maxInFlight=1)
        told = {"onSuccess": to["hook"], "onMissed": to["hook"], "includePayload": True}
        missed = await _create(client, late, to["bytes"], hooks=told, delaySeconds=4)
        answer = await client.request("POST", f"/apps/{late}/deactivate")
        assert answer.status == 200, answer
        begun_s = time.time()
        due = {"scheduleTime": int(begun_s * 1000 + 6_000) / 1000}
        in_turn = [
            await _create(client, ranked, to["slow"], priority=priority, payload=priority, **due)
            for priority in ("low", "low", "low", "high", "high", "high")
        ]
        as_bytes = await _create(client, app_id, to["bytes"], hooks={"onSuccess": to_topic}, **hooks)
        to_kafka = await _create(client, app_id, to_topic, **hooks)
        deaf = await _create(
            client, app_id, to["deaf"], timeoutMs=250, hooks={"onFailure": to["hook"]}, **once
        )
        gone = await _create(client, loud, to["gone"], **once)
        # Made for tomorrow, as something else; changed, and sent now.
        changed = await _create(client, app_id, to["gone"], delaySeconds=86_400)
        change = {"callback": to["bytes"], "hooks": told, "timeoutMs": 30_000, "priority": "high", **hooks}
        answer = await other.request("PATCH", f"/schedules/{changed}", change)
        assert answer.status == 200, answer
        answer = await client.request("POST", f"/schedules/{changed}/trigger")
        assert answer.status == 200, answer
        ids = [as_bytes, to_kafka, deaf, gone, changed, *in_turn]
        views = await until_ended(other, ids, timeout_s=90)
        await asyncio.sleep(max(begun_s + 6 - time.time(), 0))  # until it is too late
        answer = await other.request("POST", f"/apps/{late}/activate")
        assert answer.status == 200, answer
        views |= await until_ended(other, [missed], timeout_s=90)
        heard = {(deaf, "onFailure"), (gone, "onFailure"), (changed, "onSuccess"), (missed, "onMissed")}
        await wait_until(lambda: len(listener.told("/hook")) >= len(heard), timeout_s=90)
    for mine in (loud, late, ranked):  # their poller instances are nobody's again, as others count on
        answer = await client.request("POST", f"/apps/{mine}/deactivate")
        assert answer.status == 200, answer
    status = {each: view["status"] for each, view in views.items()}
    assert status == dict.fromkeys(ids, "SUCCESS") | {deaf: "FAILURE", gone: "FAILURE", missed: "MISS"}
    assert {(each["schedule"]["scheduleId"], each["hook"]) for each in listener.told("/hook")} == heard
    assert [body for _, body in listener.got["/bytes"]] == [BYTES, BYTES]
    by_id = {each["schedule"]["scheduleId"]: each["schedule"] for each in listener.told("/hook")}
    assert (by_id[changed]["payload"], by_id[changed]["payloadEncoding"]) == (TEXT_OF_BYTES, "base64")
    (attempt,) = views[deaf]["attemptLog"]
    assert 250 <= attempt["durationMs"] < 1_900, "the app's own would be 2,000"
    assert (views[changed]["timeoutMs"], views[changed]["priority"]) == (30_000, "high")
    order = [body.decode() for _, body in listener.got["/slow"]]
    assert sorted(order[:4]) == ["high", "high", "high", "low"] or order[:3] == ["high"] * 3, order
