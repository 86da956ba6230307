"""Render `docs/faults.md` from the recorded verdicts: `python -m tests.harness.render_faults`."""

from __future__ import annotations

import os
import platform
from typing import Any

from tests.harness.report import FOLDER, read_all

_HEAD = """# Fault runs

What the split deployment did on one machine while parts of it were killed, frozen, cut off or slowed down:
2 ingest pods, 3 dispatchers, real Cassandra (`commitlog_sync: batch`), etcd and Kafka, 3 apps of 16
partitions, 200 creates a second unless the name says otherwise. Made by `make faults` from the ledgers of a
client and a receiver outside the service; runs of the quick set, part of `./test`, are named so.

The quick set has every fault once, at 100 creates a second, with leases of 5 s instead of 10 s: what it waits
for most is their end. Only the long set has what takes minutes to be worth its time: ten cycles of a resize
with kills, an ingest pod frozen over a shrink, replies that stall instead of vanishing, a slow or silent
Cassandra, connections reset again and again, and 100,000 fired rows in ten minutes of one partition.

`many-quiet-apps` are 10,000 apps of one partition, each with a schedule a minute or so, up to 90 s ahead (300
apps in the quick set). A dispatcher joins and leaves, one is killed, one is frozen until others have taken
over, one is killed while another is frozen, and one leaves. `parts-4-to-64` is `ringctl parts 64 --apply`
under the creates of 2,000 apps (50), killed in its copy (quick: as the new parts begin to be written) and
gone on with; what lies too far ahead to be waited for is looked for in the new parts and cancelled.

`upgrade` rolls pods from the release before to this code and back ([upgrade.md](upgrade.md)).

Lag is the first delivery after max(fire time, acknowledgement). Duplicates carry the same schedule id; their
bound is 1,000 for each dispatcher killed or frozen: what it had in flight and what it had not recorded.
"""

_DELIVERY_HEAD = """
## Receivers in trouble

What one `ringtime serve` process did with receivers that hang, refuse, drip, redirect and flood, and with
a Kafka broker that was killed (`tests/e2e/test_delivery.py`, `test_kafka_delivery.py`). Acknowledged and
lag are of the bystanders: schedules of another app whose receiver was well all the time.

| run | set | acknowledged | lost | dupl. | lag ms p50/p99/max | facts |
|---|---|---|---|---|---|---|
"""


def render_delivery(entries: list[dict[str, Any]]) -> str:
    """Return the section on receivers in trouble."""
    return _DELIVERY_HEAD + "".join(
        f"| {entry['name']} | {entry['set']} | {entry['acknowledged']:,} | {entry['lost']} | "
        f"{entry['duplicates']} | {_lag(entry)} | {_facts(entry)} |\n"
        for entry in entries
    )


def _lag(entry: dict[str, Any]) -> str:
    lag = entry["lag_ms"]
    return "-" if lag["p50"] is None else f"{lag['p50']} / {lag['p99']} / {lag['max']}"


def _facts(entry: dict[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in entry["facts"].items())


def render(entries: list[dict[str, Any]]) -> str:
    """Return the page."""
    machine = f"{os.cpu_count()} cores, Python {platform.python_version()}, {platform.system()}"
    total = sum(entry["acknowledged"] for entry in entries)
    lost = sum(entry["lost"] for entry in entries)
    lines = [
        _HEAD,
        f"Machine: {machine}. Last run: {max(str(entry['at']) for entry in entries)[:10]}.\n",
        "| run | set | acknowledged | lost | early | after cancel | dupl. | lag ms p50/p99/max | facts |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {entry['name']} | {entry['set']} | {entry['acknowledged']:,} | {entry['lost']} | "
        f"{entry['early']} | {entry['after_cancel']} | {entry['duplicates']} | "
        f"{_lag(entry)} | {_facts(entry)} |"
        for entry in entries
    ]
    bound = f"{3 / total:.1e}" if total and not lost else "not given"
    lines.append(
        f"\n{lost} lost of N = {total:,} acknowledged. "
        f"None lost in N shows, at 95 %, a loss rate under 3/N: {bound}.\n"
    )
    return "\n".join(lines)


if __name__ == "__main__":
    print(render(read_all()) + render_delivery(read_all(FOLDER / "delivery")), end="")
