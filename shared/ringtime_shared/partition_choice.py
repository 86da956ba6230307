"""Which partition a new row goes to.

Rows of one bucket fill one partition with about `chunk_rows` before the next is taken, and each
(app, bucket) walks the app's partitions in an order of its own. Over many rows this is as even as a
random choice per row, but a quiet app wakes one poller instance a minute instead of all, the rows of one
flush share a store partition, and index rows are few.

Measured on Cassandra (`benchmarks/bench_partition_choice.py`, 16 partitions; busy: 1,200 rows a minute in
flushes of 40, quiet: 60 a minute in flushes of 2), CPU in microseconds for each create, on a machine with
other work:

| partition | server CPU busy / quiet | index rows / 1,000 | polls / fired row |
|---|---|---|---|
| random per row | 397 / 1,067 | 15 / 282 | 4.4 / 85 |
| one choice per flush | 114 / 617 | 15 / 277 | 4.4 / 83 |
| fill 100 | 130 / 633 | 10 / 18 | 3.1 / 5.5 |

One choice per flush is as cheap to write, but polls a quiet app fifteen times as often; shares are even both
ways over many buckets (tests/property/test_partition_choice.py).

The order depends on (app, bucket) alone, so several processes agree on where a bucket's rows begin.
It is an arithmetic walk, start + k * stride modulo the partitions, with start and stride drawn by a
mixing function from (app, bucket) and the stride coprime to the partitions, so every partition is
visited once a round.

Source of the mixer: S. Vigna, splitmix64.
"""

from __future__ import annotations

from collections import OrderedDict
from functools import lru_cache
from math import gcd

_MASK = (1 << 64) - 1
_TRACKED_BUCKETS = 65_536  #: buckets whose fill is remembered; a forgotten one starts its walk anew


def _mix(value: int) -> int:
    value = (value + 0x9E3779B97F4A7C15) & _MASK
    value = (value ^ value >> 30) * 0xBF58476D1CE4E5B9 & _MASK
    value = (value ^ value >> 27) * 0x94D049BB133111EB & _MASK
    return value ^ value >> 31


@lru_cache(maxsize=4_096)
def nth_partition(app_number: int, bucket: int, partitions: int, step: int) -> int:
    """Return the partition at `step` (from 0) of the walk of this app and bucket; rows of one chunk ask for
    the same."""
    seed = _mix(app_number << 40 ^ bucket)
    stride = 1 + (seed >> 32) % partitions
    while gcd(stride, partitions) != 1:
        stride += 1
    return (seed % partitions + step * stride) % partitions


class PartitionChooser:
    """Remembers how far each bucket is filled. One a process; not for threads."""

    def __init__(self, chunk_rows: int = 100) -> None:
        self._chunk_rows = chunk_rows
        self._filled: OrderedDict[tuple[int, int], int] = OrderedDict()  # which finds its oldest at once

    def choose(self, app_number: int, bucket: int, partitions: int) -> int:
        """Return the partition, 0..partitions-1, for the next row of this app and bucket."""
        key = (app_number, bucket)
        filled = self._filled.get(key)
        if filled is None:
            filled = 0
            if len(self._filled) >= _TRACKED_BUCKETS:
                self._filled.popitem(last=False)
        self._filled[key] = filled + 1
        return nth_partition(app_number, bucket, partitions, filled // self._chunk_rows)
