"""Attempts of `ringtime serve`: how far apart they are, what survives a kill, what those that hang do."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.e2e.test_delivery import LEAST_WAIT_MS, ROUNDING_MS, SLACK_MS, attempts_of, waits_of
from tests.harness.client import LoadClient
from tests.harness.hostile import HostileReceiver
from tests.harness.ledger import Verdict
from tests.harness.load import wait_until
from tests.harness.planned import Bystander, create, http_to, register, until_ended
from tests.harness.receiver import Receiver
from tests.harness.report import IS_LONG, report
from tests.harness.server import serving

pytestmark = [pytest.mark.alone, pytest.mark.slow, pytest.mark.timeout(300)]


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


def seen_twice(hostile: HostileReceiver) -> int:
    return sum(len(found) >= 2 for found in hostile.arrivals().values())
