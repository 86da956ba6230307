"""Pages of apps: of ten thousand a search reads no more than what it shows, and holds nobody up."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from tests.unit.ingest.rig import Rig, make_rig

BASE = "/goscheduler/apps"


def make_world(*names: str) -> Rig:
    rig = make_rig()
    for number, name in enumerate(names, start=10):
        rig.apps[name] = replace(rig.apps["test"], app_id=name, number=number)
    return rig


async def page(rig: Rig, query: str) -> tuple[Sequence[str], Any]:
    reply = await rig.client.call("GET", f"{BASE}?{query}")
    assert reply.status == 200, reply.body
    data = reply.json["data"]
    return [app["appId"] for app in data["apps"]], data.get("count")


async def test_a_search_finds_a_text_anywhere_and_those_first_that_begin_with_it() -> None:
    rig = make_world("shop-pay", "PAY.b", "pay.a", "else")
    assert await page(rig, "contains=Pay") == (["PAY.b", "pay.a", "shop-pay"], 3)
    assert await page(rig, "contains=nothing") == ([], 0)
    assert (await page(rig, ""))[1] is None


async def test_pages_go_on_behind_the_last_id_though_it_is_gone() -> None:
    rig = make_world(*(f"app-{n}" for n in range(7)))
    seen, after = list[str](), ""
    while True:
        found, count = await page(rig, f"contains=P&size=3&after={after}")
        assert count == 7
        if not found:
            break
        seen, after = [*seen, *found], found[-1]
    assert seen == [f"app-{n}" for n in range(7)]
    assert (await page(rig, "after=app-2x&size=2"))[0] == ["app-3", "app-4"]


async def test_while_nothing_changes_the_store_is_asked_for_no_app() -> None:
    rig = make_world("a", "b")
    for n in range(10):
        await page(rig, f"contains={'ab'[n % 2]}")
        rig.clock.advance(700)
    assert rig.store.names().count("fetch_apps") == 1
    await rig.client.call("POST", BASE, {"appId": "b-new"})
    assert await page(rig, "contains=b") == (["b", "b-new"], 2)


@pytest.mark.parametrize(
    "query", ["size=0", "size=1001", "size=x", "after=%2F", "size=1&size=2", "contains=" + 257 * "a"]
)
@pytest.mark.parametrize("app", ["", "&app_id=test"])
async def test_what_is_wrong_is_told_by_its_field(query: str, app: str) -> None:
    reply = await make_world().client.call("GET", f"{BASE}?{query}{app}")
    assert reply.status == 400
    assert reply.json["status"]["errors"][0]["field"] == query.partition("=")[0]


async def test_a_list_of_all_lets_others_run_in_between() -> None:
    rig = make_world(*(f"app-{n:04}" for n in range(2_000)))
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(other())
    found, _ = await page(rig, "")
    task.cancel()
    assert len(found) == 2_002
    assert turns >= 4
