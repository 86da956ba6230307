"""API keys are listed to those whom they concern, and what is told of one lets nobody in."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import Any

import pytest
from tests.unit.web.rig import Web, make_web

from ringtime_shared.access import Scope
from ringtime_shared.access.keys import MOST_KEYS, make_key
from ringtime_shared.api.keys import KeyList, KeyView
from ringtime_shared.api.views import keys_of, read

BASE = "/goscheduler"


def make_world() -> Web:
    web = make_web(has_keys=True)
    for number, name in enumerate(("pay", "ship"), start=10):
        web.rig.apps[name] = replace(web.rig.apps["test"], app_id=name, number=number)
    return web


async def ask(web: Web, key: str, path: str, code: int = 200) -> Any:
    reply = await web.browser()._client.call("GET", BASE + path, headers=[("authorization", f"Bearer {key}")])
    assert reply.status == code, reply.body
    return reply.json["data"] if code == 200 else reply.json


def id_of(key: str) -> str:
    return key.split("_")[1]


async def ids(web: Web, key: str, path: str) -> Collection[str]:
    return [each.key_id for each in read(KeyList, await ask(web, key, path)).keys]


async def test_an_app_s_keys_are_told_to_who_administers_it_and_others_apps_are_not() -> None:
    web = make_world()
    operator = web.key()
    admin = web.key([Scope.APPS_ADMIN], ["pay"])
    both = web.key([Scope.SCHEDULES_READ], ["pay", "ship"])
    other = web.key([Scope.SCHEDULES_READ], ["ship"])
    assert await ids(web, admin, "/apps/pay/keys") == sorted(map(id_of, (admin, both)))
    shown = read(KeyList, await ask(web, admin, "/apps/pay/keys"))
    assert {tuple(each.apps or ()) for each in shown.keys} == {("pay",)}, "of others' apps nothing is told"
    assert await ids(web, operator, "/apps/pay/keys") == sorted(map(id_of, (admin, both, operator)))
    assert await ids(web, operator, "/keys") == sorted(map(id_of, (admin, both, other, operator)))
    (told,) = [
        each for each in read(KeyList, await ask(web, operator, "/keys")).keys if each.key_id == id_of(both)
    ]
    assert (told.apps, told.scopes, told.state) == (["pay", "ship"], ["schedules:read"], "active")
    await ask(web, admin, "/apps/ship/keys", 404)
    await ask(web, admin, "/keys", 403)
    await ask(web, both, "/apps/pay/keys", 403)
    await ask(web, operator, "/apps/nobody/keys", 400)


async def test_what_is_told_of_a_key_is_neither_the_key_nor_its_digest() -> None:
    web = make_world()
    key = web.key()
    kept = web.rig.store.real._api_keys[id_of(key)]
    reply = str(await ask(web, key, "/keys"))
    for secret in (key, key.split("_")[2], kept.digest.hex(), str(kept.digest)):
        assert secret not in reply


async def test_the_state_and_all_times_of_a_key_are_told() -> None:
    web = make_world()
    now_ms, key = web.rig.clock.now_ms(), web.key()
    _, made = make_key(
        [Scope.SCHEDULES_READ],
        ["pay"],
        label="shop <b>",
        now_ms=now_ms - 9_000,
        expires_ms=now_ms - 1_000,
        requests_per_second=7,
        creates_per_second=5,
    )
    web.rig.store.real._api_keys[made.key_id] = replace(made, used_ms=now_ms - 5_000)
    (told,) = [each for each in (await ask(web, key, "/keys"))["keys"] if each["keyId"] == made.key_id]
    assert told.keys() == {each.name for each in keys_of(KeyView)}
    assert (told["state"], told["label"], told["requestsPerSecond"]) == ("expired", "shop <b>", 7)
    web.rig.store.real._api_keys[made.key_id] = replace(made, revoked_ms=now_ms)
    web.rig.clock.advance(5_000)
    assert "revoked" in {each["state"] for each in (await ask(web, key, "/keys"))["keys"]}


async def test_pages_go_on_and_all_keys_are_read_once_in_a_while() -> None:
    web = make_world()
    key = web.key()
    every = sorted([id_of(key), *(id_of(web.key()) for _ in range(30))])
    seen, after = list[str](), ""
    while True:
        page = read(KeyList, await ask(web, key, f"/keys?size=7&after={after}"))
        assert page.count == len(every)
        if not page.keys:
            break
        seen, after = [*seen, *(each.key_id for each in page.keys)], page.keys[-1].key_id
    assert seen == every
    assert web.rig.store.names().count("list_keys") == 2, "one page, and one that is empty"
    assert len(every) < MOST_KEYS


@pytest.mark.parametrize("query", ["size=0", "size=501", "after=x"])
async def test_what_is_wrong_is_told_by_its_field(query: str) -> None:
    web = make_world()
    for path in ("/keys", "/apps/pay/keys"):
        reply = await ask(web, web.key(), f"{path}?{query}", 400)
        assert reply["status"]["errors"][0]["field"] == query.partition("=")[0]
