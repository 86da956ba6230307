"""The commands as a shell runs them, on an SQLite folder: exit codes, JSON, bad input."""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

import pytest
from click.testing import CliRunner, Result
from tests.contract.builders import make_app, make_row, make_rows, pretend_schema

from ringtime_ringctl.doctor import checks
from ringtime_ringctl.main import main
from ringtime_shared.api.apps import read_app
from ringtime_shared.api.dead_letters import DeadLetterView
from ringtime_shared.api.views import read
from ringtime_shared.buckets import first_slot
from ringtime_shared.clock import SystemClock
from ringtime_shared.models.app import App, Instance
from ringtime_shared.models.dead_letter import DeadLetter
from ringtime_shared.models.schedule import Outcome, Row, RowUpdate, Status
from ringtime_shared.stores.protocol import Marks, MarksWrite
from ringtime_shared.stores.sqlite import SqliteStore
from ringtime_shared.stores.sqlite.folder import FolderLock
from ringtime_shared.stores.sqlite.schema import FILE_NAME, SCHEMA_VERSION

T = TypeVar("T")
COMMANDS = [
    "audit-fires",
    "completeness",
    "ring",
    "nodes",
    "drain",
    "undrain",
    "forecast",
    "doctor",
    "schedules",
    "deadletters",
    "explain",
]


class Folder:
    """A data folder with one app of three partitions and some rows ahead."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lock: FolderLock | None = None
        self.now_ms = SystemClock().now_ms()
        self.app, self.pending, self.failed = self.on_store(self._fill)

    def on_store(self, work: Callable[[SqliteStore], Coroutine[Any, Any, T]]) -> T:
        async def opened() -> T:
            store = await SqliteStore.open(self.path, exclusive=self.lock is None)
            try:
                return await work(store)
            finally:
                await store.close()

        return asyncio.run(opened())

    async def _fill(self, store: SqliteStore) -> tuple[App, Row, Row]:
        app = await store.create_app(make_app(app_id="pay", created_ms=self.now_ms))
        pending = make_row(app, self.now_ms + 600_000, 1, expires_ms=self.now_ms + 10**9)
        failed = make_row(app, self.now_ms - 60_000, 2, expires_ms=self.now_ms + 10**9)
        minute_ms = first_slot((self.now_ms + 1_800_000) // 60_000)
        await store.put_rows([pending, failed, *make_rows(app, [minute_ms + n for n in range(7)])])
        outcome = Outcome(status=Status.FAILURE, ended_ms=self.now_ms - 59_000, attempts=3, code=500)
        await store.put_updates(
            [RowUpdate(place=failed.place, schedule_id=failed.schedule.schedule_id, outcome=outcome)]
        )
        letter = DeadLetter(
            app_id="pay",
            schedule_id=failed.schedule.schedule_id,
            slot_ms=failed.place.slot_ms,
            fire_ms=failed.schedule.fire_ms,
            failed_ms=self.now_ms - 59_000,
            attempts=3,
            code=500,
            callback_type="http",
            expires_ms=self.now_ms + 10**9,
        )
        await store.put_dead_letters([letter])
        return app, pending, failed

    def serve(self) -> None:
        """Make it look as if this process were the server, and had taken everything over just now."""
        marks = Marks(self.now_ms - 2_000, self.now_ms - 2_000)
        writes = [MarksWrite(Instance("pay", n), 5 << 48 | n + 1, marks) for n in range(3)]
        self.on_store(lambda store: store.put_marks(writes))
        self.lock = FolderLock(self.path)

    def run(self, *words: str, **more: Any) -> Result:
        return CliRunner().invoke(main, ["--data", str(self.path), *words], **more)

    def json(self, *words: str) -> Any:
        result = self.run("--json", *words)
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)

    def audit(self) -> list[tuple[str, str]]:
        entries = self.on_store(lambda store: store.fetch_audit(0, 1 << 62, 100))
        return [(entry.operator, entry.action) for entry in reversed(entries)]

    def dump(self) -> list[str]:
        connection = sqlite3.connect(self.path / FILE_NAME)
        try:
            return list(connection.iterdump())
        finally:
            connection.close()


@pytest.mark.slow
def test_every_command_is_found_by_its_name_and_imported_when_it_is_asked_for() -> None:
    program = """if True:
        import sys, click
        from ringtime_ringctl.main import main

        def found(group, *path):
            context = click.Context(group)
            for name in group.list_commands(context):
                each = group.get_command(context, name)
                yield each.name == name, " ".join((*path, name))
                if isinstance(each, click.Group):
                    yield from found(each, *path, name)

        print("ringtime_ringctl.doctor" in sys.modules)
        print(*(name for is_good, name in found(main) if not is_good))
    """
    ran = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert ran.stdout == "False\n\n"


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(("RINGTIME_", "RINGCTL_")):
            monkeypatch.delenv(name)


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path / "data")


def failed(result: Result, *words: str) -> None:
    """Assert one clear line on stderr, nothing on stdout, exit code 1."""
    assert result.exit_code == 1, result.output
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1
    for word in words:
        assert word in result.stderr


@pytest.mark.parametrize("command", [*COMMANDS, "completion"])
def test_help_has_examples(command: str) -> None:
    result = CliRunner().invoke(main, [command, "--help"])
    assert result.exit_code == 0
    if command not in ("schedules", "deadletters"):
        assert "Examples:" in result.output
        assert f"ringctl {command}" in result.output


def test_the_exit_codes_are_in_the_help() -> None:
    assert "a --wait ran out of time" in CliRunner().invoke(main, ["--help"]).output


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(shell: str) -> None:
    result = CliRunner().invoke(main, ["completion", shell])
    assert result.exit_code == 0
    assert "_RINGCTL_COMPLETE" in result.stdout


def test_the_ring_while_a_server_runs(folder: Folder) -> None:
    folder.serve()
    shown = folder.json("ring")
    node = f"embedded-{os.getpid()}"
    assert (shown["moving"], shown["unowned"], shown["imbalance"]) == (0, 0, 1.0)
    assert [(each["node"], each["owned"]) for each in shown["nodes"]] == [(node, 3)]
    assert [(each["instance"], each["owner"], each["epoch"]) for each in shown["instances"]] == [
        (f"pay.{n}", node, n + 1) for n in range(3)
    ]
    assert shown["instances"][0]["behindMs"] >= 2_000
    text = folder.run("ring")
    assert "1 node, 3 poller instances, 0 to move, 0 unowned" in text.stdout
    assert "pay.2" in text.stdout
    assert folder.json("nodes")["nodes"][0]["owned"] == 3


def test_the_ring_while_nobody_runs(folder: Folder) -> None:
    shown = folder.json("ring")
    assert (shown["nodes"], shown["unowned"]) == ([], 3)
    assert "nothing fires until a dispatcher starts" in folder.run("nodes").stdout


def test_the_ring_of_one_app(folder: Folder) -> None:
    folder.serve()
    assert len(folder.json("ring", "--app", "pay")["instances"]) == 3
    failed(folder.run("ring", "--app", "nope"), "no app nope")
    failed(folder.run("ring", "--node", "nope"), "no node nope")


def test_a_simulation_changes_nothing(folder: Folder) -> None:
    folder.serve()
    before = folder.dump()
    shown = folder.json("ring", "--simulate", "+2", "nodes")
    assert sum(shown["after"].values()) == 3
    assert len(shown["after"]) == 3
    node = f"embedded-{os.getpid()}"
    assert "3 of 3 poller instances would move" in folder.run("ring", "--simulate", f"-{node}").stdout
    failed(folder.run("ring", "--simulate", "-node", "nope"), "no node nope")
    failed(folder.run("ring", "--simulate", "many"), "--simulate: must be")
    assert folder.dump() == before


def test_a_forecast(folder: Folder) -> None:
    shown = folder.json("forecast", "pay", "--hours", "2")
    assert (shown["due"], shown["peak"]["due"], shown["advisedQuota"], shown["over"]) == (8, 7, 1, [])
    text = folder.run("forecast", "pay", "--minutes").stdout
    assert "8 due in the next 24 h; 3 partitions carry 3,000 a minute" in text
    failed(folder.run("forecast", "nope"), "no app nope")
    assert folder.run("forecast", "pay", "--hours", "9999").exit_code == 2


def test_a_doctor_who_finds_nothing(folder: Folder) -> None:
    folder.serve()
    result = folder.run("doctor")
    assert result.exit_code == 0, result.output
    assert "What to do" not in result.stdout
    assert {each["state"] for each in folder.json("doctor")["findings"]} == {"ok"}


def test_a_doctor_who_finds_something(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "NEW_APP_MS", 0)  # the folder was filled just now
    result = folder.run("doctor")
    assert result.exit_code == 4
    assert "3 of 3 poller instances have no owner" in result.stdout
    assert "What to do:" in result.stdout


def test_schedules(folder: Folder) -> None:
    schedule_id = str(folder.pending.schedule.schedule_id)
    assert folder.json("schedules", "get", schedule_id)["schedule"]["instance"] == "pay.1"
    assert "https://example.com/hook" in folder.run("schedules", "get", schedule_id).stdout
    listed = folder.json("schedules", "list", "pay", "--limit", "3")
    assert listed["schedules"][0]["scheduleId"] == schedule_id
    assert (len(listed["schedules"]), listed["more"]) == (3, True)
    assert "... and more" in folder.run("schedules", "list", "pay", "--limit", "3").stdout
    found = folder.json("schedules", "list", "pay", "--host", "example.com", "--limit", "3")["schedules"]
    assert [each["scheduleId"] for each in found] == [each["scheduleId"] for each in listed["schedules"]]
    for option in ("--host=other.example", "--label=team:billing", "--name=night"):
        assert folder.json("schedules", "list", "pay", option)["schedules"] == []
    failed(folder.run("schedules", "list", "pay", "--label", "team"), "--label: must be key:value")
    failed(folder.run("schedules", "list", "nope"), "no app nope")
    failed(folder.run("schedules", "list", "pay", "--from", "yesterday"), "--from: must be an instant")
    failed(folder.run("schedules", "get", "nope"), "is not a schedule id")


def test_a_cancel_is_promised_and_noted(folder: Folder) -> None:
    schedule_id = str(folder.pending.schedule.schedule_id)
    result = folder.run("--operator", "ann", "schedules", "cancel", schedule_id)
    assert "will not fire" in result.stdout
    assert folder.json("schedules", "cancel", schedule_id)["promised"]
    assert folder.json("schedules", "get", schedule_id)["schedule"]["status"] == "DELETED"
    assert folder.audit() == [("ann", "schedules cancel")]
    failed(folder.run("schedules", "cancel", str(folder.failed.schedule.schedule_id)), "is FAILURE already")


def test_an_explanation(folder: Folder) -> None:
    folder.serve()
    schedule_id = str(folder.pending.schedule.schedule_id)
    assert folder.json("explain", schedule_id)["owner"]["node"] == f"embedded-{os.getpid()}"
    assert "Next: embedded-" in folder.run("explain", schedule_id).stdout
    assert "became a dead letter" in folder.run("explain", str(folder.failed.schedule.schedule_id)).stdout


def test_dead_letters(folder: Folder) -> None:
    schedule_id = str(folder.failed.schedule.schedule_id)
    (letter,) = folder.json("deadletters", "list", "pay")["deadLetters"]
    assert (letter["scheduleId"], letter["httpCode"]) == (schedule_id, 500)
    assert schedule_id in folder.run("deadletters", "list", "pay").stdout
    failed(folder.run("deadletters", "list", "nope"), "no app nope")


def test_a_replay_needs_the_api(folder: Folder) -> None:
    schedule_id = str(folder.failed.schedule.schedule_id)
    api = ("--api", "http://127.0.0.1:1/goscheduler")
    failed(folder.run("deadletters", "replay", "pay", schedule_id, *api), "nobody answers", "--api")
    failed(folder.run("deadletters", "replay", "pay", schedule_id, "--api", "nope"), "--api: must be a URL")
    assert [action for _, action in folder.audit()] == ["deadletters replay", "deadletters replay failed"]


@pytest.mark.parametrize(
    "words",
    [["pay"], ["pay", "83b0d6a4-3f80-8001-8000-000028000001", "--from", "-1h"], ["pay", "--to", "now"]],
)
def test_a_replay_takes_ids_or_a_range(folder: Folder, words: list[str]) -> None:
    assert folder.run("deadletters", "replay", *words).exit_code == 2


def test_a_range_is_not_replayed_unasked(folder: Folder) -> None:
    result = folder.run("deadletters", "replay", "pay", "--from", "-1h", input="n\n")
    assert result.exit_code == 1
    assert "Replay 1 dead letters of pay?" in result.output
    assert folder.audit() == []


def test_drains_are_for_rings(folder: Folder) -> None:
    failed(folder.run("drain", "n1", "--wait"), "just stop it")
    failed(folder.run("undrain", "n1"), "just stop it")


def test_errors_as_json(folder: Folder) -> None:
    for words in (["--json", "forecast", "nope"], ["forecast", "nope", "--json"]):
        result = folder.run(*words)
        assert result.exit_code == 1
        assert json.loads(result.stderr) == {"error": "no app nope"}
        assert result.stdout == ""


@pytest.mark.parametrize("words", [["nope"], ["ring", "nope"], ["forecast"], ["--operator", "", "ring"]])
def test_bad_usage(folder: Folder, words: list[str]) -> None:
    assert folder.run(*words).exit_code == 2


def test_a_folder_without_data_is_not_made_into_one(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "nope"):
        failed(CliRunner().invoke(main, ["--data", str(path), "ring"]), "holds no Ringtime data")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("step", "says"), [(-1, "this Ringtime needs"), (1, "this Ringtime knows")])
def test_another_schema_is_refused_and_left_alone(folder: Folder, step: int, says: str) -> None:
    connection = sqlite3.connect(folder.path / FILE_NAME)
    pretend_schema(connection, SCHEMA_VERSION + step)
    connection.close()
    before = folder.dump()
    failed(folder.run("ring"), f"schema version {SCHEMA_VERSION + step}", says)
    doctor = folder.run("doctor")
    assert doctor.exit_code == 4
    assert says in doctor.stdout
    assert folder.dump() == before


def test_what_is_no_database(folder: Folder) -> None:
    for file in folder.path.glob(f"{FILE_NAME}*"):
        file.write_bytes(b"nonsense " * 1_000)
    failed(folder.run("ring"), "cannot read", "not a database")


def test_bad_settings(folder: Folder, tmp_path: Path) -> None:
    (tmp_path / "bad.toml").write_text("[cassandra]\nport = 0\n")
    failed(folder.run("--config", str(tmp_path / "bad.toml"), "ring"), "cassandra.port")


def test_reading_leaves_the_folder_as_it_is(folder: Folder) -> None:
    folder.serve()
    before = folder.dump()
    schedule_id = str(folder.pending.schedule.schedule_id)
    for words in (["ring"], ["nodes"], ["doctor"], ["forecast", "pay"], ["explain", schedule_id]):
        assert folder.run(*words).exit_code == 0
    assert folder.dump() == before


def test_json_has_the_names_of_the_api(folder: Folder) -> None:
    """A client that reads the API reads this, too; operators' own keys stand beside it."""
    shown = folder.json("schedules", "get", str(folder.failed.schedule.schedule_id))["schedule"]
    assert (shown["status"], shown["httpCode"], shown["attempts"]) == ("FAILURE", 500, 3)
    assert shown["partitionId"] == 2
    assert not {"payload", "callback", "outcome"} & shown.keys()
    assert {"slot", "instance", "destination", "payloadBytes", "expiresAt", "endedAt"} <= shown.keys()
    (letter,) = folder.json("deadletters", "list", "pay")["deadLetters"]
    assert read(DeadLetterView, letter).http_code == 500
    assert {"slot", "expiresAt"} <= letter.keys()
    assert read_app(folder.json("apps", "show", "pay")).partitions == 3
