"""A thread with an SQLite connection of its own: it runs functions on that, many to a transaction; knows what
is in the file; writes many records in few statements; and says what an SQLite error means to a caller.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import lru_cache
from itertools import chain
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from ringtime_shared.errors import DiskFull, OutcomeUnknown, RingtimeError, StoreUnavailable

if TYPE_CHECKING:
    from ringtime_shared.stores.sqlite.keeper import Keeper

IDLE_S = 1.0  # a writer with nothing to do looks after its files this often
INDEXED_ENTRIES = 20_000  # about 4 MB; one entry is a poller instance in a minute
_COUNT = "UPDATE meta SET value = value + 1 WHERE name = 'commits' RETURNING value"

_log = logging.getLogger(__name__)

T = TypeVar("T")
IndexKey = tuple[int, int, int]  # bucket, app number, partition


class _Job(NamedTuple):
    operation: Callable[[Session], Any]
    future: asyncio.Future[Any]


class _Answer(NamedTuple):
    future: asyncio.Future[Any]
    value: Any
    error: BaseException | None


class Worker:
    """Runs operations in the order they came; all that wait when it gets free share a transaction.

    An operation is a function of a `Session`. It may raise an error of ours only before its first write,
    and it may be run again after a rollback.
    """

    def __init__(
        self,
        connect: Callable[[], sqlite3.Connection],
        *,
        name: str,
        begin: str,
        queue_limit: int,
        at_end: str | None = None,
        keeper: Keeper | None = None,
        refuse: Callable[[], None] = lambda: None,
    ) -> None:
        """Start the thread.

        Args:
            at_end: a statement to run before the connection is closed.
            keeper: is told of each transaction; None where nothing is written.
            refuse: raises StoreUnavailable while nothing may be done; asked on the event loop.
        """
        self._connect = connect
        self._name = name
        self._begin = begin
        self._at_end = at_end
        self._keeper = keeper
        self._refuse = refuse
        self._queue_limit = queue_limit
        self._waiting = 0  # touched by the event loop only
        self._is_closing = False
        self._queue: SimpleQueue[_Job | None] = SimpleQueue()  # None: end
        self._session: Session | None = None  # touched by the thread only
        self._loop = asyncio.get_running_loop()
        self._ended: asyncio.Future[None] = self._loop.create_future()
        threading.Thread(target=self._work, name=f"ringtime-sqlite-{name}", daemon=True).start()

    async def run(self, operation: Callable[[Session], T]) -> T:
        """Run `operation` in the thread and return its value once the transaction is committed.

        Raises:
            StoreUnavailable: too many operations wait, or the transaction was rolled back.
            OutcomeUnknown: the COMMIT failed and may nevertheless have happened.
        """
        if self._is_closing:
            raise StoreUnavailable("the store is closed")
        self._refuse()
        if self._waiting >= self._queue_limit:
            raise StoreUnavailable(f"{self._waiting} operations wait for the SQLite {self._name}")
        future: asyncio.Future[T] = self._loop.create_future()
        self._waiting += 1
        self._queue.put(_Job(operation, future))
        return await future

    async def close(self) -> None:
        """Finish what is queued and close the connection. Safe twice."""
        if not self._is_closing:
            self._is_closing = True
            self._queue.put(None)
        await asyncio.shield(self._ended)

    def _work(self) -> None:
        try:
            self._serve()
        finally:  # whoever closes the store waits for this
            self._tell(self._ended.set_result, None)

    def _serve(self) -> None:
        is_ending = False
        while not is_ending:
            taken = self._take()
            is_ending = None in taken  # nothing is queued after it
            if jobs := [job for job in taken if job is not None]:
                self._tell(self._resolve, self._answer(jobs))
            self._rest()
        if self._session is not None and self._at_end is not None:
            with suppress(sqlite3.Error):
                self._session.connection.execute(self._at_end)
        self._disconnect()
        if self._keeper is not None:
            self._keeper.close()

    def _rest(self) -> None:
        """Have the keeper see to its chores. One that fails is told, and comes again."""
        if self._keeper is not None:
            try:
                self._keeper.rest(self._session)
            except Exception:  # noqa: BLE001 - without this thread, whoever asks would wait for ever
                _log.exception("chores of the data folder")

    def _take(self) -> list[_Job | None]:
        """Return what is queued; wait for something, but where there is a keeper no longer than a second."""
        try:
            taken = [self._queue.get(timeout=None if self._keeper is None else IDLE_S)]
        except Empty:
            return []
        return taken + [self._queue.get_nowait() for _ in range(self._queue.qsize())]

    def _tell(self, callback: Callable[[T], object], value: T) -> None:
        with suppress(RuntimeError):  # the event loop was closed and nobody waits any more
            self._loop.call_soon_threadsafe(callback, value)

    def _resolve(self, answers: Sequence[_Answer]) -> None:
        self._waiting -= len(answers)
        for future, value, error in answers:
            if future.done():  # its caller was cancelled
                continue
            if error is None:
                future.set_result(value)
            else:
                future.set_exception(error)

    def _answer(self, jobs: Sequence[_Job]) -> list[_Answer]:
        try:
            return self._transact(jobs)
        except (StoreUnavailable, OutcomeUnknown) as error:
            failure: BaseException = error
        except sqlite3.OperationalError as error:  # disk, lock, memory: it would hit the others too
            failure = from_sqlite(error)
        except BaseException as error:  # noqa: BLE001 - whoever waits must be told, whatever it is
            if len(jobs) > 1:
                self._roll_back()
                return [answer for job in jobs for answer in self._answer([job])]
            failure = from_sqlite(error) if isinstance(error, sqlite3.Error) else error
        self._roll_back()
        if self._keeper is not None:
            self._keeper.failed(failure)
        return [_Answer(job.future, None, _copy(failure)) for job in jobs]

    def _transact(self, jobs: Sequence[_Job]) -> list[_Answer]:
        session = self._session or self._open()
        session.connection.execute(self._begin)
        answers = []
        for operation, future in jobs:
            try:
                answers.append(_Answer(future, operation(session), None))
            except RingtimeError as error:
                answers.append(_Answer(future, None, error))
        number = session.commit(is_counted=self._keeper is not None)
        if self._keeper is not None and number is not None:
            self._keeper.committed(number)
        return answers

    def _open(self) -> Session:
        session = self._session = Session(self._connect())
        if self._keeper is not None:
            self._keeper.opened(session)
        return session

    def _roll_back(self) -> None:
        if self._session is not None:
            try:
                self._session.roll_back()
            except sqlite3.Error:  # closing rolls back too; the next operation opens a new connection
                self._disconnect()

    def _disconnect(self) -> None:
        if self._session is not None:
            with suppress(sqlite3.Error):
                self._session.connection.close()
            self._session = None


def _copy(error: BaseException) -> BaseException:
    """Return the error anew, so that waiting tasks do not share one traceback."""
    if isinstance(error, (StoreUnavailable, OutcomeUnknown)):
        return type(error)(*error.args)
    return error


class Session:
    """What operations run on. Stays in the thread that made it.

    Both caches may hold what only the open transaction has written, because a rollback empties them. Numbers
    are remembered for one transaction: another process may delete an app, and register one of its id.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection
        self._numbers: dict[str, int] = {}
        self._indexed: OrderedDict[IndexKey, None] = OrderedDict()  # in order of last use
        self._changes = connection.total_changes  # up to the end of the last transaction

    def fetch(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Return all records of a query. Text that is not UTF-8 comes as bytes, for its reader to refuse:
        the SQLite module would fail the whole query for it."""
        try:
            return self.connection.execute(sql, values).fetchall()
        except sqlite3.OperationalError as error:
            if not str(error).startswith("Could not decode to UTF-8"):
                raise
        self.connection.text_factory = _text_or_bytes
        try:
            return self.connection.execute(sql, values).fetchall()
        finally:
            self.connection.text_factory = str

    def number_of(self, app_id: str) -> int | None:
        """Return the app's number, None if it has none yet."""
        number = self._numbers.get(app_id)
        if number is None:
            found = self.connection.execute("SELECT number FROM app_numbers WHERE app_id = ?", (app_id,))
            for (number,) in found:
                self._numbers[app_id] = number
        return number

    def give_number(self, app_id: str) -> int:
        """Return the app's number; give it the next one if it has none yet."""
        number = self.number_of(app_id)
        if number is None:
            added = self.connection.execute("INSERT INTO app_numbers (app_id) VALUES (?)", (app_id,))
            number = added.lastrowid or 0
            self._numbers[app_id] = number
        return number

    def note_indexed(self, key: IndexKey) -> bool:
        """Remember that `key` is in `due_index`; return whether that was known before."""
        was_known = key in self._indexed
        if was_known:
            self._indexed.move_to_end(key)
        else:
            if len(self._indexed) >= INDEXED_ENTRIES:
                self._indexed.popitem(last=False)
            self._indexed[key] = None
        return was_known

    def forget_indexed(self, keys: Sequence[IndexKey]) -> None:
        for key in keys:
            self._indexed.pop(key, None)

    def commit(self, *, is_counted: bool) -> int | None:
        """Commit, and return the number of the transaction; None: it wrote nothing, or is not counted.

        Raises StoreUnavailable or OutcomeUnknown.
        """
        number = None
        if is_counted and self.connection.total_changes != self._changes:
            ((number,),) = self.connection.execute(_COUNT).fetchall()
        try:
            self.connection.execute("COMMIT")
        except sqlite3.Error as error:
            raise from_commit(error) from error
        finally:
            self._numbers.clear()
        self._changes = self.connection.total_changes
        return number

    def retire_number(self, app_id: str, number: int) -> None:
        """Let the next app of this id get another number. No app id has a dot, so nobody asks for the old."""
        self.connection.execute(
            "UPDATE app_numbers SET app_id = ? WHERE number = ?", (f"{app_id}.{number}", number)
        )
        self._numbers.pop(app_id, None)

    def roll_back(self) -> None:
        """End the open transaction, if SQLite has not done so itself. Raises sqlite3.Error."""
        self._numbers.clear()
        self._indexed.clear()
        if self.connection.in_transaction:
            self.connection.execute("ROLLBACK")
        self._changes = self.connection.total_changes


def _text_or_bytes(stored: bytes) -> str | bytes:
    try:
        return stored.decode()
    except UnicodeDecodeError:
        return stored


# `executemany` gives the interpreter lock up and takes it back once a row. While the event loop is busy, each
# of these can cost a switch interval (5 ms): 512 rows were seen to take over two seconds. With this many
# records a statement it is a few milliseconds, and the CPU time is the same.
RECORDS_PER_STATEMENT = 64


def execute_bulk(connection: sqlite3.Connection, template: str, records: Sequence[tuple[Any, ...]]) -> None:
    """Execute `template`, with `{values}` standing for the `VALUES` clause of up to 64 records."""
    for start in range(0, len(records), RECORDS_PER_STATEMENT):
        part = records[start : start + RECORDS_PER_STATEMENT]
        sql = _fill(template, len(part[0]), len(part))
        connection.execute(sql, tuple(chain.from_iterable(part)))


@lru_cache(maxsize=512)
def _fill(template: str, width: int, count: int) -> str:
    record = f"({', '.join('?' * width)})"
    return template.format(values=f"VALUES {', '.join([record] * count)}")


# A COMMIT that failed like this wrote no commit frame to the WAL, so it cannot come back after a crash.
_NOTHING_COMMITTED = {
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_IOERR_WRITE,
}
_NO_ROOM = {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_WRITE, sqlite3.SQLITE_IOERR_SHMSIZE}


def from_sqlite(error: sqlite3.Error) -> StoreUnavailable:
    """Return what to raise when the transaction was rolled back."""
    if getattr(error, "sqlite_errorcode", 0) in _NO_ROOM:
        return DiskFull(f"the disk of the data folder takes no more: {_describe(error)}")
    return StoreUnavailable(_describe(error))


def from_commit(error: sqlite3.Error) -> StoreUnavailable | OutcomeUnknown:
    """Return what to raise when COMMIT itself failed."""
    code = getattr(error, "sqlite_errorcode", 0)
    if code in _NOTHING_COMMITTED or code & 0xFF in _NOTHING_COMMITTED:
        return from_sqlite(error)
    return OutcomeUnknown(_describe(error))


def _describe(error: sqlite3.Error) -> str:
    name = getattr(error, "sqlite_errorname", type(error).__name__)
    return f"SQLite: {error} ({name})"
