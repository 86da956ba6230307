"""What a dispatcher tells supervisors and `ringctl`."""

from __future__ import annotations

import asyncio

from tests.contract.builders import START_MS, make_app, make_row
from tests.harness.virtual import LoopClock, on_virtual_time
from tests.unit.dispatcher.rig import make_node
from tests.unit.ingest.rig import Client

from ringtime_dispatcher.health import HealthParts, create_health_app
from ringtime_shared.coordination.memory import Hub, MemoryOperator
from ringtime_shared.coordination.protocol import Drain, Member
from ringtime_shared.errors import StoreUnavailable
from ringtime_shared.settings import DispatchSettings
from ringtime_shared.stores.memory import MemoryStore


def health(
    *,
    error: Exception | None = None,
    is_ready: bool = True,
    is_emptied: bool = False,
    doubt: str | None = None,
    left_out: int = 0,
) -> Client:
    async def ping() -> None:
        if error is not None:
            raise error

    return Client(
        create_health_app(
            HealthParts(
                check=ping,
                is_ready=lambda: is_ready,
                is_emptied=lambda: is_emptied,
                clock_doubt=lambda: doubt,
                count_owned=lambda: 7,
                count_left_out=lambda: left_out,
                fronts=lambda: {"pay.1": 5},
                now_ms=lambda: 99,
            )
        )
    )


async def test_live_and_ready() -> None:
    client = health()
    assert (await client.call("GET", "/health/live")).json == {"status": "live"}
    reply = await client.call("GET", "/health/ready")
    assert (reply.status, reply.json) == (200, {"status": "ready", "owned": 7, "nowMs": 99})


async def test_a_node_that_may_own_no_more_says_how_many_nobody_owns() -> None:
    reply = await health(left_out=3).call("GET", "/health/ready")
    assert (reply.status, reply.json["leftOut"]) == (200, 3)


async def test_not_ready_says_why_and_what_time_it_is() -> None:
    for client, reason in (
        (health(error=StoreUnavailable("away")), "away"),
        (health(is_ready=False), "no trusted lease"),
        (health(is_ready=False, doubt="it is off"), "its clock is in doubt: it is off"),
    ):
        reply = await client.call("GET", "/health/ready")
        assert (reply.status, reply.json) == (503, {"status": "not ready", "reason": reason, "nowMs": 99})


async def test_a_node_that_is_drained_takes_no_work() -> None:
    reply = await health(is_emptied=True).call("GET", "/health/ready")
    told = {"status": "drained", "reason": "it is drained", "owned": 7, "nowMs": 99}
    assert (reply.status, reply.json) == (503, told)
    reply = await health(is_emptied=True, is_ready=False).call("GET", "/health/ready")
    assert reply.json["reason"] == "no trusted lease", "that is worse"


@on_virtual_time
async def test_a_node_is_emptied_while_it_is_drained_and_another_one_is_not() -> None:
    clock, hub = LoopClock(), Hub()
    store, operator = MemoryStore(clock.now_ms), MemoryOperator(hub)
    one, two = [make_node(store, clock, hub, member=Member(node=name)) for name in ("n1", "n2")]
    for node in (one, two):
        await node.start()
    for name in ("n1", "n2"):
        await operator.put_drain(Drain(node=name, operator="ann", since_ms=0))
        assert one.is_emptied() is (name == "n1"), "if all are drained, all go on"
    await operator.delete_drain("n2")
    assert (one.is_emptied(), two.is_emptied()) == (True, False)
    for node in (one, two):
        await node.stop()


async def test_fronts_are_told() -> None:
    reply = await health(is_ready=False).call("GET", "/health/fronts")
    assert (reply.status, reply.json) == (200, {"nowMs": 99, "fronts": {"pay.1": 5}})


@on_virtual_time
async def test_the_front_of_what_has_rows_is_where_the_last_look_ended() -> None:
    clock = LoopClock()
    store = MemoryStore(clock.now_ms)
    app = await store.create_app(make_app())
    await store.put_rows([make_row(app, START_MS + 50_000, 1)])
    dispatcher = make_node(store, clock, Hub())
    await dispatcher.start()
    await asyncio.sleep(10)
    settings = DispatchSettings()
    (name, front_ms), *others = dispatcher.fronts().items()
    assert (name, others) == (f"{app.app_id}.1", [])
    assert START_MS + 10_000 - settings.max_tick_ms <= front_ms <= START_MS + 10_000 + settings.read_ahead_ms
    await dispatcher.stop()
    assert dispatcher.fronts() == {}
