"""Every test, in stages side by side: `python -m tests.harness.stages [pytest's arguments]`.

Each stage is one pytest in one process with servers of its own, and runs its cases one after the other. Most
of them wait most of the time, so that several keep two cores busy. Who comes first is settled by the system:

- What kills and cuts off, whose verdicts come from ledgers, begins at once, and the real servers follow.
- What measures time begins when the faults are over. `timed` and `load` need little, and whatever runs beside
  them gives way. `alone`, `prompt` and `swift` may need all: they come last, beside nothing but what is idle
  whenever anybody asks. Beside nice stages with servers of their own, they missed bounds of 75 to 300 ms in
  three runs of four. They are three as each waits for most of its time. What they wait for is cut into stages
  of some minutes, side by side: most of what they do is wait.
- What only computes, on virtual time or none, takes what the others leave once the faults are over, most of
  it beside `alone`.

What they write is kept in memory where there is room: a process that is killed leaves its files as it does on
a disk, and what servers sync all the time took an eighth of the processor time of a stage. What a stage that
failed wrote is in `.ringtime/test` afterwards.

Coverage is measured in the stages of unit tests only, by `lines_run.py`.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import re
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as ET

from tests.harness import give_way
from tests.harness.give_way import IDLE

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / ".ringtime" / "test"
NOTHING_SELECTED = 5  #: pytest's exit code
PASSED = (0, NOTHING_SELECTED)
SLOWEST = 20
WHY_CHARS = 400  #: of a failure's message: enough to know what it was
IDLE_TIMEOUT_S = 1_800  #: of a case that only gets what others leave, which for minutes may be nothing
#: Longer than a case may take: pytest's own limit ends most, but not one that hangs again while it is undone.
SILENT_S = 600
COLLECTING_S = 600  #: before the first case, while others take the cores
DUMP_S = 20  #: in which a stage that hangs shows where
CPU_S = "cpu_s"  #: property of a report; tests/conftest.py writes it
IN_MEMORY = Path("/dev/shm")
_IN_MEMORY_NAME = "ringtime-test-"
ROOM_BYTES = 12 << 30  #: to be free before stages write there, beside what servers need; they wrote 4.5 GiB


@dataclass(frozen=True)
class Stage:
    name: str
    niceness: int  #: see nice(1): the larger, the more it gives way; IDLE takes what nobody else asks for
    paths: tuple[str, ...]
    marks: str = "not alone and not faults"
    but: tuple[str, ...] = ()  #: files and cases of these paths that are in another stage
    is_measured: bool = False  #: for coverage
    after: tuple[str, ...] = ()  #: stages that have to be over before it begins


def _e2e(*names: str) -> tuple[str, ...]:
    return tuple(f"tests/e2e/test_{name}.py" for name in names)


def _e2e_but(*names: str) -> tuple[str, ...]:
    files = sorted((ROOT / "tests" / "e2e").glob("test_*.py"))
    return tuple(f"tests/e2e/{file.name}" for file in files if file.stem.removeprefix("test_") not in names)


#: What is done with a browser.
PAGES = ("dashboard",)

#: What befalls one node: a damaged or full folder, a siege, a topic that takes nothing. Half of all cases.
HARM = ("damage", "data_folder", "door", "egress", "kafka_delivery")

#: What runs on real servers, which a stage starts for itself; the rest of them runs `ringtime serve`.
_ON_SERVERS = (
    *("alerts", "bulk", "cluster", "dashboard_incident", "goscheduler_conf", "goscheduler_import"),
    *(
        "goscheduler_walk",
        "network_faults",
        "observed",
        "recurring",
        "resize",
        "restored",
        "ringctl",
        "upgrade",
    ),
)


#: It may have Go build a Helm first, for minutes.
CHART = "tests/service/test_chart.py"

#: Unit tests on virtual time that compute for long.
COMPUTING = (
    "tests/unit/dispatcher/test_isolation.py",
    "tests/unit/dispatcher/test_loads.py",
    "tests/unit/dispatcher/test_width.py",
    "tests/unit/ringctl/test_resize_kills.py",
)

#: Two thirds of the unit tests. None holds what it tests to a time: what runs late is no failure of theirs.
ROOMS = tuple(f"tests/unit/{room}" for room in ("dispatcher", "importing", "ingest", "shared"))

#: What measures time, but holds no lag to that of a quiet time before it.
ABSOLUTE = tuple(
    f"tests/e2e/test_delivery.py::test_{name}"
    for name in (
        "callbacks_that_hang_hold_up_nobody_else",
        "waits_between_attempts",
        "attempts_survive_a_kill",
    )
)

#: What kills and cuts off, on a split deployment.
_FAULTS = ("pods", "network", "faults")

#: What starts servers or is not idle when somebody measures.
_BEFORE_ALONE = (
    *(*_FAULTS, "restarts", "three", "servers", "stores", "split", "nodes", "harm", "load", "pages"),
    *("timed", "chart", "units"),
)

STAGES = (
    # Three at once, as one after the other would be what everything else waits for.
    Stage("pods", 0, _e2e("cluster"), "faults and not alone"),
    Stage("network", 0, _e2e("network_faults", "restored"), "faults and not alone"),
    Stage(
        "faults",
        0,
        _e2e("bulk", "recurring", "resize", "ringctl", "upgrade"),
        "faults and not alone",
    ),
    # It waits for most of five minutes, so that it would be the last.
    Stage("nodes", 5, _e2e_but("load", *PAGES, *HARM, *_ON_SERVERS)),
    Stage(
        "restarts",
        5,
        ("tests/service/test_cassandra_store.py", "tests/service/test_local_servers.py"),
        "faults and not alone",
        after=_FAULTS,  # one more that starts servers beside them, and a rolled pod's clients wait
    ),
    Stage("three", 5, ("tests/service/test_three_nodes.py",), "faults and not alone", after=_FAULTS),
    # What judges no time takes the places of faults that are over: with more at once `load` lacked its rate.
    Stage("servers", 4, ("tests/service",), but=(CHART,), after=("network",)),  # else it would be the last
    Stage("stores", 5, ("tests/contract",), after=("faults",)),
    Stage("split", 5, _e2e(*_ON_SERVERS), after=("faults",)),
    Stage("harm", 5, _e2e(*HARM), after=("network",)),
    Stage("pages", 5, _e2e(*PAGES), after=("harm",)),
    Stage("load", 2, _e2e("load"), after=_FAULTS),  # it waits for a minute, whose rate is judged
    Stage(
        "timed",
        1,
        (
            "tests/unit/dispatcher",
            "tests/unit/test_fault_proxy.py",
            "tests/service",
            *_e2e("clock_steps"),
        ),
        "alone",
        after=_FAULTS,
    ),
    # From the beginning. What measures time at the end waits for `units`, too: nicer, it was the last.
    Stage("chart", 10, (CHART,)),
    Stage("units", 5, ("tests/unit",), but=(*COMPUTING, *ROOMS), is_measured=True),
    # What holds a lag to that of a quiet time before it, unless others are at work: so the others give way.
    Stage("alone", 0, _e2e("delivery", "kafka_delivery"), "alone", ABSOLUTE, after=_BEFORE_ALONE),
    Stage("prompt", 1, _e2e("serve", "door"), "alone", after=_BEFORE_ALONE),
    Stage("swift", 2, (*_e2e("cluster", "neighbours"), *ABSOLUTE), "alone", after=_BEFORE_ALONE),
    # Two at once, a core each, and a third behind the shorter one: one would be the last by minutes, three
    # would take each other's turns and caches. Beside the faults, which ask for both cores, they would get
    # nothing but slow them down.
    Stage("property", IDLE, ("tests/property", "tests/model", *COMPUTING), after=_FAULTS),
    Stage("cluster", IDLE, ("tests/cluster",), after=_FAULTS),
    Stage("rooms", IDLE, ROOMS, but=COMPUTING, is_measured=True, after=("cluster",)),
)


@dataclass(frozen=True, order=True)
class Case:
    took_s: float
    name: str
    why: str | None = None  #: it failed


async def run(stage: Stage, arguments: Sequence[str]) -> int:
    """Run a stage, say its lines as they come, and return pytest's exit code; one that hangs is ended."""
    program = ["pytest"]
    if stage.is_measured:
        program = ["tests.harness.lines_run", str(_lines_file(stage))]
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        give_way.__file__,
        str(stage.niceness),
        sys.executable,
        "-m",
        *program,
        "-q",
        f"--junitxml={FOLDER / stage.name}.xml",
        *([f"--timeout={IDLE_TIMEOUT_S}"] if stage.niceness == IDLE else []),
        "-m",
        stage.marks,
        *stage.paths,
        *(f"--{'deselect' if '::' in path else 'ignore'}={path}" for path in stage.but),
        *arguments,
        cwd=ROOT,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
    )
    assert process.stdout is not None
    silent_s = SILENT_S + (IDLE_TIMEOUT_S if stage.niceness == IDLE else 0)
    try:
        await _say(stage, _lines(process.stdout, silent_s))
        return await process.wait()
    except TimeoutError:
        print(f"{stage.name:<8}| nothing came for {silent_s} s: where its threads are, and its end")
        os.kill(process.pid, signal.SIGABRT)  # pytest has it show them, in C: even if no line runs any more
        with suppress(TimeoutError):
            async with asyncio.timeout(DUMP_S):
                await _say(stage, _lines(process.stdout, DUMP_S))
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        return await process.wait()
    finally:
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGINT)  # as Ctrl-C does: it ends what it started, too
            await process.communicate()


async def _say(stage: Stage, lines: AsyncIterator[str]) -> None:
    async for line in lines:
        print(f"{stage.name:<8}| {line}", flush=True)


async def _lines(output: asyncio.StreamReader, silent_s: float) -> AsyncIterator[str]:
    """Yield lines until the output ends. Raises TimeoutError if for so long not a byte came."""
    begun = b""
    limit_s = silent_s + COLLECTING_S
    while chunk := await asyncio.wait_for(output.read(1 << 16), limit_s):
        limit_s = silent_s
        *lines, begun = (begun + chunk).split(b"\n")
        for line in lines:
            yield line.decode(errors="replace")
    if begun:
        yield begun.decode(errors="replace")


def _put_away(written: Path, *, has_failed: bool) -> None:
    """Give the memory back that a stage's files take; those of one that failed go to the disk."""
    if has_failed and written.exists():
        with suppress(OSError):  # sockets have no content; a full disk must not cost the report
            shutil.copytree(written, FOLDER / f"{written.name}.files", symlinks=True)
    shutil.rmtree(written, ignore_errors=True)


def read_cases(stage: Stage) -> list[Case]:
    """Return what a stage ran and how long each took, its fixtures too; nothing if it was ended."""
    return [
        Case(float(each.get("time", 0)), f"{each.get('classname')}::{each.get('name')}", _why(each))
        for each in _read(stage, "testcase")
    ]


def _why(case: ET.Element) -> str | None:
    """Return what pytest says of a case that failed, or whose fixtures did."""
    said = [each.get("message", "") for each in case if each.tag in ("failure", "error")]
    return "; ".join(said)[:WHY_CHARS] if said else None


def failures(stage: Stage, code: int, cases: Sequence[Case]) -> list[str]:
    """Return a line or a few for each case that failed, and one for a stage that failed without one."""
    told = [f"{stage.name}: {case.name}: {case.why}" for case in cases if case.why is not None]
    if told or code in PASSED:
        return told
    return [f"{stage.name}: ended with {code} and names no case: read its lines above"]


def read_cpu_s(stage: Stage) -> float:
    """Return the processor time that a stage and all it started used; 0 if it was ended."""
    return sum(float(each.get("value", 0)) for each in _read(stage, "property") if each.get("name") == CPU_S)


def _read(stage: Stage, tag: str) -> list[ET.Element]:
    try:
        return list(ET.parse(FOLDER / f"{stage.name}.xml").iter(tag))
    except (OSError, ET.ParseError):
        return []


def _lines_file(stage: Stage) -> Path:
    return FOLDER / f"{stage.name}.lines"


def coverage(measured: Sequence[Stage]) -> str:
    """Return the share of the services' lines that one of these stages ran, of those that did run."""
    files = [file for file in map(_lines_file, measured) if file.exists()]
    if not files:
        return "not measured"
    from tests.harness.lines_run import share  # late: Slipcover would be part of every pytest

    return f"{share(files)} %"


@contextmanager
def quick_files() -> Iterator[Path | None]:
    """Yield a folder in memory, gone afterwards; None where it has no room."""
    for left in IN_MEMORY.glob(f"{_IN_MEMORY_NAME}*"):
        with suppress(OSError), hold(left):  # else its run goes on, or it is another's
            shutil.rmtree(left)
    if _room_bytes(IN_MEMORY) < ROOM_BYTES:
        yield None
        return
    with (
        tempfile.TemporaryDirectory("", _IN_MEMORY_NAME, IN_MEMORY, ignore_cleanup_errors=True) as name,
        hold(Path(name)),
    ):
        yield Path(name)


@contextmanager
def hold(folder: Path) -> Iterator[None]:
    """Keep a folder until the block ends or this process is killed. Raises OSError if another has it."""
    held = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(held)


def _room_bytes(place: Path) -> int:
    """Return how much may be kept at a place in memory; 0 where nobody tells, or no program may run."""
    try:
        filesystem, meminfo = os.statvfs(place), Path("/proc/meminfo").read_text()
    except OSError:  # only Linux has them
        return 0
    available = re.search(r"^MemAvailable: +(\d+) kB$", meminfo, re.MULTILINE)
    if available is None or filesystem.f_flag & os.ST_NOEXEC or not os.access(place, os.W_OK):
        return 0
    return min(filesystem.f_bavail * filesystem.f_frsize, int(available[1]) << 10)


async def main(arguments: Sequence[str]) -> int:
    with quick_files() as files:
        return await run_all(arguments, files)


async def run_all(arguments: Sequence[str], files: Path | None) -> int:
    begun_s = time.monotonic()
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    over = {stage.name: asyncio.Event() for stage in STAGES}
    ran_s: dict[str, tuple[float, float]] = {}

    async def run_in_turn(stage: Stage) -> int:
        for name in stage.after:
            await over[name].wait()
        from_s = time.monotonic() - begun_s
        place = [] if files is None else [f"--basetemp={files / stage.name}"]
        try:
            code = await run(stage, [*place, *arguments])
        finally:
            ran_s[stage.name] = from_s, time.monotonic() - begun_s
            over[stage.name].set()
        if files is not None:
            await asyncio.to_thread(_put_away, files / stage.name, has_failed=code not in PASSED)
        return code

    async with asyncio.TaskGroup() as group:  # it waits for each to end what it started, also after Ctrl-C
        running = [group.create_task(run_in_turn(stage)) for stage in STAGES]
    codes = [task.result() for task in running]
    ran = {stage.name: read_cases(stage) for stage in STAGES}
    used_s = {stage.name: read_cpu_s(stage) for stage in STAGES}
    print(f"\nslowest {SLOWEST}:")
    for case in sorted((case for cases in ran.values() for case in cases), reverse=True)[:SLOWEST]:
        print(f"{case.took_s:7.1f} s  {case.name}")
    print(f"\n{'stage':<8} {'cases':>6} {'busy':>7} {'processor':>9} {'from, to':>13}  exit")
    for stage, code in zip(STAGES, codes, strict=True):
        cases = ran[stage.name]
        busy_s = sum(case.took_s for case in cases)
        told = f"{len(cases):>6} {busy_s:>5.0f} s {used_s[stage.name]:>7.0f} s"
        from_s, to_s = ran_s[stage.name]
        print(f"{stage.name:<8} {told} {from_s:>6.0f} {to_s:>4.0f} s  {code}")
    measured = [stage for stage in STAGES if stage.is_measured]
    total, took_s = sum(len(cases) for cases in ran.values()), time.monotonic() - begun_s
    print(
        f"\n{total} cases in {took_s // 60:.0f} min {took_s % 60:.0f} s,"
        f" {sum(used_s.values()):.0f} s of processor time"
    )
    told = " and ".join(stage.name for stage in measured)
    print(f"lines of the services that {told} ran: {coverage(measured)}")
    failed = [code for code in codes if code not in PASSED]
    reasons = [
        line
        for stage, code in zip(STAGES, codes, strict=True)
        for line in failures(stage, code, ran[stage.name])
    ]
    if reasons:  # last of all: who reads only the end of a log sees which cases failed, and why
        print("\nfailed:", *(line.replace("\n", "\n    ") for line in reasons), sep="\n- ")
    if failed:
        return max(failed)
    return 0 if 0 in codes else NOTHING_SELECTED


if __name__ == "__main__":
    # A shell that starts this in the background has it ignore Ctrl-C, and so would all that the tests start.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.exit(asyncio.run(main(sys.argv[1:])))
