"""API keys: their form, what they grant, and what a process knows of them."""

from __future__ import annotations

import asyncio
import logging
import string
from collections.abc import Iterable
from dataclasses import replace

import pytest
from tests.unit.spy_store import SpyStore

from ringtime_shared.access import Caller, KeyChecks, Scope, checks
from ringtime_shared.access.checks import AGAIN_MS, FRESH_MS
from ringtime_shared.access.grants import EVERYTHING, grant_of, operator
from ringtime_shared.access.keys import ApiKey, make_key, read_key, revoke_key
from ringtime_shared.clock import ManualClock
from ringtime_shared.errors import InvalidRequest, LimitReached, StoreUnavailable, Unauthenticated

READ = (Scope.SCHEDULES_READ,)


class Rig:
    """Two pods on one store."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.store = SpyStore(self.clock.now_ms)
        self.pods = [KeyChecks(self.store, self.clock) for _ in range(2)]  # type: ignore[arg-type]

    async def issue(
        self, apps: Iterable[str] | None = ("shop",), expires_ms: int | None = None
    ) -> tuple[bytes, str]:
        """Return what a request says that has a new key, and the key's id."""
        text, key = make_key(READ, apps, label="test", now_ms=self.clock.now_ms(), expires_ms=expires_ms)
        await self.store.real.put_key(key)
        return b"Bearer " + text.encode(), key.key_id

    def reads(self) -> int:
        return self.store.names().count("fetch_key")

    async def ask(self, said: bytes, pod: int = 0) -> Caller:
        """Do as the gate does."""
        return self.pods[pod].recall(said) or await self.pods[pod].check(said)

    async def is_refused(self, said: bytes, pod: int = 0) -> bool:
        try:
            await self.ask(said, pod)
        except Unauthenticated:
            return True
        return False


@pytest.fixture
def rig() -> Rig:
    return Rig()


async def settle() -> None:
    """Let what was begun in the background go on to its end."""
    for _ in range(10):
        await asyncio.sleep(0)


def test_a_key_has_its_form_and_no_two_are_alike() -> None:
    made = [make_key(READ, None, label="x", now_ms=1) for _ in range(200)]
    texts = [text for text, _ in made]
    assert len({text.split("_")[1] for text in texts} | {text.split("_")[2] for text in texts}) == 400
    assert {len(text) for text in texts} == {3 + 12 + 1 + 43 + 6}
    letters = {letter for text in texts for letter in text.replace("_", "")}
    assert letters == {*string.ascii_letters, *string.digits}  # each is drawn
    for text, key in made:
        parts = read_key(text.encode())
        assert parts is not None
        assert parts == (key.key_id, key.digest)
        assert text[20:] not in repr(key)


def test_a_mistyped_key_is_known_as_such_without_a_store() -> None:
    text = make_key(READ, None, label="x", now_ms=1)[0]
    for n, letter in enumerate(text):
        other = "y" if letter != "y" else "z"
        assert read_key((text[:n] + other + text[n + 1 :]).encode()) is None
        assert read_key((text[:n] + text[n + 1 :]).encode()) is None
    for n in range(20, len(text) - 1):
        if text[n] != text[n + 1]:
            swapped = text[:n] + text[n + 1] + text[n] + text[n + 2 :]
            assert read_key(swapped.encode()) is None
    for wrong in (b"", text.encode() + b"\n", text.upper().encode(), b"rt_" + b"\xff" * 62, b"x" * 8_192):
        assert read_key(wrong) is None


def test_what_a_key_may_be_made_of() -> None:
    for scopes, apps, label, expires_ms, field in (
        ((), None, "x", None, "scopes"),
        (READ, (), "x", None, "apps"),
        (READ, [f"a{n}" for n in range(101)], "x", None, "apps"),
        (READ, ["a b"], "x", None, "apps"),
        ([Scope.RING_OPERATE], ["a"], "x", None, "scopes"),
        (READ, None, "", None, "label"),
        (READ, None, "a\nb", None, "label"),
        (READ, None, "x" * 101, None, "label"),
        (READ, None, "x", 5, "expires"),
    ):
        with pytest.raises(InvalidRequest) as refused:
            make_key(scopes, apps, label=label, now_ms=5, expires_ms=expires_ms)
        assert [each.field for each in refused.value.violations] == [field]


def test_a_grant_says_what_and_whose() -> None:
    some = grant_of(READ, ["a"])
    assert some.may(Scope.SCHEDULES_READ)
    assert not some.may(Scope.SCHEDULES_WRITE)
    assert some.sees("a")
    assert not some.sees("A")
    assert grant_of(READ, None).sees("anything")
    assert operator("alice") == Caller("operator alice", EVERYTHING)


async def test_a_key_is_asked_for_once_while_what_was_read_is_fresh(rig: Rig) -> None:
    said, key_id = await rig.issue()
    caller = await rig.ask(said)
    assert (caller.who, caller.key_id, caller.label) == (f"key {key_id}", key_id, "test")
    assert caller.grant == grant_of(READ, ["shop"])
    for spelling in (said.replace(b"Bearer", b"bearer"), said.replace(b"Bearer ", b"BEARER   ")):
        assert rig.pods[0].recall(spelling) is caller
    rig.clock.advance(AGAIN_MS - 1)
    assert await rig.ask(said) is caller
    assert rig.reads() == 1


async def test_a_key_in_use_is_read_again_while_its_requests_go_on(rig: Rig) -> None:
    said, _ = await rig.issue()
    await rig.ask(said)
    rig.clock.advance(AGAIN_MS)
    gate = rig.store.hold("fetch_key")
    for _ in range(100):
        assert rig.pods[0].recall(said) is not None
    await settle()
    assert rig.reads() == 2
    gate.set()
    await settle()
    rig.clock.advance(FRESH_MS - 1)
    assert rig.pods[0].recall(said) is not None  # on the second read, which began later
    await settle()


async def test_a_revocation_is_in_force_within_five_seconds_on_every_pod(rig: Rig) -> None:
    said, key_id = await rig.issue()
    gate = rig.store.hold("fetch_key")
    asking = asyncio.create_task(rig.ask(said, 1))  # its read began before, and is slow
    await settle()
    gate.set()
    await asking
    await rig.ask(said, 0)
    await revoke_key(rig.store.real, key_id, rig.clock.now_ms())
    until_ms = rig.clock.boot_ms() + FRESH_MS
    refused_ms: dict[int, int] = {}
    while len(refused_ms) < 2:
        for pod in range(2):
            if await rig.is_refused(said, pod):
                refused_ms.setdefault(pod, rig.clock.boot_ms())
            await settle()
        rig.clock.advance(100)
    assert max(refused_ms.values()) <= until_ms
    for _ in range(20):  # and for ever
        rig.clock.advance(1_000)
        assert await rig.is_refused(said)


async def test_a_key_is_refused_as_soon_as_its_revocation_is_read_and_when_it_is_retired(rig: Rig) -> None:
    (said, key_id), (old, old_id) = await rig.issue(), await rig.issue()
    await rig.ask(said)
    await rig.ask(old)
    now_ms = rig.clock.now_ms()
    await revoke_key(rig.store.real, key_id, now_ms)
    await rig.store.real.retire_key(old_id, now_ms + AGAIN_MS + 2)
    rig.clock.advance(AGAIN_MS)
    await rig.ask(said)  # which has it read again
    await rig.ask(old)
    await settle()
    assert await rig.is_refused(said)
    rig.clock.advance(1)
    await rig.ask(old)
    rig.clock.advance(1)
    assert await rig.is_refused(old)
    assert FRESH_MS == 5_000  # what is promised of a revocation


async def test_a_read_that_took_too_long_lets_nobody_in(rig: Rig) -> None:
    said, key_id = await rig.issue()
    found = await rig.store.real.fetch_key(key_id)

    async def slow(asked: str) -> ApiKey | None:
        rig.clock.advance(FRESH_MS)
        return found

    rig.store.real.fetch_key = slow  # type: ignore[method-assign, assignment]
    with pytest.raises(StoreUnavailable):
        await rig.ask(said)


async def test_a_process_that_was_suspended_asks_again(rig: Rig) -> None:
    said, key_id = await rig.issue()
    await rig.ask(said)
    await revoke_key(rig.store.real, key_id, rig.clock.now_ms())
    rig.clock.advance(3_600_000)
    assert await rig.is_refused(said)


async def test_while_the_store_is_away_only_what_is_fresh_lets_in(rig: Rig) -> None:
    said, _ = await rig.issue()
    other, _ = await rig.issue()
    await rig.ask(said)
    rig.store.failure = StoreUnavailable("away")
    with pytest.raises(StoreUnavailable):
        await rig.ask(other)
    rig.clock.advance(FRESH_MS - 1)
    await rig.ask(said)
    await settle()
    rig.clock.advance(1)
    reads = rig.reads()
    for _ in range(100):
        with pytest.raises(StoreUnavailable):
            await rig.ask(said)
    assert rig.reads() <= reads + 1
    rig.store.failure = None
    rig.clock.advance(250)
    await rig.ask(said)
    await rig.ask(other)


@pytest.mark.parametrize(
    "kind", ["a secret", "an id", "revoked", "expired", "damaged", "no form", "no scheme"]
)
async def test_whatever_is_wrong_is_refused_in_one_way(rig: Rig, kind: str) -> None:
    said, key_id = await rig.issue(expires_ms=rig.clock.now_ms() + 1_000 if kind == "expired" else None)
    stored = rig.store.real._api_keys
    if kind == "a secret":
        other = make_key(READ, None, label="x", now_ms=1)[1]
        stored[key_id] = replace(stored[key_id], digest=other.digest)
    elif kind == "an id":
        del stored[key_id]
    elif kind == "revoked":
        ahead_ms = rig.clock.now_ms() + 3_600_000  # by the clock of whoever revoked it
        stored[key_id] = replace(stored[key_id], revoked_ms=ahead_ms)
    elif kind == "damaged":
        stored[key_id] = replace(stored[key_id], damage="facts: gone", digest=b"")
    elif kind == "expired":
        await rig.ask(said)
        rig.clock.advance(1_000)
    said = {"no form": b"Bearer x", "no scheme": said[7:]}.get(kind, said)
    with pytest.raises(Unauthenticated) as refused:
        await rig.ask(said)
    assert str(refused.value) == str(Unauthenticated())
    reads = rig.reads()
    for _ in range(10):
        assert await rig.is_refused(said)
    assert rig.reads() == reads


async def test_a_key_that_cannot_be_read_is_told_of_once(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    said, key_id = await rig.issue()
    stored = rig.store.real._api_keys
    stored[key_id] = replace(stored[key_id], damage="facts: gone")
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            assert await rig.is_refused(said)
            rig.clock.advance(FRESH_MS)
    assert [record.getMessage() for record in caplog.records] == [
        f"what is stored of key {key_id} cannot be read: facts: gone; it is refused"
    ]


async def test_who_still_uses_a_key_that_has_ended_is_found_in_the_log(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    said, key_id = await rig.issue(expires_ms=rig.clock.now_ms() + 1_000)
    await rig.ask(said)
    rig.clock.advance(1_000)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            assert await rig.is_refused(said)
    (record,) = caplog.records
    assert record.getMessage() == f"API key {key_id} is refused: its time is over, or it was revoked"
    await settle()


async def test_a_flood_of_made_up_keys_is_bounded_and_pushes_nobody_out(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checks, "_MOST_KNOWN", 50)
    said, _ = await rig.issue()
    await rig.ask(said)
    gate = rig.store.hold("fetch_key")
    made_up = [b"Bearer " + make_key(READ, None, label="x", now_ms=1)[0].encode() for _ in range(200)]
    waiting = [asyncio.create_task(rig.is_refused(each)) for each in made_up]
    await settle()
    assert rig.reads() == 1 + 64
    told = [task for task in waiting if task.done()]
    assert len(told) == 136
    for task in told:
        assert isinstance(task.exception(), StoreUnavailable)
    rig.clock.advance(FRESH_MS - 1)
    assert rig.pods[0].recall(said) is not None
    await settle()
    assert rig.reads() == 1 + 64 + 1  # a key in use is read beside the flood
    gate.set()
    assert all(await asyncio.gather(*(task for task in waiting if task not in told)))
    assert len(rig.pods[0]._others) == 50
    assert rig.pods[0].recall(said) is not None


async def test_requests_with_one_unknown_key_share_its_read(rig: Rig) -> None:
    said, _ = await rig.issue()
    gate = rig.store.hold("fetch_key")
    asking = [asyncio.create_task(rig.ask(said)) for _ in range(30)]
    await settle()
    asking[0].cancel()  # its client is gone; the others go on
    await settle()
    gate.set()
    callers = await asyncio.gather(*asking[1:])
    assert len({id(caller) for caller in callers}) == 1
    assert rig.reads() == 1


async def test_its_use_is_noted_once_a_minute_and_never_on_the_way(rig: Rig) -> None:
    said, key_id = await rig.issue()
    begun_ms = rig.clock.now_ms()
    gate = rig.store.hold("note_key_use")
    for _ in range(70):
        await rig.ask(said)
        rig.clock.advance(1_000)
        gate.set()
        await settle()
    assert rig.store.names().count("note_key_use") == 2
    used_ms = rig.store.real._api_keys[key_id].used_ms
    assert used_ms is not None
    assert begun_ms + 60_000 <= used_ms <= begun_ms + 66_000
    rig.store.fail("note_key_use", StoreUnavailable("away"))
    rig.clock.advance(100_000)
    await rig.ask(said)
    await settle()
    for pod in rig.pods:
        await pod.close()


async def test_digests_are_compared_in_constant_time(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is compared has one length, whether there is such a key or not, and by `compare_digest`."""
    said, _ = await rig.issue()
    compared: list[tuple[int, int]] = []

    def spy(given: bytes, stored: bytes) -> bool:
        compared.append((len(given), len(stored)))
        return given == stored

    monkeypatch.setattr(checks, "compare_digest", spy)
    unknown = b"Bearer " + make_key(READ, None, label="x", now_ms=1)[0].encode()
    await rig.ask(said)
    await rig.ask(said)
    assert await rig.is_refused(unknown)
    assert await rig.is_refused(unknown)
    assert len(compared) == 7  # once where it is known here; twice where it is not, or is none
    assert set(compared) == {(32, 32)}


async def test_there_are_only_so_many_keys(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    from ringtime_shared.access import keys

    monkeypatch.setattr(keys, "MOST_KEYS", 3)
    for _ in range(3):
        await keys.issue_key(rig.store.real, READ, None, label="x", now_ms=5)
    with pytest.raises(LimitReached):
        await keys.issue_key(rig.store.real, READ, None, label="x", now_ms=5)
