"""Pods, Cassandra nodes and partitions for a load, from measured costs: the tables of docs/capacity.md.

    PYTHONPATH=. python benchmarks/capacity.py [--creates N] [--batched SHARE] [--kafka SHARE] [--stored N]

Costs are those of `COSTS` below, or of a file of `python -m benchmarks run ... --json FILE`. Nothing is
measured here: it multiplies, and says how many cells that takes.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from math import ceil
from pathlib import Path
from statistics import median
from typing import NamedTuple

PER_PARTITION_S = (
    1_000 / 60
)  #: callbacks a second that one partition is advised to carry: `ringtime_ringctl.sizing`
HEADROOM = 1.2
POD_SHARE = (
    0.6  #: of a core that a process is planned to fill: what is left is for peaks, and for those that died
)
DATABASE_SHARE = 0.5  #: of a Cassandra node: compaction and repair take some of the rest
WRITE_COPIES, READ_COPIES = 3, 2  #: replicas that a write, and a read by LOCAL_QUORUM, cost processor time
ROW_BYTES = 600  #: on disk for a schedule with a payload of 200 bytes, its outcome and its index entries
CELL_INSTANCES = 1_000_000  #: poller instances of one ring and one index: what was simulated
CELL_CLAIMS = 100_000_000  #: poller instances times dispatchers: each hears of each claim when all start anew
CELL_NODES = 200  #: Cassandra nodes of one cell; more are run elsewhere, none was tried here
INSTANCE_BYTES = 740  #: of a dispatcher's memory for each poller instance that it owns
RING_BYTES = 250  #: and for each that there is: every dispatcher knows the whole ring


class Cost(NamedTuple):
    """Microseconds of processor time."""

    pod: float  #: the ingest pod, or the dispatcher
    database: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """Of one schedule each."""

    create: Cost
    batch: Cost  #: created in a batch of 100
    get: Cost
    cancel: Cost
    fire_http: Cost
    fire_kafka: Cost

    @classmethod
    def read(cls, file: Path, base: Costs) -> Costs:
        """Return what the first server of a results file showed; what it has not, of `base`."""
        found: dict[str, Cost] = {}
        for result in json.loads(file.read_text()):
            name = next((key for key, start in _STEPS.items() if result["step"].startswith(start)), None)
            samples = next(iter(result["samples"].values()), None)
            if name is None or not samples or name in found:
                continue
            cpu = {key: median(each["cpu"][key] for each in samples) for key in samples[0]["cpu"]}
            pod = sum(
                value for key, value in cpu.items() if key.startswith(("ingest", "dispatcher", "serve"))
            )
            found[name] = Cost(pod, cpu.get("cassandra", 0.0))
        return replace(base, **found)


_STEPS = {
    "create": "create, 64 connections, 200 B",
    "batch": "create in batches of 100",
    "get": "get by id",
    "cancel": "cancel",
    "fire_http": "fire HTTP",
    "fire_kafka": "fire Kafka",
}

COSTS = Costs(
    create=Cost(101, 73),
    batch=Cost(41, 29),
    get=Cost(103, 91),
    cancel=Cost(138, 167),
    fire_http=Cost(133, 96),
    fire_kafka=Cost(133, 107),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What is asked of a deployment, a second; every create is called back once unless it is cancelled."""

    creates: float
    batched: float = 0.0  #: share of creates that come in batches
    gets: float = 0.0
    cancels: float = 0.0
    kafka: float = 0.0  #: share of callbacks that go into Kafka
    stored: float = 0.0  #: schedules that wait, or are kept after their outcome
    apps: int = 1_000  #: each has one partition at least


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What carries it."""

    ingest: int  #: processes, of a core each
    dispatchers: int  #: the same
    database_cores: float
    database_nodes: int
    disk_tb: float
    partitions: int  #: of all apps together
    cells: int

    @property
    def instance_mib(self) -> float:
        """Memory of one dispatcher for its poller instances."""
        own, known = self.partitions / self.dispatchers, self.partitions / self.cells
        return (own * INSTANCE_BYTES + known * RING_BYTES) / 2**20


def plan(load: Load, costs: Costs = COSTS, *, cores: int = 16) -> Plan:
    """Return the least that carries a load on Cassandra nodes of so many cores."""
    callbacks = max(load.creates - load.cancels, 0)
    writes = (
        (costs.create, load.creates * (1 - load.batched)),
        (costs.batch, load.creates * load.batched),
        (costs.cancel, load.cancels),
    )
    fires = ((costs.fire_http, callbacks * (1 - load.kafka)), (costs.fire_kafka, callbacks * load.kafka))
    ingest_us = sum(cost.pod * rate for cost, rate in writes) + costs.get.pod * load.gets
    dispatch_us = sum(cost.pod * rate for cost, rate in fires)
    database_us = WRITE_COPIES * sum(cost.database * rate for cost, rate in (*writes, *fires))
    database_us += READ_COPIES * costs.get.database * load.gets
    database_cores = database_us / 1e6 / DATABASE_SHARE
    partitions = max(load.apps, ceil(callbacks * HEADROOM / PER_PARTITION_S))
    dispatchers = max(2, ceil(dispatch_us / 1e6 / POD_SHARE))
    nodes = max(3, ceil(database_cores / cores))
    return Plan(
        ingest=max(2, ceil(ingest_us / 1e6 / POD_SHARE)),
        dispatchers=dispatchers,
        database_cores=database_cores,
        database_nodes=nodes,
        disk_tb=load.stored * ROW_BYTES * WRITE_COPIES / 1e12,
        partitions=partitions,
        cells=max(
            ceil(partitions / CELL_INSTANCES),
            ceil((partitions * dispatchers / CELL_CLAIMS) ** 0.5),
            ceil(nodes / CELL_NODES),
        ),
    )


EXAMPLES = tuple(
    Load(
        creates=rate, gets=rate / 10, cancels=rate / 10, kafka=0.5, batched=batched, stored=rate * 86_400 * 2
    )
    for rate in (1_000, 10_000, 100_000, 1_000_000)
    for batched in (0.0, 0.9)
)


def show(loads: Sequence[Load], costs: Costs, cores: int) -> str:
    """Return a table in Markdown."""
    head = (
        "creates/s",
        "in batches",
        "ingest processes",
        "dispatchers",
        f"Cassandra nodes of {cores} cores",
        "disk, TB",
        "partitions",
        "MiB a dispatcher",
        "cells",
    )
    lines = [head, ("---",) * len(head)]
    for load in loads:
        found = plan(load, costs, cores=cores)
        lines.append(
            (
                f"{load.creates:,.0f}",
                f"{load.batched:.0%}",
                f"{found.ingest:,}",
                f"{found.dispatchers:,}",
                f"{found.database_nodes:,}",
                f"{found.disk_tb:,.1f}",
                f"{found.partitions:,}",
                f"{found.instance_mib:.1f}",
                f"{found.cells}",
            )
        )
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--measured", type=Path, help="a results file of `python -m benchmarks run --json`")
    parser.add_argument("--cores", type=int, default=16, help="of a Cassandra node")
    for each in fields(Load):
        parser.add_argument("--" + each.name, type=float)
    options = parser.parse_args()
    costs = Costs.read(options.measured, COSTS) if options.measured else COSTS
    print("| of one schedule | pod or dispatcher | Cassandra |\n| --- | --- | --- |")
    for each in fields(Costs):
        pod, database = getattr(costs, each.name)
        print(f"| {each.name.replace('_', ' ')} | {pod:.0f} | {database:.0f} |")
    print()
    given: Mapping[str, float] = {
        each.name: getattr(options, each.name)
        for each in fields(Load)
        if getattr(options, each.name) is not None
    }
    loads = [Load(**given)] if "creates" in given else EXAMPLES  # type: ignore[arg-type]
    print(show(loads, costs, options.cores))


if __name__ == "__main__":
    main()
