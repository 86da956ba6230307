"""Apps and schedules with policies and targets of their own, and how they ended, over HTTP."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping
from random import Random
from typing import Any

from tests.harness.client import LoadClient, gather
from tests.harness.ledger import Verdict, judge
from tests.harness.load import Load, wait_for_deliveries
from tests.harness.machine import ForeignWork
from tests.harness.receiver import Receiver

_LOOK_S, _LOOKS_PER_S = 0.3, 1_000  #: so that looking is no load of its own
MOST_FOREIGN = 0.1  #: share of the machine that others may take before small lags say nothing


async def register(client: LoadClient, app_id: str, *, partitions: int = 8, **configuration: object) -> None:
    """Register an active app."""
    body = {"appId": app_id, "partitions": partitions, "active": True, "configuration": configuration}
    answer = await client.request("POST", "/apps", body)
    assert answer.status == 200, answer


def http_to(url: str) -> dict[str, object]:
    """Return a callback to this URL."""
    return {"type": "http", "details": {"url": url, "method": "POST", "headers": {}}}


async def create(
    client: LoadClient,
    app_id: str,
    callback: Mapping[str, object],
    fire_ms: float,
    retry: Mapping[str, object] | None = None,
) -> str:
    """Create a schedule; return its id."""
    body = {"appId": app_id, "payload": "{}", "scheduleTime": int(fire_ms) / 1000, "callback": callback}
    answer = await client.request(
        "POST", "/schedules", body if retry is None else body | {"retryPolicy": retry}
    )
    assert answer.status == 200, answer
    return str(answer.data["schedule"]["scheduleId"])


async def fetch_all(client: LoadClient, ids: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Return schedules as the API shows them."""
    wanted = list(ids)
    answers = await gather(client.request("GET", f"/schedules/{each}") for each in wanted)
    assert {answer.status for answer in answers} <= {200}, next(
        each for each in answers if each.status != 200
    )
    return {key: answer.data["schedule"] for key, answer in zip(wanted, answers, strict=True)}


async def until_ended(
    client: LoadClient, ids: Iterable[str], *, timeout_s: float
) -> dict[str, dict[str, Any]]:
    """Return schedules once none has an outcome to come. Raises AssertionError when time is up."""
    until_s = time.monotonic() + timeout_s
    ended: dict[str, dict[str, Any]] = {}
    pending = set(ids)
    while True:
        found = await fetch_all(client, pending)
        ended |= {key: view for key, view in found.items() if view["status"] != "SCHEDULED"}
        pending -= ended.keys()
        if not pending:
            return ended
        assert time.monotonic() < until_s, f"{len(pending)} have no outcome, such as {found[pending.pop()]}"
        await asyncio.sleep(_LOOK_S + len(pending) / _LOOKS_PER_S)


class Bystander:
    """An app that does nothing wrong, whose lag tells what others do to it."""

    app_id = "bystander"

    def __init__(self, client: LoadClient, receiver: Receiver) -> None:
        self._client = client
        self._receiver = receiver
        self._load = Load(receiver, apps=[self.app_id], rng=Random(7))
        self.foreign = 0.0  #: share of the machine that others took in the last run

    async def run(
        self, *, per_s: float, seconds: float, warm_s: float = 0, lead_s: tuple[float, float] = (1, 1.5)
    ) -> Verdict:
        """Create at a fixed rate, wait for what is due, and judge it.

        Args:
            warm_s: pass over what is created in this time at first.
            lead_s: how long before its fire time each is created, from and to.
        """
        first = len(self._load.creates) + int(per_s * warm_s)
        foreign = ForeignWork()
        await self._load.run(self._client, per_s=per_s, seconds=warm_s + seconds, lead_s=lead_s)
        creates = self._load.creates[first:]
        await wait_for_deliveries(self._receiver, creates, timeout_s=90)
        self.foreign = round(foreign.share(), 2)
        ids = {entry.schedule_id for entry in creates}
        arrivals = {key: found for key, found in self._receiver.arrivals().items() if key in ids}
        return judge(creates, arrivals)

    def most_lag_ms(self, baseline: Verdict, *, factor: float = 2, quietest_ms: float = 25) -> float:
        """Return the p99 lag that the last run may have had, with others misbehaving.

        Where something else kept the machine busy, only the largest bound says anything.

        Args:
            quietest_ms: a p99 of the baseline below this is the machine's noise.
        """
        if self.foreign > MOST_FOREIGN:
            return 3_000
        return min(factor * max(baseline.lag_ms(0.99), quietest_ms), 3_000)


def most_per_s(times_ms: Iterable[float], window_s: float) -> float:
    """Return the largest rate of these moments over any window of this length."""
    ordered = sorted(times_ms)
    most, start = 0, 0
    for end, at_ms in enumerate(ordered):
        while at_ms - ordered[start] >= window_s * 1_000:
            start += 1
        most = max(most, end - start + 1)
    return most / window_s
