"""What is done to a system: the same to each.

- `burst`: N jobs due at one instant, created well before; the worker is running;
- `kill`: a burst; once a quarter of it is done, or 5 s after it was due, the worker gets SIGKILL, and is
  started again 5 s later;
- `steady`: so many creates a second, each due 2 to 6 s later, whatever became of those before;
- `waiting`: millions of jobs due in a day to a month, and then `steady` beside them.

Three bursts of the same size go before all of them, so that none is measured cold: a compiler at run
time, and the caches of a database, want tens of thousands of jobs before they are what they will be.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.hammer import running_sink
from benchmarks.peers.judging import Judged, Ledger, Result, judge
from benchmarks.peers.servers import Missing, cpu_s
from benchmarks.peers.systems import Load, System

SCENARIOS = ("burst", "kill", "steady", "waiting")
PAUSE_S = 5.0  #: from the kill to the restart
_WARM_BURSTS = 3
_KILL_SHARE, _KILL_LATEST_S = 0.25, 5.0
_LEAD_S = 6.5  #: least time from the last create to the due time: River wants more than 5
_LEAD_MS, _LEAD_SPREAD_MS = 2_000, 4_000
_DAY_MS = 86_400_000
_FAR_FIRST = 100_000_000  #: numbers of jobs that only wait


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """How much, and how long."""

    jobs: int  #: in a burst
    per_s: int  #: of the steady load
    steady_s: int
    waiting: int
    fill_s: int  #: at most, to create those that wait
    patience_s: float  #: for jobs that do not come, after the due time, the last create or the restart


class _Run:
    """One system that is up."""

    def __init__(self, system: System, ledger: Ledger, sizes: Sizes) -> None:
        self._system = system
        self._ledger = ledger
        self._sizes = sizes
        self._next = 0
        self._created_per_s = 0.0
        self._waiting = 0

    def warm_up(self) -> None:
        """Have bursts made, a tenth of one first: how fast creates are tells how long before it is due."""
        few, began_s = self._take(max(int(self._sizes.jobs * self._system.share / 10), 1)), time.monotonic()
        due_ms = int(time.time() * 1000) + 6_000
        self._create(Load(first=few.start, count=len(few), due_ms=due_ms))
        self._created_per_s = len(few) / (time.monotonic() - began_s)
        self._wait(few, due_ms / 1000 + self._sizes.patience_s)
        for _ in range(_WARM_BURSTS):
            numbers, due_ms = self._order()
            self._wait(numbers, due_ms / 1000 + self._sizes.patience_s)

    def burst(self) -> Result:
        numbers, due_ms = self._order()
        _sleep_until(due_ms / 1000 - 1)
        before = self._used()
        self._wait(numbers, due_ms / 1000 + self._sizes.patience_s)
        time.sleep(1)  # the last outcomes
        return self._result("burst", numbers, self._cost(before, numbers))

    def steady(self) -> Result:
        sizes = self._sizes
        numbers, before = self._take(sizes.per_s * sizes.steady_s), self._used()
        self._create(
            Load(
                first=numbers.start,
                count=len(numbers),
                per_s=sizes.per_s,
                lead_ms=_LEAD_MS,
                lead_spread_ms=_LEAD_SPREAD_MS,
            )
        )
        self._wait(numbers, time.time() + _LEAD_MS / 1000 + _LEAD_SPREAD_MS / 1000 + sizes.patience_s / 3)
        time.sleep(1)
        return self._result("steady", numbers, self._cost(before, numbers))

    def kill(self) -> Result:
        numbers, due_ms = self._order()
        self._wait(numbers, due_ms / 1000 + _KILL_LATEST_S, share=_KILL_SHARE)
        self._system.kill()
        done = self._ledger.done(numbers)
        time.sleep(PAUSE_S)
        restarted_s = time.time()
        self._system.restart()
        self._wait(numbers, restarted_s + self._sizes.patience_s)
        time.sleep(3)  # duplicates of the last
        found = self._result("kill", numbers, {}, note=f"{done:,} done at the kill")
        recovery_s = found.judged.last_at_ms / 1000 - restarted_s
        return _with(found, recovery_s=recovery_s)

    def beside(self) -> Result:
        """Create those that only wait, and then the steady load."""
        due_ms = int(time.time() * 1000) + _DAY_MS
        load = Load(
            first=_FAR_FIRST,
            count=self._sizes.waiting,
            due_ms=due_ms,
            spread_ms=29 * _DAY_MS,
            limit_s=self._sizes.fill_s,
        )
        self._waiting = self._system.load(load)
        time.sleep(3)
        return _with(self.steady(), scenario="waiting")

    def _order(self) -> tuple[range, int]:
        """Create a burst; return its numbers and when it is due: the next whole second, for asynq's sake."""
        for _ in range(3):
            numbers = self._take(max(int(self._sizes.jobs * self._system.share), 1))
            lead_s = _LEAD_S + 1.5 * len(numbers) / self._created_per_s
            due_ms = (int(time.time() + lead_s) + 1) * 1000
            self._create(Load(first=numbers.start, count=len(numbers), due_ms=due_ms))
            if time.time() * 1000 < due_ms - 1_000:
                return numbers, due_ms
            self._created_per_s /= 3  # it made them more slowly than at first: once more, due later
            self._wait(numbers, time.time() + self._sizes.patience_s)
        raise RuntimeError(f"{self._system.name}: a burst takes too long to create")

    def _take(self, count: int) -> range:
        self._next += count
        return range(self._next - count, self._next)

    def _create(self, load: Load) -> None:
        made = self._system.load(load)
        if made != load.count:
            raise RuntimeError(f"{self._system.name} made {made} jobs of {load.count}")

    def _wait(self, numbers: range, until_s: float, share: float = 1.0) -> None:
        """Return when these are done, or that share of them, or time is up."""
        while time.time() < until_s:
            self._ledger.read()
            if self._ledger.done(numbers) >= share * len(numbers):
                return
            time.sleep(0.05)

    def _used(self) -> dict[str, float]:
        return {name: cpu_s(pid) for name, pid in self._system.pids().items()}

    def _cost(self, before: dict[str, float], numbers: range) -> dict[str, float]:
        done = max(self._ledger.done(numbers), 1)
        return {name: (used - before[name]) / done * 1e6 for name, used in self._used().items()}

    def _result(self, scenario: str, numbers: range, cpu_us: dict[str, float], note: str = "") -> Result:
        self._ledger.read()
        is_whole = self._ledger.done(numbers) == len(numbers)
        judged: Judged = judge(
            numbers, self._ledger.arrivals, unfinished=0 if is_whole else self._system.unfinished()
        )
        return Result(
            system=self._system.name,
            version=self._system.version,
            scenario=scenario,
            judged=judged,
            waited_s=self._sizes.patience_s,
            waiting=self._waiting,
            cpu_us=cpu_us,
            note=note,
        )


def _with(result: Result, **changes: object) -> Result:
    return Result.from_json({**result.to_json(), **changes})


def _sleep_until(at_s: float) -> None:
    time.sleep(max(at_s - time.time(), 0))


def run(system: System, scenarios: Sequence[str], sizes: Sizes) -> Iterator[Result]:
    """Yield a result for each scenario, in the order of `SCENARIOS`, all on one store that starts empty.

    Raises Missing, or RuntimeError with what a program said.
    """
    with TemporaryDirectory(prefix="ringtime-peers-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # PostgreSQL runs as another user
        with running_sink("-by-path") as receiver:
            try:
                system.start(folder, receiver.url)
                run = _Run(system, Ledger(receiver.listed), sizes)
                run.warm_up()
                steps = {"burst": run.burst, "kill": run.kill, "steady": run.steady, "waiting": run.beside}
                for scenario in SCENARIOS:
                    try:
                        if scenario in scenarios:
                            yield steps[scenario]()
                    except Missing as missing:
                        print(f"{system.name}: no {scenario}: {missing}", flush=True)
            finally:
                system.stop()
