"""Every KeyStore driver passes this file."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.contract.builders import NOW_MS

from ringtime_shared.access import ApiKey, Scope
from ringtime_shared.access.grants import grant_of
from ringtime_shared.access.keys import fetch_all_keys, issue_key, make_key, revoke_key
from ringtime_shared.errors import NotFound
from ringtime_shared.stores.codec.documents import encode_api_key, read_api_key
from ringtime_shared.stores.protocol import Store


def _key(
    label: str = "of ü", expires_ms: int | None = None, apps: tuple[str, ...] | None = ("a", "b")
) -> ApiKey:
    scopes = (Scope.SCHEDULES_READ, Scope.METRICS_READ)
    return make_key(scopes, apps, label=label, now_ms=NOW_MS, expires_ms=expires_ms)[1]


async def test_a_key_comes_back_as_it_was_put_and_is_put_once(store: Store) -> None:
    keys = [_key(), _key(expires_ms=NOW_MS + 1, apps=None)]
    for key in keys:
        await store.put_key(key)
        await store.put_key(replace(key, label="another"))
        assert await store.fetch_key(key.key_id) == key
    assert await store.fetch_key("0" * 12) is None


async def test_keys_are_listed_by_id_in_pages(store: Store) -> None:
    keys = sorted((_key(f"page {n}") for n in range(5)), key=lambda each: each.key_id)
    for key in keys:
        await store.put_key(key)
    found = [key for key in await fetch_all_keys(store) if key in keys]
    assert found == keys
    (after,) = await store.list_keys(keys[2].key_id, 1)
    everything = await fetch_all_keys(store)
    assert after == everything[everything.index(keys[2]) + 1]
    assert [key.key_id for key in everything] == sorted(key.key_id for key in everything)


async def test_a_key_has_limits_and_retires(store: Store) -> None:
    key = replace(_key(), requests_per_second=7, creates_per_second=8)
    await store.put_key(key)
    await store.retire_key(key.key_id, NOW_MS + 9)
    assert await store.fetch_key(key.key_id) == replace(key, retires_ms=NOW_MS + 9)
    await store.retire_key(key.key_id, NOW_MS + 4)
    found = await store.fetch_key(key.key_id)
    assert found is not None
    assert (found.retires_ms, found.ended_ms(NOW_MS + 3), found.ended_ms(NOW_MS + 4)) == (
        NOW_MS + 4,
        None,
        NOW_MS + 4,
    )
    with pytest.raises(NotFound):
        await store.retire_key("0" * 12, NOW_MS)


async def test_a_revocation_stands(store: Store) -> None:
    key = _key()
    await store.put_key(key)
    await revoke_key(store, key.key_id, NOW_MS + 5)
    await revoke_key(store, key.key_id, NOW_MS + 7)
    await store.note_key_use(key.key_id, NOW_MS + 6)
    await store.put_key(key)
    assert await store.fetch_key(key.key_id) == replace(key, revoked_ms=NOW_MS + 5, used_ms=NOW_MS + 6)
    for unknown in ("0" * 12, "", "no id at all"):
        with pytest.raises(NotFound):
            await revoke_key(store, unknown, NOW_MS)
    with pytest.raises(NotFound):
        await store.revoke_key("0" * 12, NOW_MS)


async def test_a_key_that_is_dropped_is_gone_whatever_is_noted_of_it(store: Store) -> None:
    key = _key()
    await store.put_key(key)
    for _ in range(2):
        await store.drop_key(key.key_id)
    await store.note_key_use(key.key_id, NOW_MS)
    assert await store.fetch_key(key.key_id) is None
    assert key.key_id not in {each.key_id for each in await fetch_all_keys(store)}


@pytest.mark.parametrize(
    "cells",
    [
        ("{", None, None),
        ("{}", None, None),
        (5, None, None),
        (..., "x", None),
        (..., None, -1),
        (..., 1 << 62, None),
    ],
    ids=str,
)
def test_a_key_that_cannot_be_read_is_no_key_and_says_why(cells: tuple[Any, Any, Any]) -> None:
    key = _key()
    text, revoked_ms, used_ms = cells
    read = read_api_key(key.key_id, encode_api_key(key) if text is ... else text, revoked_ms, used_ms, None)
    assert (read.key_id, read.digest) == (key.key_id, b"")
    assert read.grant == grant_of((), ())
    assert read.damage


def test_a_scope_of_a_later_version_is_passed_over() -> None:
    key = _key()
    text = encode_api_key(key).replace('"metrics:read"', '"moon:land"')
    assert read_api_key(key.key_id, text, None, None, None).grant.scopes == {Scope.SCHEDULES_READ}


async def test_issuing_forgets_those_that_ended_long_ago(store: Store) -> None:
    long_ago, lately = _key(expires_ms=NOW_MS + 1), _key(expires_ms=NOW_MS + 2)
    for key in (long_ago, lately):
        await store.put_key(key)
    later_ms = NOW_MS + 90 * 86_400_000 + 2
    text, made = await issue_key(store, [Scope.APPS_ADMIN], None, label="new", now_ms=later_ms)
    listed = await fetch_all_keys(store)
    assert long_ago not in listed
    assert lately in listed
    assert made in listed
    assert text.startswith(f"rt_{made.key_id}_")
