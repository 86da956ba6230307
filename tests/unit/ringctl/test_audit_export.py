"""The export of the audit log: all of it, in order, and on from where it was broken off."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from uuid import uuid4

import pytest
from tests.contract.builders import NOW_MS
from tests.harness.virtual import on_virtual_time

from ringtime_ringctl.audit.export import LOOK_S, PAGE, SETTLE_MS, export, read_position, write_position
from ringtime_shared.clock import ManualClock
from ringtime_shared.errors import OutcomeUnknown, StartupError
from ringtime_shared.models.audit import AuditEntry, EntryKey
from ringtime_shared.stores.memory import MemoryStore


class Rig:
    def __init__(self, folder: Path) -> None:
        self.clock = ManualClock(NOW_MS)
        self.store = MemoryStore(self.clock.now_ms)
        self.position = folder / "position"
        self.sent: list[AuditEntry] = []
        self.fails_at = -1  #: the page that is sent and not acknowledged

    async def put(self, count: int, at_ms: int = NOW_MS - SETTLE_MS) -> list[AuditEntry]:
        entries = [
            AuditEntry(entry_id=uuid4(), at_ms=at_ms - n // 2, operator="ana", action="drain", subject="n")
            for n in range(count)
        ]
        for entry in entries:
            await self.store.put_audit(entry)
        return sorted(entries, key=lambda entry: entry.key)

    async def send(self, entries: Sequence[AuditEntry]) -> None:
        self.sent += entries
        self.fails_at -= 1
        if self.fails_at == 0:
            raise OutcomeUnknown("no acknowledgement")

    async def export(self, follow_s: float = 0.0) -> int:
        return await export(
            self.store,
            self.clock,
            self.send,
            from_ms=0,
            position=self.position,
            follow_s=follow_s,
            shown=lambda _: None,
        )


async def test_all_is_sent_in_order_once_and_then_what_is_new(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    entries = await rig.put(PAGE + 7)
    assert await rig.export() == len(entries)
    assert rig.sent == entries
    assert await rig.export() == 0
    new = await rig.put(1, NOW_MS - SETTLE_MS + 1)
    assert await rig.export() == 0  # it is not settled
    rig.clock.advance(1)
    assert await rig.export() == 1
    assert rig.sent == entries + new


async def test_what_was_not_acknowledged_is_sent_again(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    entries = await rig.put(2 * PAGE + 1)
    rig.fails_at = 2
    with pytest.raises(OutcomeUnknown):
        await rig.export()
    assert read_position(rig.position) == entries[PAGE - 1].key
    assert await rig.export() == PAGE + 1
    assert rig.sent == entries[: 2 * PAGE] + entries[PAGE:]


@on_virtual_time
async def test_it_follows_for_so_long(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    following = asyncio.create_task(rig.export(follow_s=3 * LOOK_S))
    await asyncio.sleep(LOOK_S / 2)
    entries = await rig.put(3)
    await asyncio.sleep(LOOK_S)
    assert rig.sent == entries
    assert await following == 3
    assert asyncio.get_running_loop().time() >= 3 * LOOK_S


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"atMs": "x", "entryId": "y"}', '{"atMs": 1}'])
def test_a_file_that_holds_no_position_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "position"
    assert read_position(path) is None
    path.write_text(text)
    with pytest.raises(StartupError, match="holds no position"):
        read_position(path)
    key = EntryKey(5, uuid4())
    write_position(path, key)
    assert read_position(path) == key
    assert [each.name for each in tmp_path.iterdir()] == ["position"]
