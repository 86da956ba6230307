"""The split deployment under load, with processes killed, frozen and rolled.

Each test runs the same load on one cluster of real servers and pods and judges it by the client's and
the receiver's ledgers. The bound on duplicates of a dispatcher killed or frozen: what it had in flight
(500) and had not recorded yet (as much again).
"""

from __future__ import annotations

import asyncio
import json
import signal
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack, suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from random import Random
from typing import Any

import pytest

from ringtime_client import AsyncRingtimeClient, HttpCallbackDetails, calls
from ringtime_client.exchange import Call
from ringtime_local import CassandraServer, KafkaServer
from ringtime_local.cluster import Cluster
from ringtime_shared.errors import InFlight, OutcomeUnknown, StoreUnavailable
from tests.e2e.clients import AFTER_S, LEAD_S, OWNED, PER_KILL, clients_of, restart, through, until
from tests.e2e.conftest import (
    APPS,
    PARTITIONS,
    TTL_S,
    owners_of,
    prefix_of,
    register_apps,
    until_shared,
)
from tests.harness.claims import history, moves_of, overlaps, revision_now
from tests.harness.client import BROKEN, REFUSED, TOO_LATE
from tests.harness.load import wait_for_deliveries, wait_until
from tests.harness.machine import ForeignWork
from tests.harness.one_time import BYTES, FROM_S, TO_S, race, say_much
from tests.harness.receiver import Receiver
from tests.harness.report import IS_LONG, record
from tests.service.kafka_rig import read_all

pytestmark = [pytest.mark.service, pytest.mark.slow, pytest.mark.faults, pytest.mark.timeout(900)]

KEYED_LEAD_S = 15  #: ten creates at once, each tried again: on a busy machine that takes seconds
QUIET_APPS = 10_000 if IS_LONG else 300  #: of one partition; in the long set each has a schedule a minute


@pytest.mark.alone
async def test_steady_load_without_a_fault(cluster: Cluster, receiver: Receiver) -> None:
    async with clients_of(cluster, receiver, 1) as clients:
        await clients.steady(300 if IS_LONG else 15, lead_s=(2, 60 if IS_LONG else 6), per_s=200)
        verdict = await clients.verdict("steady", timeout_s=90)
    assert verdict.duplicates == 0
    assert verdict.acknowledged >= len(clients.load.creates)
    assert verdict.lag_ms(0.5) <= 30
    assert verdict.lag_ms(0.99) <= 300


async def test_creates_with_one_key_on_both_pods_make_one_schedule(
    cluster: Cluster, receiver: Receiver
) -> None:
    """Ten at once for each key, of whose replies two are dropped."""
    keys, at_once = (1_000 if IS_LONG else 25), 10
    await until_shared(cluster)
    ports = [pod.port for name, pod in cluster.pods.items() if name.startswith("ingest")]
    turns, ids, begun_s = asyncio.Semaphore(10), dict[str, set[str]](), time.monotonic()
    async with AsyncExitStack() as stack:
        clients = [
            await stack.enter_async_context(AsyncRingtimeClient(f"http://127.0.0.1:{port}")) for port in ports
        ]

        async def create(key: str, at: datetime, n: int) -> None:
            new = partial(
                calls.create_schedule,
                APPS[0],
                payload=key,
                at=at,
                callback=HttpCallbackDetails(url=receiver.url),
                idempotency_key=key,
            )
            if n < 2:
                await drop_reply(ports[n], new())
                return
            for _ in range(10):  # the client itself has tried three times by then
                with suppress(InFlight, OutcomeUnknown, StoreUnavailable):  # a key is there for trying again
                    made = await clients[n % 2].create_schedule(*new.args, **new.keywords)
                    ids.setdefault(key, set()).add(str(made.schedule_id))
                    return
            raise AssertionError(f"{key}: no answer after ten tries")

        async def insist(key: str) -> None:
            async with turns:
                at = datetime.now(UTC) + timedelta(seconds=KEYED_LEAD_S)
                await asyncio.gather(*(create(key, at, n) for n in range(at_once)))

        await asyncio.gather(*(insist(f"{receiver.url}-{n}") for n in range(keys)))
    took_s = time.monotonic() - begun_s
    assert [len(each) for each in ids.values()] == [1] * keys
    expected = {schedule_id for each in ids.values() for schedule_id in each}
    await wait_until(lambda: receiver.count() >= keys, timeout_s=90)
    await asyncio.sleep(2)  # for what must not come
    arrivals = receiver.arrivals()
    print(f"{keys} keys x {at_once} in {took_s:.1f} s: {len(arrivals)} ids, {receiver.count()} deliveries")
    assert arrivals.keys() == expected
    assert receiver.count() == keys


async def drop_reply(port: int, call: Call[Any]) -> None:
    """Send a request and be gone before its answer."""
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    lines = [
        f"{call.method} {call.path} HTTP/1.1",
        "host: localhost",
        f"content-length: {len(call.body or b'')}",
    ]
    lines += [f"{name}: {value}" for name, value in call.headers.items()]
    writer.write(
        "\r\n".join([*lines, "content-type: application/json", "", ""]).encode() + (call.body or b"")
    )
    await writer.drain()
    writer.close()


async def test_changes_race_what_they_change_and_what_a_schedule_says_is_done(
    cluster: Cluster, receiver: Receiver, own_kafka: KafkaServer
) -> None:
    """A change that was answered 200 is what is sent, and alone; one that was refused is not sent."""
    count, over_s = (10_000, 80) if IS_LONG else (500, 4)
    topic = f"{APPS[0]}.{cluster.folder.name}"
    await asyncio.to_thread(own_kafka.create_topic, topic)
    async with clients_of(cluster, receiver, 12) as clients:
        one, other = clients.clients

        async def races(slowness: int = 1) -> Counter[str]:
            """Each slower than the one before: a busy machine has nearly all of them come too late."""
            told, wrong = await race(
                clients.clients, receiver, APPS, Random(12), count, over_s * slowness, 4 * slowness
            )
            print(f"{count} changes from {FROM_S} to {TO_S} s: {dict(told)}, {len(wrong)} broken")
            assert wrong == []
            is_even = min(told["done"], told["refused"]) >= count // 25
            return told if is_even or slowness >= 8 else await races(2 * slowness)

        told, _ = await asyncio.gather(races(), say_much(one, other, APPS[0], topic))
    assert min(told["done"], told["refused"]) >= count // 25
    values = {record.value for record in await read_all(own_kafka, topic)}
    hooks = [json.loads(value)["hook"] for value in values - {BYTES}]
    assert (BYTES in values, hooks) == (True, ["onSuccess"])


async def test_a_dispatcher_killed_in_a_burst(cluster: Cluster, receiver: Receiver) -> None:
    kills = 10 if IS_LONG else 1
    slowest_s = 0.0
    async with clients_of(cluster, receiver, 2) as clients:
        for number in range(kills):
            count = 20_000 if IS_LONG else 5_000
            due_s = await clients.burst(count, due_in_s=count / 1_000 + 3)
            victim = f"dispatcher-{1 + number % 3}"
            await until(due_s + 0.3)
            killed_s = time.time()
            await asyncio.to_thread(cluster.pods[victim].process.kill)
            await wait_for_deliveries(receiver, clients.load.creates, timeout_s=90)
            slowest_s = max(slowest_s, time.time() - killed_s)
            await restart(cluster, victim)
            await until_shared(cluster)
        verdict = await clients.verdict("dispatcher-killed", kills=kills, slowest_s=round(slowest_s, 1))
    assert verdict.duplicates <= kills * PER_KILL


async def test_a_dispatcher_frozen_past_its_lease(cluster: Cluster, receiver: Receiver) -> None:
    frozen_s = 2.5 * TTL_S
    async with clients_of(cluster, receiver, 3) as clients:

        async def freeze() -> None:
            process = cluster.pods["dispatcher-2"].process
            process.signal(signal.SIGSTOP)
            await asyncio.sleep(frozen_s)
            process.signal(signal.SIGCONT)

        await through(clients, freeze(), at_least_s=45 if IS_LONG else 0)
        verdict = await clients.verdict("dispatcher-frozen", frozen_s=frozen_s)
    assert verdict.duplicates <= PER_KILL
    assert verdict.lag_ms(1) >= 1_000, "it held rows when it was frozen, which waited for others"


async def test_every_pod_rolled_in_turn(cluster: Cluster, receiver: Receiver) -> None:
    async with clients_of(cluster, receiver, 4) as clients:

        async def roll() -> None:
            for name in list(cluster.pods):
                await asyncio.to_thread(cluster.pods[name].process.stop, 120)
                await restart(cluster, name)
                await asyncio.sleep(3 if IS_LONG else 1)  # no two at once

        await through(clients, roll(), at_least_s=50 if IS_LONG else 0)
        failed = Counter(entry.status for entry in clients.load.creates if entry.schedule_id is None)
        verdict = await clients.verdict(
            "rolling-restart", refused=failed[REFUSED], broken=failed[BROKEN], status_503=failed[503]
        )
    assert failed.keys() <= {REFUSED, BROKEN, TOO_LATE, 503}, "nothing a client would not try again"
    assert verdict.duplicates == 0
    assert verdict.lag_ms(0.99) <= 2_000


async def test_etcd_killed_and_away(cluster: Cluster, receiver: Receiver) -> None:
    away_s = 60 if IS_LONG else 2 * TTL_S
    etcd = cluster.servers.etcd
    async with clients_of(cluster, receiver, 5) as clients:

        async def disturb() -> None:
            await asyncio.to_thread(etcd.kill)
            await asyncio.to_thread(etcd.start)
            await asyncio.sleep(0.8 * TTL_S)  # leases are renewed again
            await asyncio.to_thread(etcd.kill)
            await asyncio.sleep(away_s)
            await asyncio.to_thread(etcd.start)

        await through(clients, disturb())
        verdict = await clients.verdict("etcd-away", away_s=away_s)
        unanswered = sum(entry.schedule_id is None for entry in clients.load.creates)
    assert unanswered == 0, "creates need no etcd"
    assert verdict.duplicates <= 3 * PER_KILL


async def test_cassandra_killed_and_restarted(
    cluster: Cluster, receiver: Receiver, own_cassandra: CassandraServer
) -> None:
    rounds = 3 if IS_LONG else 1
    recoveries_s: list[float] = []
    async with clients_of(cluster, receiver, 6) as clients:

        async def kill() -> None:
            for number in range(rounds):
                await asyncio.sleep(AFTER_S if number else 0)  # some load between two kills
                await asyncio.to_thread(own_cassandra.kill)
                await asyncio.to_thread(own_cassandra.start)
                up_ms = time.time() * 1000
                await wait_until(partial(clients.acked_since, up_ms), timeout_s=90)
                recoveries_s.append(round(time.time() - up_ms / 1000, 1))

        await through(clients, kill())
        await clients.verdict("cassandra-killed", timeout_s=90, recovered_after_s=max(recoveries_s))
    assert max(recoveries_s) <= 30


async def test_all_pods_down_while_schedules_come_due(cluster: Cluster, receiver: Receiver) -> None:
    down_s = 180 if IS_LONG else 10
    count = 10_000 if IS_LONG else 3_000
    async with clients_of(cluster, receiver, 7) as clients:
        due_s = await clients.burst(count, due_in_s=count / 1_000 + 3, over_s=down_s)
        for pod in cluster.pods.values():
            await asyncio.to_thread(pod.process.kill)
        await until(due_s + down_s)  # the outage itself
        started_s = time.time()
        for name in list(cluster.pods):
            await restart(cluster, name)
        verdict = await clients.verdict("all-pods-down", down_s=down_s, timeout_s=90)
        first = {key: found[0].at_ms for key, found in receiver.arrivals().items()}
        caught_up_s = max(first.values()) / 1000 - started_s
    record("all-pods-down", verdict, down_s=down_s, caught_up_s=round(caught_up_s, 1))


async def test_dispatchers_join_and_leave_in_a_burst(cluster: Cluster, receiver: Receiver) -> None:
    rounds = 10 if IS_LONG else 2
    async with clients_of(cluster, receiver, 8) as clients:
        for _ in range(rounds):
            due_s = await clients.burst(2_000, due_in_s=6)
            await until(due_s + 0.3)
            stop = asyncio.to_thread(cluster.pods["dispatcher-3"].process.stop, 120)
            extra = asyncio.create_task(restart(cluster, "dispatcher-4"))
            await asyncio.gather(stop, extra)
            await wait_for_deliveries(receiver, clients.load.creates, timeout_s=90)
            await asyncio.to_thread(cluster.pods["dispatcher-4"].process.stop, 120)
            await restart(cluster, "dispatcher-3")
        del cluster.pods["dispatcher-4"]
        verdict = await clients.verdict("join-and-leave", rounds=rounds)
    assert verdict.duplicates == 0
    assert verdict.lag_ms(1) <= 3_000


async def test_a_join_and_a_leave_move_only_their_share(cluster: Cluster, receiver: Receiver) -> None:
    etcd, total = cluster.servers.etcd, len(APPS) * PARTITIONS
    rounds = 10 if IS_LONG else 1
    joins, leaves, shared = [], [], []
    async with clients_of(cluster, receiver, 9) as clients:
        seconds, lead_s = (300, (1, 10)) if IS_LONG else (1_200, LEAD_S)
        load = asyncio.create_task(clients.steady(seconds, lead_s=lead_s))
        for _ in range(rounds):
            before = await revision_now(etcd.host, etcd.port)
            await restart(cluster, "dispatcher-4")
            await until_shared(cluster)
            joined = await history(etcd.host, etcd.port, prefix_of(cluster), since=before)
            before = await revision_now(etcd.host, etcd.port)
            await asyncio.to_thread(cluster.pods["dispatcher-4"].process.stop, 120)
            del cluster.pods["dispatcher-4"]
            await until_shared(cluster)
            left = await history(etcd.host, etcd.port, prefix_of(cluster), since=before)
            shared += overlaps(joined) + overlaps(left)
            joins.append(sum(moves_of(joined).values()))
            leaves.append(sum(moves_of(left).values()))
        under_load = not load.done()
        clients.load.is_over = not IS_LONG
        await load
        verdict = await clients.verdict("join-and-leave-steady", rounds=rounds, join=joins, leave=leaves)
    assert under_load, "the load ended before the rounds did"
    assert shared == []
    # A quarter of 48 each, and what the bounded ring trades on top; see ringtime_shared.ring.
    assert all(0 < moved <= total / 4 * 1.5 for moved in joins + leaves)
    assert verdict.duplicates == 0
    assert verdict.lag_ms(1) <= (1_000 if IS_LONG else 3_000)


async def test_a_flapping_dispatcher_moves_nothing(cluster: Cluster, receiver: Receiver) -> None:
    """It is there for less than the debounce each time."""
    etcd = cluster.servers.etcd
    async with clients_of(cluster, receiver, 10) as clients:
        load = asyncio.create_task(clients.steady(120 if IS_LONG else 12, lead_s=(1, 4)))
        before = await revision_now(etcd.host, etcd.port)
        while not load.done():
            await restart(cluster, "dispatcher-5")
            await asyncio.to_thread(cluster.pods["dispatcher-5"].process.stop, 120)
        await load
        del cluster.pods["dispatcher-5"]
        events = await history(etcd.host, etcd.port, prefix_of(cluster), since=before)
        verdict = await clients.verdict("flapping", moves=len(events))
    assert overlaps(events) == []
    assert max(moves_of(events).values(), default=0) <= 1
    assert verdict.duplicates == 0
    assert verdict.lag_ms(0.99) <= 5_000


async def test_many_quiet_apps_while_dispatchers_come_and_go(cluster: Cluster, receiver: Receiver) -> None:
    """Last of this module: its apps stay. In the quick set what comes back is also what joins."""
    apps = [f"quiet-{number}" for number in range(QUIET_APPS)]
    owned = OWNED + len(apps)
    lead_s = (1.0, 90.0) if IS_LONG else (1.0, 6.0)
    taken_s: dict[str, list[float]] = {"one": [], "two": [], "left": []}
    await register_apps(cluster.base, apps, partitions=1)

    async def has_over(names: Sequence[str], how: str, fault: Callable[[], object]) -> None:
        """Have what these own taken over by others."""
        begun_ms = time.time() * 1_000
        held = [term for name in names for term in owners.of(name, begun_ms)]
        assert len(held) >= owned / 10 * len(names)
        await asyncio.to_thread(fault)
        await wait_until(
            lambda: len(owners.taken_over_s(held, begun_ms)) == len(held), timeout_s=3 * TTL_S + 20
        )
        found_s = owners.taken_over_s(held, begun_ms)
        assert len(found_s) == len(held), f"of {', '.join(names)}"
        taken_s[how].append(round(max(found_s), 1))

    async def lose(*, killed: str = "", frozen: str = "") -> None:
        """Kill one, freeze one until others have what was its own, and have them back."""
        names = [name for name in (killed, frozen) if name]

        def fault() -> None:
            if frozen:
                cluster.pods[frozen].process.signal(signal.SIGSTOP)
            if killed:
                cluster.pods[killed].process.kill()

        await has_over(names, "one" if len(names) == 1 else "two", fault)
        if frozen:
            cluster.pods[frozen].process.signal(signal.SIGCONT)
        if killed:
            await restart(cluster, killed)
        await until_shared(cluster, owned)

    async def leave(name: str) -> None:
        await has_over([name], "left", partial(cluster.pods[name].process.stop, 120))

    async def come_and_go() -> None:
        if IS_LONG:
            await asyncio.sleep(lead_s[1])  # until as much is due as is created
            await restart(cluster, "dispatcher-4")
            await until_shared(cluster, owned)
            await leave("dispatcher-4")
            del cluster.pods["dispatcher-4"]
            await until_shared(cluster, owned)
            await lose(killed="dispatcher-1")
            await lose(frozen="dispatcher-2")
        await lose(killed="dispatcher-1", frozen="dispatcher-2")
        await leave("dispatcher-3")
        await restart(cluster, "dispatcher-3")

    async with clients_of(cluster, receiver, 11, apps, owned=owned) as clients:
        foreign = ForeignWork()
        with owners_of(cluster) as owners:
            await through(clients, come_and_go(), lead_s=lead_s)
        lost = len(taken_s["one"]) + 2 * len(taken_s["two"])
        verdict = await clients.verdict(
            "many-quiet-apps",
            timeout_s=lead_s[1] + 60,
            apps=len(apps),
            killed_or_frozen=lost,
            taken_over_after_s=taken_s["one"],
            two_at_once_after_s=taken_s["two"],
            left_to_others_after_s=taken_s["left"],
            others_took=f"{foreign.share():.0%} of the machine",
        )
    assert verdict.duplicates <= lost * PER_KILL
    if IS_LONG:  # with 10,000 apps; what the last of three takes over of two, twice its own, is told only
        assert max(taken_s["one"] + taken_s["left"]) <= TTL_S + 3
    else:
        assert max(taken_s["two"]) <= TTL_S + 3
        assert max(taken_s["left"]) <= TTL_S / 2, "who leaves waits for no lease"
