"""`ringctl secrets`: counting keys, rotating while somebody else writes, and adding keys to a file."""

from __future__ import annotations

import asyncio
import json
import stat
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest
from click.testing import CliRunner, Result
from tests.contract.builders import make_app, make_rows

from ringtime_ringctl.deployment.context import Context
from ringtime_ringctl.main import main
from ringtime_shared.encryption.keyring import KeyRing, add_key, new_entry, read_file
from ringtime_shared.encryption.records import decrypt_row, encrypt_row
from ringtime_shared.models.app import App
from ringtime_shared.models.schedule import Row
from ringtime_shared.stores.sqlite import SqliteStore

DETAILS = orjson.dumps({"url": "https://a.example/", "secretHeaders": {"X-Vault": "kanarie-7"}})
OLD, NEW = new_entry("old"), new_entry("new")


def run(folder: Path, *args: str, keys: str = f"{NEW},{OLD}") -> Result:
    environ = {"RINGTIME_SECRETS_KEYS": keys} if keys else {}
    context = Context(environ=environ)
    return CliRunner().invoke(main, ["--data", str(folder), *args], obj=context, env=environ)


def of_json(result: Result) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(result.stdout)
    return found


@pytest.fixture
def rows(tmp_path: Path) -> list[Row]:
    """Rows of an app on a folder: two plain, two under the old key, one without secrets."""

    async def fill() -> list[Row]:
        store = await SqliteStore.open(tmp_path / "data")
        try:
            app: App = await store.create_app(make_app(app_id="pay"))
            made = make_rows(app, [app.created_ms + 60_000 * n for n in range(5)])
            old = KeyRing.of_entries([OLD])
            for n, row in enumerate(made[:4]):
                schedule = replace(row.schedule, callback_details=DETAILS)
                made[n] = replace(row, schedule=schedule)
            await store.put_rows([*made[:2], *(encrypt_row(old, row) for row in made[2:4]), made[4]])
            return made
        finally:
            await store.close()

    return asyncio.run(fill())


async def read(folder: Path, rows: list[Row]) -> list[Row | None]:
    store = await SqliteStore.open(folder)
    try:
        return [await store.fetch_row(row.place, row.schedule.schedule_id) for row in rows]
    finally:
        await store.close()


def test_everything_comes_under_the_primary_key_and_the_old_one_is_told(
    tmp_path: Path, rows: list[Row]
) -> None:
    folder = tmp_path / "data"
    counted = of_json(run(folder, "secrets", "status", "--json"))
    assert counted["keys"] == [
        {"key": "new", "records": 0, "needed": True},
        {"key": "old", "records": 2, "needed": True},
        {"key": None, "records": 2, "needed": True},
    ]
    plan = run(folder, "secrets", "rotate")
    assert "4 records would be rewritten; --apply does it" in plan.output
    assert "(plain text)" in plan.output

    done = run(folder, "secrets", "rotate", "--apply", "--rate", "100000")
    assert done.exit_code == 0, done.output
    assert "4 records were rewritten under new" in done.output
    counted = of_json(run(folder, "secrets", "status", "--app", "pay", "--json"))
    assert counted["keys"] == [
        {"key": "new", "records": 4, "needed": True},
        {"key": "old", "records": 0, "needed": False},
    ]
    again = of_json(run(folder, "secrets", "rotate", "--apply", "--json"))
    assert again["rewritten"] == 0
    ring = KeyRing.of_entries([NEW])
    kept = asyncio.run(read(folder, rows))
    assert [None if row is None else decrypt_row(ring, row) for row in kept] == rows
    assert "secrets rotate" in run(folder, "audit").output


def test_what_cannot_be_decrypted_is_named_and_the_command_fails(tmp_path: Path, rows: list[Row]) -> None:
    done = run(tmp_path / "data", "secrets", "rotate", "--apply", keys=NEW)
    assert done.exit_code == 1
    assert "2 records cannot be decrypted" in done.output
    assert str(rows[2].schedule.schedule_id) in done.output
    assert "not in this key ring" in done.output
    assert of_json(run(tmp_path / "data", "secrets", "status", "--json", keys=NEW))["keys"][0]["records"] == 2


def test_without_a_ring_it_says_which_setting_is_missing(tmp_path: Path, rows: list[Row]) -> None:
    refused = run(tmp_path / "data", "secrets", "status", keys="")
    assert refused.exit_code == 1
    assert "secrets.key_file" in refused.output


def test_a_key_is_added_to_a_file_and_never_printed(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    first = CliRunner().invoke(main, ["secrets", "new-key", str(file), "--id", "k1"])
    second = CliRunner().invoke(main, ["--json", "secrets", "new-key", str(file), "--id", "k2", "--last"])
    assert (first.exit_code, second.exit_code) == (0, 0), first.output + second.output
    assert json.loads(second.output) == {"file": str(file), "keys": ["k1", "k2"], "primary": "k1"}
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    before = read_file(file)
    assert add_key(file, "k3", is_primary=True) == ("k3", "k1", "k2")
    assert {name: key for name, key in read_file(file).items() if name != "k3"} == before
    printed = first.output + second.output
    assert [line for line in file.read_text().splitlines() if ":" in line and line[3:] in printed] == []
    for key_id in ("k1", "no good", ""):
        refused = CliRunner().invoke(main, ["secrets", "new-key", str(file), "--id", key_id])
        assert refused.exit_code == 2, refused.output
    assert list(read_file(file)) == ["k3", "k1", "k2"]
