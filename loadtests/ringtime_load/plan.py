"""What a run asks for, and what is good enough. Pure; one JSON file tells it to every process of a run."""

from __future__ import annotations

import bisect
import itertools
import math
from collections.abc import Mapping
from random import Random
from typing import Literal

import msgspec

MAX_SECONDS = 3_600.0
WARMING = " (warming up)"  #: follows the name of requests that begin during the warm-up
MAX_REQUESTS = 10_000_000
MAX_USERS = 500  #: beyond it they create faster; each costs a connection
CREATES_PER_USER_S = 5.0  #: few enough that a user waits for answers and still keeps its pace


class Criteria(msgspec.Struct, frozen=True):
    """Bounds of a pass. What is lost, early, or called after a promised cancel has none: it is 0."""

    p99_ms: float  #: of each kind of request
    failed_share: float = 0.001  #: of requests
    lag_p99_ms: float = 1_000.0  #: from the fire time, or the answer if later, to the first callback
    late_ms: float = 10_000.0  #: no callback may lag so much
    duplicates: int = 0
    reached_share: float = 0.9  #: of the creates asked for: a load that was not made proves nothing


class Shape(msgspec.Struct, frozen=True):
    """A mix of requests at full size, as published or wished for."""

    about: str
    creates_per_min: int
    cancels_per_min: int
    callback: Literal["http", "kafka"]
    p99_ms: float
    tenants: int = 1
    zipf: float = 0.0  #: exponent of the tenants' shares; 0: all alike


SHAPES: Mapping[str, Shape] = {
    "kafka": Shape("create, with Kafka callbacks", 350_000, 0, "kafka", 50.0),
    "kafka-delete": Shape("create, delete, with Kafka callbacks", 240_000, 60_000, "kafka", 60.0),
    "http": Shape("create, with HTTP callbacks", 100_000, 0, "http", 30.0),
    "wide": Shape("create over many tenants, with HTTP callbacks", 100_000, 0, "http", 30.0, 10_000, 1.1),
}


class Plan(msgspec.Struct, frozen=True):
    """One run: a shape at a factor, climbing for `ramp_s` and then level until `total_s` are over."""

    shape: str
    callback: Literal["http", "kafka"]
    creates_per_s: float  #: once level
    cancel_share: float  #: of the creates
    seconds: float  #: in which it is judged what answers take
    ramp_s: float
    lead_s: tuple[float, float]  #: the fire time is so far ahead
    tenants: int
    zipf: float
    criteria: Criteria
    warm_up_s: float = 0.0  #: before those, the climb first; all but what answers take is judged then, too
    partitions: int = 16  #: of each app; of many tenants each has one
    run: str = "load"  #: what the names of this run's apps begin with
    hosts: tuple[str, ...] = ()  #: base URLs of ingest pods; users are dealt to them in turn
    callback_url: str = ""
    topic: str = ""

    @property
    def total_s(self) -> float:
        return self.warm_up_s + self.seconds

    @property
    def users(self) -> int:
        return max(1, min(MAX_USERS, math.ceil(self.creates_per_s / CREATES_PER_USER_S)))

    @property
    def pace_s(self) -> float:
        """Seconds from one create of a user to its next."""
        return self.users / self.creates_per_s

    def users_at(self, elapsed_s: float) -> int | None:
        """Return how many users there are to be; None once the run is over."""
        if elapsed_s >= self.total_s:
            return None
        if self.ramp_s <= 0:
            return self.users
        return max(1, min(self.users, math.ceil(self.users * elapsed_s / self.ramp_s)))

    @property
    def creates(self) -> int:
        """How many creates are asked for in all, climb and warm-up included."""
        return int(self.creates_per_s * (self.total_s - self.ramp_s / 2))

    def name_at(self, kind: str, elapsed_s: float) -> str:
        """Return what a request of this kind is counted as that begins at this moment."""
        return kind + WARMING if elapsed_s < self.warm_up_s else kind

    def app(self, number: int) -> str:
        return f"{self.run}-{number}"


def plan_of(
    name: str,
    *,
    factor: float,
    seconds: float,
    ramp_s: float,
    warm_up_s: float = 0.0,
    lead_s: tuple[float, float] = (2.0, 10.0),
    tenants: int | None = None,
    **criteria: float,
) -> Plan:
    """Scale a shape. Raises ValueError for a run that would not end soon enough, or that asks for nothing.

    Args:
        criteria: overrides fields of `Criteria`.
    """
    shape = SHAPES[name]
    creates_per_s = shape.creates_per_min / 60 * factor
    total_s = warm_up_s + seconds
    if not (seconds > 0 and warm_up_s >= 0 and total_s <= MAX_SECONDS and 0 <= ramp_s < total_s):
        raise ValueError(f"needs 0 <= ramp < warm-up and seconds together <= {MAX_SECONDS:.0f}")
    if not 0 < lead_s[0] <= lead_s[1]:
        raise ValueError("needs a lead ahead of now")
    share = shape.cancels_per_min / shape.creates_per_min
    if not 1 <= creates_per_s * total_s * (1 + share) <= MAX_REQUESTS:
        raise ValueError(f"asks for no request at all, or for more than {MAX_REQUESTS:,}")
    count = tenants or shape.tenants
    return Plan(
        shape=name,
        callback=shape.callback,
        creates_per_s=creates_per_s,
        cancel_share=share,
        seconds=seconds,
        ramp_s=ramp_s,
        warm_up_s=warm_up_s,
        lead_s=lead_s,
        tenants=count,
        zipf=shape.zipf,
        criteria=msgspec.convert({"p99_ms": shape.p99_ms, **criteria}, Criteria),
        partitions=16 if count == 1 else 1,
    )


class Tenants:
    """Draws tenants' numbers, 0 the busiest: the share of number n goes with 1 / (n + 1) ** exponent."""

    def __init__(self, count: int, exponent: float) -> None:
        self._upto = list(itertools.accumulate((n + 1) ** -exponent for n in range(count)))

    def draw(self, rng: Random) -> int:
        return bisect.bisect_left(self._upto, rng.random() * self._upto[-1])
