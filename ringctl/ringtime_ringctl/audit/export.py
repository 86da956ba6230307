"""The audit log as records of a Kafka topic, oldest first.

An entry is a record: its id the key, and its value as the API shows it. At least once: the position, the last
entry that all replicas have, is stored after the records are acknowledged, so what was sent when an export
broke off is sent again by the next one, with the same keys.

Entries are stamped by the clock of whoever writes them, and stored a moment later. So those of the last
`SETTLE_MS` wait: by then a write has ended and clocks that are relied on agree, and nothing is stored before
the position any more.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import UUID

import orjson

from ringtime_shared.api.audit import entry_to_json
from ringtime_shared.certificates import client_context
from ringtime_shared.clock import Clock
from ringtime_shared.errors import OutcomeUnknown, StartupError
from ringtime_shared.models.audit import AuditEntry, EntryKey
from ringtime_shared.settings import KafkaSettings
from ringtime_shared.stores.protocol import AuditStore

PAGE = 500
SETTLE_MS = 60_000
LOOK_S = 5.0  #: between two looks for new entries
DEADLINE_S = 60.0  #: for the acknowledgement of a page
REQUEST_MS = 10_000  #: for one answer of a broker

Send = Callable[[Sequence[AuditEntry]], Awaitable[None]]


async def export(
    store: AuditStore,
    clock: Clock,
    send: Send,
    *,
    from_ms: int,
    position: Path,
    follow_s: float,
    shown: Callable[[int], None],
) -> int:
    """Send what the log has after the stored position; return how many entries that were.

    Args:
        from_ms: where to begin if no position is stored yet.
        position: the file that has it.
        follow_s: go on so long as new entries come.
        shown: told how many were sent so far.

    Raises StartupError for a file that holds no position, StoreUnavailable, and what `send` raises.
    """
    after = read_position(position)
    until_s, count = asyncio.get_running_loop().time() + follow_s, 0
    while True:
        first_ms = from_ms if after is None else after.at_ms
        upto_ms = clock.now_ms() - SETTLE_MS
        entries = (
            await store.fetch_audit(first_ms, upto_ms, PAGE, after=after, is_oldest_first=True)
            if first_ms <= upto_ms
            else []
        )
        if entries:
            await send(entries)
            after = entries[-1].key
            write_position(position, after)
            count += len(entries)
            shown(count)
        if len(entries) < PAGE:
            left_s = until_s - asyncio.get_running_loop().time()
            if left_s <= 0:
                return count
            await asyncio.sleep(min(LOOK_S, left_s))


def read_position(path: Path) -> EntryKey | None:
    """Return the entry after which to go on; None: there is no file. Raises StartupError."""
    try:
        stored = orjson.loads(path.read_bytes())
        return EntryKey(int(stored["atMs"]), UUID(stored["entryId"]))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise StartupError(f"{path} holds no position of an export: {error}") from None


def write_position(path: Path, key: EntryKey) -> None:
    """Store it so that the file has it, or the one before. Raises StartupError."""
    beside = path.with_name(f".{path.name}.new")
    try:
        with beside.open("wb") as file:
            file.write(orjson.dumps({"atMs": key.at_ms, "entryId": str(key.entry_id)}))
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except OSError as error:
        raise StartupError(f"cannot write {path}: {error.strerror}") from error


def record_of(entry: AuditEntry) -> tuple[bytes, bytes]:
    """Return key and value of the record of an entry."""
    return str(entry.entry_id).encode(), orjson.dumps(entry_to_json(entry))


@asynccontextmanager
async def sending(settings: KafkaSettings, topic: str) -> AsyncIterator[Send]:
    """Connect to the brokers of the settings; yield what writes entries to the topic, and returns when all
    replicas in sync have them.

    Raises StartupError when there are no brokers, none answers, or what they need is not there. What it
    yields raises OutcomeUnknown when some may not have been written.
    """
    from aiokafka import AIOKafkaProducer  # of the extra `kafka`, which no other command needs
    from aiokafka.errors import KafkaError

    if not settings.bootstrap:
        raise StartupError("kafka.bootstrap names no brokers to export to")
    context = None
    if settings.security.endswith("SSL"):
        context = client_context(settings.ca_file, settings.cert_file, settings.key_file, purpose="Kafka")
    producer = AIOKafkaProducer(
        bootstrap_servers=list(settings.bootstrap),
        client_id="ringctl",
        acks="all",
        enable_idempotence=True,
        max_request_size=settings.max_record_bytes,
        security_protocol=settings.security,
        ssl_context=context,
        request_timeout_ms=REQUEST_MS,
        sasl_mechanism=settings.mechanism,
        sasl_plain_username=settings.username or None,
        sasl_plain_password=settings.password or None,
    )

    async def send(entries: Sequence[AuditEntry]) -> None:
        try:
            async with asyncio.timeout(DEADLINE_S):
                records = [record_of(entry) for entry in entries]
                acknowledged = [await producer.send(topic, value, key) for key, value in records]
                await asyncio.gather(*acknowledged)
        except (KafkaError, TimeoutError) as error:
            why = str(error) or type(error).__name__
            raise OutcomeUnknown(
                f"topic {topic}: {why}; the same command goes on from the position"
            ) from error

    try:
        try:
            await producer.start()
        except KafkaError as error:
            raise StartupError(f"no Kafka broker answers: {error}") from error
        yield send
    finally:
        await producer.stop()
