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
        self.busy = 0
        self.silent = ""  #: names that end like this are not answered
        self._spoken = threading.Event()
        self._lock = threading.Condition()

    def __call__(self, host: str) -> Sequence[str]:
        with self._lock:
            self.asked[host] += 1
            self.busy += 1
            self._lock.notify_all()
            answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        self.gate.wait(60)
        if self.silent and host.endswith(self.silent):
            self._spoken.wait(60)
            answer = self.answers[0]
        with self._lock:
            self.busy -= 1
        if isinstance(answer, Exception):
            raise answer
        return answer

    def wait_busy(self, count: int) -> None:
        """Return when so many lookups are under way."""
        with self._lock:
            assert self._lock.wait_for(lambda: self.busy >= count, timeout=60), self.busy

    def end_silence(self, answer: Sequence[str] | Exception | None = None) -> None:
        if answer is not None:
            self.answers[:] = [answer]
        self._spoken.set()


def make(names: Names, **settings: float) -> Resolver:
    given = {"dns_keep_s": 30, "dns_timeout_ms": 10_000, **settings}
    return Resolver(EgressSettings(**given), lookup=names)  # type: ignore[arg-type]


def let_pass(seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Set the clock of the running loop forward."""
    loop = asyncio.get_running_loop()
    time = loop.time
    monkeypatch.setattr(loop, "time", lambda: time() + seconds)


async def ask(
    resolver: Resolver, host: str = "a.example", timeout_s: float = 60, app_id: str = "shop"
) -> module.Answer:
    return await resolver.resolve(host, app_id=app_id, timeout_s=timeout_s)


async def test_an_answer_is_kept_for_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    names = Names(["1.1.1.1"], ["2.2.2.2"])
    resolver = make(names, dns_keep_s=600)
    assert await ask(resolver) == ONE
    assert await ask(resolver) == ONE
    let_pass(601, monkeypatch)
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
    monkeypatch.setattr(module, "_FAILURE_KEEP_S", 600.0)
    names = Names(error, ["1.1.1.1"])
    resolver = make(names, dns_keep_s=3_600)
    assert await ask(resolver) == ()
    assert await ask(resolver) == ()
    let_pass(601, monkeypatch)
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
    resolver = make(names, dns_timeout_ms=1_000)
    loop = asyncio.get_running_loop()
    began_s = loop.time()
    assert await ask(resolver, timeout_s=0.02) == ()
    assert await ask(resolver) == ()
    assert 0.9 < loop.time() - began_s < 30
    again = asyncio.create_task(ask(resolver))
    for _ in range(10):
        await asyncio.sleep(0)
    assert again.done(), "the deadline has passed already; nobody waits again"
    assert again.result() == ()
    names.gate.set()
    [thread] = [each for each in threading.enumerate() if each.name == "resolve a.example"]
    await asyncio.to_thread(thread.join, 60)
    await asyncio.sleep(0.01)
    assert await ask(resolver) == ONE
    assert names.asked["a.example"] == 1


async def settled(tasks: Sequence[asyncio.Task[module.Answer]]) -> list[module.Answer | str]:
    """Return what each came to, `short` for a shortage."""
    results = await asyncio.gather(*tasks, return_exceptions=True)
    return ["short" if isinstance(each, OSError) else each for each in results]  # type: ignore[misc]


async def test_an_app_alone_has_half_of_what_is_not_kept_back() -> None:
    names = Names(["1.1.1.1"])
    names.gate.clear()
    resolver = make(names)
    waiting = [asyncio.create_task(ask(resolver, f"x.{n}.example")) for n in range(60)]
    await asyncio.to_thread(names.wait_busy, 13)
    assert names.busy == 13, "of 32"
    other = asyncio.create_task(ask(resolver, "a.other", app_id="other"))
    await asyncio.to_thread(names.wait_busy, 14)
    names.gate.set()
    assert await other == ONE
    assert (await settled(waiting)).count(ONE) == 60


async def test_what_waits_for_creates_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_SCREENS", 10)
    names = Names(["1.1.1.1"])
    names.gate.clear()
    resolver = make(names)
    screens = [
        asyncio.create_task(resolver.screen(f"x.{n}.example", app_id="shop", timeout_s=60)) for n in range(60)
    ]
    await asyncio.to_thread(names.wait_busy, 7)
    refused = [task for task in screens if task.done()]
    assert len(refused) == 60 - 7 - 5
    names.gate.set()
    assert (await asyncio.gather(*screens)).count(ONE) == 12


@pytest.mark.slow
async def test_apps_whose_name_servers_are_silent_leave_threads_to_the_others() -> None:
    """Whoever had a quick answer lately has them at once, whoever is new in its turn."""
    names = Names(["1.1.1.1"])
    resolver = make(names, dns_keep_s=0)
    assert await ask(resolver, "a.good.example", app_id="good") == ONE
    names.silent = ".silent"
    bad = [
        asyncio.create_task(ask(resolver, f"{n}.{app}.silent", timeout_s=60, app_id=f"bad-{app}"))
        for app in range(100)
        for n in range(12)
    ]
    await asyncio.to_thread(names.wait_busy, 29)
    for host in ("a.good.example", "b.good.example", "c.good.example"):
        assert await ask(resolver, host, app_id="good", timeout_s=60) == ONE
    assert not any(task.done() and not task.exception() for task in bad)
    names.end_silence()
    await settled(bad)


async def test_creates_do_not_take_the_threads_of_deliveries() -> None:
    names = Names(["1.1.1.1"])
    names.silent = ".silent"
    resolver = make(names, dns_timeout_ms=100)
    screens = [
        asyncio.create_task(resolver.screen(f"{n}.{app}.silent", app_id=f"app-{app}", timeout_s=0.1))
        for app in range(30)
        for n in range(40)
    ]
    assert await ask(resolver, "a.good", app_id="app-0", timeout_s=60) == ONE
    assert set(await asyncio.gather(*screens)) == {()}
    assert names.busy <= module.CREATE_THREADS
    names.end_silence()


async def test_a_name_that_waits_in_the_turn_of_one_app_is_looked_up_in_that_of_another() -> None:
    names = Names(["1.1.1.1"])
    names.silent = ".silent"
    resolver = make(names)
    bad = [
        asyncio.create_task(ask(resolver, host, app_id="bad", timeout_s=60))
        for host in [*(f"{n}.{n % 5}.silent" for n in range(40)), "a.good"]
    ]
    await asyncio.to_thread(names.wait_busy, 13)
    assert await ask(resolver, "a.good", app_id="good", timeout_s=60) == ONE
    assert await bad[-1] == ONE
    assert names.asked["a.good"] == 1
    names.end_silence()
    await settled(bad)


async def test_silence_is_remembered_for_longer_than_a_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_FAILURE_KEEP_S", 0.0)
    names = Names(["1.1.1.1"])
    names.silent = ".silent"
    resolver = make(names, dns_timeout_ms=20)
    assert await ask(resolver, "a.silent") == ()
    names.end_silence(OSError("timed out"))
    [thread] = [each for each in threading.enumerate() if each.name == "resolve a.silent"]
    await asyncio.to_thread(thread.join, 60)
    assert await ask(resolver, "a.silent") == ()
    assert names.asked["a.silent"] == 1


async def test_who_gave_up_waiting_for_a_thread_costs_none() -> None:
    names = Names(["1.1.1.1"])
    names.silent = ".silent"
    resolver = make(names)
    first = [asyncio.create_task(ask(resolver, f"{n}.zone.silent", timeout_s=60)) for n in range(8)]
    await asyncio.to_thread(names.wait_busy, 8)
    gone = [asyncio.create_task(ask(resolver, f"x{n}.zone.silent", timeout_s=0.01)) for n in range(50)]
    assert set(await settled(gone)) == {"short"}
    assert not [host for host in resolver._flights if host.startswith("x")]
    names.end_silence()
    await settled(first)
    assert await ask(resolver, "x1.zone.silent") == ONE
    assert names.asked.total() == 9


@pytest.mark.parametrize("error", [OSError(24, "Too many open files"), MemoryError()])
async def test_a_shortage_is_no_answer(error: Exception) -> None:
    names = Names(error, ["1.1.1.1"])
    resolver = make(names)
    with pytest.raises(OSError, match=r"Too many open files|no memory"):
        await ask(resolver)
    assert await ask(resolver) == ONE, "it is not remembered"
    assert await make(Names(error)).screen("a.example", app_id="shop", timeout_s=1) == ()


async def test_without_a_thread_there_is_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    def start(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    names = Names(["1.1.1.1"])
    resolver = make(names)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", start)
        with pytest.raises(OSError, match="no thread"):
            await ask(resolver)
    assert await ask(resolver) == ONE


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
    thread.join(60)  # its answer finds a closed loop, which is no error
    assert not thread.is_alive()


async def test_the_system_knows_this_machine() -> None:
    found = await ask(Resolver(EgressSettings()), "localhost")
    assert parse_address("127.0.0.1") in found or parse_address("::1") in found
    assert system_lookup("127.0.0.1") == ["127.0.0.1"]
