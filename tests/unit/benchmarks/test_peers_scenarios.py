"""What the benchmark does to a system, on a clock of its own, with a system that is only a list."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from benchmarks.peers import scenarios
from benchmarks.peers.judging import Result
from benchmarks.peers.scenarios import PAUSE_S, Sizes, run
from benchmarks.peers.servers import Missing
from benchmarks.peers.systems import Load

SIZES = Sizes(jobs=400, per_s=100, steady_s=2, waiting=50, fill_s=9, patience_s=30)
EACH_MS = 5.0  #: what a job takes


class Clock:
    """Stands in for the module `time`."""

    def __init__(self) -> None:
        self.now_s = 1_800_000_000.0

    def time(self) -> float:
        return self.now_s

    def monotonic(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds


class Listed:
    """A scheduler that does one job after the other, and forgets `forgets` of them when it is killed."""

    name, version, share = "listed", "1", 1.0
    forgets, keeps = 3, 1  #: of those forgotten, it says of `keeps` that it holds them

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._jobs: deque[tuple[int, int]] = deque()
        self._free_ms = 0.0
        self._is_up = True
        self.came: list[tuple[str, float]] = []
        self.far = self.kills = 0
        self.is_killable = True

    def start(self, folder: Path, receiver: str) -> None:
        assert list(folder.iterdir()) == []
        self._is_up = True

    def load(self, load: Load) -> int:
        if load.is_far:
            self.far += load.count
            return load.count
        for number in load.numbers:
            if load.per_s:
                self._clock.sleep(1 / load.per_s)
                due_ms = int(self._clock.now_s * 1000) + load.lead_ms
            else:
                self._clock.sleep(0.001)
                due_ms = load.due_ms
            self._jobs.append((number, due_ms))
        return load.count

    def listed(self, first: int) -> list[tuple[str, float]]:
        """What came, after the first so many."""
        while self._is_up and self._jobs:
            number, due_ms = self._jobs[0]
            at_ms = max(float(due_ms), self._free_ms) + EACH_MS
            if at_ms > self._clock.now_s * 1000:
                break
            self._free_ms = at_ms
            self._jobs.popleft()
            self.came.append((f"/callback/{number}/{due_ms}", at_ms))
        return self.came[first:]

    def kill(self) -> None:
        if not self.is_killable:
            raise Missing("nothing to kill")
        self.listed(0)
        self.kills += 1
        self._is_up = False
        for _ in range(self.forgets):
            self._jobs.popleft()

    def restart(self) -> None:
        self._is_up = True
        self._free_ms = self._clock.now_s * 1000
        self._jobs.appendleft((int(self.came[-1][0].split("/")[2]), int(self.came[-1][0].split("/")[3])))

    def unfinished(self) -> int:
        return len(self._jobs) + self.keeps

    def pids(self) -> dict[str, int]:
        return {"worker": 1}

    def stop(self) -> None:
        self._is_up = False


def played(monkeypatch: pytest.MonkeyPatch, *names: str, is_killable: bool = True) -> dict[str, Result]:
    clock = Clock()
    system = Listed(clock)
    system.is_killable = is_killable

    class Receiver:
        url = "http://127.0.0.1:9/callback"
        listed = staticmethod(system.listed)

    @contextmanager
    def running(*_: str) -> Iterator[Receiver]:
        yield Receiver()

    monkeypatch.setattr(scenarios, "time", clock)
    monkeypatch.setattr(scenarios, "running_sink", running)
    monkeypatch.setattr(scenarios, "cpu_s", lambda _: clock.now_s)  # it takes a whole core
    return {each.scenario: each for each in run(system, names, SIZES)}


def test_a_burst_is_due_at_one_instant_and_all_of_it_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    found = played(monkeypatch, "burst")["burst"]
    assert (found.judged.jobs, found.judged.done, found.judged.early) == (400, 400, 0)
    assert found.judged.max_ms == pytest.approx(400 * EACH_MS)
    assert found.judged.per_s == pytest.approx(1000 / EACH_MS)
    # From a second before it to a second after: 2 s beside the 2 s of work, for 400 jobs.
    assert found.cpu_us["worker"] == pytest.approx(4 / 400 * 1e6, rel=0.05)


def test_a_kill_comes_in_the_middle_and_its_losses_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    found = played(monkeypatch, "kill")["kill"]
    done = int(found.note.split()[0])
    assert 100 <= done <= 112  # a quarter, and what one look at the ledger takes
    assert found.judged.done == 400 - Listed.forgets
    assert (found.judged.stuck, found.judged.lost) == (Listed.keeps, Listed.forgets - Listed.keeps)
    assert found.judged.duplicates == 1
    left = 400 - done - Listed.forgets + 1
    assert found.recovery_s == pytest.approx(left * EACH_MS / 1000, abs=0.1)
    assert found.judged.max_ms > PAUSE_S * 1000


def test_steady_load_and_what_waits_beside_it(monkeypatch: pytest.MonkeyPatch) -> None:
    found = played(monkeypatch, "waiting", "steady")
    assert list(found) == ["steady", "waiting"]  # in the order of the table
    assert (found["steady"].waiting, found["waiting"].waiting) == (0, 50)
    for each in found.values():
        assert (each.judged.jobs, each.judged.done) == (200, 200)
        assert each.judged.max_ms == pytest.approx(EACH_MS, abs=1)


def test_a_system_that_cannot_be_killed_does_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    assert list(played(monkeypatch, "burst", "kill", "steady", is_killable=False)) == ["burst", "steady"]
