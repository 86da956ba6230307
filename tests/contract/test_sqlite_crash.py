"""A server killed in the middle of writing has every row it acknowledged."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from uuid import UUID

import pytest
from tests.contract.builders import START_MS

from ringtime_shared.models.schedule import Place
from ringtime_shared.stores.sqlite import SqliteStore

SERVER = """
import asyncio, sys
from pathlib import Path
from ringtime_shared.stores.sqlite import SqliteStore
from tests.contract.builders import START_MS, make_app, make_row

async def write(store, app, start):
    for n in range(start, 60_000, 4):
        row = make_row(app, START_MS + n)
        await store.put_rows([row])
        print(row.place.slot_ms, row.schedule.schedule_id, flush=True)

async def main():
    store = await SqliteStore.open(Path(sys.argv[1]))
    app = await store.create_app(make_app(app_id="crash"))
    await asyncio.gather(*(write(store, app, start) for start in range(4)))

asyncio.run(main())
"""


def kill_while_writing(folder: Path) -> list[tuple[Place, UUID]]:
    """Return the rows a server acknowledged before it was killed."""
    with subprocess.Popen(
        [sys.executable, "-c", SERVER, str(folder)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    ) as server:
        assert server.stdout is not None
        lines = [server.stdout.readline() for _ in range(150)]
        server.kill()
        lines += server.stdout.readlines()
    words = [line.split() for line in lines if line.endswith("\n")]
    return [(Place("crash", 0, int(slot_ms)), UUID(schedule_id)) for slot_ms, schedule_id in words]


@pytest.mark.slow
async def test_sigkill_loses_no_acknowledged_row(tmp_path: Path) -> None:
    acknowledged = kill_while_writing(tmp_path)
    assert len(acknowledged) >= 150
    store = await SqliteStore.open(tmp_path)  # the lock died with its holder
    for place, schedule_id in acknowledged:
        row = await store.fetch_row(place, schedule_id)
        assert row is not None
        assert row.is_live
    assert [entry.instance.app_id for entry in await store.fetch_index(0, START_MS)] == ["crash"]
    await store.close()
