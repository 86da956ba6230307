"""A data folder made of a backup.

It is a store of its own from then on: its database has another name, so that what is left of the folder that
was backed up (`COMMITS`, a log) is never taken for its own, and its ids go on from other numbers. What
becomes of what came due since (`apps.restoring`) is decided before the folder has its name.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from ringtime_shared.errors import StartupError
from ringtime_shared.stores.sqlite.examine import Count, fetch_count, write_count
from ringtime_shared.stores.sqlite.folder import DATABASE_NAME, open_private
from ringtime_shared.stores.sqlite.manifest import (
    Manifest,
    describe_file,
    made_whole,
    read_manifest,
    require_room,
)

_SPARE_BYTES = 32 << 20


@contextmanager
def restored(backup: Path, folder: Path) -> Iterator[tuple[Manifest, Path]]:
    """Let a data folder be made of a backup: yield what the backup says of itself, and the folder under
    another name, for a store to be opened on; give it its own name when the body ends well, or leave nothing.

    Raises StartupError: `backup` is none, or damaged, or of a newer Ringtime; `folder` is there. DiskFull.
    """
    try:
        manifest = read_manifest(backup)
    except OSError as error:
        raise StartupError(f"cannot read {backup}: {error.strerror}") from error
    with made_whole(folder) as partial:
        require_room(partial, sum(file.bytes for file in manifest.files.values()) + _SPARE_BYTES)
        for name, described in manifest.files.items():
            os.close(open_private(partial / name))
            shutil.copyfile(backup / name, partial / name)
            if describe_file(partial / name) != described:
                raise StartupError(f"{backup / name} was changed while it was copied")
        write_count(partial, _name_anew(partial / DATABASE_NAME))
        yield manifest, partial


def _name_anew(database: Path) -> Count:
    try:
        with closing(sqlite3.connect(database, isolation_level=None)) as connection:
            connection.execute("UPDATE meta SET value = lower(hex(randomblob(16))) WHERE name = 'database'")
            connection.execute("DELETE FROM meta WHERE name = 'home'")
            count = fetch_count(connection)
    except sqlite3.Error as error:
        raise StartupError(f"cannot write {database}: {error}") from error
    if count is None:
        raise StartupError(f"{database} counts no transactions")
    return count
