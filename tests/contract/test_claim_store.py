"""Every ClaimStore driver passes this file."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from uuid import uuid4

from tests.contract.builders import NOW_MS, make_app

from ringtime_shared.models.app import App
from ringtime_shared.models.claim import Claim, ClaimKey, ClaimKind
from ringtime_shared.stores.protocol import Store

DAY_MS = 86_400_000


def make_claim(app: App, text: str = 'every "key" ü', kind: ClaimKind = ClaimKind.KEY) -> Claim:
    return Claim(
        key=ClaimKey(app.app_id, kind, text),
        schedule_id=uuid4(),
        digest="f" * 32,
        claimed_ms=NOW_MS,
        busy_until_ms=NOW_MS + 5_000,
        expires_ms=NOW_MS + DAY_MS,
    )


async def test_who_comes_first_has_the_text_and_who_comes_later_is_told(store: Store, app: App) -> None:
    first = make_claim(app)
    assert await store.fetch_claim(first.key) is None
    assert await store.replace_claim(first, None) == first
    assert await store.fetch_claim(first.key) == first
    assert await store.replace_claim(first, None) == first  # repeated
    later = replace(make_claim(app), digest="0" * 32)
    assert await store.replace_claim(later, None) == first
    assert await store.replace_claim(later, make_claim(app)) == first  # it is not what was read
    assert await store.fetch_claim(first.key) == first


async def test_a_claim_is_replaced_by_who_has_read_it_or_where_it_has_ended(store: Store, app: App) -> None:
    first, second, third = (make_claim(app) for _ in range(3))
    assert await store.replace_claim(second, first) == second  # the first is gone: it has expired
    assert await store.replace_claim(third, second) == third
    assert await store.replace_claim(first, second) == third
    assert await store.fetch_claim(first.key) == third


async def test_one_of_many_wins(store: Store, app: App) -> None:
    claims = [make_claim(app) for _ in range(8)]
    told = await asyncio.gather(*(store.replace_claim(claim, None) for claim in claims))
    assert len(set(told)) == 1
    assert told[0] in claims
    assert await store.fetch_claim(claims[0].key) == told[0]


async def test_texts_of_two_kinds_and_of_two_apps_are_apart(store: Store, app: App) -> None:
    other = await store.create_app(make_app())
    claims = [
        make_claim(app, "one"),
        make_claim(app, "two"),
        make_claim(app, "one", ClaimKind.NAME),
        make_claim(other, "one"),
    ]
    for claim in claims:
        assert await store.replace_claim(claim, None) == claim
    assert [await store.fetch_claim(claim.key) for claim in claims] == claims
