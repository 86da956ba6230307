"""`ringctl audit export` to a real broker, broken off and gone on with."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from uuid import uuid4

import pytest
from tests.contract.builders import NOW_MS
from tests.service.kafka_rig import new_topic, read_all

from ringtime_local import KafkaServer
from ringtime_ringctl.audit.export import PAGE, SETTLE_MS, export, sending
from ringtime_shared.api.audit import entry_to_json
from ringtime_shared.clock import ManualClock
from ringtime_shared.models.audit import AuditEntry
from ringtime_shared.settings import KafkaSettings
from ringtime_shared.stores.memory import MemoryStore

pytestmark = pytest.mark.service


class Killed(Exception):
    pass


async def test_each_entry_is_in_the_topic_under_its_id(kafka_server: KafkaServer, tmp_path: Path) -> None:
    """Killed after a page was acknowledged and before that was noted: then it is written twice."""
    clock, topic = ManualClock(NOW_MS), await new_topic(kafka_server, partitions=2)
    store = MemoryStore(clock.now_ms)
    entries = [
        AuditEntry(
            entry_id=uuid4(),
            at_ms=NOW_MS - SETTLE_MS - n,
            operator="ana",
            action="drain",
            subject="n",
            after='{"drained":true}',
        )
        for n in range(PAGE + 20)
    ]
    for entry in entries:
        await store.put_audit(entry)
    settings = KafkaSettings(bootstrap=(kafka_server.direct,))

    async def run(is_killed: bool) -> int:
        async with sending(settings, topic) as send:

            async def send_or_die(page: Sequence[AuditEntry]) -> None:
                await send(page)
                if is_killed:
                    raise Killed

            return await export(
                store,
                clock,
                send_or_die,
                from_ms=0,
                position=tmp_path / "position",
                follow_s=0,
                shown=lambda _: None,
            )

    with pytest.raises(Killed):
        await run(True)
    assert await run(False) == len(entries)
    assert await run(False) == 0
    records = await read_all(kafka_server, topic)
    assert len(records) == len(entries) + PAGE
    found = {record.key.decode(): json.loads(record.value) for record in records}
    assert found == {str(entry.entry_id): entry_to_json(entry) for entry in entries}
