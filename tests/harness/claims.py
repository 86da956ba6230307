"""Who owned what, from etcd's own history."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from dataclasses import dataclass

import aetcd

_QUIET_S = 1.0  #: a watch that brings nothing for so long has brought its history


@dataclass(frozen=True, slots=True)
class ClaimEvent:
    """A claim made (`owner` set) or ended (`owner` None)."""

    revision: int
    instance: str
    owner: str | None


async def revision_now(host: str, port: int) -> int:
    """Return etcd's current revision."""
    async with aetcd.Client(host, port) as client:
        return int((await client.get_prefix(b"/")).header.revision)


async def history(host: str, port: int, prefix: str, *, since: int) -> list[ClaimEvent]:
    """Return what happened to this deployment's claims after revision `since`, in order."""
    found = []
    start = f"{prefix}/pollers/".encode()
    async with aetcd.Client(host, port) as client:
        watch = await client.watch_prefix(start, start_revision=since + 1)
        events = aiter(watch)
        try:
            while True:
                event = await asyncio.wait_for(anext(events), _QUIET_S)
                owner = event.kv.value.decode() if event.kind == aetcd.EventKind.PUT else None
                key = event.kv.key.removeprefix(start).decode()
                found.append(ClaimEvent(event.kv.mod_revision, key, owner))
        except TimeoutError:
            pass
        await watch.cancel()
    return found


def moves_of(events: list[ClaimEvent]) -> dict[str, int]:
    """Return how often each instance was claimed anew."""
    counts: dict[str, int] = defaultdict(int)
    for event in events:
        if event.owner is not None:
            counts[event.instance] += 1
    return counts


def overlaps(events: list[ClaimEvent]) -> list[ClaimEvent]:
    """Return claims that were made while another stood: there must be none at any revision."""
    held: dict[str, str] = {}
    found = []
    for event in events:
        if event.owner is None:
            held.pop(event.instance, None)
        elif event.instance in held:
            found.append(event)
        else:
            held[event.instance] = event.owner
    return found
