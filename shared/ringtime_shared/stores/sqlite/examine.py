"""Is everything in the data folder that was acknowledged? Asked before a database is opened for writing,
because opening it drops what SQLite does not take of a damaged log.

| what happened | what is seen |
|---|---|
| killed, or power lost | the database, with its log, holds `COMMITS` transactions or more |
| a damaged frame in the log | fewer than `COMMITS`; or two or more whole transactions behind the frame |
| the log is gone, or cut short | fewer than `COMMITS` |
| the database is an older copy, or another one | fewer than `COMMITS`; or another name |
| the database is gone | no database, but `COMMITS` or a log |
| a page of the database is damaged | SQLite's `quick_check`, as far as it comes in its time |
| a copy without `COMMITS` | transactions, but nothing to compare them with |

Not seen: a flipped bit inside a value in the database itself, on which SQLite keeps no checksum.

`COMMITS` says how many transactions were committed, beside the database. Each transaction that writes raises
the number `commits` in the database, and once it is durable the same number is written to the file. That
write is not flushed: it costs two microseconds, outlives the process in the kernel's memory, and reaches the
disk within half a minute. So after a kill the file holds the last number, and after a power cut perhaps an
earlier one, never a later: a database that holds less than `COMMITS` says has lost what was acknowledged.

The log. When a database is opened after a crash, SQLite takes the log's frames up to the first that is not
what it should be, and drops all that follow without a word. Behind a torn write at the end that is right: it
was never acknowledged. Behind a damaged frame in the middle there are transactions that were. The log is read
here as SQLite does (https://www.sqlite.org/fileformat2.html#walformat), and the two are told apart: a
transaction is begun only when the one before is on the disk, so at most one can be unfinished.
"""

from __future__ import annotations

import os
import re
import sqlite3
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NamedTuple

from ringtime_shared.errors import StartupError
from ringtime_shared.stores.sqlite.folder import COUNT_NAME, DATABASE_NAME, WAL_NAME, open_private

COUNT_FORM = b"%020d %s\n"  #: of `COMMITS`: a number of transactions, and the name of their database
_FORM = re.compile(rb"(\d{20}) ([0-9a-f]{32})\n")
_MAGIC = 0x377F0682  # its lowest bit tells the byte order of the checksums
_HEADER, _FRAME = struct.Struct(">8I"), struct.Struct(">6I")
_MASK = 0xFFFF_FFFF

Sums = tuple[int, int]


class Count(NamedTuple):
    """A number of transactions, and of which database."""

    commits: int
    database: str  #: the random name a database is given when it is made

    def to_bytes(self) -> bytes:
        """Return the content of `COMMITS`."""
        return COUNT_FORM % (self.commits, self.database.encode())


def read_count(folder: Path) -> Count | None:
    """Return what `COMMITS` says; None: it is not there, or says nothing."""
    try:
        found = _FORM.fullmatch((folder / COUNT_NAME).read_bytes())
    except OSError:
        return None
    return Count(int(found[1]), found[2].decode()) if found else None


def write_count(folder: Path, count: Count) -> None:
    """Write `COMMITS` anew and flush it. Raises OSError."""
    fd = open_private(folder / COUNT_NAME)
    try:
        os.ftruncate(fd, os.pwrite(fd, count.to_bytes(), 0))
        os.fsync(fd)
    finally:
        os.close(fd)
    _flush_folder(folder)


@dataclass(frozen=True, slots=True)
class WalReport:
    """What was found in a log."""

    kept: int = 0  #: transactions that SQLite takes
    dropped: int = 0  #: transactions of the same log behind the first damaged frame
    broken_frame: int | None = None  #: the number of that frame, from 1; None: none is damaged
    is_header_broken: bool = False  #: SQLite drops all of it; whether it was in the database is not said here

    @property
    def has_lost(self) -> bool:
        """Whether it surely lost transactions that were on the disk; one alone may be an unfinished write."""
        return self.dropped > 1


def inspect_wal(path: Path) -> WalReport:
    """Read the log; one that is not there holds nothing. Takes some 60 ms a MiB. Raises OSError."""
    try:
        with path.open("rb") as file:
            return _inspect(file)
    except FileNotFoundError:
        return WalReport()


def _inspect(file: BinaryIO) -> WalReport:
    head = file.read(_HEADER.size)
    if len(head) < _HEADER.size:
        return WalReport(is_header_broken=bool(head.strip(b"\0")))
    magic, _, page_bytes, _, *salts, sum0, sum1 = _HEADER.unpack(head)
    order = ">" if magic & 1 else "<"
    if magic & ~1 != _MAGIC or _checksum(head[:24], (0, 0), order) != (sum0, sum1):
        return WalReport(is_header_broken=True)
    sums: Sums = (sum0, sum1)
    kept = dropped = number = 0
    stopped: int | None = None  # the first frame that SQLite does not take
    is_broken = False  # and it is none left over from before the log was begun anew
    while len(frame := file.read(_FRAME.size + page_bytes)) == _FRAME.size + page_bytes:
        number += 1
        page, pages_at_end, *frame_salts, sum0, sum1 = _FRAME.unpack_from(frame)
        is_ours = frame_salts == salts
        if stopped is None:
            sums = _checksum(frame[_FRAME.size :], _checksum(frame[:8], sums, order), order)
            if not is_ours or page == 0 or sums != (sum0, sum1):
                stopped = number
        if stopped is not None:
            is_broken |= is_ours
            dropped += is_ours and pages_at_end > 0
        else:
            kept += pages_at_end > 0
    return WalReport(kept, dropped, stopped if is_broken else None)


def _checksum(content: bytes, sums: Sums, order: str) -> Sums:
    words = struct.unpack(f"{order}{len(content) // 4}I", content)
    first, second = sums
    for even, odd in zip(words[::2], words[1::2], strict=True):
        first = first + even + second & _MASK
        second = second + odd + first & _MASK
    return first, second


_MAX_FAULTS = 5
_NO_DAMAGE = {  # but a full disk, or a folder that is not ours
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_NOMEM,
}
_NO_WAL = WalReport()
_FETCH_COUNT = "SELECT value FROM meta WHERE name IN ('commits', 'database') ORDER BY name"


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderReport:
    """What was found in a data folder; see `find_loss`."""

    folder: Path
    has_database: bool
    counted: Count | None = None  #: what `COMMITS` says
    held: Count | None = None  #: what the database and its log hold; None: it counts nothing yet
    in_file: Count | None = None  #: what the database holds without its log
    wal: WalReport = _NO_WAL
    fault: str = ""  #: why SQLite cannot read it, or what is wrong with its pages
    is_checked: bool = False  #: whether the check of the pages came to its end


def examine_folder(folder: Path, *, check_s: float, is_served: bool = False) -> FolderReport:
    """Look at a folder, and change nothing.

    Args:
        is_served: a server runs on it; its log, which changes under way, is not looked into then.
        check_s: seconds for the check of all pages; 0 leaves it out.

    Raises OSError, and StartupError where SQLite finds no damage but cannot read all the same.
    """
    counted = read_count(folder)
    database, log = folder / DATABASE_NAME, folder / WAL_NAME
    if not database.is_file() or not database.stat().st_size:
        return FolderReport(
            folder=folder,
            has_database=False,
            counted=counted,
            fault=f"there is a {WAL_NAME}" if log.is_file() and log.stat().st_size else "",
        )
    held, fault, is_checked = _read(database, check_s)
    return FolderReport(
        folder=folder,
        has_database=True,
        counted=counted,
        held=held,
        in_file=read_count_in_file(database),
        wal=_NO_WAL if is_served else inspect_wal(log),
        fault=fault,
        is_checked=is_checked,
    )


def find_loss(report: FolderReport) -> str | None:
    """Return what is missing or damaged, as half a sentence; None: everything acknowledged is there."""
    counted, held, wal = report.counted, report.held, report.wal
    if not report.has_database:
        if counted is None and not report.fault:
            return None  # a folder to begin in
        return f"{DATABASE_NAME} is missing or empty, but " + (
            f"{COUNT_NAME} says that it held {counted.commits:,} transactions" if counted else report.fault
        )
    if held is None and report.fault:
        return f"{DATABASE_NAME} cannot be read: {report.fault}"
    if counted and held and counted.database != held.database:
        return f"{DATABASE_NAME} is another database than the one that {COUNT_NAME} belongs to"
    if counted and (held is None or held.commits < counted.commits):
        there = held.commits if held else 0
        why = _describe_wal(wal) or f"{WAL_NAME} is missing or cut short, or {DATABASE_NAME} is an older copy"
        return (
            f"{counted.commits:,} transactions were acknowledged, as {COUNT_NAME} says, and only"
            f" {there:,} are there: {why}"
        )
    if wal.has_lost:
        return _describe_wal(wal)
    if held and held.commits and counted is None:
        return (
            f"{COUNT_NAME} is missing or unreadable, so nothing tells whether the {held.commits:,}"
            f" transactions in {DATABASE_NAME} are all there were"
        )
    if report.fault:
        return f"pages of {DATABASE_NAME} are damaged: {report.fault}"
    return None


def refuse_loss(folder: Path, *, check_s: float) -> None:
    """Raise StartupError unless everything acknowledged is in the folder. Raises OSError, too."""
    loss = find_loss(examine_folder(folder, check_s=check_s))
    if loss is not None:
        raise StartupError(
            f"data folder {folder} is damaged: {loss}. Nothing was changed. `ringctl --data {folder} doctor`"
            f" says more. Restore the folder from a backup, or go on with what is there: `ringctl --data"
            f" {folder} accept-loss`"
        )


def read_count_in_file(database: Path) -> Count | None:
    """Return what the database says without its log; None: nothing that can be read.

    Safe beside connections of this process: SQLite keeps a descriptor open until their locks are gone.

    A checkpoint beside a reader, or one under way, has left out pages that are in the log in a newer state,
    and if the last ones are among them the file is shorter than its first page says. SQLite calls that
    damage, except to a connection that may mend the schema, which goes by the file.
    """
    try:
        with _connect(database, "&immutable=1") as connection:
            connection.execute("PRAGMA writable_schema = ON")
            return fetch_count(connection)
    except sqlite3.Error:
        return None


def fetch_count(connection: sqlite3.Connection) -> Count | None:
    """Return what an open database says; None: it is of a schema that does not count."""
    has_table = connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'meta'").fetchone()
    found = [value for (value,) in connection.execute(_FETCH_COUNT)] if has_table else []
    return Count(*found) if len(found) == 2 else None


def _read(database: Path, check_s: float) -> tuple[Count | None, str, bool]:
    """Return the count, what is wrong, and whether every page was checked.

    Read-only: a connection that may write would, on closing, drop the log that it could not read.
    """
    count = None
    try:
        with _connect(database, "") as connection:
            count = fetch_count(connection)
            faults, is_checked = _check_pages(connection, check_s) if check_s > 0 else ([], False)
            return count, "; ".join(faults), is_checked
    except sqlite3.Error as error:
        if getattr(error, "sqlite_errorcode", 0) & 0xFF in _NO_DAMAGE:
            raise StartupError(f"cannot read {database}: {error} ({error.sqlite_errorname})") from error
        return count, str(error), False


def _check_pages(connection: sqlite3.Connection, check_s: float) -> tuple[list[str], bool]:
    timer = threading.Timer(check_s, connection.interrupt)
    timer.start()
    try:
        found = [text for (text,) in connection.execute(f"PRAGMA quick_check({_MAX_FAULTS})")]
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode == sqlite3.SQLITE_INTERRUPT:
            return [], False
        raise
    finally:
        timer.cancel()
        timer.join()
    return [" ".join(text.split()) for text in found if text != "ok"], True


@contextmanager
def _connect(database: Path, more: str) -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(
        f"{database.absolute().as_uri()}?mode=ro{more}", uri=True, check_same_thread=False
    )
    try:
        yield connection
    finally:
        connection.close()


def _describe_wal(wal: WalReport) -> str:
    if wal.is_header_broken:
        return f"the header of {WAL_NAME} is damaged, so SQLite drops all of it"
    if wal.broken_frame is None:
        return ""
    return (
        f"frame {wal.broken_frame:,} of {WAL_NAME} is damaged, and SQLite drops it with the"
        f" {wal.dropped:,} transactions behind it"
    )


def _flush_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
