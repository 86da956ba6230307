"""Every TallyStore driver passes this file."""

from __future__ import annotations

from tests.contract.builders import NOW_MS, make_app

from ringtime_shared.models.app import App
from ringtime_shared.models.tally import DAY_MS, Tally
from ringtime_shared.stores.protocol import Store

TODAY = NOW_MS // DAY_MS


async def test_the_last_count_of_a_holder_and_day_stands(store: Store, app: App) -> None:
    number, other = app.number, (await store.create_app(make_app())).number
    first = [
        Tally(number, TODAY + day, holder, 10 * day + holder) for day in (0, 1, 3_000) for holder in (1, 2)
    ]
    await store.put_tallies([*first, Tally(other, TODAY, 1, 7)])
    await store.put_tallies([Tally(number, TODAY, 2, 2**40), Tally(number, TODAY - 1, 1, 5)])
    stands = [first[0], Tally(number, TODAY, 2, 2**40), *first[2:]]
    assert sorted(await store.fetch_tallies(number, TODAY)) == stands
    assert sorted(await store.fetch_tallies(number, TODAY + 1)) == first[2:]
    assert await store.fetch_tallies(other, TODAY) == [Tally(other, TODAY, 1, 7)]
    assert await store.fetch_tallies(2**30, TODAY) == []
