"""What happens to a data folder behind the store's back: nothing is lost in silence."""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
import stat
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from tests.contract.builders import START_MS, make_app, make_row

from ringtime_shared.errors import DiskFull, FolderLost, OutcomeUnknown, StartupError, StoreUnavailable
from ringtime_shared.models.app import App
from ringtime_shared.settings import EmbeddedSettings
from ringtime_shared.stores.sqlite import SqliteStore, find_server, keeper, schema, session
from ringtime_shared.stores.sqlite.accept import accept_loss, plan_acceptance
from ringtime_shared.stores.sqlite.examine import (
    WalReport,
    examine_folder,
    find_loss,
    inspect_wal,
    read_count,
)
from ringtime_shared.stores.sqlite.folder import COUNT_NAME, LOCK_NAME, RESERVE_NAME, SHM_NAME, WAL_NAME

CREATES = 60  #: each a transaction; there are two more, of the app, and of where the folder is
KILLED = """
import asyncio, os, signal, sys
from pathlib import Path
from ringtime_shared.stores.sqlite import SqliteStore
from tests.contract.builders import START_MS, make_app, make_row

async def main():
    store = await SqliteStore.open(Path(sys.argv[1]))
    app = await store.create_app(make_app(app_id="pay"))
    for n in range(int(sys.argv[2])):
        await store.put_rows([make_row(app, START_MS + n)])
    os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""


def kill_after(folder: Path, creates: int = CREATES) -> None:
    """Run a server that is killed once it acknowledged this many creates, each in a transaction."""
    command = [sys.executable, "-c", KILLED, str(folder), str(creates)]
    done = subprocess.run(command, check=False, cwd=Path(__file__).parents[2])
    assert done.returncode == -9


@pytest.fixture(scope="module")
def left_behind(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a killed server."""
    folder = tmp_path_factory.mktemp("killed") / "data"
    kill_after(folder)
    return folder


@pytest.fixture
def killed(left_behind: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(left_behind, tmp_path / "data"))


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    opened = await SqliteStore.open(tmp_path / "data")
    yield opened
    await opened.close()


def flip(path: Path, offset: int) -> None:
    content = bytearray(path.read_bytes())
    content[offset] ^= 0x40
    path.write_bytes(content)


def checkpoint(folder: Path, kind: str = "PASSIVE") -> None:
    with closing(sqlite3.connect(folder / schema.FILE_NAME)) as tool:
        assert tool.execute(f"PRAGMA wal_checkpoint({kind})").fetchone()[0] == 0


def contents(folder: Path) -> dict[str, bytes]:
    """What lasts in the folder; an empty log is as good as none."""
    found = {path.name: path.read_bytes() for path in folder.iterdir()}
    return {name: content for name, content in found.items() if name not in (SHM_NAME, LOCK_NAME) and content}


def count_rows(folder: Path) -> int:
    with closing(sqlite3.connect(folder / schema.FILE_NAME)) as connection:
        count: int = connection.execute("SELECT count(*) FROM schedules").fetchone()[0]
        return count


async def until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not is_so():  # noqa: ASYNC110 - of files, which tell nobody
            await asyncio.sleep(0.02)


async def put(store: SqliteStore, app: App, n: int = 0) -> None:
    await store.put_rows([make_row(app, START_MS + n)])


async def refusal(folder: Path) -> str:
    """Return why a server does not start, and make sure that it changed nothing."""
    before = contents(folder)
    with pytest.raises(StartupError) as caught:
        await SqliteStore.open(folder)
    assert contents(folder) == before
    with pytest.raises(StartupError, match="damaged"):
        await SqliteStore.open(folder, exclusive=False)  # nor does a tool, which would drop it just so
    assert contents(folder) == before
    message = str(caught.value)
    assert str(folder) in message
    assert "doctor" in message
    assert "accept-loss" in message
    return message


# After a kill


@pytest.mark.slow
async def test_after_a_kill_everything_is_there_and_counted(killed: Path) -> None:
    report = examine_folder(killed, check_s=10)
    assert find_loss(report) is None
    assert report.is_checked
    assert report.held is not None
    assert report.held == report.counted
    assert report.wal.kept >= CREATES
    (killed / SHM_NAME).write_bytes(os.urandom(32_768))  # a stale one is made anew
    await (await SqliteStore.open(killed)).close()
    assert count_rows(killed) == CREATES


@pytest.mark.parametrize("share", [0.02, 0.5, 0.97])
async def test_a_flipped_byte_of_the_log_is_refused_by_name(killed: Path, share: float) -> None:
    log = killed / WAL_NAME
    flip(log, 32 + int((log.stat().st_size - 32) * share))
    message = await refusal(killed)
    assert WAL_NAME in message
    assert f"{CREATES + 2} transactions were acknowledged" in message.replace(",", "")
    assert "frame" in message


async def test_a_flipped_byte_of_the_logs_header_is_refused(killed: Path) -> None:
    flip(killed / WAL_NAME, 17)
    assert "header" in await refusal(killed)


@pytest.mark.parametrize("harm", ["removed", "emptied", "cut"])
async def test_a_log_that_is_gone_is_refused(killed: Path, harm: str) -> None:
    log = killed / WAL_NAME
    if harm == "removed":
        log.unlink()
    else:
        os.truncate(log, 0 if harm == "emptied" else log.stat().st_size - 4_200)
    assert "were acknowledged" in await refusal(killed)


async def test_damage_is_seen_without_the_count_too(killed: Path) -> None:
    """After a power cut the count on the disk may be an old one."""
    (killed / COUNT_NAME).unlink()
    assert "nothing tells" in await refusal(killed)
    log = killed / WAL_NAME
    flip(log, log.stat().st_size // 2)
    assert "frame" in await refusal(killed)


async def test_a_torn_write_at_the_end_is_no_damage(killed: Path) -> None:
    """It was never acknowledged: the count does not know it."""
    log = killed / WAL_NAME
    counted = read_count(killed)
    assert counted is not None
    (killed / COUNT_NAME).write_bytes(b"%020d %s\n" % (counted.commits - 1, counted.database.encode()))
    flip(log, log.stat().st_size - 100)
    assert inspect_wal(log).dropped == 1
    await (await SqliteStore.open(killed)).close()
    assert count_rows(killed) == CREATES - 1


async def test_a_missing_database_is_refused(killed: Path) -> None:
    (killed / schema.FILE_NAME).unlink()
    assert "missing" in await refusal_of_server(killed)
    (killed / WAL_NAME).unlink()
    assert "missing" in await refusal_of_server(killed)
    (killed / COUNT_NAME).unlink()
    await (await SqliteStore.open(killed)).close()  # now there is nothing that tells of it


async def refusal_of_server(folder: Path) -> str:
    with pytest.raises(StartupError) as caught:
        await SqliteStore.open(folder)
    return str(caught.value)


async def test_an_older_copy_and_another_database_are_refused(tmp_path: Path) -> None:
    folder, backup = tmp_path / "data", tmp_path / "backup.db"
    store = await SqliteStore.open(folder)
    app = await store.create_app(make_app())
    await store.close()
    shutil.copy(folder / schema.FILE_NAME, backup)
    store = await SqliteStore.open(folder)
    await put(store, app)
    await store.close()
    shutil.copy(backup, folder / schema.FILE_NAME)
    assert "older copy" in await refusal(folder)
    other = await SqliteStore.open(tmp_path / "other")
    for n in range(9):
        await put(other, app, n)
    await other.close()
    shutil.copy(tmp_path / "other" / schema.FILE_NAME, folder / schema.FILE_NAME)
    assert "another database" in await refusal(folder)


async def test_damaged_pages_and_a_cut_database_are_refused(killed: Path) -> None:
    await (await SqliteStore.open(killed)).close()
    database = killed / schema.FILE_NAME
    whole = database.read_bytes()
    page_bytes = 4_096
    pages = len(whole) // page_bytes
    for page in range(2, pages):
        database.write_bytes(
            whole[: page * page_bytes] + b"\xff" * page_bytes + whole[(page + 1) * page_bytes :]
        )
        with pytest.raises(StartupError, match=r"ringtime\.db"):
            await SqliteStore.open(killed)
    database.write_bytes(whole[: (pages - 2) * page_bytes])
    with pytest.raises(StartupError, match=r"ringtime\.db"):
        await SqliteStore.open(killed)
    knowing = EmbeddedSettings(check_ms=0)
    database.write_bytes(whole[:-100])
    with pytest.raises(StartupError, match="pages"):
        await SqliteStore.open(killed)
    await (await SqliteStore.open(killed, settings=knowing)).close()


async def test_loss_is_accepted_knowingly_and_the_log_is_kept_aside(killed: Path) -> None:
    log = killed / WAL_NAME
    flip(log, log.stat().st_size // 2)
    damaged = log.read_bytes()
    plan = plan_acceptance(killed)
    assert plan is not None
    assert contents(killed)[WAL_NAME] == damaged
    assert accept_loss(killed) == plan
    assert 0 < plan.kept < CREATES
    assert plan.acknowledged == CREATES + 2
    assert (killed / f"{WAL_NAME}.1").read_bytes() == damaged
    assert accept_loss(killed) is None
    store = await SqliteStore.open(killed)
    assert await store.fetch_app("pay") is not None
    await store.close()
    assert count_rows(killed) == plan.kept - 2


async def test_what_reached_the_database_outlives_its_log(tmp_path: Path) -> None:
    """Behind a checkpoint the log holds older pages: without it there is more."""
    folder = tmp_path / "data"
    store = await SqliteStore.open(folder)
    app = await store.create_app(make_app())
    for n in range(20):
        await put(store, app, n)
    checkpoint(folder)
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))  # as a kill would leave it
    await store.close()
    log = copy / WAL_NAME
    flip(log, log.stat().st_size // 2)
    assert "frame" in await refusal(copy)
    plan = accept_loss(copy)
    assert plan is not None
    assert plan.is_log_dropped
    assert plan.kept == plan.acknowledged
    await (await SqliteStore.open(copy)).close()
    assert count_rows(copy) == 20


@pytest.mark.slow
def test_a_log_is_read_as_sqlite_reads_it(killed: Path) -> None:
    """Every tenth frame is damaged in turn; SQLite keeps as many transactions as we say."""
    log, database = killed / WAL_NAME, killed / schema.FILE_NAME
    whole = log.read_bytes()
    in_file = 4_120
    frames = (len(whole) - 32) // in_file
    for number in range(0, frames, 10):
        log.write_bytes(whole)
        flip(log, 32 + number * in_file + 24 + 1_000)
        report = inspect_wal(log)
        assert report.broken_frame == number + 1
        assert report.kept + report.dropped == inspect_wal_bytes(log, whole).kept
        with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
            connection.execute("SELECT 1 FROM sqlite_schema").fetchall()
            taken = int.from_bytes((killed / SHM_NAME).read_bytes()[16:20], sys.byteorder)
        assert taken <= number
        assert inspect_wal_bytes(log, whole[: 32 + taken * in_file]).kept == report.kept


def inspect_wal_bytes(log: Path, content: bytes) -> WalReport:
    aside = log.with_name("aside")
    aside.write_bytes(content)
    return inspect_wal(aside)


# Under a running server


def remove_folder(folder: Path) -> None:
    while folder.exists():  # meanwhile the server may put back what it misses
        shutil.rmtree(folder, ignore_errors=True)


def move_folder(folder: Path) -> None:
    folder.rename(folder.with_name("moved"))
    folder.mkdir()


def remove_database(folder: Path) -> None:
    (folder / schema.FILE_NAME).unlink()


def replace_database(folder: Path) -> None:
    copy = folder / "copy"
    shutil.copy(folder / schema.FILE_NAME, copy)
    copy.rename(folder / schema.FILE_NAME)


def empty_database(folder: Path) -> None:
    os.truncate(folder / schema.FILE_NAME, 0)


def roll_back_database(folder: Path) -> None:
    shutil.copyfile(folder.with_name("backup.db"), folder / schema.FILE_NAME)


def remove_log(folder: Path) -> None:
    (folder / WAL_NAME).unlink()


def cut_log(folder: Path) -> None:
    os.truncate(folder / WAL_NAME, 100)


def cut_database(folder: Path) -> None:
    os.truncate(folder / schema.FILE_NAME, (folder / schema.FILE_NAME).stat().st_size - 4_096)


HARMS = [
    cut_database,
    remove_folder,
    move_folder,
    remove_database,
    replace_database,
    empty_database,
    roll_back_database,
    remove_log,
    cut_log,
]


def look_often(patch: pytest.MonkeyPatch) -> None:
    """A store that nobody uses looks after its files each 50 ms, not each second."""
    patch.setattr(session, "IDLE_S", 0.05)
    patch.setattr(keeper, "_CHORES_S", 0.05)


@pytest.mark.parametrize("harm", HARMS)
@pytest.mark.parametrize("is_busy", [True, False])
async def test_a_store_whose_files_are_taken_away_says_so(
    tmp_path: Path, harm: Callable[[Path], None], is_busy: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not is_busy:
        look_often(monkeypatch)
    folder = tmp_path / "data"
    await (await SqliteStore.open(folder)).close()
    shutil.copyfile(folder / schema.FILE_NAME, tmp_path / "backup.db")
    store = await SqliteStore.open(folder)
    app = await store.create_app(make_app())
    await put(store, app)
    checkpoint(folder)
    await put(store, app, 1)
    harm(folder)
    if is_busy:
        with pytest.raises((OutcomeUnknown, StoreUnavailable)):
            await put(store, app, 2)
    lost = await asyncio.wait_for(store.wait_lost(), 60)
    assert str(folder) in str(lost)
    for call in (put(store, app, 3), store.fetch_apps(), store.ping(), store.check_ready()):
        with pytest.raises(FolderLost, match="under the running server"):
            await call
    await store.close()


async def test_a_checkpoint_by_somebody_else_is_no_harm(store: SqliteStore, tmp_path: Path) -> None:
    """As backup programs do that follow the log."""
    app = await store.create_app(make_app())
    for n, kind in enumerate(("PASSIVE", "RESTART", "TRUNCATE") * 2):
        await put(store, app, n)
        checkpoint(tmp_path / "data", kind)
        await put(store, app, 100 + n)
    await store.check_ready()


async def test_a_checkpoint_beside_a_reader_is_no_harm(store: SqliteStore, tmp_path: Path) -> None:
    """It leaves out what was written again since the reader began: here the last page."""
    app = await store.create_app(make_app())
    database = tmp_path / "data" / schema.FILE_NAME
    with (
        closing(sqlite3.connect(database, isolation_level=None)) as writer,
        closing(sqlite3.connect(database, isolation_level=None)) as reader,
    ):
        writer.execute("CREATE TABLE filler (id INTEGER PRIMARY KEY, content BLOB)")
        writer.executemany("INSERT INTO filler VALUES (?, zeroblob(2000))", [(n,) for n in range(20)])
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM filler").fetchone()
        writer.execute("UPDATE filler SET content = zeroblob(1999) WHERE id = 19")
        writer.execute("PRAGMA wal_checkpoint(PASSIVE)")
        counted = int.from_bytes(database.read_bytes()[28:32], "big")
        assert database.stat().st_size < counted * 4_096
        await put(store, app)
    await store.check_ready()


async def test_lock_and_count_are_written_again(store: SqliteStore, tmp_path: Path) -> None:
    app = await store.create_app(make_app())
    folder = tmp_path / "data"
    (folder / LOCK_NAME).unlink()
    (folder / COUNT_NAME).unlink()
    with pytest.raises(StartupError, match="in use"):
        await SqliteStore.open(folder)
    assert find_server(folder) == 0
    await until(lambda: (folder / LOCK_NAME).exists() and (folder / COUNT_NAME).exists())
    assert find_server(folder) == os.getpid()
    await put(store, app)
    count = read_count(folder)
    assert count is not None
    assert count.commits == 3  # where the folder is, and two


async def test_chores_that_fail_are_told_and_come_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """They are the writer's: without it, whoever asks the store would wait for ever."""
    look_often(monkeypatch)
    rest, tries = keeper.ServerKeeper.rest, iter(range(100_000))

    def fail_twice(self: keeper.ServerKeeper, at: session.Session | None) -> None:
        if next(tries) < 2:
            raise OSError("no such chore")
        rest(self, at)

    monkeypatch.setattr(keeper.ServerKeeper, "rest", fail_twice)
    store = await SqliteStore.open(tmp_path / "data")
    await put(store, await store.create_app(make_app()))
    (tmp_path / "data" / LOCK_NAME).unlink()
    await until((tmp_path / "data" / LOCK_NAME).exists)
    await store.close()
    assert caplog.text.count("OSError: no such chore") == 2


async def test_what_a_tool_wrote_is_counted_too(store: SqliteStore, tmp_path: Path) -> None:
    tool = await SqliteStore.open(tmp_path / "data", exclusive=False)
    await tool.create_app(make_app())
    await store.create_app(make_app())
    await tool.close()
    count = read_count(tmp_path / "data")
    assert count is not None
    assert count.commits == 3  # where the folder is, and two


async def test_a_checkpoint_comes_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    look_often(monkeypatch)
    folder = tmp_path / "data"
    store = await SqliteStore.open(folder, settings=EmbeddedSettings(checkpoint_ms=100))
    app = await store.create_app(make_app())
    await put(store, app)

    def is_moved() -> bool:
        report = examine_folder(folder, check_s=0, is_served=True)
        return report.in_file == report.held

    await until(is_moved)
    await store.close()


def test_a_forked_child_does_not_keep_the_folder(tmp_path: Path) -> None:
    """The parent is killed; the child lives on."""
    script = """
import asyncio, os, signal, sys
from pathlib import Path
from ringtime_shared.stores.sqlite import SqliteStore

async def main():
    store = await SqliteStore.open(Path(sys.argv[1]))
    if child := os.fork():
        print(child, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    while True:
        signal.pause()

asyncio.run(main())
"""
    command = [sys.executable, "-W", "ignore", "-c", script, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        try:
            child = int(parent.stdout.readline())
        finally:
            parent.kill()  # it does so itself; one that hangs would be waited for without end
        try:
            assert parent.wait(60) == -9
            os.kill(child, 0)  # it lives

            async def reopen() -> None:
                await (await SqliteStore.open(tmp_path)).close()

            asyncio.run(reopen())
        finally:
            os.kill(child, 9)


# Modes


@pytest.fixture
def any_umask(request: pytest.FixtureRequest) -> Iterator[None]:
    before = os.umask(request.param)
    yield
    os.umask(before)


def modes(folder: Path) -> set[int]:
    return {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}


@pytest.mark.parametrize("any_umask", [0, 0o022, 0o077], indirect=True)
@pytest.mark.usefixtures("any_umask")
async def test_nobody_else_may_read(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "data"
    store = await SqliteStore.open(folder)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {WAL_NAME, SHM_NAME, COUNT_NAME, RESERVE_NAME} <= {path.name for path in folder.iterdir()}
    assert modes(folder) == {0o600}
    await store.close()
    folder.chmod(0o755)
    for path in folder.iterdir():
        path.chmod(0o666)
    store = await SqliteStore.open(folder)  # as an older release left it
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert modes(folder) == {0o600}
    await store.close()


async def test_a_folder_that_others_use_keeps_its_mode_and_is_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "shared"
    folder.mkdir()
    folder.chmod(0o777)
    (folder / "theirs.txt").write_text("")
    await (await SqliteStore.open(folder)).close()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o777
    assert "others may write" in caplog.text
    assert stat.S_IMODE((folder / schema.FILE_NAME).stat().st_mode) == 0o600


# A full disk


async def limit_pages(store: SqliteStore, spare: int | None) -> None:
    def run(session: object) -> None:
        connection: sqlite3.Connection = session.connection  # type: ignore[attr-defined]
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count = {1 << 30 if spare is None else pages + spare}")

    await store._writer.run(run)


async def test_ready_means_that_a_write_is_possible(
    store: SqliteStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = await store.create_app(make_app())
    await store.check_ready()
    await limit_pages(store, spare=2)
    with pytest.raises(DiskFull):
        await store.put_rows([make_row(app, payload="x" * 65_536)])
    assert (tmp_path / "data" / RESERVE_NAME).stat().st_size == 0  # given up to those that must write
    no_room = os.statvfs_result((4_096, 4_096, 100, 0, 0, 0, 0, 0, 0, 255))
    monkeypatch.setattr(os, "fstatvfs", lambda _: no_room)
    with pytest.raises(DiskFull, match="new schedules are refused"):
        await store.check_ready()
    with pytest.raises(DiskFull, match="new schedules are refused"):
        await put(store.for_new(), app)
    await put(store, app, 1)  # a dispatcher goes on
    monkeypatch.undo()
    await put(store.for_new(), app, 2)
    await store.check_ready()
    assert (tmp_path / "data" / RESERVE_NAME).stat().st_size > 0
