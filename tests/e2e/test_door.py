"""`ringtime serve` under clients that mean no good, and those beside them who do."""

from __future__ import annotations

import asyncio
import resource
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from random import Random

import pytest

from tests.harness.client import TOO_LATE, LoadClient
from tests.harness.ledger import judge
from tests.harness.load import Load, wait_for_deliveries
from tests.harness.receiver import Receiver
from tests.harness.report import IS_LONG
from tests.harness.server import ServerProcess
from tests.harness.siege import besieging
from tests.unit.http_server.malformed import CASES, HOST, told_wrong
from tests.unit.http_server.raw import ask

MIB = 1 << 20
DESCRIPTORS = 1_024
LEAD_S = (1, 3)  #: more than the commit margin, which would count as lag


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    process = ServerProcess(tmp_path / "data", descriptors=DESCRIPTORS)
    process.start()
    yield process
    process.close()


def port_of(server: ServerProcess) -> int:
    return int(server.base.split(":")[2].split("/")[0])


async def register(client: LoadClient) -> None:
    body = {"appId": "pay", "partitions": 8, "active": True}
    assert (await client.request("POST", "/apps", body)).status == 200


@pytest.mark.slow
@pytest.mark.alone
@pytest.mark.timeout(300)
async def test_clients_at_work_do_not_notice_a_siege(server: ServerProcess, receiver: Receiver) -> None:
    """1,000 idle, 1,000 dripping and 1,000 half-sent connections, opened again when closed, under 1,024
    descriptors."""
    load = Load(receiver, apps=("pay",), rng=Random(1))
    async with LoadClient(server.base, 32) as client:
        await register(client)
        await load.run(client, per_s=200, seconds=3, lead_s=LEAD_S)
        before_bytes = server.rss_bytes()
        with besieging(port_of(server), each=1_000, again_s=2 if IS_LONG else 5):
            most_bytes = 0
            for _ in range(30 if IS_LONG else 3):
                await load.run(client, per_s=200, seconds=4, lead_s=LEAD_S)
                most_bytes = max(most_bytes, server.rss_bytes())
            await wait_for_deliveries(receiver, load.creates, timeout_s=90)
    verdict = judge(load.creates, receiver.arrivals())
    print(verdict, f"memory grew by {(most_bytes - before_bytes) / MIB:.0f} MiB")
    assert [entry.status for entry in load.creates if entry.status != 200] == []
    assert verdict.broken() == []
    assert verdict.duplicates == 0
    assert verdict.lag_ms(0.99) <= 200
    assert most_bytes - before_bytes <= 50 * MIB


@pytest.mark.alone  # all of them have to be open before the first is cut off
async def test_two_thousand_slow_senders_are_cut_off_and_hold_up_nobody(
    tmp_path: Path, receiver: Receiver
) -> None:
    """All open at once: 1,000 that say nothing and 1,000 that send a head byte by byte, without an end."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    deadlines = {f"RINGTIME_SERVER_{name}_DEADLINE_S": "3" for name in ("IDLE", "HEAD")}
    server = ServerProcess(tmp_path / "data", environment=deadlines, descriptors=8_192)
    server.start()
    try:
        load = Load(receiver, apps=("pay",), rng=Random(3))
        async with LoadClient(server.base, 4) as client:
            await register(client)
            before_bytes = server.rss_bytes()
            senders = []
            for number in range(2_000):
                streams = await asyncio.open_connection("127.0.0.1", port_of(server))
                senders.append(asyncio.create_task(slow_sender(*streams, drips=number % 2 == 0)))
            assert server.descriptors() >= 2_000
            await load.run(client, per_s=50, seconds=3, lead_s=LEAD_S)
            most_bytes = server.rss_bytes()
            ended = await asyncio.gather(*senders)
    finally:
        server.close()
    print(f"2,000 slow senders: memory grew by {(most_bytes - before_bytes) / MIB:.0f} MiB")
    assert {entry.status for entry in load.creates} - {TOO_LATE} == {200}
    assert most_bytes - before_bytes <= 50 * MIB
    assert {reply[:12] for reply, _ in ended} == {b"", b"HTTP/1.1 408"}
    assert max(open_s for _, open_s in ended) <= 3 + 5  # the sweep of a second, and a busy machine


async def slow_sender(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, drips: bool
) -> tuple[bytes, float]:
    """Return what a connection was told before it was cut off, and how long it was open."""
    begun_s, told = time.monotonic(), asyncio.create_task(reader.read())
    for byte in b"GET /health/live HTTP/1.1\r\nHost: localhost\r\nX: " + b"y" * 1_000 if drips else b"":
        done, _ = await asyncio.wait([told], timeout=0.5)
        if done:
            break
        writer.write(bytes([byte]))
    try:
        return await told, time.monotonic() - begun_s
    finally:
        writer.transport.abort()


async def test_malformed_requests_are_refused_by_name(server: ServerProcess) -> None:
    assert await told_wrong(port_of(server), CASES) == []
    await asyncio.to_thread(server.stop)
    assert "last from 127.0.0.1: 400 Transfer-Encoding: must be chunked" in server.log()


async def test_headers_without_end_take_no_memory(server: ServerProcess) -> None:
    before_bytes = server.rss_bytes()
    for filler in (b"X: " + b"y" * 1_000 + b"\r\n", b"y" * 65_536):
        piece = filler * (MIB // len(filler))
        answers = await ask(port_of(server), b"GET / HTTP/1.1\r\n" + HOST + b"X: y", *[piece] * 64)
        assert answers.statuses in ([431], [])  # whoever goes on sending may lose the answer
    assert server.rss_bytes() - before_bytes <= 10 * MIB


async def test_an_upgrade_does_not_widen_a_replay(server: ServerProcess) -> None:
    """What a lost body would do: replay all dead letters instead of one, and run the body as a request."""
    body = b'{"scheduleIds": ["00000000-0000-0000-0000-000000000000"]}'
    head = (
        b"POST /goscheduler/apps/pay/dead-letters/replay HTTP/1.1\r\n" + HOST + b"Connection: Upgrade\r\n"
        b"Upgrade: h2c\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
    )
    last = b"GET /health/live HTTP/1.0\r\n" + HOST + b"\r\n"
    async with LoadClient(server.base, 1) as client:
        await register(client)
    for pieces in ((head + body, last), (head, body + last)):
        answers = await ask(port_of(server), *pieces)
        assert answers.statuses == [200, 200]
        assert b"00000000-0000-0000-0000-000000000000" in answers.bodies[0]
    empty = head.replace(b"Content-Length: %d" % len(body), b"Content-Length: 0")
    assert (await ask(port_of(server), empty, last)).statuses == [400, 200]


async def test_out_of_descriptors_it_neither_spins_nor_ends(
    server: ServerProcess, receiver: Receiver
) -> None:
    open_now = server.descriptors()
    resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (open_now + 4, DESCRIPTORS))
    with ExitStack() as stack:
        for _ in range(64):
            sock = stack.enter_context(socket.socket())
            sock.connect(("127.0.0.1", port_of(server)))
        begun_s = server.cpu_s()
        await asyncio.sleep(1)  # the time in which it must do nothing
        assert server.cpu_s() - begun_s <= 0.5
    resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (DESCRIPTORS, DESCRIPTORS))
    load = Load(receiver, apps=("pay",), rng=Random(2))
    async with LoadClient(server.base, 4) as client:
        await register(client)
        await load.run(client, per_s=50, seconds=1, lead_s=(0.2, 1))
    assert {entry.status for entry in load.creates} - {TOO_LATE} == {200}
