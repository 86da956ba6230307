"""The stages of `./test`: each test in exactly one of them, and what they tell."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.harness import give_way, lines_run, stages
from tests.harness.stages import ROOT, STAGES, Case, Stage

FILES = [file.relative_to(ROOT).as_posix() for file in (ROOT / "tests").rglob("test_*.py")]


def stages_of(file: str, marks: str) -> list[str]:
    return [
        stage.name
        for stage in STAGES
        if stage.marks == marks and _is_in(file, stage.paths) and not _is_in(file, stage.but)
    ]


def _is_in(file: str, paths: tuple[str, ...]) -> bool:
    return any(f"{file}/".startswith(f"{path}/") for path in paths)


def test_every_file_is_in_one_stage_of_those_without_a_mark() -> None:
    assert [file for file in FILES if len(stages_of(file, "not alone and not faults")) != 1] == []


def test_a_case_that_one_stage_leaves_out_is_in_another() -> None:
    left_out = [path for stage in STAGES for path in stage.but if "::" in path]
    named = [path for stage in STAGES for path in stage.paths if "::" in path]
    assert sorted(left_out) == sorted(named)
    assert len(named) > 1


def test_make_check_runs_every_file_that_needs_no_server_once() -> None:
    goals = re.findall(r"^(check-test-\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    shown = subprocess.run(
        ["make", "-n", *goals], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout
    runs = [re.findall(r"(--ignore=|)(tests/\S+)", line) for line in shown.splitlines()]
    for file in FILES:
        if not file.startswith(("tests/e2e/", "tests/service/")):
            where = [{ignored for ignored, path in run if f"{file}/".startswith(f"{path}/")} for run in runs]
            assert where.count({""}) == 1, file
    named = {f"check-{goal}" for goal in re.findall(r"\btest-\w+", _line("CHECKS := "))}
    assert named == set(goals)


def _line(beginning: str) -> str:
    (line,) = (each for each in (ROOT / "Makefile").read_text().splitlines() if each.startswith(beginning))
    return line


@pytest.mark.parametrize(("mark", "marks"), [("alone", "alone"), ("faults", "faults and not alone")])
def test_a_file_with_a_mark_is_in_its_stage(mark: str, marks: str) -> None:
    # The conftest of tests/unit/dispatcher marks files by their names.
    marked = [
        file
        for file in FILES
        if f"mark.{mark}" in (ROOT / file).read_text()
        or (mark == "alone" and file.startswith("tests/unit/dispatcher/test_http_"))
    ]
    assert len(marked) > 3
    assert [
        file for file in marked if file != "tests/unit/test_stages.py" and len(stages_of(file, marks)) != 1
    ] == []


@pytest.mark.slow
async def test_a_stage_says_its_lines_and_returns_its_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "test_it.py").write_text("def test_good(): pass\ndef test_bad(): assert 0\n")
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    monkeypatch.setattr(stages, "ROOT", tmp_path)
    monkeypatch.setattr(stages, "FOLDER", tmp_path)
    stage = Stage("own", 1, ("test_it.py",), "not alone")
    assert await stages.run(stage, ["-p", "no:cacheprovider"]) == 1
    assert "own     | FAILED test_it.py::test_bad" in capfd.readouterr().out
    cases = stages.read_cases(stage)
    assert [case.name for case in cases] == ["test_it::test_good", "test_it::test_bad"]
    assert stages.failures(stage, 1, cases) == ["own: test_it::test_bad: assert 0"]
    assert stages.read_cases(Stage("ended", 0, ())) == []


@pytest.mark.slow
async def test_a_stage_that_is_interrupted_ends_what_it_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "test_it.py").write_text(SLEEPER)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    monkeypatch.setattr(stages, "ROOT", tmp_path)
    monkeypatch.setattr(stages, "FOLDER", tmp_path)
    running = asyncio.create_task(
        stages.run(Stage("own", 1, ("test_it.py",), ""), ["-p", "no:cacheprovider"])
    )
    while not (tmp_path / "begun").exists():
        assert not running.done()
        await asyncio.sleep(0.05)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert (tmp_path / "ended").exists()


async def test_a_stage_that_hangs_shows_where_and_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """pytest's limit ends a case once; what hangs while the case is undone has none.

    The first byte that comes tells that the case failed, so that a slow start is no silence."""
    (tmp_path / "test_it.py").write_text(HANGER)
    (tmp_path / "pytest.ini").write_text("[pytest]\nasyncio_default_fixture_loop_scope = function\n")
    monkeypatch.setattr(stages, "ROOT", tmp_path)
    monkeypatch.setattr(stages, "FOLDER", tmp_path)
    monkeypatch.setattr(stages, "SILENT_S", 1)
    stage = Stage("own", 1, ("test_it.py",), "")
    assert await stages.run(stage, ["--timeout=1", "-p", "no:cacheprovider"]) == -signal.SIGABRT
    told = capfd.readouterr().out
    assert "nothing came for 1 s" in told
    assert re.search(r"own     \|   File .*test_it.py\S*, line \d+ in hangs", told)
    assert stages.failures(stage, -6, []) == ["own: ended with -6 and names no case: read its lines above"]


HANGER = """
import pytest, time

@pytest.fixture
def hangs():
    yield
    while True:
        time.sleep(0.1)

def test_it(hangs):
    time.sleep(60)
"""

SLEEPER = """
import pytest, time

@pytest.fixture
def server(tmp_path_factory):
    yield
    open("ended", "w").close()

def test_it(server):
    open("begun", "w").close()
    time.sleep(60)
"""


async def test_what_runs_beside_what_measures_time_gives_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    running: set[str] = set()
    beside: dict[str, set[str]] = {stage.name: set() for stage in STAGES}

    async def run(stage: Stage, arguments: list[str]) -> int:
        for other in running:
            beside[stage.name].add(other)
            beside[other].add(stage.name)
        running.add(stage.name)
        await asyncio.sleep(0.01 * len(stage.name) * (5 if stage.niceness == give_way.IDLE else 1))
        running.remove(stage.name)
        return 0

    monkeypatch.setattr(stages, "FOLDER", tmp_path / "reports")
    monkeypatch.setattr(stages, "run", run)
    assert await stages.main([]) == 0
    niceness = {stage.name: stage.niceness for stage in STAGES}
    assert all(niceness[other] > niceness["alone"] for other in beside["alone"])
    quiet = {"alone", "prompt", "swift"}
    others = set().union(*(beside[name] for name in quiet)) - quiet
    assert {niceness[other] for other in others} == {give_way.IDLE}
    assert all(niceness[other] > niceness["timed"] for other in beside["timed"])
    assert not {"pods", "network", "faults"} & beside["timed"]
    assert "cluster" in others
    waiting = [stage for stage in STAGES if any(niceness[name] == give_way.IDLE for name in stage.after)]
    assert {stage.niceness for stage in waiting} == {give_way.IDLE}  # else it may wait for ever


@pytest.mark.parametrize("room_bytes", [1 << 60, 0])
async def test_files_are_in_memory_where_there_is_room_and_those_of_a_failure_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room_bytes: int
) -> None:
    places = dict[str, str]()

    async def run(stage: Stage, arguments: list[str]) -> int:
        given = [each for each in arguments if each.startswith("--basetemp=")]
        for each in given:
            places[stage.name] = each.removeprefix("--basetemp=")
            write_log(places[stage.name], stage.name)
        return int(stage.name == "faults")

    monkeypatch.setattr(stages, "FOLDER", tmp_path / "reports")
    monkeypatch.setattr(stages, "IN_MEMORY", tmp_path)
    monkeypatch.setattr(stages, "_room_bytes", lambda place: room_bytes)
    monkeypatch.setattr(stages, "run", run)
    left, another = tmp_path / "ringtime-test-left", tmp_path / "ringtime-test-another"
    for each in (left, another):
        each.mkdir()
    with stages.hold(another):
        assert await stages.main([]) == 1
    assert (left.exists(), another.exists()) == (False, True)
    assert len(set(places.values())) == (len(STAGES) if room_bytes else 0)
    assert [place for place in places.values() if Path(place).parent.exists()] == []
    assert texts_of_logs(tmp_path) == (
        {Path("reports/faults.files/case/log"): "faults"} if room_bytes else {}
    )


async def test_a_run_that_is_interrupted_leaves_no_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    has_begun = asyncio.Event()

    async def run(stage: Stage, arguments: list[str]) -> int:
        write_log(arguments[0].removeprefix("--basetemp="), stage.name)
        has_begun.set()
        await asyncio.Event().wait()  # until it is interrupted
        return 0

    monkeypatch.setattr(stages, "FOLDER", tmp_path / "reports")
    monkeypatch.setattr(stages, "IN_MEMORY", tmp_path)
    monkeypatch.setattr(stages, "_room_bytes", lambda place: 1 << 60)
    monkeypatch.setattr(stages, "run", run)
    running = asyncio.create_task(stages.main([]))
    await has_begun.wait()
    assert texts_of_logs(tmp_path) != {}
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert texts_of_logs(tmp_path) == {}


def write_log(place: str, text: str) -> None:
    folder = Path(place, "case")
    folder.mkdir(parents=True)
    (folder / "log").write_text(text)


def texts_of_logs(folder: Path) -> dict[Path, str]:
    return {file.relative_to(folder): file.read_text() for file in folder.rglob("log")}


@pytest.mark.skipif(not Path("/proc/self/autogroup").exists(), reason="sessions share nothing out here")
@pytest.mark.parametrize(("niceness", "policy"), [(5, os.SCHED_OTHER), (give_way.IDLE, os.SCHED_IDLE)])
def test_what_gives_way_has_all_that_it_starts_give_way(tmp_path: Path, niceness: int, policy: int) -> None:
    program = (sys.executable, give_way.__file__, str(niceness), sys.executable, "-c", STARTER)
    told = subprocess.run(
        program, cwd=tmp_path, start_new_session=True, stdout=subprocess.PIPE, text=True, check=True
    )
    nice = str(min(os.nice(0) + niceness, give_way.IDLE))  # these tests may give way themselves
    assert told.stdout.split() == [nice, str(policy), nice, "nice", nice]


STARTER = """
import os
from pathlib import Path
from ringtime_local.process import Command, LocalProcess

server = LocalProcess(Command(("sleep", "60")), folder=Path(), log=Path("log"))
group = Path(f"/proc/{server.pid}/autogroup").read_text()
print(os.nice(0), os.sched_getscheduler(server.pid), os.getpriority(os.PRIO_PROCESS, server.pid))
print(*group.split()[1:])
server.kill()
"""


async def test_the_end_tells_the_slowest_and_fails_with_the_worst(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def run(stage: Stage, arguments: list[str]) -> int:
        return codes[stage.name]

    def coverage(measured: list[Stage]) -> str:
        return "90 %"

    monkeypatch.setattr(stages, "FOLDER", tmp_path / "reports")
    monkeypatch.setattr(stages, "run", run)
    monkeypatch.setattr(stages, "coverage", coverage)
    monkeypatch.setattr(stages, "read_cases", lambda stage: [Case(float(len(stage.name)), stage.name)])
    codes = {stage.name: 0 for stage in STAGES}
    assert await stages.main([]) == 0
    told = capsys.readouterr().out
    assert told.index("7.0 s  servers") < told.index("6.0 s  faults") < told.index(f"{len(STAGES)} cases in")
    codes["faults"] = 1
    assert await stages.main([]) == 1
    assert capsys.readouterr().out.endswith(
        "failed:\n- faults: ended with 1 and names no case: read its lines above\n"
    )
    bad = Case(1.0, "a::b", "assert 1 == 2\n + more")
    monkeypatch.setattr(stages, "read_cases", lambda stage: [bad] if stage.name == "faults" else [])
    assert await stages.main([]) == 1
    assert capsys.readouterr().out.endswith("failed:\n- faults: a::b: assert 1 == 2\n     + more\n")
    codes |= dict.fromkeys(codes, stages.NOTHING_SELECTED)
    assert await stages.main(["-k", "nothing"]) == stages.NOTHING_SELECTED


@pytest.mark.slow
def test_a_measured_stage_says_which_share_of_the_lines_ran(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = tmp_path / "services" / "one.py"
    service.parent.mkdir()
    service.write_text("def yes():\n    return 1\n\ndef no():\n    return 2\n")
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    program = f"""
import sys
from pathlib import Path
sys.path.insert(0, {str(ROOT)!r})
from tests.harness import lines_run
arguments = ["-q", "-p", "no:cacheprovider", "-p", "no:slipcover", f"test_{{sys.argv[1]}}.py"]
sys.exit(lines_run.run(Path(f"{{sys.argv[1]}}.lines"), arguments, ["services"]))
"""
    for name in ("yes", "no"):
        (tmp_path / f"test_{name}.py").write_text(
            f"import sys\nsys.path.insert(0, 'services')\ndef test_it():\n    import one\n    one.{name}()\n"
        )
        subprocess.run([sys.executable, "-c", program, name], cwd=tmp_path, check=True, capture_output=True)
    monkeypatch.setattr(stages, "FOLDER", tmp_path)
    yes, no, ended = (Stage(name, 0, ()) for name in ("yes", "no", "ended"))
    assert stages.coverage([yes, ended]) == "75 %"  # three lines of four
    assert stages.coverage([yes, no]) == "100 %"
    assert stages.coverage([ended]) == "not measured"


def test_what_is_measured_is_what_the_wheel_holds() -> None:
    assert len(lines_run.services()) >= 7
    assert [folder for folder in lines_run.services() if not Path(folder, "__init__.py").exists()] == []
