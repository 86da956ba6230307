"""Who owned what, from etcd's own history."""

from __future__ import annotations

import asyncio
import base64
import http.client
import json
import socket
import threading
import time
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Self

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


@dataclass
class Term:
    """One claim: whose, from when to when; times are when etcd told us, wall clock in ms."""

    instance: str
    node: str
    epoch: int
    from_ms: float
    to_ms: float = float("inf")


class Owners:
    """Every claim there is and was, by a watch of etcd itself, in a thread."""

    def __init__(self, port: int, prefix: str) -> None:
        self.terms: list[Term] = []
        self._of: dict[str, list[Term]] = defaultdict(list)  # by instance, in order
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        self._prefix = prefix.encode()
        self._thread = threading.Thread(target=self._watch, name="owners")

    def of(self, node: str, at_ms: float) -> list[Term]:
        """Return what a node owned at that time."""
        return [term for term in self.terms if term.node == node and term.from_ms <= at_ms < term.to_ms]

    def epochs(self, node: str) -> set[int]:
        return {term.epoch for term in self.terms if term.node == node}

    def next_of(self, term: Term) -> Term | None:
        """Return the first claim of the same instance after `term`."""
        later = [each for each in self._of[term.instance] if each.epoch > term.epoch]
        return min(later, key=lambda each: each.epoch, default=None)

    def taken_over_s(self, held: Sequence[Term], since_ms: float) -> list[float]:
        """Return how long after `since_ms` each of these was claimed by another node; those that were."""
        heirs = [(term, self.next_of(term)) for term in held]
        return [
            (heir.from_ms - since_ms) / 1000
            for term, heir in heirs
            if heir is not None and heir.node != term.node
        ]

    def __enter__(self) -> Self:
        start, end = (base64.b64encode(self._prefix + key).decode() for key in (b"/pollers/", b"/pollers0"))
        create = {"key": start, "range_end": end, "start_revision": "1"}
        self._connection.request("POST", "/v3/watch", json.dumps({"create_request": create}))
        self._answer = self._connection.getresponse()
        self._connection.sock.settimeout(None)  # it speaks when something changes
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.sock.shutdown(socket.SHUT_RDWR)
        self._thread.join(10)
        self._answer.close()
        self._connection.close()

    def _watch(self) -> None:
        with suppress(OSError, http.client.HTTPException):  # cut off in the middle, by us
            while line := self._answer.readline():
                self._note(json.loads(line))

    def _note(self, message: dict[str, Any]) -> None:
        now_ms = time.time() * 1000
        for event in message["result"].get("events", ()):
            item = event["kv"]
            key = base64.b64decode(item["key"]).decode()
            known = self._of[key]
            if known and known[-1].to_ms == float("inf"):
                known[-1].to_ms = now_ms
            if event.get("type") != "DELETE":
                node = base64.b64decode(item["value"]).decode()
                term = Term(key, node, int(item["create_revision"]), now_ms)
                known.append(term)
                self.terms.append(term)
