"""What is measured, sent to a statsd server every few seconds, by UDP.

Counts are sent as what they grew by, levels as they stand; of a histogram how often and how much in all,
since a server cannot add up quantiles. Labels are Datadog's tags, which Telegraf, Vector and the exporter for
Prometheus read, too. What does not get there is lost, as UDP has it, and nothing waits for it.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Protocol

from ringtime_shared.errors import StartupError
from ringtime_shared.metrics.registry import Metrics
from ringtime_shared.once import OnceLog
from ringtime_shared.settings import MetricsSettings

_log = logging.getLogger(__name__)
_GROWING = ("_total", "_count", "_sum")
_LEFT_OUT = ("_bucket", "_created")


class Client(Protocol):
    """What is asked of the library."""

    def count(self, metric: str, value: float, tags: list[str]) -> object: ...

    def gauge(self, metric: str, value: float, tags: list[str]) -> object: ...

    def flush(self) -> object: ...

    def close_socket(self) -> object: ...


class Statsd:
    """Sends, and remembers what was sent of each count."""

    def __init__(self, metrics: Metrics, client: Client) -> None:
        self._metrics = metrics
        self._client = client
        self._sent: dict[tuple[str, ...], float] = {}

    async def send(self) -> None:
        """Send everything once, a family at a time."""
        await self._metrics.look()
        sent: dict[tuple[str, ...], float] = {}
        for family in self._metrics.families():
            for sample in family.samples:
                if sample.name.endswith(_LEFT_OUT):
                    continue
                tags = [f"{name}:{value}" for name, value in sample.labels.items()]
                if family.type != "gauge" and sample.name.endswith(_GROWING):
                    key = sample.name, *tags
                    before = self._sent.get(key, 0.0)
                    # A series that is less than it was is another one, which began anew.
                    grown = sample.value - before if sample.value >= before else sample.value
                    sent[key] = sample.value
                    if grown:
                        self._client.count(sample.name, _plain(grown), tags)
                else:
                    self._client.gauge(sample.name, _plain(sample.value), tags)
            await asyncio.sleep(0)
        self._client.flush()
        self._sent = sent

    def close(self) -> None:
        self._client.close_socket()


def _plain(number: float) -> float:
    """Return a whole number as one, which every server reads."""
    return int(number) if number % 1 == 0 else number


@asynccontextmanager
async def sending(settings: MetricsSettings, metrics: Metrics) -> AsyncIterator[None]:
    """Send until the block ends, and once more then. Raises StartupError without the library, and for a host
    that there is not."""
    statsd = Statsd(metrics, open_client(await _address_of(settings), settings.statsd_port))
    task = asyncio.create_task(_send_for_ever(statsd, settings.statsd_every_s), name="statsd")
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])
        await statsd.send()
        statsd.close()


async def _send_for_ever(statsd: Statsd, every_s: float) -> None:
    said = OnceLog(_log)
    while True:
        await asyncio.sleep(every_s)
        try:
            await statsd.send()
        except Exception as error:  # noqa: BLE001 - metrics must not end what they measure
            said.warn("statsd", "metrics were not sent to statsd: %r", error)


async def _address_of(settings: MetricsSettings) -> str:
    """Return the address of the server: looked up once, since the library would keep everybody waiting."""
    host, port = settings.statsd_host, settings.statsd_port
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_DGRAM)
    except (OSError, UnicodeError) as error:  # a name that cannot be asked for is the latter
        raise StartupError(f"metrics.statsd_host = {host} is not known here: {error}") from error
    return str(found[0][4][0])


def open_client(host: str, port: int) -> Client:
    """Return a client of the library, which speaks of itself to nobody. Raises StartupError without it."""
    try:
        from datadog.dogstatsd.base import DogStatsd
    except ImportError:
        raise StartupError("metrics.statsd_host needs pip install 'ringtime[statsd]'") from None
    client: Client = DogStatsd(
        host=host,
        port=port,
        disable_buffering=False,
        flush_interval=0,  # no thread of its own: it is flushed when all is written
        disable_telemetry=True,
        origin_detection_enabled=False,
    )
    return client
