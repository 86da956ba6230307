"""Takes callbacks over HTTP, and from a Kafka topic if told, and notes each in its ledger before it answers.

Run as `python -m ringtime_load.receiver FOLDER [BOOTSTRAP TOPIC]`; prints its port once it takes both. A
record came when the broker appended it: the topic stamps records so, and a slow reader here makes no lag. A
create sent to it is answered as Ringtime would, so that Locust can be measured alone.
"""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path
from typing import cast
from uuid import uuid4

import httptools
import uvloop
from aiokafka import AIOKafkaConsumer

from ringtime_load.ledgers import Ledger

_OK = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"
_CREATED = b'{"data":{"schedule":{"scheduleId":"%s"}}}'


class Callbacks(asyncio.Protocol):
    """One connection."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._parser = httptools.HttpRequestParser(self)
        self._schedule_id = ""
        self._target = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._arrived_ms = time.time() * 1000
        self._parser.feed_data(data)

    def on_url(self, target: bytes) -> None:
        self._target = target

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() == b"schedule-id":
            self._schedule_id = value.decode()

    def on_message_complete(self) -> None:
        if self._target.endswith(b"/schedules"):
            body = _CREATED % str(uuid4()).encode()
            self._transport.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body))
            return
        self._ledger.write(f"called {self._schedule_id} {self._arrived_ms:.3f}")
        self._transport.write(_OK)


async def _consume(consumer: AIOKafkaConsumer, ledger: Ledger) -> None:
    async for record in consumer:
        headers = dict(record.headers)
        ledger.write(f"called {headers['schedule-id'].decode()} {record.timestamp}")


async def _serve(folder: Path, *kafka: str) -> None:
    ledger = Ledger(folder, "receiver")
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Callbacks(ledger), "127.0.0.1", 0, backlog=1024)
    port = server.sockets[0].getsockname()[1]
    if not kafka:
        print(port, flush=True)
        await server.serve_forever()
    bootstrap, topic = kafka
    consumer = AIOKafkaConsumer(topic, bootstrap_servers=bootstrap, auto_offset_reset="earliest")
    await consumer.start()
    try:
        print(port, flush=True)
        await _consume(consumer, ledger)
    finally:
        await consumer.stop()


if __name__ == "__main__":
    uvloop.run(_serve(Path(sys.argv[1]), *sys.argv[2:]))
