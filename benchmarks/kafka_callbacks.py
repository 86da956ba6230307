"""What a Kafka callback costs: records a second, and CPU of the client and of the broker apart.

Run: PYTHONPATH=. python benchmarks/kafka_callbacks.py [records] [compression]
"""

from __future__ import annotations

import asyncio
import sys
import time
from uuid import UUID

import uvloop

from benchmarks.processes import cpu_s
from ringtime_dispatcher.callbacks.kafka.callback import KafkaCallback
from ringtime_local import KafkaServer, LocalServers
from ringtime_shared.callbacks.protocol import Delivery
from ringtime_shared.models.schedule import Schedule
from ringtime_shared.settings import KafkaSettings

PARTITIONS = 6
PAYLOAD = "x" * 300
IN_FLIGHT = (1, 100, 500, 2_000)


def delivery(number: int) -> Delivery:
    schedule = Schedule(
        schedule_id=UUID(int=number),
        app_id="bench",
        fire_ms=1_800_000_000_000,
        payload=PAYLOAD,
        callback_type="kafka",
        callback_details=b"{}",
        created_ms=0,
        expires_ms=0,
    )
    return Delivery(schedule=schedule, details={"topic": "bench.load"}, attempt=1, term=1, timeout_ms=30_000)


async def send(callback: KafkaCallback, records: int, in_flight: int) -> None:
    numbers = iter(range(records))

    async def one_after_another() -> None:
        for number in numbers:
            reply = await callback.invoke(delivery(number))
            assert reply.ok, reply.error

    async with asyncio.TaskGroup() as group:
        for _ in range(in_flight):
            group.create_task(one_after_another())


async def measure(kafka: KafkaServer, records: int, compression: str) -> None:
    settings = KafkaSettings(
        bootstrap=(kafka.bootstrap,), compression=compression, max_in_flight=max(IN_FLIGHT)
    )
    callback = KafkaCallback(settings)
    for _ in range(3):
        await send(callback, records, 500)  # warm: the broker compiles as it goes
    print(f"{'in flight':>9}{'records/s':>12}{'client us':>12}{'broker us':>12}   CPU a record")
    for in_flight in IN_FLIGHT:
        count = records if in_flight > 1 else min(records, 500)
        began, client, broker = time.perf_counter(), time.process_time(), cpu_s(kafka.pid)
        await send(callback, count, in_flight)
        took, client = time.perf_counter() - began, time.process_time() - client
        broker = cpu_s(kafka.pid) - broker
        costs_us = "".join(f"{used / count * 1e6:>12.0f}" for used in (client, broker))
        print(f"{in_flight:>9,}{count / took:>12,.0f}{costs_us}")
    await callback.close()


if __name__ == "__main__":
    with LocalServers(cassandra=False, etcd=False) as servers:
        servers.kafka.create_topic("bench.load", partitions=PARTITIONS)
        chosen = sys.argv[2] if len(sys.argv) > 2 else "none"
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(measure(servers.kafka, int(sys.argv[1]) if len(sys.argv) > 1 else 20_000, chosen))
