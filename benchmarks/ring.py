"""How long the ring takes, and how many instances move: `python benchmarks/ring.py [name sets] [instances]`.

With a number of instances it is one ring of so many, a thousand for each node, up to a million: a cell.

Times are CPU seconds of this process, the best of three, so that neighbours on
the machine do not show. Moves are in fair shares (join X / (N + 1), leave X / N).
"""

import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

from ringtime_shared.ring import Ring, imbalance, plan_moves

SHAPES = ((3, 64), (10, 1_000), (100, 10_000), (1_000, 100_000))
MOST_INSTANCES = 1_000_000
MOVES_AT_MOST_NODES = 100  #: larger shapes take a second for each name set


def nodes_of(name_set: int, count: int) -> dict[str, float]:
    style = ("dispatcher-{s}-{i}", "10.{s}.0.{i}:7070", "ringtime-{s}-{i}.ringtime.svc:8080", "node{s}x{i}")
    return {style[name_set % 4].format(s=name_set, i=number): 1.0 for number in range(count)}


def instances_of(name_set: int, count: int) -> list[str]:
    quota = (20, 1, 64, 16)[name_set // 4 % 4]
    return [f"app{name_set}-{number // quota}.{number % quota}" for number in range(count)]


def best_s(action: Callable[[], Ring]) -> float:
    times_s = []
    for _ in range(3):
        start = time.process_time()
        action()
        times_s.append(time.process_time() - start)
    return min(times_s)


def print_times() -> None:
    print(f"{'nodes x instances':>20} {'rebuild':>9} {'join':>9} {'leave':>9} {'new app':>9}   CPU seconds")
    for node_count, instance_count in SHAPES:
        nodes, instances = nodes_of(0, node_count), instances_of(0, instance_count)
        ring = Ring(nodes, instances)
        more = {**nodes, "newcomer": 1.0}
        fewer = dict(list(nodes.items())[1:])
        grown = [*instances, *(f"new.{number}" for number in range(20))]
        times_s = (
            best_s(lambda n=nodes, i=instances: Ring(n, i)),  # type: ignore[misc]
            best_s(lambda r=ring, n=more: r.with_nodes(n)),  # type: ignore[misc]
            best_s(lambda r=ring, n=fewer: r.with_nodes(n)),  # type: ignore[misc]
            best_s(lambda r=ring, i=grown: r.with_instances(i)),  # type: ignore[misc]
        )
        print(f"{node_count:>8,} x {instance_count:>9,} " + " ".join(f"{time_s:9.4f}" for time_s in times_s))


def print_cell(instance_count: int) -> None:
    """Print what one ring of so many instances takes, each step once."""
    nodes, instances = nodes_of(0, max(instance_count // 1_000, 2)), instances_of(0, instance_count)
    newcomer, grown = {**nodes, "newcomer": 1.0}, [*instances, *(f"new.{number}" for number in range(20))]
    fewer = dict(list(nodes.items())[1:])
    before = resident_bytes()
    ring, rebuild_s = timed(lambda: Ring(nodes, instances))
    taken = resident_bytes() - before
    larger, join_s = timed(lambda: ring.with_nodes(newcomer))
    smaller, leave_s = timed(lambda: ring.with_nodes(fewer))
    _, app_s = timed(lambda: ring.with_instances(grown))
    joined = len(plan_moves(ring, larger)) * (len(nodes) + 1) / instance_count
    left = len(plan_moves(ring, smaller)) * len(nodes) / instance_count
    print(
        f"{len(nodes):,} nodes x {instance_count:,} instances, CPU seconds: rebuild {rebuild_s:.2f},"
        f" join {join_s:.2f}, leave {leave_s:.2f}, new app {app_s:.2f};"
        f" {taken / instance_count:.0f} bytes an instance; max/mean {imbalance(ring):.3f};"
        f" moves in fair shares: join {joined:.2f}, leave {left:.2f}"
    )


def timed(action: Callable[[], Ring]) -> tuple[Ring, float]:
    start = time.process_time()
    return action(), time.process_time() - start


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def print_moves(name_sets: int) -> None:
    print(f"\n{name_sets} name sets, mean / worst (share above 1.25)")
    print(f"{'nodes x instances':>20} {'max/mean':>9} {'join':>22} {'leave':>22}")
    for node_count, instance_count in SHAPES:
        if node_count > MOVES_AT_MOST_NODES:
            continue
        balance, joins, leaves = [], [], []
        for name_set in range(name_sets):
            names = list(nodes_of(name_set, node_count + 1))
            ring = Ring(dict.fromkeys(names[:-1], 1.0), instances_of(name_set, instance_count))
            larger = ring.with_nodes(dict.fromkeys(names, 1.0))
            smaller = ring.with_nodes(dict.fromkeys(names[1:-1], 1.0))
            balance += [imbalance(ring), imbalance(larger), imbalance(smaller)]
            joins.append(len(plan_moves(ring, larger)) * (node_count + 1) / instance_count)
            leaves.append(len(plan_moves(ring, smaller)) * node_count / instance_count)
        print(
            f"{node_count:>8,} x {instance_count:>9,} {max(balance):9.3f} "
            + " ".join(f"{described(moves):>22}" for moves in (joins, leaves))
        )


def described(moves: list[float]) -> str:
    over = sum(moved > 1.25 for moved in moves) / len(moves)
    return f"{statistics.mean(moves):.3f} / {max(moves):.3f} ({over:.1%})"


if __name__ == "__main__":
    if len(sys.argv) > 2:
        print_cell(min(int(sys.argv[2]), MOST_INSTANCES))
    else:
        print_times()
        print_moves(int(sys.argv[1]) if len(sys.argv) > 1 else 100)
