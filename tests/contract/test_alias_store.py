"""Every AliasStore driver passes this file."""

from __future__ import annotations

from uuid import uuid1, uuid4

from tests.contract.builders import NOW_MS

from ringtime_shared.clock import ManualClock
from ringtime_shared.models.alias import Alias
from ringtime_shared.stores.protocol import Store

DAY_MS = 86_400_000


async def test_an_alias_means_what_was_stored_last(store: Store) -> None:
    ending, lasting = Alias(uuid1(), uuid4(), NOW_MS + DAY_MS), Alias(uuid1(), uuid4(), None)
    await store.put_aliases([ending, lasting])
    unknown = uuid1()
    found = await store.fetch_aliases([ending.alias, unknown, lasting.alias, ending.alias])
    assert found == {ending.alias: ending.schedule_id, lasting.alias: lasting.schedule_id}
    changed = ending._replace(schedule_id=uuid4())
    await store.put_aliases([changed, changed])
    assert await store.fetch_aliases([ending.alias]) == {ending.alias: changed.schedule_id}


async def test_a_thousand_go_at_once(store: Store, clock: ManualClock) -> None:
    many = [Alias(uuid1(), uuid4(), NOW_MS + DAY_MS) for _ in range(1_000)]
    await store.put_aliases(many)
    found = await store.fetch_aliases([each.alias for each in many])
    assert found == {each.alias: each.schedule_id for each in many}
    await store.put_aliases([])
    assert await store.fetch_aliases([]) == {}
