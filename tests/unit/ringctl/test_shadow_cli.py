"""`ringctl shadow` as a shell runs it, on an SQLite folder."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest
from tests.contract.builders import make_row
from tests.unit.ringctl.test_cli import Folder, failed

from ringtime_shared.models.app import App
from ringtime_shared.models.sending import Sending
from ringtime_shared.models.shadow import Handover, Side, Tap
from ringtime_shared.stores.sqlite import SqliteStore


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(("RINGTIME_", "RINGCTL_")):
            monkeypatch.delenv(name)


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path / "data")


def test_a_move_and_what_is_told_of_it(folder: Folder) -> None:
    assert "pay is not in shadow" in folder.run("shadow", "show", "pay").stdout
    failed(folder.run("shadow", "switch", "pay", "--to", "ringtime"), "app pay is not in shadow")
    begun = folder.json("shadow", "begin", "pay")["shadow"]
    assert (begun["handovers"], begun["over"]) == ([], False)
    failed(folder.run("shadow", "begin", "pay"), "in shadow already")
    failed(folder.run("shadow", "end", "pay"), "two minutes")
    failed(folder.run("shadow", "switch", "pay", "--to", "ringtime", "--at", "+4m"), "at least 300 s ahead")
    failed(folder.run("shadow", "switch", "pay", "--to", "ringtime", "--at", "soon"), "at: must be")
    failed(folder.run("shadow", "switch", "pay", "--to", "goscheduler"), "goscheduler delivers")
    [handover] = folder.json("shadow", "switch", "pay", "--to", "ringtime")["shadow"]["handovers"]
    assert (handover["to"], handover["at"][16:]) == ("ringtime", ":00.000Z")
    text = folder.run("shadow", "show", "pay").stdout
    assert "pay: goscheduler delivers what is due now" in text
    assert f"from {handover['at']}, in " in text
    # taken back, while nobody has acted on it
    assert folder.json("shadow", "switch", "pay", "--to", "goscheduler")["shadow"]["handovers"] == []
    actions = [each["action"] for each in folder.json("audit", "list", "--app", "pay")["entries"]]
    assert actions == ["shadow switch", "shadow switch", "shadow begin"]


def test_what_goscheduler_has_as_well_is_not_cancelled_here_alone(folder: Folder) -> None:
    async def file(store: SqliteStore) -> str:
        row = make_row(folder.app, folder.now_ms + 600_000, 9, expires_ms=folder.now_ms + 10**9)
        twin = replace(row, schedule=replace(row.schedule, sending=Sending(twin=str(uuid4()))))
        await store.put_rows([twin])
        return str(row.schedule.schedule_id)

    schedule_id = folder.on_store(file)
    folder.run("shadow", "begin", "pay")
    failed(folder.run("schedules", "cancel", schedule_id), "goscheduler has")
    assert "SCHEDULED" in folder.run("schedules", "get", schedule_id).stdout
    own = str(folder.pending.schedule.schedule_id)
    assert folder.json("schedules", "cancel", own)["promised"]


def test_the_end(folder: Folder) -> None:
    async def long_ago(store: SqliteStore) -> App:
        app = await store.fetch_app("pay")
        assert app is not None
        assert app.shadow is not None
        handover = Handover(at_ms=folder.now_ms - 180_000, to=Side.RINGTIME)
        changed = replace(app, shadow=replace(app.shadow, handovers=(handover,)), version=app.version + 1)
        await store.replace_app(changed)
        return changed

    folder.run("shadow", "begin", "pay")
    folder.on_store(long_ago)
    assert folder.json("shadow", "end", "pay")["shadow"]["over"]
    assert "creates are not forwarded any more" in folder.run("shadow", "show", "pay").stdout
    failed(folder.run("shadow", "switch", "pay", "--to", "goscheduler"), "the shadow of app pay is over")


def test_a_report_lists_what_differs_and_the_exit_code_says_so(folder: Folder) -> None:
    text = folder.run("shadow", "report", "pay", "--to", "+1h").stdout
    assert "pay: 0 by both; none differs; 0 to come, 0 cancelled, 9 schedules of Ringtime's alone" in text
    assert "lag: goscheduler none; Ringtime none" in text
    failed_id = folder.failed.schedule.schedule_id
    tap = Tap(
        app_id="pay",
        schedule_id=failed_id.__class__(int=failed_id.int + 1),
        tap_id=uuid4(),
        fire_ms=folder.now_ms - 60_000,
        at_ms=folder.now_ms - 58_000,
        expires_ms=folder.now_ms + 3_600_000,
        is_passed=True,
        code=200,
    )
    folder.on_store(lambda store: store.put_tap(tap))
    result = folder.run("--json", "shadow", "report", "pay")
    assert result.exit_code == 4
    shown = json.loads(result.stdout)
    assert shown["differences"] == {"ONLY_GOSCHEDULER": 1}
    [finding] = shown["findings"]
    assert (finding["scheduleId"], finding["found"]) == (str(tap.schedule_id), "ONLY_GOSCHEDULER")
    assert shown["lag"]["goscheduler"] == {"p50Ms": 2_000, "p99Ms": 2_000}
    text = folder.run("shadow", "report", "pay").stdout
    assert str(tap.schedule_id) in text
    assert "lag: goscheduler p50 2.0 s, p99 2.0 s; Ringtime none" in text
