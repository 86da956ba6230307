"""One process from a secret's create to the receiver's check, and from its deletion to unsigned callbacks."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

from tests.unit.signed_receiver import Receiver, receiving, verify

from ringtime import Ringtime, Settings
from ringtime_shared.settings import DispatchSettings, IngestSettings, RetrySettings

QUICK = Settings(
    ingest=IngestSettings(commit_margin_ms=50),
    dispatch=DispatchSettings(tick_ms=10, read_ahead_ms=40, apps_refresh_ms=50),
    retry=RetrySettings(first_delay_ms=1),
)


async def call_back(ringtime: Ringtime, receiver: Receiver) -> tuple[dict[str, str], bytes]:
    """Return the next callback that arrives."""
    receiver.arrived.clear()
    await ringtime.create_schedule(
        "shop",
        payload='{"to": "Jürgen"}',
        delay=timedelta(milliseconds=60),
        callback={"type": "http", "details": {"url": receiver.url, "method": "POST"}},
    )
    async with asyncio.timeout(60):
        await receiver.arrived.wait()
    return receiver.got[-1]


async def signatures_become(
    ringtime: Ringtime, receiver: Receiver, count: int
) -> tuple[dict[str, str], bytes]:
    """Return the first callback with so many signatures; the dispatcher reads the apps every 50 ms."""
    async with asyncio.timeout(60):
        while True:
            headers, body = await call_back(ringtime, receiver)
            if len(headers.get("webhook-signature", "").split()) == count:
                return headers, body


async def test_secrets_are_taken_up_and_dropped_while_it_runs(tmp_path: Path) -> None:
    async with receiving() as receiver, Ringtime(tmp_path, settings=QUICK) as ringtime:
        await ringtime.register_app("shop", partitions=1)
        headers, _ = await call_back(ringtime, receiver)
        assert "webhook-id" not in headers

        old = await ringtime.create_signing_secret("shop")
        verify([old.secret], *await signatures_become(ringtime, receiver, 1))

        new = await ringtime.create_signing_secret("shop")
        verify([new.secret, old.secret], *await signatures_become(ringtime, receiver, 2))

        await ringtime.delete_signing_secret("shop", old.secret_id)
        verify([new.secret], *await signatures_become(ringtime, receiver, 1))

        await ringtime.delete_signing_secret("shop", new.secret_id)
        headers, _ = await signatures_become(ringtime, receiver, 0)
        assert [name for name in headers if name.startswith("webhook-")] == []


async def test_secrets_are_there_after_a_restart(tmp_path: Path) -> None:
    async with Ringtime(tmp_path, settings=QUICK) as ringtime:
        await ringtime.register_app("shop", partitions=1)
        made = await ringtime.create_signing_secret("shop")
    async with receiving() as receiver, Ringtime(tmp_path, settings=QUICK) as ringtime:
        assert await ringtime.list_signing_secrets("shop") == [made]
        verify([made.secret], *await call_back(ringtime, receiver))
