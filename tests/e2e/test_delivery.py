"""Deliveries of `ringtime serve` to receivers that misbehave, and what the others notice of it.

The quick set takes about a minute and a half; RINGTIME_FAULTS=long runs the same at full length. Verdicts go
to `.ringtime/faults/delivery`.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from ringtime_shared.callbacks.egress_policy import NOT_ALLOWED
from tests.harness.client import LoadClient, gather
from tests.harness.hostile import HostileReceiver, running_canary, running_hostile
from tests.harness.ledger import Verdict
from tests.harness.load import wait_until
from tests.harness.machine import ForeignWork
from tests.harness.planned import (
    MOST_FOREIGN,
    Bystander,
    create,
    fetch_all,
    http_to,
    most_per_s,
    register,
    until_ended,
)
from tests.harness.receiver import Arrival, Receiver
from tests.harness.report import IS_LONG, report
from tests.harness.server import ServerProcess, serving

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900 if IS_LONG else 300)]

MIB = 1 << 20
SLACK_MS = 300  #: how late an attempt may be, on a busy machine
LEAST_WAIT_MS = 1_000  #: before another attempt; see `retryPolicy.firstDelayMs`
ROUNDING_MS = 2  #: of two clocks that are read as whole milliseconds


@pytest.fixture
def hostile(tmp_path: Path) -> Iterator[HostileReceiver]:
    with running_hostile(tmp_path) as running:
        yield running


def attempts_of(arrivals: Sequence[Arrival]) -> list[int]:
    """Return the attempt numbers in order of arrival."""
    return [each.attempt for each in sorted(arrivals, key=lambda each: each.at_ms)]


def waits_of(arrivals: Sequence[Arrival]) -> list[float]:
    """Return the times between arrivals, in ms."""
    times = sorted(each.at_ms for each in arrivals)
    return [later - earlier for earlier, later in pairwise(times)]


@asynccontextmanager
async def watched_memory(server: ServerProcess) -> AsyncIterator[list[int]]:
    """Sample the server's memory in use while the block runs."""
    samples = [server.rss_bytes()]

    async def sample() -> None:
        while True:
            await asyncio.sleep(0.1)
            samples.append(server.rss_bytes())

    sampling = asyncio.create_task(sample())
    try:
        yield samples
    finally:
        sampling.cancel()


# What each behaviour comes to; docs of the `http` callback type. None: no answer that counts as one.
CODES: Mapping[str, int | None] = {
    "/status/500": 500,
    "/busy": 429,
    "/hang": None,
    "/interim": None,
    "/reset": None,
    "/drip": 200,
    "/headers": 200,
    "/folded": 200,
    "/many": 200,
    "/cut": 200,
    "/redirect": 302,
    "/gone": 410,
    "/huge": 200,
    "/bomb": 200,
}
BLAMED = ("/status/500", "/busy", "/hang", "/interim", "/reset")  #: what opens the breaker
EACH = 40  #: schedules for each behaviour
ATTEMPT_MS = 1_000  #: deadline of one attempt
RETRY = {"attempts": 3, "firstDelayMs": 1_500, "factor": 2}


@pytest.mark.alone
async def test_hostile_receivers(tmp_path: Path, receiver: Receiver) -> None:
    """Each gets what the policy says and no more; memory and other apps stay as they were."""
    open_ms, over_s, max_age_s = 1_000, 5, 420 if IS_LONG else 7
    per_s, seconds = 50, 30 if IS_LONG else 3
    with (
        running_canary(tmp_path) as canary,
        running_hostile(tmp_path, canary.url) as hostile,
        serving(tmp_path, dispatch_breaker_open_ms=open_ms) as server,
    ):
        async with LoadClient(server.base) as client:
            await register(client, Bystander.app_id)
            await register(client, "hostile", httpTimeout=ATTEMPT_MS)
            bystander = Bystander(client, receiver)
            # Warm: as many attempts at once as will be made later.
            soon_ms = time.time() * 1000 + 1_000
            warm = [
                create(client, "hostile", http_to(hostile.at("/ok")), soon_ms)
                for _ in range(EACH * len(CODES))
            ]
            await until_ended(client, await asyncio.gather(*warm), timeout_s=90)
            baseline = await bystander.run(per_s=per_s, seconds=seconds, warm_s=1)

            async with watched_memory(server) as memory:
                begun_ms = time.time() * 1000 + 2_000
                ids = await create_hostile(client, hostile, begun_ms, over_s * 1000, max_age_s)
                verdict = await bystander.run(per_s=per_s, seconds=over_s + max_age_s / 2)
                every = [each for found in ids.values() for each in found]
                views = await until_ended(client, every, timeout_s=max_age_s + 30)
            elapsed_s = time.time() - begun_ms / 1000
        arrivals = hostile.arrivals()
        growth_mib = round((max(memory) - memory[0]) / MIB, 1)
        made = {path: sum(len(arrivals[each]) for each in found) for path, found in ids.items()}
        facts = {
            "baseline_p99_ms": round(baseline.lag_ms(0.99)),
            "foreign_work": bystander.foreign,
            "memory_mib": round(memory[0] / MIB),
            "growth_mib": growth_mib,
            "canary": len(canary.visits()),
            "attempts": made,
        }
        report("hostile receivers", verdict, **facts)
        for path, found in ids.items():
            for each in found:
                check_hostile(path, views[each], arrivals[each])
            if path in BLAMED:
                # Until it opened: five, and what was under way by then. After that one for each open time.
                opening = 5 + 2 * EACH / over_s * ATTEMPT_MS / 1000
                assert made[path] <= opening + elapsed_s * 1000 / open_ms, path
                if IS_LONG:
                    assert all(views[each]["attempts"] == RETRY["attempts"] for each in found), path
        assert 1 <= made["/gone"] <= 1 + 2 * EACH / over_s * ATTEMPT_MS / 1000  # and what was under way
        assert canary.visits() == []
        assert verdict.duplicates == 0
        assert growth_mib <= 20
        assert verdict.lag_ms(0.99) <= bystander.most_lag_ms(baseline)


async def create_hostile(
    client: LoadClient, hostile: HostileReceiver, begun_ms: float, over_ms: float, max_age_s: int
) -> dict[str, list[str]]:
    """Create the schedules of all behaviours, due within `over_ms` side by side; return their ids."""
    retry = RETRY | {"maxAgeSeconds": max_age_s}
    ids: dict[str, list[str]] = {}
    for place, path in enumerate(CODES):
        step_ms = over_ms / EACH
        first_ms = begun_ms + place * step_ms / len(CODES)
        ids[path] = await asyncio.gather(
            *(
                create(client, "hostile", http_to(hostile.at(path)), first_ms + n * step_ms, retry)
                for n in range(EACH)
            )
        )
    return ids


def check_hostile(path: str, view: Mapping[str, Any], arrivals: Sequence[Arrival]) -> None:
    """One schedule: its status, the attempts that were made, the waits between them."""
    numbers, attempts, code = attempts_of(arrivals), view["attempts"], CODES[path]
    log = view.get("attemptLog", [])
    context = (path, view, arrivals)
    assert numbers == list(range(1, attempts + 1)), context
    assert [entry.get("httpCode") for entry in log] == [code] * attempts, context
    assert view["status"] == ("SUCCESS" if code == 200 else "FAILURE"), context
    if path in BLAMED:  # the breaker may hold rows up until they are too old
        assert attempts <= RETRY["attempts"], context
        assert attempts == RETRY["attempts"] or view["errorMessage"], context
    elif path == "/gone":  # the first answer has the URL left alone, until the rest is too old
        assert attempts == 1 or (attempts == 0 and view["errorMessage"]), context
    else:
        assert attempts == (RETRY["attempts"] if path == "/redirect" else 1), context
    least_ms = 2_000 if path == "/busy" else LEAST_WAIT_MS
    for number, wait_ms in enumerate(waits_of(arrivals)):
        assert wait_ms >= least_ms - ROUNDING_MS, context
        if path not in BLAMED:
            assert wait_ms <= RETRY["firstDelayMs"] * RETRY["factor"] ** number + SLACK_MS, context


@pytest.mark.alone
async def test_callbacks_that_hang_hold_up_nobody_else(
    tmp_path: Path, receiver: Receiver, hostile: HostileReceiver
) -> None:
    seconds = 20 if IS_LONG else 5
    with serving(tmp_path) as server:
        async with LoadClient(server.base) as client:
            await register(client, Bystander.app_id)
            await register(client, "stuck")
            due_ms = time.time() * 1000 + 3_000
            await asyncio.gather(
                *(create(client, "stuck", http_to(hostile.at("/hang")), due_ms) for _ in range(300))
            )
            verdict = await Bystander(client, receiver).run(per_s=100, seconds=seconds)
        report("callbacks that hang", verdict, hanging=hostile.count())
    assert hostile.count() >= 5
    assert verdict.duplicates == 0
    assert verdict.lag_ms(0.99) <= 1_000


@pytest.mark.alone
async def test_a_black_hole_takes_half_of_the_traffic(
    tmp_path: Path, receiver: Receiver, hostile: HostileReceiver
) -> None:
    """Its rows wait without using up attempts, and come back at a bounded rate once it has healed."""
    per_s, park_per_s, open_ms = (100, 200, 30_000) if IS_LONG else (50, 100, 3_000)
    hole_s, after_s = (180, 60) if IS_LONG else (7, 4)
    with serving(tmp_path, dispatch_breaker_open_ms=open_ms, dispatch_park_per_s=park_per_s) as server:
        async with LoadClient(server.base) as client:
            await register(client, Bystander.app_id)
            await register(client, "hole", httpTimeout=ATTEMPT_MS, httpRetries=5)
            bystander = Bystander(client, receiver)
            baseline = await bystander.run(per_s=per_s, seconds=20 if IS_LONG else 3, warm_s=1)

            begun_s, foreign = time.time(), ForeignWork()
            healing = asyncio.create_task(heal_at(hostile, begun_s + hole_s))
            load = asyncio.create_task(
                steady(client, "hole", hostile.at("/switch"), per_s=per_s, seconds=hole_s + after_s)
            )
            verdict = await bystander.run(per_s=per_s, seconds=hole_s + after_s)
            due = await load
            healed_ms = await healing
            # The last parked row is no further away than the open time and what the rate allows.
            most_s = open_ms / 1000 + 3 * per_s * hole_s / park_per_s + 10
            await until_delivered(hostile, healed_ms, len(due), timeout_s=most_s)
            foreign_share = foreign.share()
            views = await fetch_all(client, due)
        arrivals = hostile.arrivals()
        good = delivered(hostile, healed_ms)
        burned = sum(each.at_ms <= healed_ms for found in arrivals.values() for each in found)
        # Where others kept the machine busy, what could not run for a moment comes all at once after it.
        rate = most_per_s(good.values(), 1 if foreign_share <= MOST_FOREIGN else 10)
        lost = [key for key in due if key not in good]
        spared = [
            key for key, due_ms in due.items() if begun_s * 1000 + 4_000 < due_ms < healed_ms - ATTEMPT_MS
        ]
        report(
            "black hole",
            verdict,
            baseline_p99_ms=round(baseline.lag_ms(0.99)),
            foreign_work=round(foreign_share, 2),
            held_up=sum(due_ms < healed_ms for due_ms in due.values()),
            undelivered=len(lost),
            attempts_burned=burned,
            most_per_s=rate,
            drained_s=round((max(good[key] for key in spared) - healed_ms) / 1000, 1),
        )
        assert lost == []
        for key, view in views.items():
            assert view["status"] == "SUCCESS", view
            assert attempts_of(arrivals[key]) == list(range(1, view["attempts"] + 1)), (view, arrivals[key])
        # What came due while the breaker was open was tried once, when it could succeed; probes apart.
        probes = hole_s * 1000 / open_ms + 1
        assert sum(len(arrivals[key]) > 1 for key in spared) <= probes
        assert burned <= 5 + 2 * per_s * ATTEMPT_MS / 1000 + probes
        assert rate <= park_per_s * 1.2 + per_s * 1.2
        assert verdict.duplicates == 0
        assert verdict.lag_ms(0.99) <= bystander.most_lag_ms(baseline)


def delivered(hostile: HostileReceiver, healed_ms: float) -> dict[str, float]:
    """Return when each schedule was answered well: at its last arrival, if that was after the healing."""
    last = {key: max(each.at_ms for each in found) for key, found in hostile.arrivals().items()}
    return {key: at_ms for key, at_ms in last.items() if at_ms > healed_ms}


async def until_delivered(
    hostile: HostileReceiver, healed_ms: float, count: int, *, timeout_s: float
) -> None:
    """Return when so many schedules were answered well, or time is up. Counts before it looks closely."""
    await wait_until(
        lambda: hostile.count() >= count and len(delivered(hostile, healed_ms)) >= count, timeout_s=timeout_s
    )


async def heal_at(hostile: HostileReceiver, due_s: float) -> float:
    await asyncio.sleep(due_s - time.time())  # the length of the fault
    return hostile.heal()


async def steady(
    client: LoadClient, app_id: str, url: str, *, per_s: float, seconds: float
) -> dict[str, float]:
    """Create at a fixed rate what falls due at that rate; return the due times by id, epoch ms."""
    begun_s = time.time()
    due: dict[str, float] = {}

    async def one(fire_ms: float) -> None:
        due[await create(client, app_id, http_to(url), fire_ms)] = fire_ms

    async with asyncio.TaskGroup() as group:
        for number in range(int(per_s * seconds)):
            at_s = begun_s + number / per_s
            await asyncio.sleep(max(at_s - time.time(), 0))  # the timetable of an open-loop load
            group.create_task(one((at_s + 1.5) * 1000))
    return due


@pytest.mark.alone
async def test_waits_between_attempts(tmp_path: Path, hostile: HostileReceiver) -> None:
    count, first_ms, factor = 1_000, 1_500, 2
    retry = {"attempts": 3, "firstDelayMs": first_ms, "factor": factor}
    with serving(tmp_path) as server:
        async with LoadClient(server.base) as client:
            await register(client, "app")
            due_ms, callback = time.time() * 1000 + 2_000, http_to(hostile.at("/flaky/2"))
            ids = await asyncio.gather(
                *(create(client, "app", callback, due_ms + 2 * n, retry) for n in range(count))
            )
            views = await until_ended(client, ids, timeout_s=90)
    arrivals = hostile.arrivals()
    waits = [waits_of(arrivals[each]) for each in ids]
    first, second = ([each[number] for each in waits] for number in (0, 1))
    report(
        "waits between attempts",
        Verdict(acknowledged=count, lost=[each for each in ids if views[each]["status"] != "SUCCESS"]),
        first_ms=f"{min(first):.0f} to {max(first):.0f}",
        second_ms=f"{min(second):.0f} to {max(second):.0f}",
    )
    assert all(attempts_of(arrivals[each]) == [1, 2, 3] for each in ids)
    assert all(view["attempts"] == 3 and len(view["attemptLog"]) == 3 for view in views.values())
    for found, bound_ms in ((first, first_ms), (second, first_ms * factor)):
        assert min(found) >= LEAST_WAIT_MS - ROUNDING_MS
        assert max(found) <= bound_ms + SLACK_MS
        # Random up to the bound, and what is below the least wait is the least wait. Each fifth of what
        # lies between has its share, but for chance and lateness.
        step_ms = (bound_ms - LEAST_WAIT_MS) / 5
        spread = Counter(min(int((wait_ms - LEAST_WAIT_MS) / step_ms), 4) for wait_ms in found)
        share = count * (bound_ms - LEAST_WAIT_MS) / bound_ms / 5
        assert all(spread[part] >= share / 2 for part in range(5)), spread


@pytest.mark.alone
async def test_attempts_survive_a_kill(tmp_path: Path, hostile: HostileReceiver) -> None:
    """A crash between two attempts loses none and begins none anew; what it may do is send one twice."""
    count, attempts = 50, 4
    with serving(tmp_path) as server:
        async with LoadClient(server.base) as client:
            await register(client, "app", httpRetries=attempts)
            retry = {"attempts": attempts, "firstDelayMs": 1_000, "factor": 1}
            due_ms, callback = time.time() * 1000 + 1_500, http_to(hostile.at("/status/408"))
            creates = (create(client, "app", callback, due_ms + 20 * n, retry) for n in range(count))
            ids = await asyncio.gather(*creates)
            # Most wait for their third attempt by then, some are about to make or to record the second.
            await wait_until(lambda: seen_twice(hostile) >= count * 0.8, timeout_s=90)
        await asyncio.to_thread(server.kill)
        at_kill = hostile.count()
        await asyncio.to_thread(server.start)
        async with LoadClient(server.base) as client:
            views = await until_ended(client, ids, timeout_s=90)
    arrivals = hostile.arrivals()
    numbers = {each: attempts_of(arrivals[each]) for each in ids}
    verdict = Verdict(
        acknowledged=count,
        lost=[each for each in ids if set(numbers[each]) != set(range(1, attempts + 1))],
        duplicates=hostile.count() - count * attempts,
    )
    report("killed between attempts", verdict, arrivals_at_kill=at_kill, duplicates=verdict.duplicates)
    assert count * 1.8 <= at_kill < count * 2.2
    for each, view in views.items():
        context = (view, arrivals[each])
        assert (view["status"], view["attempts"], view["httpCode"]) == ("FAILURE", attempts, 408), context
        assert [entry["httpCode"] for entry in view["attemptLog"]] == [408] * attempts, context
        assert numbers[each] == sorted(numbers[each]), context
        # The one attempt that was not recorded when the process died is made again, no other.
        assert len(numbers[each]) <= attempts + 1, context


async def test_schedules_are_found_at_once_after_a_start(tmp_path: Path, hostile: HostileReceiver) -> None:
    with serving(tmp_path) as server:
        async with LoadClient(server.base) as client:
            await register(client, "app")
            due_ms, callback = time.time() * 1000 + 60_000, http_to(hostile.at("/ok"))
            ids = await asyncio.gather(*(create(client, "app", callback, due_ms) for _ in range(20)))
        await asyncio.to_thread(server.kill)
        await asyncio.to_thread(server.start)
        async with LoadClient(server.base) as client:
            answers = await gather(client.request("GET", f"/schedules/{each}") for each in ids)
    assert Counter(answer.status for answer in answers) == {200: len(ids)}


def seen_twice(hostile: HostileReceiver) -> int:
    return sum(len(found) >= 2 for found in hostile.arrivals().values())


@pytest.mark.alone
async def test_dead_letters_are_all_there_and_all_replayed(
    tmp_path: Path, receiver: Receiver, hostile: HostileReceiver
) -> None:
    count = 10_000 if IS_LONG else 1_000
    retry = {"attempts": 2, "firstDelayMs": 1_000, "factor": 1}
    with serving(tmp_path) as server:
        async with LoadClient(server.base) as client:
            await register(client, Bystander.app_id)
            await register(client, "app")
            begun_ms, callback = time.time() * 1000 + count + 500, http_to(hostile.at("/heal"))
            ids = await asyncio.gather(
                *(create(client, "app", callback, begun_ms + n, retry) for n in range(count))
            )
            views = await until_ended(client, ids, timeout_s=90)
            assert {(view["status"], view["attempts"]) for view in views.values()} == {("FAILURE", 2)}
            span = f"start_time={begun_ms / 1000 - 60:.0f}&end_time={time.time() + 60:.0f}"
            listed = await list_letters(client, span)
            counted = await count_letters(client, span)
            assert [each["scheduleId"] for each in listed if each["attempts"] != 2] == []
            bystander = Bystander(client, receiver)
            baseline = await bystander.run(per_s=50, seconds=20 if IS_LONG else 2)

            healed_ms = hostile.heal()
            most_s = count / 200 + 1
            live = asyncio.create_task(bystander.run(per_s=50, seconds=most_s))
            replayed = await replay_all(client, begun_ms / 1000 - 60, time.time())
            await until_delivered(hostile, healed_ms, count, timeout_s=most_s + 20)
            verdict = await live
            views = await until_ended(client, ids, timeout_s=90)
            left = await count_letters(client, span)
            still = await list_letters(client, span + "&replayed=true")
    arrivals = hostile.arrivals()
    report(
        "dead letters",
        verdict,
        exhausted=count,
        listed=len(listed),
        counted=counted,
        replayed=replayed,
        delivered=len(delivered(hostile, healed_ms)),
        left=left,
        baseline_p99_ms=round(baseline.lag_ms(0.99)),
        foreign_work=bystander.foreign,
    )
    assert {each["scheduleId"] for each in listed} == set(ids)
    assert len(listed) == counted == count
    assert replayed == count
    assert {view["status"] for view in views.values()} == {"SUCCESS"}
    assert all(attempts_of(arrivals[each]) == [1, 2, 1] for each in ids)
    assert left == 0
    assert {each["scheduleId"] for each in still} == set(ids)
    assert verdict.lag_ms(0.99) <= bystander.most_lag_ms(baseline)


async def list_letters(client: LoadClient, query: str) -> list[dict[str, Any]]:
    """Return all dead letters of the app, page by page."""
    letters: list[dict[str, Any]] = []
    token = ""
    while True:
        path = f"/apps/app/dead-letters?size=300&{query}&continuation_token={token}"
        answer = await client.request("GET", path)
        assert answer.status == 200, answer
        letters += answer.data["deadLetters"]
        token = answer.data["continuationToken"]
        if not token:
            return letters


async def count_letters(client: LoadClient, query: str) -> int:
    """Return how many were not replayed."""
    answer = await client.request("GET", f"/apps/app/dead-letters/count?{query}")
    assert answer.status == 200, answer
    return int(answer.data["count"])


async def replay_all(client: LoadClient, start_s: float, end_s: float) -> int:
    """Replay everything of this time; return how much that was."""
    body: dict[str, object] = {"startTime": int(start_s), "endTime": int(end_s), "size": 300}
    replayed = 0
    while True:
        answer = await client.request("POST", "/apps/app/dead-letters/replay", body)
        assert answer.status == 200, answer
        assert answer.data["skipped"] == []
        replayed += int(answer.data["replayed"])
        if not answer.data["continuationToken"]:
            return replayed
        body["continuationToken"] = answer.data["continuationToken"]


#: By class of bad input; PORT is the canary's. Names are local ones.
FORBIDDEN = {
    "97 loopback": ("127.0.0.1", "127.0.0.2", "127.255.255.254"),
    "98 short": ("127.1", "127.0.1"),
    "99 other bases": ("0177.0.0.1", "0x7f.0.0.1", "0x7f000001", "2130706433", "017700000001", "127.0.0.01"),
    "100 this host": ("0.0.0.0", "0"),
    "101 IPv6 loopback": ("[::1]", "[::]", "[0:0:0:0:0:0:0:1]"),
    "102 mapped": ("[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[0:0:0:0:0:ffff:7f00:0001]"),
    "103 compatible": ("[::127.0.0.1]", "[::7f00:1]"),
    "104 NAT64": ("[64:ff9b::a9fe:a9fe]", "[64:ff9b::7f00:1]", "[64:ff9b:1::7f00:1]"),
    "105 6to4": ("[2002:a9fe:a9fe::]", "[2002:7f00:1::]"),
    "106 Teredo": ("[2001:0:7f00:1::]", "[2001:0:4136:e378:8000:63bf:80ff:fffe]"),
    "107 link-local": ("[fe80::1%25lo]", "[fe80::1%lo]", "[fe80::1]"),
    "108 unique local": ("[fd00:ec2::254]", "[fc00::1]"),
    "109 metadata": ("169.254.169.254", "[::ffff:169.254.169.254]"),
    "110 Azure": ("168.63.129.16",),
    "111 Alibaba": ("100.100.100.200",),
    "112 metadata name": ("metadata.google.internal", "METADATA.google.Internal", "metadata.goog"),
    "113 local names": (
        "localhost",
        "LocalHost",
        "a.localhost",
        "localhost.localdomain",
        socket.gethostname(),
    ),
    "116 long": (".".join(["a" * 63] * 10),),
    "117 empty label": ("a..localhost", "localhost..", ".localhost"),
    "120 confusion": ("ok@127.0.0.1", "127.0.0.1#ok.test", "127.0.0.1\\@ok.test", "ok.test#@127.0.0.1"),
}


async def test_callbacks_do_not_reach_this_machine(tmp_path: Path) -> None:
    """With the development mode off and every port allowed, so that nothing but the address protects: new
    schedules are refused, and those of an earlier, laxer time come to nothing."""
    with ExitStack() as stack:
        canary = stack.enter_context(running_canary(tmp_path))
        with serving(tmp_path) as lax:
            async with LoadClient(lax.base) as client:
                await register(client, "app")
                due_ms = time.time() * 1000 + 3_000
                hosts = ("127.0.0.1", "[::1]", "localhost", socket.gethostname())
                older = [
                    await create(client, "app", http_to(f"http://{host}:{canary.port}/"), due_ms)
                    for host in hosts
                ]
            await asyncio.to_thread(lax.stop)
        strict = {"embedded_loopback_callbacks": "false", "egress_ports": "1-65535"}
        server = stack.enter_context(serving(tmp_path, **strict))
        own = server.base.split("/")[2]
        urls = {
            f"{name}: {scheme} {host}": f"{scheme}://{host}:{canary.port}/x"
            for name, hosts in FORBIDDEN.items()
            for host in hosts
            for scheme in ("http", "https")
        }
        urls["118 own address"] = f"http://{own}/goscheduler/healthcheck"
        urls["118 own name"] = f"http://localhost:{own.rpartition(':')[2]}/goscheduler/healthcheck"
        accepted = {}
        async with LoadClient(server.base) as client:
            for name, url in urls.items():
                body = {"appId": "app", "payload": "", "delaySeconds": 0, "callback": http_to(url)}
                answer = await client.request("POST", "/schedules", body)
                if answer.status == 200:
                    accepted[answer.data["schedule"]["scheduleId"]] = name
                else:
                    assert answer.status == 400, (name, answer)
                    assert b"callback.details.url" in answer.body, (name, answer)
            views = await until_ended(client, [*accepted, *older], timeout_s=90)
        verdict = Verdict(acknowledged=len(views))
        report(
            "forbidden targets",
            verdict,
            refused=len(urls) - len(accepted),
            accepted=sorted(accepted.values()),
            canary=len(canary.visits()),
        )
        assert {view["status"] for view in views.values()} == {"FAILURE"}
        assert {(views[each]["attempts"], views[each]["errorMessage"]) for each in older} == {
            (1, NOT_ALLOWED)
        }
        assert canary.visits() == []
        for host in ("127.0.0.1", "::1"):  # it would have sung
            with socket.create_connection((host, canary.port), timeout=5) as connection:
                assert connection.recv(1) == b""
        assert len(canary.visits()) == 2
