"""The folder that a backup is: what it says of itself, and how it, or a data folder, is made whole or not at
all."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from ringtime_shared.errors import DiskFull, StartupError
from ringtime_shared.stores.sqlite.folder import DATABASE_NAME, KEYS_NAME, MANIFEST_NAME, open_private
from ringtime_shared.stores.sqlite.schema import SCHEMA_VERSION

FORMAT = 1  #: of the manifest
_PIECE_BYTES = 1 << 20
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)


class BackupFile(msgspec.Struct, frozen=True):
    """A file of a backup."""

    bytes: int
    sha256: str


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What a backup says of itself, in `BACKUP.json`."""

    format: int
    ringtime: str  #: the version that made it
    schema: int
    begun_ms: int  #: all that was acknowledged before this is in it, by the wall clock of `host`
    ended_ms: int
    host: str
    folder: str
    database: str  #: the random name of the database
    commits: int  #: transactions in it
    counts: dict[str, int]
    files: dict[str, BackupFile]


def write_manifest(backup: Path, manifest: Manifest) -> None:
    """Raises OSError."""
    write_private(
        backup / MANIFEST_NAME, msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n"
    )


def read_manifest(backup: Path) -> Manifest:
    """Return what a backup says of itself, once its files were found to be what they were.

    Raises StartupError, OSError.
    """
    try:
        manifest = msgspec.json.decode((backup / MANIFEST_NAME).read_bytes(), type=Manifest)
    except (FileNotFoundError, NotADirectoryError):
        raise StartupError(f"{backup} is no backup: {MANIFEST_NAME} is not there") from None
    except msgspec.MsgspecError as error:
        raise StartupError(f"{backup / MANIFEST_NAME} cannot be read: {error}") from error
    if manifest.format > FORMAT or manifest.schema > SCHEMA_VERSION:
        raise StartupError(
            f"{backup} was made by Ringtime {manifest.ringtime}, with schema version {manifest.schema}; this"
            f" one knows {SCHEMA_VERSION}: restore it with that version or a later one"
        )
    if DATABASE_NAME not in manifest.files or manifest.files.keys() - {DATABASE_NAME, KEYS_NAME}:
        raise StartupError(f"{backup / MANIFEST_NAME} names other files than a backup has")
    for name, described in manifest.files.items():
        if not (backup / name).is_file() or describe_file(backup / name) != described:
            raise StartupError(
                f"{backup / name} is not what was backed up: it is missing, or was changed since"
            )
    return manifest


def describe_file(path: Path) -> BackupFile:
    """Raises OSError."""
    digest, size_bytes = hashlib.sha256(), 0
    with path.open("rb") as file:
        while piece := file.read(_PIECE_BYTES):
            digest.update(piece)
            size_bytes += len(piece)
    return BackupFile(size_bytes, digest.hexdigest())


def write_private(path: Path, content: bytes) -> None:
    """Raises OSError."""
    with os.fdopen(open_private(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL), "wb") as file:
        file.write(content)


@contextmanager
def made_whole(target: Path) -> Iterator[Path]:
    """Let a folder be filled under another name, then flush it and give it its own; or leave nothing of it.

    Raises StartupError where something is there already, and DiskFull.
    """
    if target.is_symlink() or (target.exists() and not (target.is_dir() and not any(target.iterdir()))):
        raise StartupError(f"{target} is there already: nothing is overwritten")
    target = target.absolute()
    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        partial.mkdir(mode=0o700)
    except OSError as error:
        raise StartupError(f"cannot make {target}: {error.strerror}") from error
    try:
        yield partial
        flush_folder(partial)
        partial.rename(target)
        _flush(target.parent)
    except OSError as error:
        shutil.rmtree(partial, ignore_errors=True)
        raise refusal(error, target) from error
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def refusal(error: OSError, target: Path) -> DiskFull | StartupError:
    """Return what to raise where the file system refuses something."""
    if error.errno in _NO_ROOM:
        return DiskFull(f"the disk of {target} is full: nothing of it was kept")
    return StartupError(f"cannot make {target}: {error.strerror or error}")


def require_room(place: Path, needed_bytes: int) -> None:
    """Raise DiskFull unless the disk has as much left. Raises OSError."""
    space = os.statvfs(place)
    left_bytes = space.f_bavail * space.f_frsize
    if left_bytes < needed_bytes:
        raise DiskFull(
            f"the disk of {place.parent} has {left_bytes >> 20:,} MiB left, and {needed_bytes >> 20:,} MiB"
            " are needed"
        )


def flush_folder(folder: Path) -> None:
    """Make sure that the files of a folder, and their names, are on the disk. Raises OSError."""
    for path in (*(path for path in folder.iterdir() if path.is_file()), folder):
        _flush(path)


def _flush(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
