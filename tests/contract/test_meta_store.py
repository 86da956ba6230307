"""Every MetaStore driver passes this file."""

from __future__ import annotations

import asyncio

from ringtime_shared.ids import MAX_NONCES
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


async def test_ping_answers(store: Store) -> None:
    await store.ping()


async def test_a_store_that_was_not_written_to_is_found_ready(store: Store) -> None:
    for _ in range(3):
        await store.check_ready()
