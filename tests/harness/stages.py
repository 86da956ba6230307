"""Every test, in stages side by side: `python -m tests.harness.stages [pytest's arguments]`.

Each stage is one pytest in one process with servers of its own, and runs its cases one after the other. Most
of them wait most of the time, so that three stages keep two cores busy; the faults, whose verdicts come from
ledgers, have the first call on the machine, and the others give way to them. What measures time comes last
and has the machine to itself: beside the others, bounds of a second were missed for want of a core.
Coverage is measured in one stage only: it costs that one half as much again.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as ET

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / ".ringtime" / "test"
NOTHING_SELECTED = 5  #: pytest's exit code
SLOWEST = 20


@dataclass(frozen=True)
class Stage:
    name: str
    niceness: int  #: see nice(1): the larger, the more it gives way
    paths: tuple[str, ...]
    marks: str = "not alone and not faults"
    is_measured: bool = False  #: for coverage
    after: tuple[str, ...] = ()  #: stages that have to be over before it begins


FAULTS = tuple(f"tests/e2e/test_{name}.py" for name in ("cluster", "network_faults", "resize", "ringctl"))
STAGES = (
    Stage("faults", 0, FAULTS, "faults and not alone"),
    Stage("servers", 5, ("tests/contract", "tests/service")),
    Stage("units", 5, ("tests/unit",), is_measured=True),
    Stage("nodes", 5, ("tests/e2e",), after=("units",)),
    Stage("cluster", 5, ("tests/cluster", "tests/property"), after=("faults",)),
    Stage(
        "alone",
        0,
        ("tests/unit/dispatcher", "tests/unit/test_fault_proxy.py", "tests/service", "tests/e2e"),
        "alone",
        after=("faults", "servers", "units", "nodes", "cluster"),
    ),
)


@dataclass(frozen=True, order=True)
class Case:
    took_s: float
    name: str


async def run(stage: Stage, arguments: Sequence[str]) -> int:
    """Run a stage, say its lines as they come, and return pytest's exit code."""
    program = [sys.executable, "-m"]
    if stage.is_measured:
        program += ["coverage", "run", "-m"]
    process = await asyncio.create_subprocess_exec(
        "nice",
        f"--adjustment={stage.niceness}",
        *program,
        "pytest",
        "-q",
        f"--junitxml={FOLDER / stage.name}.xml",
        "-m",
        stage.marks,
        *stage.paths,
        *arguments,
        cwd=ROOT,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        limit=1 << 24,
    )
    assert process.stdout is not None
    try:
        async for line in process.stdout:
            print(f"{stage.name:<8}| {line.decode(errors='replace')}", end="", flush=True)
        return await process.wait()
    finally:
        if process.returncode is None:
            process.terminate()
            await process.wait()


def read_cases(stage: Stage) -> list[Case]:
    """Return what a stage ran and how long each took, its fixtures too; nothing if it was ended."""
    try:
        suites = ET.parse(FOLDER / f"{stage.name}.xml")
    except (OSError, ET.ParseError):
        return []
    return [
        Case(float(each.get("time", 0)), f"{each.get('classname')}::{each.get('name')}")
        for each in suites.iter("testcase")
    ]


async def coverage() -> str:
    """Return the share of the services' lines that the measured stage ran."""
    words = ["coverage", "report", "--format=total"]
    asking = await asyncio.create_subprocess_exec(
        sys.executable, "-m", *words, cwd=ROOT, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    told, _ = await asking.communicate()
    return f"{told.decode().strip()} %" if asking.returncode == 0 else "not measured"


async def main(arguments: Sequence[str]) -> int:
    begun_s = time.monotonic()
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    over = {stage.name: asyncio.Event() for stage in STAGES}

    async def run_in_turn(stage: Stage) -> int:
        for name in stage.after:
            await over[name].wait()
        try:
            return await run(stage, arguments)
        finally:
            over[stage.name].set()

    codes = await asyncio.gather(*(run_in_turn(stage) for stage in STAGES))
    ran = {stage.name: read_cases(stage) for stage in STAGES}
    print(f"\nslowest {SLOWEST}:")
    for case in sorted((case for cases in ran.values() for case in cases), reverse=True)[:SLOWEST]:
        print(f"{case.took_s:7.1f} s  {case.name}")
    print(f"\n{'stage':<8} {'cases':>6} {'busy':>7}  exit")
    for stage, code in zip(STAGES, codes, strict=True):
        cases = ran[stage.name]
        print(f"{stage.name:<8} {len(cases):>6} {sum(case.took_s for case in cases):>5.0f} s  {code}")
    measured = ", ".join(stage.name for stage in STAGES if stage.is_measured)
    total, took_s = sum(len(cases) for cases in ran.values()), time.monotonic() - begun_s
    print(f"\n{total} cases in {took_s // 60:.0f} min {took_s % 60:.0f} s")
    print(f"lines of the services that {measured} ran: {await coverage()}")
    failed = [code for code in codes if code not in (0, NOTHING_SELECTED)]
    if failed:
        return max(failed)
    return 0 if 0 in codes else NOTHING_SELECTED


if __name__ == "__main__":
    # A shell that starts this in the background has it ignore Ctrl-C, and so would all that the tests start.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.exit(asyncio.run(main(sys.argv[1:])))
