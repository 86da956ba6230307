"""`completeness` and `audit-fires` as a shell runs them, on an SQLite folder."""

from __future__ import annotations

import json
import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from tests.unit.ringctl.test_cli import Folder, failed

from ringtime_shared.models.schedule import Outcome, RowUpdate, Status
from ringtime_shared.stores.sqlite.schema import FILE_NAME


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(("RINGTIME_", "RINGCTL_")):
            monkeypatch.delenv(name)


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path / "data")


def test_a_range_in_order(folder: Folder) -> None:
    shown = folder.json("audit-fires", "pay", "--from", "-1h", "--to", "+1h")
    assert (shown["expected"], shown["ended"], shown["waiting"]) == (9, {"FAILURE": 1}, 8)
    assert (shown["gaps"], shown["doubles"], shown["findings"]) == (0, 0, [])
    text = folder.run("audit-fires", "pay", "--to", "+1h").stdout
    assert "pay: 9 fires expected; 1 FAILURE; 8 to be sent yet; 0 gaps, 0 doubles" in text


def test_what_is_gone_is_listed_and_the_exit_code_says_so(folder: Folder) -> None:
    gone = folder.failed.schedule.schedule_id
    with closing(sqlite3.connect(folder.path / FILE_NAME)) as connection, connection:
        connection.execute("DELETE FROM schedules WHERE schedule_id = ?", (gone.bytes,))
    result = folder.run("--json", "audit-fires", "pay", "--to", "+1h")
    assert result.exit_code == 4
    (finding,) = json.loads(result.stdout)["findings"]
    assert (finding["scheduleId"], finding["reason"]) == (str(gone), "REMOVED")
    text = folder.run("audit-fires", "pay").stdout
    assert str(gone) in text
    assert "1 gap, 0 doubles" in text


def test_what_is_wrong_with_the_words_is_told(folder: Folder) -> None:
    failed(folder.run("audit-fires", "nope"), "no app nope")
    failed(folder.run("audit-fires", "pay", "--from", "+1h"), "--from")
    failed(folder.run("completeness", "nope"), "no app nope")


def test_the_mark_of_an_app_and_of_all(folder: Folder) -> None:
    for words in (["completeness"], ["completeness", "pay"]):
        shown = folder.json(*words)
        assert (shown["waits"], shown["ageMs"] >= 90_000) == ("NOTHING", True)
    assert "nothing is late" in folder.run("completeness", "pay").stdout
    assert "all active apps: complete" in folder.run("completeness").stdout


def test_a_list_of_late_ones_shows_their_lag(folder: Folder) -> None:
    end = ["--from", "-1h", "--to", "+1h"]
    failed_id = str(folder.failed.schedule.schedule_id)
    assert folder.json("schedules", "list", "pay", *end, "--status", "MISS")["schedules"] == []
    assert (
        folder.json("schedules", "list", "pay", *end, "--late-by", "1")["schedules"] == []
    )  # it was not sent
    (shown,) = folder.json("schedules", "list", "pay", *end, "--status", "FAILURE")["schedules"]
    assert shown["scheduleId"] == failed_id
    folder.on_store(
        lambda store: store.put_updates(
            [
                RowUpdate(
                    place=folder.failed.place,
                    schedule_id=folder.failed.schedule.schedule_id,
                    outcome=Outcome(
                        status=Status.FAILURE,
                        ended_ms=folder.now_ms,
                        fired_ms=folder.failed.schedule.awaited_ms + 1_500,
                        attempts=1,
                    ),
                )
            ]
        )
    )
    text = folder.run("schedules", "list", "pay", *end, "--late-by", "1500").stdout
    assert failed_id in text
    assert "1.5 s" in text
    assert failed_id not in folder.run("schedules", "list", "pay", *end, "--late-by", "1501").stdout
    failed(folder.run("schedules", "list", "pay", "--late-by", "-1"), "--late-by", "must be from 0 ms")
