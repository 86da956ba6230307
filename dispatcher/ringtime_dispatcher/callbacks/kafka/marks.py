"""Records of completeness marks, to the topic that the operator names."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from ringtime_dispatcher.callbacks.kafka.client import producer_maker
from ringtime_shared.errors import StoreUnavailable
from ringtime_shared.settings import KafkaSettings

_CLOSE_S = 5.0


class KafkaMarks:
    """Sends marks by a producer of its own, which is made anew when it has failed."""

    def __init__(self, settings: KafkaSettings) -> None:
        """Raises StartupError: certificates cannot be read, or a package is missing."""
        self._topic = settings.completeness_topic
        self._make = producer_maker(settings)
        self._deadline_s = settings.deadline_ms / 1_000
        self._producer: AIOKafkaProducer | None = None

    async def send(self, records: Sequence[tuple[bytes, bytes]]) -> None:
        """Send keys and values, and wait for their acknowledgement.

        Raises StoreUnavailable: some may not be there.
        """
        if not records:
            return
        try:
            async with asyncio.timeout(self._deadline_s):
                producer = await self._started()
                sent = [await producer.send(self._topic, value, key) for key, value in records]
                await asyncio.gather(*sent)
        except (KafkaError, OSError, TimeoutError) as error:
            await self.close()
            raise StoreUnavailable(
                f"Kafka took no marks for topic {self._topic}: {type(error).__name__} {error}".rstrip()
            ) from error

    async def _started(self) -> AIOKafkaProducer:
        if self._producer is None:
            producer = self._make(False)
            try:
                await producer.start()
            except BaseException:
                await _stop(producer)
                raise
            self._producer = producer
        return self._producer

    async def close(self) -> None:
        """Disconnect."""
        producer, self._producer = self._producer, None
        if producer is not None:
            await _stop(producer)


async def _stop(producer: AIOKafkaProducer) -> None:
    with suppress(KafkaError, OSError, TimeoutError):
        async with asyncio.timeout(_CLOSE_S):
            await producer.stop()
