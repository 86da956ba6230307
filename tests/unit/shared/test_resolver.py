"""Names to addresses: kept for a while, within a deadline, one lookup under way for each name."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Sequence

import pytest

from ringtime_shared.callbacks import resolver as module
from ringtime_shared.callbacks.address_rules import parse_address
from ringtime_shared.callbacks.resolver import Resolver, system_lookup
from ringtime_shared.settings import EgressSettings

ONE = (parse_address("1.1.1.1"),)


class Names:
    """A name server of the test's own: `answers` come in turn, the last for ever; `gate` holds them back."""

    def __init__(self, *answers: Sequence[str] | Exception) -> None:
        self.answers = list(answers)
        self.asked: Counter[str] = Counter()
        self.gate = threading.Event()
        self.gate.set()
        self.busy = self.most_busy = 0
        self._lock = threading.Lock()

    def __call__(self, host: str) -> Sequence[str]:
        with self._lock:
            self.asked[host] += 1
            self.busy += 1
            self.most_busy = max(self.most_busy, self.busy)
            answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        self.gate.wait(10)
        with self._lock:
            self.busy -= 1
        if isinstance(answer, Exception):
            raise answer
        return answer


def make(names: Names, **settings: float) -> Resolver:
    return Resolver(EgressSettings(**{"dns_keep_s": 30, **settings}), lookup=names)  # type: ignore[arg-type]


async def ask(resolver: Resolver, host: str = "a.example", timeout_s: float = 5) -> module.Answer:
    return await resolver.resolve(host, timeout_s=timeout_s)


async def test_an_answer_is_kept_for_its_time() -> None:
    names = Names(["1.1.1.1"], ["2.2.2.2"])
    resolver = make(names, dns_keep_s=0.05)
    assert await ask(resolver) == ONE
    assert await ask(resolver) == ONE
    await asyncio.sleep(0.06)
    assert await ask(resolver) == (parse_address("2.2.2.2"),)
    assert names.asked == {"a.example": 2}


async def test_nothing_is_kept_for_zero_seconds() -> None:
    names = Names(["1.1.1.1"])
    resolver = make(names, dns_keep_s=0)
    for _ in range(3):
        assert await ask(resolver) == ONE
    assert names.asked["a.example"] == 3


async def test_addresses_come_in_order_each_once_and_odd_ones_as_none() -> None:
    names = Names(["2.2.2.2", "1.1.1.1", "2.2.2.2", "::ffff:1.1.1.1", "fe80::1%eth0", "::1"])
    found = await ask(make(names))
    assert [str(each) for each in found] == ["2.2.2.2", "1.1.1.1", "None", "::1"]


@pytest.mark.parametrize("error", [OSError("no such host"), UnicodeError("label too long")])
async def test_a_failure_is_kept_for_less(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_FAILURE_KEEP_S", 0.05)
    names = Names(error, ["1.1.1.1"])
    resolver = make(names)
    assert await ask(resolver) == ()
    assert await ask(resolver) == ()
    await asyncio.sleep(0.06)
    assert await ask(resolver) == ONE
    assert names.asked["a.example"] == 2


async def test_one_lookup_serves_all_who_wait() -> None:
    names = Names(["1.1.1.1"])
    names.gate.clear()
    resolver = make(names)
    waiting = [asyncio.create_task(ask(resolver)) for _ in range(50)]
    await asyncio.sleep(0.02)
    waiting[0].cancel()  # the one that began it
    await asyncio.sleep(0.02)
    names.gate.set()
    assert set(await asyncio.gather(*waiting[1:])) == {ONE}
    assert waiting[0].cancelled()
    assert names.asked["a.example"] == 1


async def test_a_name_that_hangs_costs_its_deadline_once_and_its_late_answer_counts() -> None:
    names = Names(["1.1.1.1"])
    names.gate.clear()
    resolver = make(names, dns_timeout_ms=60)
    loop = asyncio.get_running_loop()
    began_s = loop.time()
    assert await ask(resolver, timeout_s=0.02) == ()
    assert await ask(resolver) == ()
    assert 0.05 < loop.time() - began_s < 1
    began_s = loop.time()
    assert await ask(resolver) == ()
    assert loop.time() - began_s < 0.05, "the deadline has passed already; nobody waits again"
    names.gate.set()
    [thread] = [each for each in threading.enumerate() if each.name == "resolve a.example"]
    await asyncio.to_thread(thread.join, 5)
    await asyncio.sleep(0.01)
    assert await ask(resolver) == ONE
    assert names.asked["a.example"] == 1


async def test_threads_and_waiting_lookups_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_WAITING", 40)
    names = Names(["1.1.1.1"])
    names.gate.clear()
    resolver = make(names)
    waiting = [asyncio.create_task(ask(resolver, f"{n}.example")) for n in range(60)]
    await asyncio.sleep(0.1)
    assert names.busy == module.MOST_THREADS
    assert [task.result() for task in waiting if task.done()] == [()] * 20
    names.gate.set()
    found = await asyncio.gather(*waiting)
    assert (found.count(ONE), names.most_busy) == (40, module.MOST_THREADS)


async def test_what_is_kept_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_KEPT", 3)
    names = Names(["1.1.1.1"])
    resolver = make(names)
    for number in (1, 2, 3, 4, 4, 3, 2, 1):
        await ask(resolver, f"{number}.example")
    assert names.asked == {"1.example": 2, "2.example": 1, "3.example": 1, "4.example": 1}


def test_a_thread_that_hangs_does_not_hold_up_the_end() -> None:
    names = Names(["1.1.1.1"])
    names.gate.clear()

    async def main() -> None:
        assert await ask(make(names), timeout_s=0.01) == ()

    asyncio.run(main())
    [thread] = [each for each in threading.enumerate() if each.name == "resolve a.example"]
    assert thread.daemon
    names.gate.set()
    thread.join(5)  # its answer finds a closed loop, which is no error
    assert not thread.is_alive()


async def test_the_system_knows_this_machine() -> None:
    found = await ask(Resolver(EgressSettings()), "localhost")
    assert parse_address("127.0.0.1") in found or parse_address("::1") in found
    assert system_lookup("127.0.0.1") == ["127.0.0.1"]
