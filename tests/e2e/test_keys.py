"""An API key from its issue to its end, through the processes and programs that users have."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from click.testing import CliRunner

from ringtime_client import AsyncRingtimeClient, HttpCallbackDetails, NewSchedule, RingtimeClient
from ringtime_ringctl.main import main
from ringtime_shared.errors import Forbidden, NotFound, RateLimited, Unauthenticated
from tests.harness.server import ServerProcess

HOOK = HttpCallbackDetails(url="http://127.0.0.1:9/hook")
HOUR = timedelta(hours=1)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    process = ServerProcess(tmp_path / "data", environment={"RINGTIME_ACCESS_KEYS": "required"})
    process.start()
    yield process
    process.close()


def ringctl(server: ServerProcess, *words: str) -> Any:
    """Return what the command prints, as JSON. Beside a loop it runs in a thread."""
    done = CliRunner().invoke(main, ["--data", str(server.data), "--json", *words])
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def issue(server: ServerProcess, path: Path, *words: str) -> str:
    """Issue a key into a file; return its id."""
    made: dict[str, str] = ringctl(server, "keys", "create", "--label", path.name, "--out", str(path), *words)
    return made["keyId"]


async def is_refused(client: AsyncRingtimeClient, schedule_id: UUID) -> bool:
    try:
        await client.get_schedule(schedule_id)
    except Unauthenticated:
        return True
    return False


async def test_a_key_from_its_issue_to_its_end(server: ServerProcess, tmp_path: Path) -> None:
    admin, shop = tmp_path / "admin.key", tmp_path / "shop.key"
    await asyncio.to_thread(issue, server, admin, "--all-apps", "--scope", "all")
    shop_id = await asyncio.to_thread(
        issue,
        *(server, shop, "--app", "shop", "--scope", "schedules:read", "--scope", "schedules:write"),
        *("--creates-per-second", "1"),
    )
    with RingtimeClient(server.base) as nobody, pytest.raises(Unauthenticated):
        nobody.list_apps()
    with RingtimeClient(server.base, key_file=admin) as client:
        for app_id in ("shop", "mail"):
            client.register_app(app_id, partitions=1)
        other = client.create_schedule("mail", payload="", delay=HOUR, callback=HOOK)
    asked = ("--key-file", str(admin), "recurring", "list", "shop", "--api", server.base)
    assert await asyncio.to_thread(ringctl, server, *asked)
    deadline = timedelta(seconds=5)
    async with AsyncRingtimeClient(server.base, key_file=shop, deadline=deadline, coalesce=False) as client:
        made = await client.create_schedule("shop", payload="", delay=HOUR, callback=HOOK)
        assert (await client.get_schedule(made.schedule_id)).schedule_id == made.schedule_id
        with pytest.raises(NotFound):
            await client.get_schedule(other.schedule_id)
        with pytest.raises(Forbidden):
            await client.deactivate_app("shop")
        new = NewSchedule(app_id="shop", payload="", callback=HOOK, delay=HOUR)
        await client.create_schedules([new] * 9)  # with that before all ten that may come at once
        with pytest.raises(RateLimited) as caught:
            await client.create_schedules([new] * 10)
        assert (caught.value.limit, caught.value.wait_s > 5) == ("key-creates", True)
        await client.create_schedule("shop", payload="", delay=HOUR, callback=HOOK)  # it waits for a second
        await asyncio.to_thread(ringctl, server, "keys", "revoke", shop_id)
        for _ in range(50):  # in force within 5 s, from another process
            if await is_refused(client, made.schedule_id):
                break
            await asyncio.sleep(0.2)
        else:
            pytest.fail("a revoked key is let in for 10 s")
    entries = (await asyncio.to_thread(ringctl, server, "audit"))["entries"]
    assert {"keys create", "keys revoke"} <= {entry["action"] for entry in entries}
    told = server.log() + json.dumps(entries)
    assert not any(path.read_text().strip() in told for path in (admin, shop))
