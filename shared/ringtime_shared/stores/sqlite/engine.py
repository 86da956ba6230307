"""A thread that runs functions on its own SQLite connection, many to a transaction."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any, NamedTuple, TypeVar

from ringtime_shared.errors import OutcomeUnknown, RingtimeError, StoreUnavailable
from ringtime_shared.stores.sqlite.keeper import Keeper
from ringtime_shared.stores.sqlite.session import Session, from_sqlite

IDLE_S = 1.0  # a writer with nothing to do looks after its files this often

T = TypeVar("T")


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
        is_ending = False
        while not is_ending:
            taken = self._take()
            is_ending = None in taken  # nothing is queued after it
            if jobs := [job for job in taken if job is not None]:
                self._tell(self._resolve, self._answer(jobs))
            if self._keeper is not None:
                self._keeper.rest(self._session)
        if self._session is not None and self._at_end is not None:
            with suppress(sqlite3.Error):
                self._session.connection.execute(self._at_end)
        self._disconnect()
        if self._keeper is not None:
            self._keeper.close()
        self._tell(self._ended.set_result, None)

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
