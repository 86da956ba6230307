"""The launcher's parts that need no server."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event, get_native_id
from typing import Any

import pytest
from click.testing import CliRunner

from ringtime_local import CassandraOptions, KafkaOptions, LocalServers, MissingPrerequisite, NotOurs, helm
from ringtime_local import cache as cache_module
from ringtime_local.addresses import Address, parse_addresses
from ringtime_local.archives import archive_options
from ringtime_local.cache import cached
from ringtime_local.cassandra_config import command_line, yaml_text
from ringtime_local.cli import main
from ringtime_local.containers import ContainerProcess, compose_text
from ringtime_local.errors import Aborted, StartFailed
from ringtime_local.etcd_program import find_etcd
from ringtime_local.helm import find_helm
from ringtime_local.java import BRIEF_VARIABLE, find_java, heap_and_compiler, parse_release
from ringtime_local.kafka import copy_formatted
from ringtime_local.kafka_config import KafkaPorts, new_cluster_id, properties_text
from ringtime_local.maven import fetch_jars
from ringtime_local.pids import ProcessId
from ringtime_local.ports import HIGHEST, LOWEST, is_free, take_ports
from ringtime_local.process import Command, LocalProcess
from ringtime_local.runtimes import Runtime, docker_answers, this_machine_else
from ringtime_local.tools import last_lines, run_tool

FOLDER = Path("/data/one")


@pytest.fixture(autouse=True)
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name in ("CASSANDRA", "KAFKA", "ETCD"):
        monkeypatch.delenv(f"RINGTIME_TEST_{name}", raising=False)


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A PATH of one folder, empty at first."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    docker_answers.cache_clear()
    yield folder
    docker_answers.cache_clear()


def write_program(folder: Path, name: str, script: str) -> None:
    program = folder / name
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)


class TestPorts:
    def test_ports_differ_and_lie_below_the_range_of_outgoing_connections(self) -> None:
        ports = take_ports(20, ["127.0.0.1", "127.0.0.2"])
        assert len(set(ports)) == 20
        assert all(LOWEST <= port < HIGHEST for port in ports)

    def test_port_is_not_given_twice(self) -> None:
        first = take_ports(30)
        assert not set(first) & set(take_ports(30))

    def test_port_in_use_is_not_free(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            assert not is_free("127.0.0.1", server.getsockname()[1])


class TestAddresses:
    def test_several(self) -> None:
        found = parse_addresses("127.0.0.1:9042, [::1]:9043", source="X")
        assert found == [Address("127.0.0.1", 9042), Address("::1", 9043)]

    @pytest.mark.parametrize("text", ["localhost", ":1", "a:", "a:x", "a:0", "a:65536", "a:1,", "a:\u0661x"])
    def test_refused_with_the_variable_named(self, text: str) -> None:
        with pytest.raises(ValueError, match="RINGTIME_TEST_ETCD must be host:port"):
            parse_addresses(text, source="RINGTIME_TEST_ETCD")

    def test_server_of_the_environment_is_used_and_never_signalled(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.setenv("RINGTIME_TEST_CASSANDRA", "127.0.0.1:9042,127.0.0.2:9042")
        monkeypatch.setenv("RINGTIME_TEST_KAFKA", "127.0.0.3:9092")
        monkeypatch.setenv("RINGTIME_TEST_ETCD", "127.0.0.4:2379")
        servers = LocalServers(tmp_path)
        assert servers.cassandra.contact_points == ["127.0.0.1", "127.0.0.2"]
        assert servers.environment()["RINGTIME_TEST_CASSANDRA"] == "127.0.0.1:9042,127.0.0.2:9042"
        assert servers.kafka.bootstrap == "127.0.0.3:9092"
        assert servers.etcd.endpoint == "127.0.0.4:2379"
        for server in servers.all:
            assert server.is_external
            for fault in (server.kill, server.pause, server.restart):
                with pytest.raises(NotOurs):
                    fault()
        servers.stop()
        assert not any(server.is_external for server in LocalServers(tmp_path, own=True).all)


class TestConfiguration:
    def yaml(self, options: CassandraOptions, index: int = 0) -> dict[str, object]:
        text = yaml_text(options, index=index, port=21000, storage_port=21001, folder=FOLDER)
        return {key: json.loads(value) for key, value in (line.split(": ", 1) for line in text.splitlines())}

    def test_cassandra(self) -> None:
        settings = self.yaml(CassandraOptions())
        assert settings["commitlog_sync"] == "batch"
        assert settings["storage_compatibility_mode"] == "NONE"
        assert settings["materialized_views_enabled"] is False
        assert settings["native_transport_port"] == 21000
        assert settings["data_file_directories"] == ["/data/one/data"]
        assert settings["authorizer"] == "AllowAllAuthorizer"

    def test_cassandra_nodes_divide_the_ring(self) -> None:
        options = CassandraOptions(nodes=4)
        tokens = [int(str(self.yaml(options, index)["initial_token"])) for index in range(4)]
        assert tokens == [-(2**63), -(2**62), 0, 2**62]
        assert self.yaml(options, 2)["listen_address"] == "127.0.0.3"

    def test_cassandra_options_win(self) -> None:
        options = CassandraOptions(
            commitlog_sync="periodic",
            authenticator="PasswordAuthenticator",
            settings={"sstable": {"selected_format": "bti"}, "num_tokens": 4},
        )
        settings = self.yaml(options)
        assert settings["commitlog_sync_period"] == "10000ms"
        assert settings["authorizer"] == "CassandraAuthorizer"
        assert settings["sstable"] == {"selected_format": "bti"}
        assert settings["num_tokens"] == 4

    def test_cassandra_command(self) -> None:
        argv = command_line(
            Runtime(("java", "-cp", "x/*")), CassandraOptions(heap_mib=2048, java_options=("-Dmy=1",)), FOLDER
        )
        assert argv[:3] == ("java", "-cp", "x/*")
        assert argv[-2:] == ("-Dmy=1", "org.apache.cassandra.service.CassandraDaemon")
        assert "-Xmx2048m" in argv
        assert "-Dcassandra.config=file:///data/one/cassandra.yaml" in argv
        assert "--add-opens=java.base/sun.nio.ch=ALL-UNNAMED" in argv
        assert "-Djava.security.manager=allow" not in argv

    @pytest.mark.parametrize(("index", "most_ms"), [(0, 0), (1, 30_000)])
    def test_a_node_that_joins_a_busy_one_has_time_to_hear_of_the_ring(
        self, index: int, most_ms: int
    ) -> None:
        argv = command_line(Runtime(("java",)), CassandraOptions(nodes=3), FOLDER, index=index)
        assert f"-Dcassandra.ring_delay_ms={most_ms}" in argv

    @pytest.mark.parametrize(("brief", "first_mib"), [("1", 128), ("", 2048)])
    def test_heap_and_compiler(self, brief: str, first_mib: int, monkeypatch: pytest.MonkeyPatch) -> None:
        """Only servers of tests start small and compile once: benchmarks measure others."""
        monkeypatch.setenv(BRIEF_VARIABLE, brief)
        options = heap_and_compiler(2048)
        assert options[:2] == (f"-Xms{first_mib}m", "-Xmx2048m")
        assert ("-XX:TieredStopAtLevel=1" in options) is bool(brief)
        assert ("-XX:+UseSerialGC" in options, "-XX:+UseG1GC" in options) == (bool(brief), not brief)

    @pytest.mark.parametrize("brief", ["1", ""])
    def test_a_brief_node_tells_the_time_less_often(
        self, brief: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv(BRIEF_VARIABLE, brief)
        argv = command_line(Runtime(("java",)), CassandraOptions(), FOLDER)
        assert ("-Dcassandra.approximate_time_precision_ms=20" in argv) is bool(brief)

    def test_kafka_advertises_a_proxy_to_clients_only(self) -> None:
        options = KafkaOptions(advertised="127.0.0.9:99", settings={"num.partitions": 7})
        text = properties_text(options, KafkaPorts(clients=1, direct=2, controller=3), FOLDER)
        settings = dict(line.split("=", 1) for line in text.splitlines())
        assert settings["listeners"].startswith("CLIENTS://127.0.0.1:1,DIRECT://127.0.0.1:2,")
        assert settings["advertised.listeners"] == "CLIENTS://127.0.0.9:99,DIRECT://127.0.0.1:2"
        assert settings["auto.create.topics.enable"] == "false"
        assert settings["num.partitions"] == "7"

    def test_kafka_cluster_id_is_a_uuid_in_22_characters(self) -> None:
        for _ in range(200):
            text = new_cluster_id()
            assert len(text) == 22
            assert not text.startswith("-")


class TestArchives:
    """What a server starts from that an earlier start has left."""

    @pytest.fixture
    def runtime(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Runtime:
        monkeypatch.setenv(BRIEF_VARIABLE, "1")
        write_program(tmp_path, "java", "echo 'openjdk version \"17.0.1\"' >&2")
        (tmp_path / "jars").mkdir()
        (tmp_path / "jars" / "one.jar").write_text("one")
        return Runtime((str(tmp_path / "java"), "-cp", f"{tmp_path}/jars/*"))

    def ask(self, runtime: Runtime, *, writes: bool = True, given: tuple[str, ...] = ()) -> tuple[str, ...]:
        def rehearse(folder: Path, options: tuple[str, ...]) -> None:
            self.rehearsed.append(options)
            folder.mkdir()
            assert archive_options("it", runtime, options, rehearse, Event()) == ()
            if not writes:
                raise StartFailed("it ended while starting")
            Path(options[0].partition("=")[2]).write_text("classes")

        return archive_options("it", runtime, given, rehearse, Event())

    @pytest.fixture(autouse=True)
    def _nothing_rehearsed(self) -> None:
        self.rehearsed: list[tuple[str, ...]] = []

    def test_a_server_is_rehearsed_once(self, runtime: Runtime) -> None:
        first, second = self.ask(runtime), self.ask(runtime)
        assert first == second
        assert len(self.rehearsed) == 1
        archive = Path(first[0].partition("=")[2])
        assert [file.name for file in archive.parent.iterdir()] == ["classes.jsa"]

    def test_a_rehearsal_that_fails_is_not_repeated(self, runtime: Runtime) -> None:
        assert [self.ask(runtime, writes=False) for _ in range(2)] == [(), ()]
        assert len(self.rehearsed) == 1

    def test_other_jars_have_another_archive_and_the_old_one_goes(
        self, runtime: Runtime, tmp_path: Path
    ) -> None:
        before = Path(self.ask(runtime)[0].partition("=")[2])
        (tmp_path / "jars" / "two.jar").write_text("two")
        after = Path(self.ask(runtime)[0].partition("=")[2])
        assert (before.exists(), after.exists(), len(self.rehearsed)) == (False, True, 2)

    def test_servers_that_are_measured_and_containers_have_none(
        self, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert self.ask(Runtime(runtime.argv, image="cassandra:5.0")) == ()
        monkeypatch.delenv(BRIEF_VARIABLE)
        assert self.ask(runtime) == ()
        assert self.rehearsed == []

    def test_a_copy_of_a_formatted_folder_is_of_another_cluster(self, tmp_path: Path) -> None:
        (tmp_path / "data").mkdir()
        (tmp_path / "data" / "meta.properties").write_text("version=1\ncluster.id=first\nnode.id=1\n")
        copy_formatted(tmp_path / "data", tmp_path / "copy")
        copied = dict(
            line.split("=") for line in (tmp_path / "copy" / "meta.properties").read_text().splitlines()
        )
        assert copied.pop("cluster.id") not in ("", "first")
        assert copied == {"version": "1", "node.id": "1"}


class TestMissingPrerequisites:
    def test_no_java(self, programs: Path) -> None:
        with pytest.raises(MissingPrerequisite, match=r"^[^\n]*no `java` on PATH[^\n]*openjdk-17[^\n]*$"):
            find_java()

    def test_old_java(self, programs: Path) -> None:
        write_program(programs, "java", """echo 'openjdk version "11.0.2" 2019-01-15' >&2""")
        with pytest.raises(MissingPrerequisite, match=r"^[^\n]*is Java 11[^\n]*openjdk-17[^\n]*$"):
            find_java()

    @pytest.mark.parametrize(
        ("text", "release"),
        [
            ('openjdk version "17.0.15" 2025-04-15', 17),
            ('java version "1.8.0_392"', 8),
            ('openjdk version "25" 2025-09-16', 25),
            ("command not found", 0),
        ],
    )
    def test_java_release(self, text: str, release: int) -> None:
        assert parse_release(text) == release

    def test_no_maven(self, programs: Path) -> None:
        with pytest.raises(MissingPrerequisite, match=r"^[^\n]*no `mvn` on PATH[^\n]*install maven[^\n]*$"):
            fetch_jars("cassandra", abort=Event())

    def test_no_etcd(self, programs: Path) -> None:
        with pytest.raises(MissingPrerequisite, match=r"^[^\n]*no `etcd` on PATH[^\n]*etcd-server[^\n]*$"):
            find_etcd(abort=Event())

    def test_etcd_on_path_is_taken(self, programs: Path) -> None:
        write_program(programs, "etcd", "")
        assert find_etcd(abort=Event()) == Runtime((str(programs / "etcd"),))

    def test_command_line_prints_the_line_and_no_trace(self, programs: Path, tmp_path: Path) -> None:
        result = CliRunner().invoke(main, ["up", "--only", "etcd", "--dir", str(tmp_path / "dev")])
        assert result.exit_code == 1
        assert result.output.startswith("Error: There is no `etcd` on PATH")
        assert not (tmp_path / "dev" / "servers.json").exists()

    def test_container_when_docker_answers(self, programs: Path) -> None:
        def nothing_here() -> Runtime:
            raise MissingPrerequisite("install it")

        in_image = Runtime(("java",), image="some/image")
        with pytest.raises(MissingPrerequisite):
            this_machine_else(nothing_here, in_image)
        write_program(programs, "docker", "exit 0")
        docker_answers.cache_clear()
        assert this_machine_else(nothing_here, in_image) is in_image


class TestCache:
    def test_two_at_once_fill_once(self) -> None:
        filled = []

        def fill(folder: Path) -> None:
            filled.append(folder)
            time.sleep(0.05)
            (folder / "jar").write_text("whole")

        with ThreadPoolExecutor(4) as pool:
            entries = {run.result() for run in [pool.submit(cached, "jars", fill, Event()) for _ in range(4)]}
        assert len(filled) == 1
        assert [(entry / "jar").read_text() for entry in entries] == ["whole"]

    def test_failed_fill_leaves_nothing(self) -> None:
        def fill(folder: Path) -> None:
            (folder / "jar").write_text("half")
            raise StartFailed("network")

        with pytest.raises(StartFailed):
            cached("jars", fill, Event())
        assert [path.name for path in cache_module.cache_folder().iterdir()] == [".lock"]

    def test_draft_of_a_killed_run_is_removed(self) -> None:
        left_behind = cache_module.cache_folder() / ".jars-abc"
        left_behind.mkdir(parents=True)
        cached("jars", lambda folder: (folder / "jar").touch(), Event())
        assert not left_behind.exists()

    def test_a_lock_of_its_own_holds_nobody_else_up(self) -> None:
        def build(folder: Path) -> None:
            cached("jars", lambda folder: (folder / "jar").touch(), Event())

        assert cached("program", build, Event(), lock=".program.lock").is_dir()
        assert (cache_module.cache_folder() / "jars" / "jar").exists()


class TestHelm:
    @staticmethod
    def _program(folder: Path, name: str, script: str) -> str:
        (folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / name).chmod(0o755)
        return str(folder / name)

    @pytest.fixture(autouse=True)
    def _path(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PATH", str(tmp_path))

    def test_one_on_the_path_is_taken(self, tmp_path: Path) -> None:
        there = self._program(tmp_path, "helm", "")
        assert find_helm(abort=Event()) == there

    def test_else_go_builds_one_once(self, tmp_path: Path) -> None:
        go = self._program(tmp_path, "go", f'echo built >> {tmp_path}/builds; echo "$@" > $GOBIN/helm')
        built = find_helm(abort=Event())
        assert find_helm(abort=Event()) == built
        assert f"{helm.MODULE}@{helm.VERSION}" in Path(built).read_text()
        assert (tmp_path / "builds").read_text() == "built\n", go

    def test_without_either_it_says_what_to_install(self) -> None:
        with pytest.raises(MissingPrerequisite, match="install Helm 3, or Go"):
            find_helm(abort=Event())

    def test_a_build_that_fails_or_takes_too_long_says_why(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self._program(tmp_path, "go", "echo no network; exit 1")
        with pytest.raises(MissingPrerequisite, match="no network"):
            find_helm(abort=Event())
        self._program(tmp_path, "go", "while :; do :; done")
        monkeypatch.setattr(helm, "BUILD_TIMEOUT_S", 0.1)
        with pytest.raises(MissingPrerequisite, match=r"took more than 0 s"):
            find_helm(abort=Event())

    def test_another_run_that_builds_for_too_long_is_not_waited_for(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self._program(tmp_path, "go", "")
        monkeypatch.setattr(cache_module, "FILL_TIMEOUT_S", 0.0)

        def build_beside(folder: Path) -> None:
            with pytest.raises(MissingPrerequisite, match="another run holds"):
                find_helm(abort=Event())

        cached("program", build_beside, Event(), lock=".helm.lock")

    def test_who_gives_up_is_not_told_to_install_anything(self, tmp_path: Path) -> None:
        self._program(tmp_path, "go", "while :; do :; done")
        abort = Event()
        abort.set()
        with pytest.raises(Aborted):
            find_helm(abort=abort)


class TestProcesses:
    def test_pid_of_a_stranger_is_not_signalled(self) -> None:
        with subprocess.Popen(["sleep", "30"], start_new_session=True) as stranger:
            try:
                real = ProcessId.of(stranger.pid)
                earlier = ProcessId(stranger.pid, real.started - 1)
                assert not earlier.is_running()
                earlier.end(grace_s=0.1)
                assert stranger.poll() is None
                assert real.signal(signal.SIGTERM)
            finally:
                stranger.kill()

    def test_process_that_ignores_sigterm_is_killed(self) -> None:
        script = "trap '' TERM; echo ready; while :; do sleep 0.05; done"
        with subprocess.Popen(
            ["sh", "-c", script], start_new_session=True, stdout=subprocess.PIPE
        ) as stubborn:
            assert stubborn.stdout is not None
            stubborn.stdout.readline()
            ProcessId.of(stubborn.pid).end(grace_s=0.2)
            assert stubborn.wait(60) == -signal.SIGKILL

    @pytest.mark.skipif(not Path("/proc/self/timerslack_ns").exists(), reason="only Linux has it")
    @pytest.mark.parametrize(("slack_us", "slack_ns"), [(700, 700_000), (0, None)])
    def test_a_process_sleeps_longer_from_its_first_moment_where_it_is_told_to(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, slack_us: int, slack_ns: int | None
    ) -> None:
        """A thread has the slack of the one that made it: what is told later is told too late for some."""
        log = tmp_path / "log"

        class OnABusyMachine(subprocess.Popen[bytes]):
            def __init__(self, *arguments: Any, **more: Any) -> None:
                super().__init__(*arguments, **more)
                while not log.stat().st_size:
                    time.sleep(0.001)

        monkeypatch.setattr("ringtime_local.process.subprocess.Popen", OnABusyMachine)
        slack = Path(f"/proc/{get_native_id()}/timerslack_ns")
        own_ns = int(slack.read_text())
        command = Command(("cat", "/proc/self/timerslack_ns"), slack_us=slack_us)
        assert LocalProcess(command, folder=tmp_path, log=log).wait(60) == 0
        assert int(log.read_text()) == (slack_ns or own_ns)
        assert int(slack.read_text()) == own_ns

    def test_tool_is_ended_when_given_up(self) -> None:
        abort = Event()
        abort.set()
        began = time.monotonic()
        with pytest.raises(Aborted):
            run_tool(["sleep", "30"], abort=abort, timeout_s=30)
        assert time.monotonic() - began < 20

    def test_failed_tool_shows_its_last_lines(self) -> None:
        script = "for i in $(seq 100); do echo line $i; done; exit 3"
        with pytest.raises(StartFailed, match="ended with 3") as failed:
            run_tool(["sh", "-c", script], abort=Event(), timeout_s=30)
        assert "line 100" in str(failed.value)
        assert "line 70\n" not in str(failed.value)

    def test_last_lines(self) -> None:
        assert last_lines("") == "    (no output)"
        assert last_lines("a\nb\nc\n", 2) == "    b\n    c"

    def test_guard_ends_what_is_watched_and_not_what_was_released(self) -> None:
        from ringtime_local.guard import Guard

        with (
            subprocess.Popen(["sleep", "30"], start_new_session=True) as watched,
            subprocess.Popen(["sleep", "30"], start_new_session=True) as released,
        ):
            guard = Guard()
            for process in (watched, released):
                guard.watch(ProcessId.of(process.pid))
            guard.release(ProcessId.of(released.pid))
            guard.close()
            assert watched.wait(60) == -signal.SIGTERM
            assert released.poll() is None
            released.kill()


class TestContainers:
    def test_compose_file_shares_network_and_folder(self) -> None:
        service = json.loads(compose_text("etcd", Command(("etcd", "$x"), image="i"), FOLDER))["services"][
            "etcd"
        ]
        assert service["network_mode"] == "host"
        assert service["volumes"] == [{"type": "bind", "source": "/data/one", "target": "/data/one"}]
        assert service["entrypoint"] == ["etcd", "$$x"]
        assert service["user"] == f"{os.getuid()}:{os.getgid()}"

    def test_faults_are_compose_commands(self, programs: Path, tmp_path: Path) -> None:
        said = tmp_path / "said"
        answers = 'case "$*" in *" ps "*) echo c1;; *State.Pid*) echo 42;; *Running*) echo true;; esac'
        write_program(programs, "docker", f'echo "$@" >> {said}; {answers}')
        process = ContainerProcess("etcd", Command(("etcd",), image="i"), folder=tmp_path)
        assert process.pid == 42
        assert process.is_running()
        process.signal(signal.SIGSTOP)
        process.signal(signal.SIGCONT)
        process.kill()
        process.stop(5)
        start = f"compose -f {tmp_path / 'compose.json'} "
        verbs = [line.removeprefix(start) for line in said.read_text().splitlines() if line.startswith(start)]
        assert [verb for verb in verbs if not verb.startswith("ps")] == [
            "up --detach",
            "pause",
            "unpause",
            "kill",
            "down --timeout 5",
        ]


class TestCommandLine:
    def test_down_leaves_a_reused_pid_alone(self, tmp_path: Path) -> None:
        with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(30)"]) as stranger:
            process = {"pid": stranger.pid, "started": 1}
            entry = {"name": "etcd", "addresses": "127.0.0.1:1", "processes": [process], "compose_file": None}
            (tmp_path / "servers.json").write_text(json.dumps([entry]))
            status = CliRunner().invoke(main, ["status", "--dir", str(tmp_path)])
            down = CliRunner().invoke(main, ["down", "--dir", str(tmp_path)])
            assert stranger.poll() is None
            stranger.kill()
        assert (status.exit_code, "ended" in status.output) == (1, True)
        assert down.output == "etcd: had ended before\n"
        assert not (tmp_path / "servers.json").exists()

    def test_unreadable_state_is_one_line(self, tmp_path: Path) -> None:
        (tmp_path / "servers.json").write_text("{")
        result = CliRunner().invoke(main, ["status", "--dir", str(tmp_path)])
        assert result.exit_code == 1
        assert result.output.startswith("Error: ")
