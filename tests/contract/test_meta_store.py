"""Every MetaStore driver passes this file."""

from __future__ import annotations

import asyncio

from ringtime_shared.clock import SystemClock
from ringtime_shared.clock.watched import WatchedClock
from ringtime_shared.ids import MAX_NONCES
from ringtime_shared.settings import ClockSettings
from ringtime_shared.stores.protocol import Store


async def test_nonces_are_different_and_fit_an_id(store: Store) -> None:
    nonces = await asyncio.gather(*(store.claim_nonce(f"holder-{n}") for n in range(20)))
    assert len(set(nonces)) == 20
    assert all(0 <= nonce < MAX_NONCES for nonce in nonces)


async def test_nonces_rise(store: Store) -> None:
    first, second = await store.claim_nonce("a"), await store.claim_nonce("a")
    assert second == (first + 1) % MAX_NONCES


async def test_the_era_stays_while_the_identity_does(store: Store) -> None:
    era = await store.raise_era("cluster-1")
    assert await store.raise_era("cluster-1") == era
    assert era >= 1


async def test_every_other_identity_raises_the_era(store: Store) -> None:
    eras = [await store.raise_era(identity) for identity in ("one", "two", "two", "one")]
    first = eras[0]
    assert eras == [first, first + 1, first + 1, first + 2]


async def test_a_restore_passes_over_nonces_and_keeps_its_instant(store: Store) -> None:
    """Long ago: other tests' rows on a shared store are not to be passed over."""
    before = await store.claim_nonce("a")
    for until_ms in (1_000, 2_000, 0):
        await store.note_restore(until_ms, 20_000)
        assert await store.fetch_sent_until() == until_ms
    assert 60_000 < (await store.claim_nonce("a") - before) % MAX_NONCES < 61_000


async def test_ping_answers(store: Store) -> None:
    await store.ping()


async def test_a_store_that_was_not_written_to_is_found_ready(store: Store) -> None:
    for _ in range(3):
        await store.check_ready()


async def test_what_time_it_is_on_the_servers_is_near_the_right_time(store: Store) -> None:
    """Where there are any: all of them are on this machine."""
    clock = SystemClock()
    for each in await store.fetch_times():
        off_ms = each.offset_ms - (clock.now_ms() - clock.boot_ms())
        assert abs(off_ms) <= each.doubt_ms + 20
        assert 0 < each.doubt_ms < 10_000


async def test_a_clock_that_is_an_hour_off_is_in_doubt_where_there_is_a_server_to_ask(
    store: Store,
) -> None:
    servers = await store.fetch_times()
    watched = WatchedClock(OffClock(3_600_000), ClockSettings())
    await watched.look(store.fetch_times)
    assert (watched.doubt() is None) == (not servers)
    right = WatchedClock(OffClock(0), ClockSettings())
    await right.look(store.fetch_times)
    assert right.doubt() is None


class OffClock(SystemClock):
    """The machine's clock, ahead."""

    def __init__(self, ahead_ms: int) -> None:
        self._ahead_ms = ahead_ms

    def now_ms(self) -> int:
        return super().now_ms() + self._ahead_ms
