"""Every NodeStatusStore driver passes this file. Nodes have new names: the table is everybody's."""

from __future__ import annotations

from dataclasses import replace
from uuid import uuid4

from tests.contract.builders import NOW_MS

from ringtime_shared.models.node_status import (
    MOST_APPS,
    MOST_BYTES,
    MOST_TROUBLES,
    NodeStatus,
    Trouble,
    Work,
)
from ringtime_shared.stores.protocol import Store
from ringtime_shared.stores.status_codec import encode_status, read_status

TROUBLE = Trouble(
    app_id="pay", destination="https://a", state="open", failures=5, waiting=1, error="é refused", failed_ms=7
)


def status_of(node: str) -> NodeStatus:
    work = Work(window_ms=60_000, lags=(1, 2, 3), sent=6, succeeded=4, failed=1, retried=1)
    return NodeStatus(
        node=node,
        at_ms=NOW_MS,
        version="1",
        since_ms=5,
        capacity=0.5,
        most=3,
        is_ready=True,
        clock_doubt="no server answers",
        work=work,
        owned=2,
        owned_by_app={"pay": 2},
        troubles=(TROUBLE,),
        troubles_of_app={TROUBLE.app_id: 7},
    )


async def fetch(store: Store, *nodes: str) -> list[NodeStatus]:
    return [each for each in await store.fetch_node_statuses() if each.node in nodes]


async def test_the_last_status_of_a_node_stands_until_it_is_dropped(store: Store) -> None:
    one, two = sorted((f"node-{uuid4()}", f"node-{uuid4()}"))
    await store.put_node_status(status_of(two))
    await store.put_node_status(status_of(one))
    later = replace(status_of(one), at_ms=NOW_MS + 5_000, owned=9)
    await store.put_node_status(later)
    await store.put_node_status(later)
    assert await fetch(store, one, two) == [later, status_of(two)]
    await store.drop_node_status(one)
    await store.drop_node_status(one)
    assert await fetch(store, one, two) == [status_of(two)]


async def test_the_longest_status_is_kept_within_its_bound(store: Store) -> None:
    node = f"node-{uuid4()}"
    trouble = replace(TROUBLE, app_id="x" * 100, destination="https://" + "y" * 250, error="\x01" * 200)
    wide = replace(
        status_of(node),
        troubles=tuple(replace(trouble, app_id=f"{n:0100}") for n in range(MOST_TROUBLES)),
        troubles_of_app={f"{n:0100}": n for n in range(MOST_TROUBLES)},
        owned_by_app={f"{n:0100}": n for n in range(MOST_APPS)},
    )
    await store.put_node_status(wide)
    (kept,) = await fetch(store, node)
    lists = {name: getattr(wide, name) for name in ("troubles", "troubles_of_app", "owned_by_app")}
    assert replace(kept, **lists) == wide
    assert 0 < len(kept.troubles) < MOST_TROUBLES
    assert kept.troubles[0] == wide.troubles[0]
    assert [*kept.troubles_of_app] == [each.app_id for each in kept.troubles]
    assert len(encode_status(kept).encode()) <= MOST_BYTES


def test_a_text_of_another_version_is_read_and_a_damaged_one_says_so() -> None:
    assert read_status("a", 5, '{"node":"a","at_ms":5,"of_tomorrow":{"x":[1]}}') == NodeStatus(
        node="a", at_ms=5
    )
    for text in ("", "[]", "{}", '{"node":"b","at_ms":5}', '{"node":"a","at_ms":5,"owned":"x"}', None, 3):
        read = read_status("a", 5, text)
        assert read.damage
        assert read == NodeStatus(node="a", at_ms=5, damage=read.damage)
