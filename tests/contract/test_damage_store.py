"""Notes of records that cannot be read."""

from __future__ import annotations

from uuid import uuid4

from tests.contract.builders import START_MS

from ringtime_shared.models.damage import Damage
from ringtime_shared.stores.protocol import Store


async def test_notes_are_kept_once_and_newest_first(store: Store) -> None:
    run = uuid4().hex
    notes = [
        Damage(table="schedules", key=f"{run} {n}", app_id="shop", fault="extras: ü", found_ms=START_MS + n)
        for n in range(30)
    ]
    await store.put_damage(notes)
    await store.put_damage(notes[:3])
    found = [note for note in await store.fetch_damage(1_000) if note.key.startswith(run)]
    assert found == notes[::-1]
    assert len(await store.fetch_damage(2)) == 2
    await store.put_damage([])
