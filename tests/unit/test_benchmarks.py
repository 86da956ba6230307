"""The parts of `python -m benchmarks`: what it reads of /proc, how it judges, counts and paces."""

from __future__ import annotations

import shutil
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import pytest
from benchmarks import hammer
from benchmarks.__main__ import measure, parser
from benchmarks.deliveries import Filed, judge, read_filed
from benchmarks.processes import Machine, Processes
from benchmarks.profiles import (
    PROFILES,
    QUICK,
    Bench,
    Sizes,
    Step,
    batch,
    cancel,
    create,
    fire,
    get,
    listing,
)
from benchmarks.servers import Target, parse
from benchmarks.table import Result, Sample, render
from tests.harness.server import serving

needs_go = pytest.mark.skipif(
    not (shutil.which("go") or Path("/usr/local/go/bin/go").exists()), reason="no Go to build hammer with"
)


def test_a_process_costs_what_it_and_its_descendants_used(tmp_path: Path) -> None:
    for pid, ticks, children in (
        (10, (100, 50), "11 12"),
        (11, (30, 0), "13"),
        (12, (0, 10), ""),
        (13, (5, 5), ""),
    ):
        task = tmp_path / str(pid) / "task" / str(pid)
        task.mkdir(parents=True)
        (task / "children").write_text(children)
        # Names may hold spaces and brackets; fields 14 and 15 count from behind the last bracket.
        stat = f"{pid} (a) b (c) S 1 1 1 0 -1 0 0 0 0 0 {ticks[0]} {ticks[1]} 7 7 20"
        (tmp_path / str(pid) / "stat").write_text(stat)
        (tmp_path / str(pid) / "status").write_text("Name:\tx\nVmRSS:\t  2048 kB\n")

    processes = Processes({"pod": [10], "database": [12]}, tmp_path)

    assert processes.used_s() == pytest.approx({"pod": 2.0, "database": 0.1})
    assert processes.resident_mib() == {"pod": 8, "database": 2}


def test_what_the_compilers_of_a_jvm_used_is_told_apart(tmp_path: Path) -> None:
    for thread, name, ticks in ((20, "java", 700), (21, "C2 CompilerThre", 150), (22, "C1 CompilerThre", 50)):
        task = tmp_path / "20" / "task" / str(thread)
        task.mkdir(parents=True)
        (task / "stat").write_text(f"{thread} ({name}) S 1 1 1 0 -1 0 0 0 0 0 {ticks} 0 7 7 20")

    assert Processes({"database": [20]}, tmp_path).compiling_s() == pytest.approx(2.0)


def test_rounds_count_from_when_the_servers_are_warm(tmp_path: Path) -> None:
    shares = [0.4, 0.2, 0.01, 0.03, 0.3]
    left = shares.copy()

    def play(_: Bench, samples: list[Sample]) -> None:
        samples.append(Sample(figures={}, cpu={"database": 1.0}, compiling_share=left.pop(0)))

    step = Step("get", "cpu us", play, lambda _: None)
    bench = Bench(
        Target(name="one", base="", processes=Processes({})), cast(hammer.Sink, None), QUICK, tmp_path
    )
    (result,) = measure([step], [bench], rounds=2)

    assert [each.compiling_share for each in result.samples["one"]] == shares[3:]
    assert not left
    assert "compiled in up to 30%" in render([result])


def test_others_took_what_was_busy_and_not_ours(tmp_path: Path) -> None:
    (tmp_path / "stat").write_text("cpu  100 0 100 800 0 0 0 0 0 0\ncpu0 1\n")
    before = Machine.now(tmp_path)
    (tmp_path / "stat").write_text("cpu  300 0 200 1300 100 50 50 0 0 0\ncpu0 1\n")

    # Of 10 s of two processors 4 were busy, 1 of them ours.
    assert Machine.now(tmp_path).foreign_share(before, ours_s=1.0) == pytest.approx(3 / 10)


def test_lost_early_and_doubled_callbacks_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "filed").write_text("a,1000,400\nb,1000,400\nc,1000,400\nd,1000,1500\n")
    filed = read_filed(tmp_path / "filed")
    assert filed[0] == Filed("a", 1000, 400)

    found = judge(filed, {"a": [1010, 1300], "b": [990], "d": [1530], "of another run": [1]})

    assert (found.filed, found.lost, found.early, found.doubled) == (4, 1, 1, 1)
    assert found.faults() == "1 lost, 1 early, 1 doubled"
    assert found.lags_ms == [-10, 10, 30]  # that of d counts from its answer
    assert (found.lag_ms(0.5), found.lag_ms(1)) == (10, 30)
    assert found.per_s == pytest.approx(3 / 0.54)


def test_tables_have_medians_spread_and_the_ratio_to_the_first_server() -> None:
    ours = [
        Sample(figures={"per s": n}, cpu={"pod": n, "database": 10}, foreign_share=0.25)
        for n in (90, 100, 300)
    ]
    theirs = [Sample(figures={"per s": 50}, cpu={"service": 220}, faults="1 lost")] * 3
    text = render(
        [
            Result(
                step="get",
                unit="cpu us",
                samples={"a": ours, "b": theirs},
                reasons={"c": "has no Kafka here"},
            )
        ]
    )

    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in text.splitlines()
        if line[0:1] == "|"
    ]
    assert rows[2] == ["a", "100", "110", "191%", "1.00", "pod 100, database 10"]
    assert rows[3] == ["b", "50", "220", "0%", "2.00", "service 220"]
    assert "- c: has no Kafka here" in text
    assert "- b: 1 lost; 1 lost; 1 lost" in text
    assert "25%" in text


def test_servers_are_named_with_their_processes() -> None:
    given = parse(
        "go=http://127.0.0.1:8080/goscheduler/,service=12+13,cassandra=14,topics=127.0.0.1:9,minutes"
    )
    assert (given.name, given.what) == ("go", "http://127.0.0.1:8080/goscheduler")
    assert given.processes == {"service": [12, 13], "cassandra": [14]}
    assert (given.kafka, given.fires_minutes) == ("127.0.0.1:9", True)
    assert parse("there=split:/elsewhere").checkout == Path("/elsewhere")
    assert parse("one=serve").checkout is None
    for wrong in ("split", "=split", "a=https://host/", "a=split,ingest=1", "a=http://h/,ingest=x"):
        with pytest.raises(ValueError):
            parse(wrong)


def test_every_profile_has_steps() -> None:
    for sizes in (Sizes(), QUICK):
        names = [step.name for _, steps in PROFILES.values() for step in steps(sizes)]
        assert len(names) == len(set(names))


def test_quick_has_profiles_of_its_own_and_others_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert parser().parse_args(["quick", "--against", "../before"]).profiles == []
    assert parser().parse_args(["run", "get", "idle"]).profiles == ["get", "idle"]
    for wrong in (["run"], ["run", "gets"], ["quick", "gets"]):
        with pytest.raises(SystemExit):
            parser().parse_args(wrong)
    assert "no such profile: gets; there are create" in capsys.readouterr().err


@contextmanager
def answering_after(delay_s: float) -> Iterator[str]:
    """Serve one connection, each answer that much after its request."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                while connection.recv(65_536):
                    is_over.wait(delay_s)
                    connection.sendall(
                        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"
                    )

        is_over = threading.Event()
        thread = threading.Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        thread.join(60)


@needs_go
def test_an_open_loop_counts_from_when_a_request_was_due() -> None:
    with answering_after(0.04) as url:
        found = hammer.load(url, "path", path="/", n=15, c=1, seconds=0, rate=50)
    found.check()
    # 50 a second were meant and 25 are answered: the last waits for all before it, and that counts.
    assert found.max_ms >= 15 * 40 - 14 * 20
    assert found.p50_ms >= 8 * 40 - 7 * 20 - 1
    with answering_after(0.01) as url:
        found = hammer.load(url, "path", path="/", n=5, c=1, seconds=0)
    assert found.done == 5
    assert found.seconds >= 5 * 0.01


@pytest.mark.slow
@needs_go
def test_profiles_run_against_a_server(tmp_path: Path) -> None:
    sizes = Sizes(seconds=0.1, ids=20, cancels=20, fires=50)
    steps = [create(2, 200), batch(10), get(), cancel(), listing(), fire("fire", into_kafka=True)]
    with serving(tmp_path) as server, hammer.running_sink() as sink:
        target = Target(
            name="one", base=server.base, processes=Processes({"serve": [server.pid]}), owned=lambda: 1_000
        )
        results = list(measure(steps, [Bench(target, sink, sizes, tmp_path)], rounds=1))
    for each in results[:-1]:
        assert not each.reasons, each
        assert each.samples["one"][0].figures["per s"] > 0
    assert results[-1].reasons == {"one": "has no Kafka here"}


@needs_go
def test_a_sink_knows_when_each_callback_came() -> None:
    with hammer.running_sink() as sink:
        host, port = sink.url.removeprefix("http://").removesuffix("/callback").split(":")
        with socket.create_connection((host, int(port))) as connection:
            for schedule_id in ("a", "b", "a"):
                head = f"POST /callback HTTP/1.1\r\nschedule-id: {schedule_id}\r\nContent-Length: 2"
                connection.sendall(f"{head}\r\n\r\n{{}}".encode())
                assert connection.recv(1_000).startswith(b"HTTP/1.1 200 ")
            assert sink.count() == 2
            assert {key: len(each) for key, each in sink.arrivals().items()} == {"a": 2, "b": 1}
            sink.reset()
            assert sink.count() == 0
