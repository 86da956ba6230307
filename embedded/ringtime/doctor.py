"""`ringtime doctor`: would `ringtime serve` start here, and does it work if it runs.

Before a start it looks at what that needs: guard, data folder, disk, port, clock. Where a server runs
on the folder it goes on with all that `ringctl --data FOLDER doctor` looks at. It changes nothing.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import platform
import re
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

from ringtime.serve import needs_keys
from ringtime_ringctl.deployment.context import Context
from ringtime_ringctl.doctor.checks import Finding, State
from ringtime_ringctl.doctor.command import examine, show
from ringtime_ringctl.doctor.folder import check_folder
from ringtime_ringctl.output import Output
from ringtime_ringctl.shell import UNHEALTHY
from ringtime_shared.errors import StartupError
from ringtime_shared.http_server import listen
from ringtime_shared.settings import Settings
from ringtime_shared.stores.sqlite import find_server

LITTLE_BYTES = 1 << 30  #: of free space, from which on it is told
LITTLE_SHARE = 0.05
AHEAD_S = 10.0  #: that a file of the folder may lie ahead of the clock: file servers have clocks of their own
MAX_ERROR_MS = 1_000.0
NETWORKED = frozenset(
    {"cifs", "fuse.sshfs", "nfs", "nfs4", "smb3"}
)  #: file systems without the locks it takes
_UNSYNCHRONIZED = 5  #: what adjtimex(2) returns: TIME_ERROR
_MAX_ERROR_AT = 24  #: where a `struct timex` of 64 bits has `maxerror`, in microseconds
_TIMEX_BYTES = 512  #: more than it has


class Space(NamedTuple):
    """What a disk has, for those who are not root."""

    free_bytes: int
    total_bytes: int
    free_files: int


def run_doctor(settings: Settings, config: Path | None, *, is_json: bool) -> int:
    """Write what was found and what to do, and return the exit code: 4 if something failed."""
    output = Output(is_json=is_json, is_plain=False)
    findings = asyncio.run(look(settings, config, output))
    if is_json:
        output.data({"findings": [each._asdict() for each in findings]})
    else:
        show(output, findings)
    return UNHEALTHY if any(each.state is State.FAILED for each in findings) else 0


async def look(settings: Settings, config: Path | None, output: Output) -> list[Finding]:
    """Run all checks."""
    folder = Path(settings.embedded.data)
    findings = [
        Finding("version", State.OK, f"Ringtime {version('ringtime')} on Python {platform.python_version()}"),
        check_guard(settings),
        *check_place(folder),
    ]
    space = space_of(folder)
    if space is not None:
        findings.append(check_space(space, settings.embedded.reserve_bytes))
    findings += check_time(read_synchronization(), newest_s(folder), time.time())
    pid = find_server(folder)
    if pid is None:
        if not any(each.check == "folder" for each in findings):
            findings += await asyncio.to_thread(check_folder, folder)
        return [*findings, check_port(settings)]
    findings.append(Finding("server", State.OK, f"process {pid} serves this folder"))
    return findings + await examine(Context(data=folder, config=config), output)


def check_guard(settings: Settings) -> Finding:
    """Whether a start is refused because others could reach the API unguarded."""
    try:
        has_keys = needs_keys(settings)
    except StartupError as error:
        return Finding("access", State.FAILED, str(error), "see docs/access.md")
    return Finding("access", State.OK, f"requests need {'an' if has_keys else 'no'} API key")


def check_place(folder: Path) -> list[Finding]:
    """Whether the folder can be made, or written to; nothing where it lies there and can."""
    place = _nearest(folder)
    is_there = place == folder.absolute()
    if is_there and not folder.is_dir():
        return [Finding("folder", State.FAILED, f"{folder} is no folder", "name another by --data")]
    if not os.access(place, os.W_OK | os.X_OK):
        advice = "run it as the user that the server runs as, or name another by --data"
        return [Finding("folder", State.FAILED, f"{place} cannot be written to", advice)]
    kind = file_system_of(place, _mounts())
    if kind in NETWORKED:
        found = f"{place} lies on a network file system ({kind}), which SQLite's log cannot do with"
        return [Finding("folder", State.FAILED, found, "take a block device: see docs/data-folder.md")]
    if not is_there:
        return [Finding("folder", State.OK, f"{folder} is not there yet; the first start makes it")]
    return []


def check_space(space: Space, reserve_bytes: int) -> Finding:
    """Whether the disk has room for new schedules."""
    found = f"{space.free_bytes / 2**30:.1f} of {space.total_bytes / 2**30:.1f} GiB are free"
    if space.free_bytes <= reserve_bytes:
        advice = f"make room: with {reserve_bytes:,} bytes or less (embedded.reserve_bytes) none is accepted"
        return Finding("disk", State.FAILED, f"{found}: new schedules are refused", advice)
    if space.free_bytes < max(LITTLE_BYTES, LITTLE_SHARE * space.total_bytes):
        return Finding("disk", State.WARNING, found, "make room: on a full disk new schedules are refused")
    if space.free_files == 0:
        return Finding("disk", State.FAILED, "no file can be made: inodes are used up", "delete files")
    return Finding("disk", State.OK, found)


def check_port(settings: Settings) -> Finding:
    """Whether the port can be listened to, by doing so."""
    server = settings.server
    try:
        with listen(server):
            pass
    except StartupError as error:
        return Finding("port", State.FAILED, str(error), "end what listens there, or name another by --port")
    where = "a free port" if server.port == 0 else f"port {server.port}"
    return Finding("port", State.OK, f"{where} of {server.host} can be listened to")


def check_time(max_error_ms: float | None, newest: float | None, now_s: float) -> list[Finding]:
    """Whether the clock can be relied upon.

    Args:
        max_error_ms: how far it may be off, as the kernel says; infinite: nobody sets it; None: not known.
        newest: when the folder's newest file was written, epoch seconds; None: it has none.
    """
    findings = []
    if newest is not None and newest > now_s + AHEAD_S:
        found = (
            f"the folder was written to {newest - now_s:,.0f} s after now: the clock went back, or was wrong"
        )
        findings.append(Finding("clock", State.FAILED, found, "set the clock before a start"))
    advice = "run chrony or systemd-timesyncd: callbacks are as punctual as the clock is right"
    if max_error_ms is None:
        findings.append(Finding("clock", State.OK, "this system does not say whether its clock is set"))
    elif max_error_ms == float("inf"):
        findings.append(Finding("clock", State.WARNING, "no time service sets the clock", advice))
    elif max_error_ms > MAX_ERROR_MS:
        found = f"the clock may be off by {max_error_ms:,.0f} ms"
        findings.append(Finding("clock", State.WARNING, found, advice))
    else:
        findings.append(Finding("clock", State.OK, f"it is set, within {max_error_ms:,.0f} ms"))
    return findings


def read_synchronization() -> float | None:
    """Return how far the clock may be off in milliseconds; see `check_time`. Sets nothing."""
    if sys.platform != "linux" or sys.maxsize < 2**32:
        return None
    state = ctypes.create_string_buffer(_TIMEX_BYTES)  # `modes` is 0: only read
    answer: int = ctypes.CDLL(None).adjtimex(state)
    if answer < 0:
        return None
    if answer == _UNSYNCHRONIZED:
        return float("inf")
    return int.from_bytes(state.raw[_MAX_ERROR_AT : _MAX_ERROR_AT + 8], sys.byteorder, signed=True) / 1_000


def file_system_of(path: Path, mounts: str) -> str:
    """Return the type of the file system that a path is on, "" if unknown.

    Args:
        mounts: what `/proc/self/mountinfo` holds; of two mounts on one folder the later one counts.
    """
    best, kind = Path(), ""
    for line in mounts.splitlines():
        fields, _, rest = line.partition(" - ")
        point = Path(re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), fields.split()[4]))
        if path.is_relative_to(point) and len(point.parts) >= len(best.parts):
            best, kind = point, rest.split()[0]
    return kind


def _mounts() -> str:
    try:
        return Path("/proc/self/mountinfo").read_text(errors="replace")
    except OSError:
        return ""


def space_of(folder: Path) -> Space | None:
    """Return what the disk has that the folder is on, or will be; None if it cannot be asked."""
    try:
        stat = os.statvfs(_nearest(folder))
    except OSError:
        return None
    # A file system without a number of files has none in all.
    free_files = stat.f_favail if stat.f_files else 1
    return Space(stat.f_bavail * stat.f_frsize, stat.f_blocks * stat.f_frsize, free_files)


def newest_s(folder: Path) -> float | None:
    """Return when the newest of the folder's files was written, epoch seconds."""
    try:
        return max((each.stat().st_mtime for each in folder.iterdir() if each.is_file()), default=None)
    except OSError:
        return None


def _nearest(folder: Path) -> Path:
    """Return the folder, or the nearest above it that is there."""
    folder = folder.absolute()
    return next((each for each in (folder, *folder.parents) if each.exists()), Path("/"))
