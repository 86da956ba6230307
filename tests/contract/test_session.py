"""Every coordination driver must pass every test in this file."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from tests.contract.coordination import MARGIN_MS, TTL_S, Driver, Join, until

from ringtime_shared.clock import ManualClock
from ringtime_shared.coordination.protocol import Claim, Member, View
from ringtime_shared.errors import LeaseLost
from ringtime_shared.models.app import Instance

A0, A1, B0 = Instance("a", 0), Instance("a", 1), Instance("b-app", 0)


async def test_members_see_each_other_as_they_described_themselves(join: Join) -> None:
    one = await join("n1")
    two = await join("n2")
    assert set(two.view().members) == {"n1", "n2"}
    view = await until(one, lambda view: "n2" in view.members)
    assert view.members["n2"] == Member(node="n2", address="n2:1", capacity=2.0, version="7", most=1_000)
    assert one.era == 3


async def test_leaving_keeps_the_claims(join: Join) -> None:
    one, two = await join("n1"), await join("n2")
    won = await two.claim([A0])
    await two.leave()
    view = await until(one, lambda view: "n2" not in view.members and A0 in view.claims)
    assert view.claims == {A0: Claim("n2", won[A0])}
    await two.release([A0])
    await until(one, lambda view: not view.claims)


async def test_close_gives_everything_back_and_ends_the_session(join: Join) -> None:
    one, two = await join("n1"), await join("n2")
    await two.claim([A0, B0])
    await until(one, lambda view: len(view.claims) == 2)
    assert two.trusted_until_ms() > 0
    await two.close()
    await until(one, lambda view: set(view.members) == {"n1"} and not view.claims)
    assert two.is_lost()
    assert two.trusted_until_ms() == 0
    await asyncio.wait_for(two.wait_for_change(), 60)
    with pytest.raises(LeaseLost):
        await two.claim([A0])
    with pytest.raises(LeaseLost):
        await two.release([A0])
    await two.close()


async def test_a_node_may_come_back_under_its_name(join: Join) -> None:
    first = await join("n1")
    await first.claim([A0])
    await first.close()
    second = await join("n1")
    assert set(second.view().members) == {"n1"}
    assert not second.view().claims


async def test_each_instance_has_one_owner(join: Join) -> None:
    sessions = {node: await join(node) for node in ("n1", "n2", "n3")}
    wanted = [Instance("a", number) for number in range(300)]
    shares = await asyncio.gather(*(session.claim(wanted) for session in sessions.values()))
    assert sorted(each for share in shares for each in share) == wanted
    claims = {
        each: Claim(node, epoch)
        for node, share in zip(sessions, shares, strict=True)
        for each, epoch in share.items()
    }
    for session in sessions.values():
        assert (await until(session, lambda view: len(view.claims) == 300)).claims == claims


async def test_a_call_wins_those_that_are_free(join: Join) -> None:
    one, two = await join("n1"), await join("n2")
    taken = [Instance("a", number) for number in range(0, 300, 7)]
    await one.claim(taken)
    won = await two.claim([Instance("a", number) for number in range(300)])
    assert set(won) == {Instance("a", number) for number in range(300)} - set(taken)
    assert await two.claim([]) == {}


async def test_what_one_owns_is_not_won_again(join: Join) -> None:
    one, two = await join("n1"), await join("n2")
    assert set(await one.claim([A0, A1])) == {A0, A1}
    assert await one.claim([A0]) == {}
    assert await two.claim([A0, A1]) == {}


async def test_epochs_grow_with_every_term(join: Join) -> None:
    one, two = await join("n1"), await join("n2")
    epochs = []
    for session in (one, one, two, one):
        epochs.append((await session.claim([A0]))[A0])
        await session.release([A0])
    epochs.append((await one.claim([A0]))[A0])
    await one.close()
    epochs.append((await two.claim([A0]))[A0])
    assert epochs == sorted(set(epochs))
    assert epochs[0] > 0


async def test_only_own_claims_are_released(join: Join) -> None:
    one, two = await join("n1"), await join("n2")
    won = await one.claim([A0])
    await two.claim([A1])
    await until(two, lambda view: len(view.claims) == 2)
    await two.release([A0, A1, B0])
    view = await until(one, lambda view: A1 not in view.claims)
    assert view.claims == {A0: Claim("n1", won[A0])}


async def test_own_claims_and_releases_are_in_the_view_at_once(join: Join) -> None:
    session = await join("n1")
    for _ in range(20):
        won = await session.claim([A0, A1])
        assert session.view().claims == {each: Claim("n1", epoch) for each, epoch in won.items()}
        await session.release([A0])
        assert set(session.view().claims) == {A1}
        await session.release([A1])
        assert not session.view().claims


async def test_a_view_does_not_change_in_the_hand(join: Join) -> None:
    session = await join("n1")
    before = session.view()
    await session.claim([A0])
    assert not before.claims
    assert set(session.view().claims) == {A0}


async def test_waiting_ends_at_each_kind_of_change(join: Join) -> None:
    one = await join("n1")
    two = await join("n2")
    await until(one, lambda view: "n2" in view.members)
    changes: list[tuple[Callable[[], Awaitable[object]], Callable[[View], bool]]] = [
        (lambda: two.claim([A0]), lambda view: A0 in view.claims),
        (lambda: two.release([A0]), lambda view: A0 not in view.claims),
        (lambda: two.leave(), lambda view: "n2" not in view.members),
    ]
    for change, is_seen in changes:
        waiting = asyncio.create_task(until(one, is_seen))
        await asyncio.sleep(0)
        assert not waiting.done()
        await change()
        await waiting


async def test_without_renewal_membership_and_claims_end_together(join: Join, driver: Driver) -> None:
    one, two = await join("n1"), await join("n2")
    won = await two.claim([A0, A1])
    await until(one, lambda view: len(view.claims) == 2)
    driver.cut_renewals(two)
    seen = []

    def is_gone(view: View) -> bool:
        seen.append(("n2" in view.members, len(view.claims)))
        return "n2" not in view.members

    await until(one, is_gone)
    assert set(seen) <= {(True, 2), (False, 0)}
    async with asyncio.timeout(60):
        while not two.is_lost():
            await two.wait_for_change()
    assert two.trusted_until_ms() == 0
    with pytest.raises(LeaseLost):
        await two.claim([B0])
    taken = await one.claim([A0, A1])
    assert all(taken[each] > won[each] for each in (A0, A1))
    assert not one.is_lost()


async def test_renewals_outlast_the_ttl(join: Join) -> None:
    one = await join("n1")
    await one.claim([A0])
    await asyncio.sleep(TTL_S * 1.5)  # time itself is the subject here
    assert not one.is_lost()
    assert set(one.view().claims) == {A0}


async def test_trust_counts_from_the_start_of_the_last_renewal(join: Join) -> None:
    clock = ManualClock()
    clock.advance(10_000)
    session = await join("n1", clock)
    assert session.trusted_until_ms() == 10_000 + TTL_S * 1000 - MARGIN_MS
    clock.advance(1_000)
    async with asyncio.timeout(60):
        # A renewal is no change of the view: no event tells of it.
        while session.trusted_until_ms() == 10_000 + TTL_S * 1000 - MARGIN_MS:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    assert session.trusted_until_ms() == 11_000 + TTL_S * 1000 - MARGIN_MS
