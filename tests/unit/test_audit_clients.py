"""The audit log through the clients and the library, and a program that asks with its reason."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from tests.unit.client_rig import served

from ringtime import Ringtime
from ringtime_client import AsyncRingtimeClient, AuditEntryView, RingtimeClient
from ringtime_shared.errors import InvalidRequest, NotFound
from ringtime_shared.models.app import AppConfiguration

SECRET = "whsec_" + "QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFB"


async def test_both_clients_read_what_one_of_them_did() -> None:
    headers = {"X-Request-Id": "ticket-7", "X-Audit-Reason": "because of ü"}
    with served() as server:
        async with AsyncRingtimeClient(server.url, headers=headers) as client:
            await client.register_app("shop", partitions=2)
            await client.configure_app("shop", configuration=AppConfiguration(http_timeout_ms=2_000))
            await client.create_signing_secret("shop", secret=SECRET)
            page = await client.list_audit("shop", size=2)
            (oldest,) = (await client.list_audit("shop", size=2, token=page.token)).entries
        assert [entry.action for entry in page.entries] == ["signing-secrets create", "apps configure"]
        assert oldest.before is None
        configured = page.entries[1]
        assert isinstance(configured, AuditEntryView)
        assert configured.after == {"configuration": {"httpTimeout": 2_000}}
        assert (configured.actor, configured.source) == ("anybody", "127.0.0.1")
        assert (configured.reason, configured.request_id) == ("because of ü", "ticket-7")
        assert abs(configured.at - datetime.now(UTC)) < timedelta(minutes=1)
        assert SECRET not in str(page)

        def read() -> None:
            with RingtimeClient(server.url) as other:
                assert other.list_audit(action="apps configure").entries == [configured]
                assert other.list_audit(actor="nobody").entries == []
                assert other.list_audit("shop", end=configured.at - timedelta(seconds=1)).entries == []
                with pytest.raises(NotFound):
                    other.list_audit("nowhere")
                with pytest.raises(InvalidRequest, match="size"):
                    other.list_audit(size=0)

        await asyncio.to_thread(read)


async def test_a_program_is_the_library_in_its_log() -> None:
    async with Ringtime() as ringtime:
        await ringtime.register_app("shop", partitions=1)
        await ringtime.deactivate_app("shop")
        page = await ringtime.list_audit("shop")
        assert [(entry.operator, entry.action) for entry in page.entries] == [
            ("library", "apps deactivate"),
            ("library", "apps create"),
        ]
        assert (await ringtime.list_audit(action="apps create")).entries == page.entries[1:]
        with pytest.raises(InvalidRequest, match="token"):
            await ringtime.list_audit(token="x")
