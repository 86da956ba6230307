"""What the library tells of itself: the same as the API."""

from __future__ import annotations

import asyncio

import pytest

from ringtime import Ringtime
from ringtime_shared.api.operating import NodeView
from ringtime_shared.errors import InvalidRequest, NotFound


async def first_status(ringtime: Ringtime) -> NodeView:
    """Return what the one node said, once it did: what was read is good for a second."""
    while not (nodes := (await ringtime.list_nodes()).nodes):  # noqa: ASYNC110 - nothing here could wake us
        await asyncio.sleep(0.05)
    return nodes[0]


async def test_the_library_tells_the_same() -> None:
    async with Ringtime() as ringtime:
        await ringtime.register_app("shop", partitions=2)
        node = await first_status(ringtime)
        assert node.state == "ready"
        ring = await ringtime.get_ring("shop", join=1)
        assert ring.partitions is not None
        assert [each.node for each in ring.partitions] == [node.node] * 2
        assert ring.moves == sum(each.count for each in ring.flows or ())
        assert (await ringtime.list_destinations("shop")).destinations == []
        assert (await ringtime.get_forecast("shop", hours=2)).due == 0
        assert (await ringtime.get_overview()).nodes == 1


async def test_what_cannot_be_asked_for_is_told() -> None:
    async with Ringtime() as ringtime:
        for call in (
            ringtime.list_destinations(size=501),
            ringtime.get_forecast("shop", hours=49),
            ringtime.get_ring(join=101),
            ringtime.get_ring(leave=["a"] * 101),
            ringtime.get_ring(leave=["nobody"]),
        ):
            with pytest.raises(InvalidRequest):
                await call
        for missing in (
            ringtime.list_destinations("shop"),
            ringtime.get_forecast("shop"),
            ringtime.get_ring("shop"),
        ):
            with pytest.raises(NotFound):
                await missing
