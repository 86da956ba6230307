"""A backup is of one moment, whole or not there; a folder made of it never gives out an id a second time."""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from tests.contract.builders import START_MS, make_app, make_row
from tests.contract.test_job_store import make_job

from ringtime_shared.apps.restoring import CameDue, settle_restore
from ringtime_shared.encryption.keyring import ring_in
from ringtime_shared.errors import DiskFull, StartupError
from ringtime_shared.ids import LEAST_PASSED, MAX_NONCES
from ringtime_shared.models.app import App
from ringtime_shared.models.job import JobAction, JobState
from ringtime_shared.stores.memory import MemoryStore
from ringtime_shared.stores.sqlite import SqliteStore, backup, folder
from ringtime_shared.stores.sqlite.backup import back_up
from ringtime_shared.stores.sqlite.examine import inspect_wal, read_count
from ringtime_shared.stores.sqlite.manifest import read_manifest
from ringtime_shared.stores.sqlite.restore import restored

NOW_MS = START_MS


def now_ms() -> int:
    return NOW_MS


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    opened = await SqliteStore.open(tmp_path / "data")
    yield opened
    await opened.close()


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole test process must not become nice."""
    monkeypatch.setattr(os, "nice", lambda _: 0)


async def fill(store: SqliteStore, count: int = 50) -> App:
    app = await store.create_app(make_app(app_id="pay"))
    await store.put_rows([make_row(app, START_MS + n, payload="x" * 900) for n in range(count)])
    return app


def slots(database: Path) -> list[int]:
    with closing(sqlite3.connect(database)) as connection:
        return [slot for (slot,) in connection.execute("SELECT slot_ms FROM schedules ORDER BY slot_ms")]


def modes(target: Path) -> dict[str, int]:
    found = {path.name: path.stat().st_mode & 0o777 for path in target.iterdir()}
    return {"": target.stat().st_mode & 0o777} | found


async def test_a_backup_is_of_one_moment_however_much_is_written_meanwhile(
    store: SqliteStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each step of the copying waits for a commit of the server's, which ends at once all the same."""
    monkeypatch.setattr(backup, "_STEP_BYTES", 4_096)
    app, loop = await fill(store), asyncio.get_running_loop()
    written: list[int] = []

    def commit(copied: int, total: int) -> None:
        slot_ms = START_MS + 1_000 + len(written)
        work = asyncio.run_coroutine_threadsafe(store.put_rows([make_row(app, slot_ms)]), loop)
        work.result(timeout=60)
        written.append(slot_ms)

    target = tmp_path / "backup"
    made = await asyncio.to_thread(back_up, tmp_path / "data", target, now_ms=now_ms, on_progress=commit)
    assert len(written) > 10
    assert slots(target / "ringtime.db") == [START_MS + n for n in range(50)]
    assert made.counts == {"apps": 1, "waiting": 50, "recurring": 0, "deadLetters": 0}
    assert read_manifest(target) == made
    assert modes(target) == {"": 0o700, "BACKUP.json": 0o600, "ringtime.db": 0o600}


async def test_what_only_the_log_holds_is_in_it_also_without_a_server(tmp_path: Path) -> None:
    store = await SqliteStore.open(tmp_path / "data")
    await fill(store)
    copied = Path(shutil.copytree(tmp_path / "data", tmp_path / "copy"))
    await store.close()
    log = copied / "ringtime.db-wal"
    assert inspect_wal(log).kept
    back_up(copied, tmp_path / "backup", now_ms=now_ms)
    assert len(slots(tmp_path / "backup" / "ringtime.db")) == 50
    log.unlink()
    with pytest.raises(StartupError, match="is damaged"):
        back_up(copied, tmp_path / "less", now_ms=now_ms)
    assert modes(tmp_path).keys() == {"", "data", "copy", "backup"}


async def refused(tmp_path: Path, error: type[Exception], match: str, **arguments: object) -> None:
    """A backup is refused, and nothing is left of it."""
    before = modes(tmp_path)
    with pytest.raises(error, match=match):
        await asyncio.to_thread(
            back_up,
            tmp_path / "data",
            tmp_path / "backup",
            now_ms=now_ms,
            **arguments,  # type: ignore[arg-type]
        )
    assert modes(tmp_path) == before


async def test_what_keeps_a_backup_from_being_whole_leaves_nothing_of_it(
    store: SqliteStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fill(store)
    ring_in(tmp_path / "data")
    keys = tmp_path / "data" / "KEYS"

    def add_key(copied: int, total: int) -> None:
        with keys.open("a") as file:
            file.write("# another\n")

    await refused(tmp_path, StartupError, "key ring .* was changed", on_progress=add_key)
    await refused(tmp_path, StartupError, "is larger than 0 MiB", most_log_bytes=100)
    with monkeypatch.context() as patch:
        patch.setattr(backup, "_SPARE_BYTES", 1 << 60)
        await refused(tmp_path, DiskFull, "MiB left")

    def full(copied: int, total: int) -> None:
        raise OSError(28, "No space left on device")

    await refused(tmp_path, DiskFull, "is full", on_progress=full)
    (tmp_path / "backup").mkdir()
    (tmp_path / "backup" / "precious").touch()
    await refused(tmp_path, StartupError, "nothing is overwritten")


async def test_a_copy_that_is_damaged_on_its_way_is_no_backup(
    store: SqliteStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fill(store)
    real = backup._check

    def damage_and_check(database: Path) -> object:
        content = bytearray(database.read_bytes())
        for page in range(8, len(content) // 4_096):  # the first ones hold the schema
            content[page * 4_096 : page * 4_096 + 8] = bytes(8)
        database.write_bytes(content)
        return real(database)

    monkeypatch.setattr(backup, "_check", damage_and_check)
    await refused(tmp_path, StartupError, "damaged|malformed")


async def test_a_backup_is_restored_only_as_it_was_made(store: SqliteStore, tmp_path: Path) -> None:
    await fill(store)
    source = tmp_path / "backup"
    made = await asyncio.to_thread(back_up, tmp_path / "data", source, now_ms=now_ms)

    def restore(match: str) -> None:
        with pytest.raises(StartupError, match=match), restored(source, tmp_path / "new"):
            raise AssertionError("it was restored")
        assert not (tmp_path / "new").exists()

    whole = (source / "ringtime.db").read_bytes()
    (source / "ringtime.db").write_bytes(whole[:-1] + b"?")
    restore("was changed since")
    (source / "ringtime.db").unlink()
    restore("was changed since")
    (source / "ringtime.db").write_bytes(whole)
    for change in ({"schema": 10_000}, {"format": 2}):
        newer = msgspec.structs.replace(made, **change)
        (source / "BACKUP.json").write_bytes(msgspec.json.encode(newer))
        restore("with that version or a later one")
    (source / "BACKUP.json").write_text("{")
    restore("cannot be read")
    (source / "BACKUP.json").unlink()
    restore("is no backup")


async def test_a_backup_is_no_data_folder(store: SqliteStore, tmp_path: Path) -> None:
    await fill(store)
    source = tmp_path / "backup"
    await asyncio.to_thread(back_up, tmp_path / "data", source, now_ms=now_ms)
    before = {path.name: path.read_bytes() for path in source.iterdir()}
    for exclusive in (True, False):
        with pytest.raises(StartupError, match="is a backup: `ringtime restore"):
            await SqliteStore.open(source, exclusive=exclusive)
    with pytest.raises(StartupError, match="is a backup"):
        back_up(source, tmp_path / "again", now_ms=now_ms)
    assert {path.name: path.read_bytes() for path in source.iterdir()} == before


async def restore(tmp_path: Path, name: str, choice: CameDue = CameDue.SEND) -> SqliteStore:
    with restored(tmp_path / "backup", tmp_path / name) as (_, partial):
        store = await SqliteStore.open(partial)
        await settle_restore(store, choice, sent_until_ms=NOW_MS, now_ms=NOW_MS)
        await store.close()
    return await SqliteStore.open(tmp_path / name)


async def test_a_restored_folder_is_another_database_that_gives_out_other_ids(
    store: SqliteStore, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    await fill(store)
    await asyncio.to_thread(back_up, tmp_path / "data", tmp_path / "backup", now_ms=now_ms)
    one, two = await restore(tmp_path, "one"), await restore(tmp_path, "two")
    old = await store.claim_nonce("old")
    new = [await each.claim_nonce("new") for each in (one, two)]
    await one.close()
    await two.close()
    assert all(LEAST_PASSED <= (nonce - old) % MAX_NONCES < MAX_NONCES - LEAST_PASSED for nonce in new)
    assert new[0] != new[1]
    names = {read_count(tmp_path / each).database for each in ("data", "one", "two")}  # type: ignore[union-attr]
    assert len(names) == 3
    assert "was copied" not in caplog.text
    assert len(slots(tmp_path / "one" / "ringtime.db")) == 50


async def test_a_copied_folder_gives_out_other_ids_and_a_renamed_one_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def nonce(name: str) -> int:
        store = await SqliteStore.open(tmp_path / name)
        claimed = await store.claim_nonce("x")
        await store.close()
        return claimed

    first = await nonce("data")
    (tmp_path / "data").rename(tmp_path / "renamed")
    assert await nonce("renamed") == first + 1
    assert "was copied" not in caplog.text
    shutil.copytree(tmp_path / "renamed", tmp_path / "copy")
    assert LEAST_PASSED <= (await nonce("copy") - first) % MAX_NONCES < MAX_NONCES - LEAST_PASSED
    assert "was copied, or moved to another disk" in caplog.text
    caplog.clear()
    boot = tmp_path / "boot_id"
    boot.write_text("another start of a machine\n")
    monkeypatch.setattr(folder, "_BOOT_ID", boot)  # a clone of a disk: the same file on another machine
    assert LEAST_PASSED <= (await nonce("renamed") - first) % MAX_NONCES < MAX_NONCES - LEAST_PASSED
    assert caplog.text == ""


@pytest.mark.parametrize("choice", CameDue)
async def test_what_came_due_is_sent_skipped_or_held(choice: CameDue) -> None:
    store = MemoryStore(now_ms)
    app = await store.create_app(make_app())
    off = await store.create_app(make_app(active=False, halted_ms=5))
    for action in (JobAction.RECONCILE, JobAction.DELETE):
        await store.replace_job(replace(make_job(app), action=action))
    would = await settle_restore(store, choice, sent_until_ms=NOW_MS, now_ms=NOW_MS, is_applied=False)
    assert await store.fetch_sent_until() == 0
    assert await store.fetch_app(app.app_id) == app
    assert await settle_restore(store, choice, sent_until_ms=NOW_MS, now_ms=NOW_MS) == would
    assert await store.fetch_sent_until() == (NOW_MS if choice is CameDue.SKIP else 0)
    held = await store.fetch_app(app.app_id)
    assert held is not None
    assert held.active == (choice is not CameDue.HOLD)
    assert would.held == ((app.app_id,) if choice is CameDue.HOLD else ())
    assert await store.fetch_app(off.app_id) == off
    states = {job.action: job.state for job in await store.list_jobs(app.app_id, None, 9)}
    ended = JobState.WAITING if choice is CameDue.SEND else JobState.CANCELLED
    assert states == {JobAction.RECONCILE: ended, JobAction.DELETE: JobState.WAITING}


async def test_the_decision_after_a_hold_is_made_by_another_restore_note() -> None:
    store = MemoryStore(now_ms)
    await settle_restore(store, CameDue.HOLD, sent_until_ms=NOW_MS, now_ms=NOW_MS)
    await settle_restore(store, CameDue.SKIP, sent_until_ms=NOW_MS - 5, now_ms=NOW_MS)
    assert await store.fetch_sent_until() == NOW_MS - 5
