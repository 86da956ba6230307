"""Go on with what is left in a data folder, when an operator says so knowing what is missing."""

from __future__ import annotations

import os
import shutil
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from ringtime_shared.errors import StartupError
from ringtime_shared.stores.sqlite.examine import Count, FolderReport, examine_folder, find_loss, write_count
from ringtime_shared.stores.sqlite.folder import COUNT_NAME, DATABASE_NAME, SHM_NAME, WAL_NAME, FolderLock


@dataclass(frozen=True, slots=True, kw_only=True)
class Acceptance:
    """What there is, and what would be gone on with."""

    loss: str  #: what is missing
    acknowledged: int | None  #: transactions; None: nothing tells
    kept: int  #: transactions
    is_log_dropped: bool  #: the database alone holds more than with what is left of its log


def plan_acceptance(folder: Path) -> Acceptance | None:
    """Return what `accept_loss` would do, None if nothing is missing. Changes nothing.

    Raises StartupError when SQLite cannot read the database at all, or only its pages are damaged.
    """
    report = examine_folder(folder, check_s=0)
    loss = find_loss(report)
    return None if loss is None else _plan(report, loss)


def accept_loss(folder: Path) -> Acceptance | None:
    """Make the folder one that a server starts on, with what is left; None: nothing was missing.

    The log is kept beside it under another name, for whoever can read more out of it.

    Raises StartupError as `plan_acceptance`, and when a server runs on the folder. Raises OSError.
    """
    lock = FolderLock(folder)
    try:
        plan = plan_acceptance(folder)
        if plan is not None:
            _set_log_aside(folder, is_dropped=plan.is_log_dropped)
            _correct_count(folder)
        return plan
    except sqlite3.Error as error:
        raise StartupError(f"cannot go on with {folder / DATABASE_NAME}: {error}") from error
    finally:
        lock.release()


def _plan(report: FolderReport, loss: str) -> Acceptance:
    alone, held = report.in_file, report.held
    if report.has_database and held is None and alone is None:
        raise StartupError(
            f"{report.folder / DATABASE_NAME} cannot be read ({report.fault or 'it counts nothing'}): restore"
            " it from a backup, or move the folder away to begin with an empty one"
        )
    # A log that breaks off holds older pages than the database it was moved to already.
    is_broken = report.wal.broken_frame is not None or report.wal.is_header_broken
    is_log_dropped = not report.has_database or (
        is_broken and alone is not None and (held is None or alone.commits >= held.commits)
    )
    kept = alone if is_log_dropped else held
    return Acceptance(
        loss=loss,
        acknowledged=report.counted.commits if report.counted else None,
        kept=kept.commits if kept else 0,
        is_log_dropped=is_log_dropped,
    )


def _set_log_aside(folder: Path, *, is_dropped: bool) -> None:
    log = folder / WAL_NAME
    if not log.is_file():
        return
    aside = next(path for n in range(1, 1_000_000) if not (path := folder / f"{WAL_NAME}.{n}").exists())
    if is_dropped:
        log.rename(aside)
        (folder / SHM_NAME).unlink(missing_ok=True)
    else:
        shutil.copyfile(log, aside)
        os.chmod(aside, 0o600)  # noqa: PTH101


def _correct_count(folder: Path) -> None:
    """Count what there is, with all of it in the database."""
    if (folder / DATABASE_NAME).is_file():
        with closing(sqlite3.connect(folder / DATABASE_NAME)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    held: Count | None = examine_folder(folder, check_s=0).held
    if held is None:
        (folder / COUNT_NAME).unlink(missing_ok=True)
    else:
        write_count(folder, held)
