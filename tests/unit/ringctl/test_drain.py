"""`ringctl drain` and `undrain`, with nodes in memory."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import orjson
import pytest
from tests.unit.ringctl.rig import Rig, make_rig

from ringtime_ringctl.output import Output
from ringtime_ringctl.ring import drain as command
from ringtime_ringctl.ring.drain import drain_node, undrain_node
from ringtime_ringctl.shell import WaitExpired
from ringtime_shared.coordination.memory import MemoryOperator
from ringtime_shared.coordination.protocol import Drain
from ringtime_shared.errors import Conflict, NotFound, StoreUnavailable
from ringtime_shared.models.app import Instance
from ringtime_shared.models.audit import AuditEntry

HELD = [Instance("pay", number) for number in range(3)]


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "POLL_S", 0.001)


async def drain(rig: Rig, node: str, *, is_waiting: bool = False, timeout_s: float = 5) -> None:
    await drain_node(rig.deployment, Output(), node, is_waiting=is_waiting, timeout_s=timeout_s)


async def entries(rig: Rig) -> list[AuditEntry]:
    return list(reversed(await rig.store.fetch_audit(0, 1 << 62, 100)))


async def test_a_drain_is_noted_with_who_when_before_and_after(capsys: pytest.CaptureFixture[str]) -> None:
    rig = make_rig()
    await rig.join("n1")
    await (await rig.join("n2")).claim(HELD)
    await drain(rig, "n2")
    now_ms = rig.clock.now_ms()
    assert rig.hub.drains == {"n2": Drain(node="n2", operator="ann", since_ms=now_ms)}
    (entry,) = await entries(rig)
    assert (entry.operator, entry.action, entry.subject, entry.at_ms) == ("ann", "drain", "n2", now_ms)
    assert orjson.loads(entry.before) == {"drained": False, "owned": 3}
    assert orjson.loads(entry.after) == {"drained": True}
    assert "hands over 3 poller instances" in capsys.readouterr().out


async def test_a_hook_that_is_run_again_goes_on_and_a_drain_that_shall_last_is_refused_meanwhile() -> None:
    rig = make_rig()
    await rig.join("n1")
    await rig.join("n2")
    for _ in range(2):
        await drain_node(rig.deployment, Output(), "n2", is_waiting=True, timeout_s=5, ends_with_node=True)
    with pytest.raises(Conflict, match="n2 is drained until it ends"):
        await drain(rig, "n2")
    assert rig.hub.drains["n2"].ends_with_node
    assert [entry.action for entry in await entries(rig)] == ["drain"]


async def test_waiting_ends_when_the_node_owns_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    rig = make_rig()
    await rig.join("n1")
    node = await rig.join("n2")
    await node.claim(HELD)
    waiting = asyncio.create_task(drain(rig, "n2", is_waiting=True))
    await asyncio.sleep(0.01)
    assert not waiting.done()
    await node.release(HELD)
    await waiting
    assert "owns nothing" in capsys.readouterr().out


async def test_a_wait_that_runs_out_leaves_the_drain() -> None:
    rig = make_rig()
    await rig.join("n1")
    await (await rig.join("n2")).claim(HELD)
    with pytest.raises(WaitExpired, match="still owns 3"):
        await drain(rig, "n2", is_waiting=True, timeout_s=0)
    assert set(rig.hub.drains) == {"n2"}


async def test_draining_twice_changes_and_notes_nothing_more() -> None:
    rig = make_rig()
    await rig.join("n1")
    await rig.join("n2")
    await drain(rig, "n2")
    rig.clock.advance(5_000)
    await drain(rig, "n2")
    assert len(await entries(rig)) == 1


async def test_what_cannot_be_drained_changes_nothing() -> None:
    rig = make_rig()
    await rig.join("n1")
    with pytest.raises(NotFound, match="no node n9"):
        await drain(rig, "n9")
    with pytest.raises(Conflict, match="only node"):
        await drain(rig, "n1")
    await rig.join("n2")
    await drain(rig, "n2")
    with pytest.raises(Conflict, match="only node"):
        await drain(rig, "n1")
    assert set(rig.hub.drains) == {"n2"}
    assert len(await entries(rig)) == 1


async def test_without_an_audit_entry_nothing_is_drained(monkeypatch: pytest.MonkeyPatch) -> None:
    rig = make_rig()
    await rig.join("n1")
    await rig.join("n2")

    async def refuse(entry: AuditEntry) -> None:
        raise StoreUnavailable("away")

    monkeypatch.setattr(rig.store, "put_audit", refuse)
    with pytest.raises(StoreUnavailable):
        await drain(rig, "n2")
    assert not rig.hub.drains


async def test_a_drain_that_fails_is_noted_as_such(monkeypatch: pytest.MonkeyPatch) -> None:
    rig = make_rig()
    await rig.join("n1")
    await rig.join("n2")

    async def refuse(self: Any, mark: Drain) -> None:
        rig.clock.advance(2_000)
        raise StoreUnavailable("etcd is away")

    monkeypatch.setattr(MemoryOperator, "put_drain", refuse)
    with pytest.raises(StoreUnavailable):
        await drain(rig, "n2")
    assert [entry.action for entry in await entries(rig)] == ["drain", "drain failed"]
    assert "etcd is away" in (await entries(rig))[1].after


async def test_undrain_also_for_a_node_that_is_gone() -> None:
    rig = make_rig()
    await rig.join("n1")
    node = await rig.join("n2")
    await drain(rig, "n2")
    await node.close()
    rig.clock.advance(60_000)
    await undrain_node(rig.deployment, Output(), "n2")
    assert not rig.hub.drains
    assert [entry.action for entry in await entries(rig)] == ["drain", "undrain"]


async def test_undrain_of_what_is_not_drained(capsys: pytest.CaptureFixture[str]) -> None:
    rig = make_rig()
    await rig.join("n1")
    with pytest.raises(NotFound, match="no node n9"):
        await undrain_node(rig.deployment, Output(), "n9")
    await undrain_node(rig.deployment, Output(), "n1")
    assert "was not drained" in capsys.readouterr().out
    assert await entries(rig) == []


async def test_one_process_has_nobody_to_hand_over_to() -> None:
    rig = make_rig()
    rig.deployment = replace(rig.deployment, coordination=None)
    with pytest.raises(Conflict, match="just stop it"):
        await drain(rig, "n1")
    with pytest.raises(Conflict):
        await undrain_node(rig.deployment, Output(), "n1")
