"""Every driver's operator side: what it reads without a lease, and the drains."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
import pytest_asyncio
from tests.contract.coordination import Driver, Join, until

from ringtime_shared.coordination.protocol import Claim, Drain, OperatorCoordination
from ringtime_shared.errors import NotFound
from ringtime_shared.models.app import Instance

MANY = [Instance("a", number) for number in range(2_500)]  # more than two pages of etcd's
N2 = Drain(node="n2", operator="ann", since_ms=1_800_000_000_000)


@pytest_asyncio.fixture(loop_scope="session")
async def operator(driver: Driver) -> AsyncIterator[OperatorCoordination]:
    opened = driver.new_operator()
    yield opened
    await opened.close()


async def test_an_empty_deployment_has_an_empty_view(operator: OperatorCoordination) -> None:
    view = await operator.fetch_view()
    assert (dict(view.members), dict(view.claims), view.drained) == ({}, {}, frozenset())
    assert await operator.fetch_drains() == {}


async def test_the_operator_sees_what_the_nodes_see(join: Join, operator: OperatorCoordination) -> None:
    one, two = await join("n1"), await join("n2")
    won = await one.claim(MANY)
    view = await operator.fetch_view()
    assert view.claims == {each: Claim("n1", epoch) for each, epoch in won.items()}
    assert view.members == (await until(two, lambda view: len(view.members) == 2)).members


async def test_reading_joins_nothing(join: Join, operator: OperatorCoordination) -> None:
    one = await join("n1")
    await operator.fetch_view()
    assert set(one.view().members) == set((await operator.fetch_view()).members) == {"n1"}


async def test_a_history_that_is_forgotten_ends_the_session_or_waits_for_the_next(
    join: Join, operator: OperatorCoordination
) -> None:
    one = await join("n1")
    await one.claim([Instance("a", 1)])
    await operator.forget_history()
    await one.forget_history()
    assert one.is_lost()
    two = await join("n2")
    assert await two.claim([Instance("a", 2)])


async def test_the_history_may_be_forgotten_by_a_session_that_ended(
    join: Join, operator: OperatorCoordination
) -> None:
    """Its node was about to forget it when it heard that another one had."""
    one = await join("n1")
    await operator.forget_history()
    await one.close()
    await one.forget_history()
    assert one.is_lost()


async def test_a_drain_reaches_every_node_and_the_operator(
    join: Join, operator: OperatorCoordination
) -> None:
    one, two = await join("n1"), await join("n2")
    await operator.put_drain(N2)
    for session in (one, two):
        assert (await until(session, lambda view: bool(view.drained))).drained == {"n2"}
    assert (await operator.fetch_view()).drained == {"n2"}
    assert await operator.fetch_drains() == {"n2": N2}


async def test_a_drain_changes_neither_membership_nor_claims(
    join: Join, operator: OperatorCoordination
) -> None:
    two = await join("n2")
    won = await two.claim([Instance("a", 0)])
    await operator.put_drain(N2)
    view = await until(two, lambda view: bool(view.drained))
    assert set(view.members) == {"n2"}
    assert view.claims == {each: Claim("n2", epoch) for each, epoch in won.items()}


async def test_a_second_drain_leaves_the_first_as_it_is(join: Join, operator: OperatorCoordination) -> None:
    await join("n2")
    await operator.put_drain(N2)
    await operator.put_drain(replace(N2, operator="bob", since_ms=N2.since_ms + 1))
    assert await operator.fetch_drains() == {"n2": N2}


async def test_only_members_can_be_drained(join: Join, operator: OperatorCoordination) -> None:
    one = await join("n1")
    with pytest.raises(NotFound, match="no node n2"):
        await operator.put_drain(N2)
    assert await operator.fetch_drains() == {}
    assert one.view().drained == frozenset()


async def test_an_undrain_reaches_every_node_and_may_be_repeated(
    join: Join, operator: OperatorCoordination
) -> None:
    one = await join("n1")
    await join("n2")
    await operator.put_drain(N2)
    await until(one, lambda view: bool(view.drained))
    await operator.delete_drain("n2")
    await until(one, lambda view: not view.drained)
    await operator.delete_drain("n2")
    assert await operator.fetch_drains() == {}


async def test_a_drain_outlives_its_node(join: Join, operator: OperatorCoordination) -> None:
    two = await join("n2")
    await operator.put_drain(N2)
    await two.close()
    view = await operator.fetch_view()
    assert not view.members
    assert view.drained == {"n2"}
    again = await join("n2")
    assert again.view().drained == {"n2"}
    assert dict(again.view().eligible()) == dict(again.view().members)  # everybody is drained


async def test_a_drain_for_the_rest_of_a_life_ends_with_it(
    join: Join, operator: OperatorCoordination
) -> None:
    one, two = await join("n1"), await join("n2")
    mark = replace(N2, ends_with_node=True)
    with pytest.raises(NotFound, match="no node n3"):
        await operator.put_drain(replace(mark, node="n3"))
    await operator.put_drain(mark)
    await until(one, lambda view: bool(view.drained))
    assert await operator.fetch_drains() == {"n2": mark}
    await two.close()
    await until(one, lambda view: not view.drained)
    again = await join("n2")
    assert again.view().drained == frozenset()


async def test_who_joins_later_knows_of_the_drain(join: Join, operator: OperatorCoordination) -> None:
    await join("n2")
    await operator.put_drain(N2)
    one = await join("n1")
    assert one.view().drained == {"n2"}
    assert set(one.view().eligible()) == {"n1"}
