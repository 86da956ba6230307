"""Check the models of this folder with SPIN: `python -m tests.model.check [MODEL ...]`.

A model is checked as it is: SPIN walks through every interleaving, finds no error, and has reached every
line. Then with each fault that its head names (`fault NAME: what is wrong`) and each assumption left out
(`limit NAME: what is not assumed`): there has to be an error, and the shortest way to it is told. A head may
name bounds, each checked by itself (`bounds NAME=2 OTHER=1`). As many checks run side by side as there are
cores. docs/model.md is the page for readers.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

FOLDER = Path(__file__).parent
MODELS = tuple(sorted(path.stem for path in FOLDER.glob("*.pml") if path.stem != "store"))
PROGRAMS = ("spin", "gcc")
MOST_MIB = 1_800  #: of memory for one check; two run side by side
MOST_DEPTH = 1_000_000  #: steps of one run; a search that would go deeper fails
DEADLINE_S = 900  #: for one check; the longest takes half a minute where nothing else runs
_TOLD_CHARS = 2_000

_PLANT = re.compile(r"^\s+(fault|limit) ([A-Z_]+): (.+)$", re.MULTILINE)
_BOUNDS = re.compile(r"^\s+bounds ((?:[A-Z]+=\d+ ?)+)$", re.MULTILINE)
_FLAG = re.compile(r"^#ifn?def ([A-Z_]+)|defined\(([A-Z_]+)\)", re.MULTILINE)
_ERRORS = re.compile(r"errors: (\d+)")
_STATES = re.compile(r"^\s*(\d+) states, stored", re.MULTILINE)
_STATE = re.compile(r"^\tstate +(\d+) .*\] (\S+\.pml):(\d+) => (?!-end-)")
_UNREACHED = re.compile(r"^\t(\S+\.pml):(\d+), state (\d+),")
_INCOMPLETE = ("Search not completed", "max search depth too small", "out of memory", "Search was terminated")

Line = tuple[str, int]  # file name, number


@dataclass(frozen=True)
class Plant:
    """Something that makes a model wrong."""

    kind: str  #: "fault": the protocol does not do what it should. "limit": what is assumed does not hold
    name: str  #: what turns it on, as a macro
    about: str


@dataclass(frozen=True)
class Checked:
    """What came of one check."""

    model: str
    plant: Plant | None
    bounds: str
    states: int
    took_s: float
    trail: Sequence[str] = ()  #: what happened, up to the error; empty: no error
    lines: frozenset[Line] = frozenset()  #: all there are
    reached: frozenset[Line] = frozenset()


class Unusable(Exception):
    """A check came to no verdict."""


def missing() -> str | None:
    """Return why models cannot be checked here; None: they can."""
    absent = [name for name in PROGRAMS if shutil.which(name) is None]
    return f"needs {' and '.join(absent)}: apt-get install spin gcc" if absent else None


def plants_of(model: str) -> list[Plant]:
    """Return what the model's head names."""
    return [Plant(*found) for found in _PLANT.findall((FOLDER / f"{model}.pml").read_text())]


def bounds_of(model: str) -> list[str]:
    """Return the bounds that the model is checked in, as its head names them; empty: its own."""
    return _BOUNDS.findall((FOLDER / f"{model}.pml").read_text()) or [""]


def switches_of(model: str) -> set[str]:
    """Return the macros that the model asks for."""
    return {name for pair in _FLAG.findall((FOLDER / f"{model}.pml").read_text()) for name in pair if name}


def find(model: str, plant: Plant) -> Checked:
    """Check a model that is wrong, in one of its bounds after the other until that shows. Raises Unusable."""
    for bounds in bounds_of(model):
        found = check(model, plant, bounds)
        if found.trail:
            break
    return found


def check(model: str, plant: Plant | None = None, bounds: str = "") -> Checked:
    """Check a model. Raises Unusable, with what SPIN said."""
    begun_s = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="ringtime-model-") as folder:
        flags = [f"-D{each}" for each in [*bounds.split(), *([] if plant is None else [plant.name])]]
        source = str(FOLDER / f"{model}.pml")
        _run(["spin", "-a", *flags, source], folder)
        # With a fault, breadth first: the way to the error is the shortest. To be blocked is no error (-E).
        how = ["-DCOLLAPSE"] if plant is None else ["-DBFS"]
        _run(["gcc", "-O2", "-w", "-DSAFETY", f"-DMEMLIM={MOST_MIB}", *how, "-o", "pan", "pan.c"], folder)
        said = _run(["./pan", "-E", f"-m{MOST_DEPTH}"], folder)
        errors, states = _ERRORS.search(said), _STATES.search(said)
        if errors is None or states is None:
            raise Unusable(f"{model} {' '.join(flags)}: {said[-_TOLD_CHARS:]}")
        trail: Sequence[str] = ()
        if int(errors[1]):
            if "assertion violated" not in said:
                raise Unusable(f"{model} {' '.join(flags)}: {said[-_TOLD_CHARS:]}")
            told = _run(["spin", "-t", "-T", "-k", f"{model}.pml.trail", *flags, source], folder)
            trail = told.partition("spin: ")[0].splitlines()
        elif any(words in said for words in _INCOMPLETE):
            raise Unusable(f"{model} {' '.join(flags)}: {said[-_TOLD_CHARS:]}")
        lines, reached = _reach(_run(["./pan", "-d"], folder), said)
    took_s = time.monotonic() - begun_s
    return Checked(model, plant, bounds, int(states[1]), took_s, trail, frozenset(lines), frozenset(reached))


def _reach(table: str, said: str) -> tuple[set[Line], set[Line]]:
    """Return all lines with a statement, and those where one was reached: an inline has several copies."""
    unreached, process = set(), ""
    for text in said.splitlines():
        if text.startswith("unreached in "):
            process = text.split()[-1]
        elif found := _UNREACHED.match(text):
            unreached.add((process, int(found[3])))
    lines, reached = set[Line](), set[Line]()
    for text in table.splitlines():
        if text.startswith(("proctype ", "init")):
            process = text.split()[-1]
        elif found := _STATE.match(text):
            line = (Path(found[2]).name, int(found[3]))
            lines.add(line)
            if (process, int(found[1])) not in unreached:
                reached.add(line)
    return lines, reached


def _run(command: Sequence[str], folder: str) -> str:
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=DEADLINE_S)
    except subprocess.TimeoutExpired:
        raise Unusable(f"{' '.join(command)}: no end within {DEADLINE_S} s") from None
    said = done.stdout + done.stderr
    if done.returncode and command[0] in PROGRAMS:
        raise Unusable(f"{' '.join(command)}: {said}")
    return said


def judge(results: Iterable[Checked]) -> list[str]:
    """Return what is wrong, a sentence each."""
    wrong = []
    lines, reached = set[Line](), set[Line]()
    for each in results:
        if each.plant is not None:
            if not each.trail:
                wrong.append(f"{each.model}: {each.plant.name} is not found")
            continue
        if each.trail:
            wrong.append("\n".join([f"{each.model}: the claim does not hold:", *each.trail]))
        lines |= each.lines
        reached |= each.reached
    wrong += [f"{file}:{number} is reached by no run" for file, number in sorted(lines - reached)]
    return wrong


def main(arguments: Sequence[str]) -> int:
    """`--or-skip`: it is no failure that SPIN is not there."""
    models = [each for each in arguments if each != "--or-skip"]
    if reason := missing():
        print(f"model: not checked, {reason}", file=sys.stderr)
        return 0 if "--or-skip" in arguments else 1
    begun_s = time.monotonic()
    wanted = list(models or MODELS)
    calls = [partial(check, model, None, bounds) for model in wanted for bounds in bounds_of(model)]
    calls += [partial(find, model, plant) for model in wanted for plant in plants_of(model)]
    results, broken = [], []
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for call in [pool.submit(call) for call in calls]:
            try:
                each = call.result()
            except Unusable as error:
                broken.append(str(error))
                continue
            results.append(each)
            name = f"{each.plant.kind} {each.plant.name}" if each.plant else each.bounds or "as it is"
            print(f"{each.model:<8} {name:<32} {each.states:>11,} states {each.took_s:>5.0f} s")
            for step in each.trail if each.plant else ():
                print(f"{'':<10}{step}")
            sys.stdout.flush()
    wrong = broken + judge(results)
    for sentence in wrong:
        print(f"model: {sentence}", file=sys.stderr)
    print(f"model: {len(results)} checks in {time.monotonic() - begun_s:.0f} s, {len(wrong)} wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
