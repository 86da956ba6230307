"""What Locust runs: users that create, and cancel some, at the plan's pace, and note what they were told.

RINGTIME_LOAD is the run's folder: it holds `plan.json` and takes ledgers and `requests.json`. A user creates,
waits for the answer, and begins its next create a fixed time after this one began. A slow answer delays that
user alone, and shows in the creates that were reached. Requests of the warm-up have a name of their own.
"""

from __future__ import annotations

import os
import time
from itertools import cycle
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import orjson
from locust import FastHttpUser, LoadTestShape, constant_throughput, events, runners, task
from locust.env import Environment

from ringtime_client.credentials import find_key, with_key
from ringtime_load.ledgers import Ledger
from ringtime_load.plan import Plan, Tenants

#: Seconds without a word after which a worker counts as gone. Locust's own 3 ends the test of a machine that
#: is busy for as long while the workers start.
runners.HEARTBEAT_LIVENESS = 20

FOLDER = Path(os.environ["RINGTIME_LOAD"])
PLAN = msgspec.json.decode((FOLDER / "plan.json").read_bytes(), type=Plan)
LEDGER = Ledger(FOLDER, "client")
TENANTS = Tenants(PLAN.tenants, PLAN.zipf)
DETAILS: dict[str, Any] = (
    {"topic": PLAN.topic}
    if PLAN.callback == "kafka"
    else {"url": PLAN.callback_url, "method": "POST", "headers": {}}
)
HEADERS = dict(with_key(PLAN.hosts[0], {"Content-Type": "application/json"}, find_key(None, None)))
TIMEOUT_S = 30.0
HOSTS = cycle(PLAN.hosts)
BEGAN_S = [time.perf_counter()]  #: when this process was last told to begin


def now_ms() -> float:
    return time.time() * 1000


def begin(environment: Environment, **_: object) -> None:  # noqa: ARG001 - the signature of a listener
    BEGAN_S[:] = [time.perf_counter()]


def name_of(kind: str) -> str:
    return PLAN.name_at(kind, time.perf_counter() - BEGAN_S[0])


class Client(FastHttpUser):
    """One user."""

    wait_time = constant_throughput(1 / PLAN.pace_s)
    network_timeout = connection_timeout = TIMEOUT_S

    def __init__(self, environment: Environment) -> None:
        self.host = next(HOSTS)
        super().__init__(environment)
        self._rng = Random()

    @task
    def create(self) -> None:
        """Create a schedule, and cancel it if it is one of the plan's share."""
        fire_ms = int(now_ms() + self._rng.uniform(*PLAN.lead_s) * 1000)
        body = {
            "appId": PLAN.app(TENANTS.draw(self._rng)),
            "payload": "{}",
            "scheduleTime": fire_ms / 1000,
            "callback": {"type": PLAN.callback, "details": DETAILS},
        }
        answer = self.client.post(
            "/schedules", data=orjson.dumps(body).decode(), headers=HEADERS, name=name_of("create")
        )
        if answer.status_code != 200:
            return
        answered_ms = now_ms()
        schedule_id = orjson.loads(answer.content)["data"]["schedule"]["scheduleId"]
        LEDGER.write(f"create {schedule_id} {fire_ms} {answered_ms:.1f}")
        if self._rng.random() < PLAN.cancel_share:
            self.cancel(schedule_id)

    def cancel(self, schedule_id: str) -> None:
        """Cancel. 200 is a promise, 202 is none."""
        LEDGER.write(f"trying {schedule_id}")
        answer = self.client.delete(f"/schedules/{schedule_id}", name=name_of("delete"))
        if answer.status_code == 200:
            LEDGER.write(f"cancel {schedule_id} {now_ms():.1f}")


class Ramp(LoadTestShape):
    """The plan's climb and level."""

    def tick(self) -> tuple[int, float] | None:
        users = PLAN.users_at(time.perf_counter() - self.start_time)
        return None if users is None else (users, max(1.0, PLAN.users / max(PLAN.ramp_s, 1.0)))


def write_requests(environment: Environment, **_: object) -> None:
    """Write what all users' requests came to, where that is known: not in a worker."""
    if environment.parsed_options is not None and environment.parsed_options.worker:
        return
    rows = [
        {
            "name": each.name,
            "count": each.num_requests,
            "failed": each.num_failures,
            "p99_ms": each.get_response_time_percentile(0.99) or 0,
        }
        for each in environment.stats.entries.values()
    ]
    (FOLDER / "requests.json").write_bytes(orjson.dumps(rows))


events.test_start.add_listener(begin)  # type: ignore[no-untyped-call]
events.quitting.add_listener(write_requests)  # type: ignore[no-untyped-call]
