"""How a producer is made from the settings, and what aiokafka's errors mean to a callback."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable

from aiokafka import AIOKafkaProducer, codec
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import (
    InvalidProducerEpoch,
    InvalidProducerIdMapping,
    KafkaError,
    MessageSizeTooLargeError,
    OutOfOrderSequenceNumber,
    ProducerClosed,
    ProducerFenced,
    RecordListTooLargeError,
    UnknownProducerId,
)

from ringtime_dispatcher.callbacks.kafka.partitioner import partition_of
from ringtime_shared.certificates import client_context, find_fault
from ringtime_shared.errors import StartupError
from ringtime_shared.settings import KafkaSettings

NewProducer = Callable[[], AIOKafkaProducer]

TOO_LARGE = (MessageSizeTooLargeError, RecordListTooLargeError)

_FRAMING_BYTES = 65_536
_MOST_REQUEST_MS = 10_000
_METADATA_S = 0.02  # records for other partitions may wait so long then
_CODECS = {"lz4": codec.has_lz4, "zstd": codec.has_zstd}
_DEAD = (
    # aiokafka gives a batch its sequence number when it is first sent and never takes the number back, so
    # the batch after one that the broker refused is out of order, and so are all later ones.
    OutOfOrderSequenceNumber,
    ProducerFenced,
    InvalidProducerEpoch,
    InvalidProducerIdMapping,
    UnknownProducerId,
    ProducerClosed,
)


def is_dead(error: KafkaError) -> bool:
    """Whether the producer that raised this will not work again. What it refused was not written by it."""
    return isinstance(error, _DEAD) or type(error) is KafkaError  # the latter: its sender task has ended


def request_ms(settings: KafkaSettings) -> int:
    """Return the time for one answer of a broker, ms: a frozen one is given up within the deadline."""
    return max(min(_MOST_REQUEST_MS, settings.deadline_ms // 3), 100)


def producer_maker(settings: KafkaSettings) -> Callable[[bool], AIOKafkaProducer]:
    """Return what makes a producer; `True` asks for one that puts every record into a batch of its own.

    Raises:
        StartupError: certificates cannot be read, or a package for the compression is missing.
    """
    if not _CODECS.get(settings.compression, codec.has_gzip)():
        raise StartupError(f"kafka.compression {settings.compression} needs the package cramjam")
    context = _tls(settings)

    def make(one_each: bool) -> AIOKafkaProducer:
        producer = AIOKafkaProducer(
            bootstrap_servers=list(settings.bootstrap),
            client_id="ringtime",
            acks="all",
            enable_idempotence=True,
            linger_ms=0 if one_each else settings.linger_ms,
            # A record that is larger than this gets a batch of its own. aiokafka keeps one open batch for
            # each partition and wakes all who wait for room in it, so batches of 16 KiB, as it makes them
            # by default, cost 1,300 us a record with 2,000 in flight, and of 512 KiB 130 us.
            max_batch_size=1 if one_each else settings.max_record_bytes // 2,
            # Our own check comes first: an error from here could not be told from the broker's.
            max_request_size=settings.max_record_bytes + _FRAMING_BYTES,
            compression_type=None if settings.compression == "none" else settings.compression,
            request_timeout_ms=request_ms(settings),
            partitioner=partition_of,
            security_protocol=settings.security,
            ssl_context=context,
            sasl_mechanism=settings.mechanism,
            sasl_plain_username=settings.username or None,
            sasl_plain_password=settings.password or None,
        )
        _pace_metadata(producer.client)
        return producer

    return make


async def certificate_fault(settings: KafkaSettings) -> str:
    """Return what is wrong with which certificate between us and the brokers, which aiokafka does not say;
    "": nothing, or it could not be found out."""
    parts = (broker.rpartition(":") for broker in settings.bootstrap)
    return await find_fault([(host.strip("[]"), int(port)) for host, _, port in parts], _tls(settings))


def _pace_metadata(client: AIOKafkaClient) -> None:
    """Let a client ask for metadata at most every 20 ms.

    While a partition has no leader, or its topic is gone, aiokafka's sender asks without a pause: 3,000 times
    a second and most of a core. Who asks too soon is told a moment later that nothing is new, and asks again.
    """
    ask, loop = client.force_metadata_update, asyncio.get_running_loop()
    asked_s = 0.0

    def ask_in_time() -> asyncio.Future[bool]:
        nonlocal asked_s
        if loop.time() - asked_s >= _METADATA_S:
            asked_s = loop.time()
            answer: asyncio.Future[bool] = ask()
            return answer
        nothing: asyncio.Future[bool] = loop.create_future()
        loop.call_later(_METADATA_S, _tell_nothing, nothing)
        return nothing

    client.force_metadata_update = ask_in_time


def _tell_nothing(answer: asyncio.Future[bool]) -> None:
    if not answer.done():
        answer.set_result(False)


def _tls(settings: KafkaSettings) -> ssl.SSLContext | None:
    """Return what brokers are checked by; None where connections are not encrypted. Raises StartupError."""
    if not settings.security.endswith("SSL"):
        return None
    return client_context(settings.ca_file, settings.cert_file, settings.key_file, purpose="Kafka")
