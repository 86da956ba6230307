"""A Kafka topic that callbacks go to: how many records it has, and when each came."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import TopicAlreadyExistsError

PARTITIONS = 20
_MOST_RECORDS = 5_000


class KafkaTopic:
    """A context manager; what was in the topic before is not counted."""

    def __init__(self, bootstrap: str, name: str) -> None:
        self.name = name
        self._bootstrap = bootstrap
        self._partitions = [TopicPartition(name, number) for number in range(PARTITIONS)]
        self._runner = asyncio.Runner()

    def __enter__(self) -> Self:
        self._runner.__enter__()
        self._runner.run(self._start())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._runner.run(self._consumer.stop())
        finally:
            self._runner.__exit__(kind, error, trace)

    def count(self) -> int:
        """Return how many records came, by the broker's offsets: to read them would cost what is measured."""
        return sum(self._runner.run(self._ends()).values()) - sum(self._before.values())

    def arrivals(self) -> dict[str, list[float]]:
        """Return the instants of all records, in ms since 1970, by their key, a schedule id."""
        return self._runner.run(self._read(self.count()))

    async def _start(self) -> None:
        admin = AIOKafkaAdminClient(bootstrap_servers=self._bootstrap)
        await admin.start()
        try:
            await admin.create_topics([NewTopic(self.name, PARTITIONS, 1)])
        except TopicAlreadyExistsError:
            pass
        finally:
            await admin.close()
        self._consumer = AIOKafkaConsumer(bootstrap_servers=self._bootstrap)
        await self._consumer.start()
        self._before = await self._ends()

    async def _ends(self) -> dict[TopicPartition, int]:
        found: dict[TopicPartition, int] = await self._consumer.end_offsets(self._partitions)
        return found

    async def _read(self, count: int) -> dict[str, list[float]]:
        found: dict[str, list[float]] = {}
        self._consumer.assign(self._partitions)  # not before: it would fetch what is still being measured
        for each, offset in self._before.items():
            self._consumer.seek(each, offset)
        while count > 0:
            records = await self._consumer.getmany(timeout_ms=5_000, max_records=_MOST_RECORDS)
            if not records:
                raise RuntimeError(f"{count} records of {self.name} are not to be had")
            for batch in records.values():
                count -= len(batch)
                for record in batch:
                    found.setdefault(record.key.decode(), []).append(float(record.timestamp))
        return found
