"""The launcher with real servers: queries, crashes, and nothing left running."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import aetcd
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from tests.harness.report import IS_LONG
from tests.service.cql import cql_session

from ringtime_local import (
    CassandraOptions,
    CassandraServer,
    EtcdServer,
    KafkaOptions,
    KafkaServer,
    LaunchError,
    LocalServers,
    StartFailed,
)
from ringtime_local.pids import ProcessId

pytestmark = pytest.mark.service

KEYSPACE = "WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}"


def test_all_three_start_side_by_side_and_leave_nothing_running(tmp_path: Path) -> None:
    with LocalServers(tmp_path, own=True) as servers:
        left = [ProcessId.of(server.pid) for server in servers.all]
        assert all(server.is_running for server in servers.all)
        assert servers.environment() == {
            "RINGTIME_TEST_CASSANDRA": f"127.0.0.1:{servers.cassandra.port}",
            "RINGTIME_TEST_KAFKA": servers.kafka.bootstrap,
            "RINGTIME_TEST_ETCD": servers.etcd.endpoint,
        }
    assert not any(process.is_running() for process in left)
    assert not any(server.is_running for server in servers.all)
    servers.stop()  # a second time: nothing happens


class TestCassandra:
    @pytest.mark.faults
    def test_keeps_acknowledged_rows_over_sigkill(self, own_cassandra: CassandraServer) -> None:
        with cql_session(own_cassandra) as session:
            session.execute(f"CREATE KEYSPACE crash {KEYSPACE}")
            session.execute("CREATE TABLE crash.rows (id int PRIMARY KEY, text text)")
            for number in range(50):
                session.execute("INSERT INTO crash.rows (id, text) VALUES (%s, 'kept')", (number,))
            before, port = ProcessId.of(own_cassandra.pid), own_cassandra.port
            own_cassandra.kill()
        assert not before.is_running()

        own_cassandra.restart(kill=True)

        assert own_cassandra.port == port
        assert own_cassandra.pid != before.pid
        with cql_session(own_cassandra) as session:
            assert len(session.execute("SELECT id FROM crash.rows").all()) == 50

    def test_settings_that_the_service_relies_on(self, cassandra_server: CassandraServer) -> None:
        with cql_session(cassandra_server) as session:
            rows = session.execute("SELECT name, value FROM system_views.settings").all()
        settings = {row.name: row.value for row in rows}
        assert settings["commitlog_sync"] == "batch"
        assert settings["storage_compatibility_mode"] == "NONE"
        assert settings["num_tokens"] == "1"
        assert settings["materialized_views_enabled"] == "false"

    def test_lightweight_transactions_work(self, cassandra_server: CassandraServer) -> None:
        with cql_session(cassandra_server) as session:
            session.execute(f"CREATE KEYSPACE lwt {KEYSPACE}")
            session.execute("CREATE TABLE lwt.rows (id int PRIMARY KEY, version int)")
            insert = "INSERT INTO lwt.rows (id, version) VALUES (1, 1) IF NOT EXISTS"
            assert session.execute(insert).was_applied
            assert not session.execute(insert).was_applied
            assert session.execute("UPDATE lwt.rows SET version = 2 WHERE id = 1 IF version = 1").was_applied

    @pytest.mark.faults
    @pytest.mark.skipif(not IS_LONG, reason="in the long set: make faults")
    @pytest.mark.slow
    @pytest.mark.timeout(400)
    def test_three_nodes_serve_quorum_with_one_killed(self, tmp_path: Path) -> None:
        # With Paxos v1 an LWT times out until the failure detector has noticed the dead replica (about 8 s).
        options = CassandraOptions(nodes=3, heap_mib=512, settings={"paxos_variant": "v2"})
        with LocalServers(tmp_path, cassandra=options, kafka=False, etcd=False, own=True) as servers:
            cassandra = servers.cassandra
            assert cassandra.contact_points == ["127.0.0.1", "127.0.0.2", "127.0.0.3"]
            with cql_session(cassandra) as session:
                assert len(session.execute("SELECT peer FROM system.peers_v2").all()) == 2
                session.execute(f"CREATE KEYSPACE quorum {KEYSPACE.replace('1}', '3}')}")
                session.execute("CREATE TABLE quorum.rows (id int PRIMARY KEY)")
                insert = session.prepare("INSERT INTO quorum.rows (id) VALUES (?) IF NOT EXISTS")
                insert.is_idempotent = True
                cassandra.nodes[2].kill()
                for number in range(20):
                    session.execute(insert, (number,))
                cassandra.nodes[2].start()
            with cql_session(cassandra) as session:
                assert len(session.execute("SELECT id FROM quorum.rows").all()) == 20


class TestKafka:
    @pytest.mark.faults
    async def test_records_survive_sigkill(self, own_kafka: KafkaServer) -> None:
        await asyncio.to_thread(own_kafka.create_topic, "crash", partitions=2)
        async with AIOKafkaProducer(bootstrap_servers=own_kafka.bootstrap, acks="all") as producer:
            await producer.send_and_wait("crash", b"kept", partition=1)

        await asyncio.to_thread(own_kafka.restart, kill=True)

        consumer = AIOKafkaConsumer(
            "crash", bootstrap_servers=own_kafka.bootstrap, auto_offset_reset="earliest"
        )
        async with consumer, asyncio.timeout(60):
            record = await consumer.getone()
        assert (record.partition, record.value) == (1, b"kept")

    def test_topic_that_exists_is_refused(self, kafka_server: KafkaServer) -> None:
        kafka_server.create_topic("twice")
        with pytest.raises(LaunchError, match="twice"):
            kafka_server.create_topic("twice")

    async def test_clients_are_sent_to_the_advertised_address(self, tmp_path: Path) -> None:
        options = KafkaOptions(advertised="127.0.0.1:19")
        servers = LocalServers(tmp_path, cassandra=False, kafka=options, etcd=False, own=True)
        await asyncio.to_thread(servers.start)  # probes pass by the advertised address, or this would not end
        try:
            await asyncio.to_thread(servers.kafka.create_topic, "by-the-proxy")
            from aiokafka.client import AIOKafkaClient

            client = AIOKafkaClient(bootstrap_servers=servers.kafka.bootstrap)
            await client.bootstrap()
            assert {(broker.host, broker.port) for broker in client.cluster.brokers()} == {("127.0.0.1", 19)}
            await client.close()
        finally:
            await asyncio.to_thread(servers.stop)


class TestEtcd:
    @pytest.mark.faults
    async def test_keys_survive_sigkill(self, own_etcd: EtcdServer) -> None:
        async with aetcd.Client(own_etcd.host, own_etcd.port) as client:
            await client.put(b"crash", b"kept")

        await asyncio.to_thread(own_etcd.restart, kill=True)

        async with aetcd.Client(own_etcd.host, own_etcd.port) as client:
            assert (await client.get(b"crash")).value == b"kept"

    @pytest.mark.faults
    def test_paused_server_gives_no_answer_until_it_is_resumed(self, own_etcd: EtcdServer) -> None:
        own_etcd.pause()
        try:
            with pytest.raises(StartFailed, match="no answer"):
                own_etcd.wait_ready(timeout_s=0.5)
            assert own_etcd.is_running
        finally:
            own_etcd.resume()
        own_etcd.wait_ready()

    def test_paused_server_can_be_stopped(self, tmp_path: Path) -> None:
        with LocalServers(tmp_path, cassandra=False, kafka=False, own=True) as servers:
            servers.etcd.pause()
            began = time.monotonic()
        assert time.monotonic() - began < 60


class TestFailures:
    def test_program_that_ends_at_once_shows_its_log_and_takes_the_others_with_it(
        self, tmp_path: Path
    ) -> None:
        broken = CassandraOptions(settings={"no_such_setting": 1})
        servers = LocalServers(tmp_path, cassandra=broken, kafka=False, own=True)
        with pytest.raises(StartFailed, match="no_such_setting"):
            servers.start()
        assert not servers.cassandra.is_running
        assert not servers.etcd.is_running

    def test_servers_end_when_their_run_is_killed(self, tmp_path: Path) -> None:
        script = (
            "import sys, time, pathlib; from ringtime_local import LocalServers\n"
            "servers = LocalServers(pathlib.Path(sys.argv[1]), cassandra=False, kafka=False, own=True)\n"
            "servers.start(); print(servers.etcd.pid, flush=True); time.sleep(60)"
        )
        run = subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE)
        with run:
            assert run.stdout is not None
            server = ProcessId.of(int(run.stdout.readline()))
            assert server.is_running()
            run.send_signal(signal.SIGKILL)
        assert server.wait_gone(15)


class TestCommandLine:
    def run(self, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
        argv = [sys.executable, "-m", "ringtime_local", *words, "--dir", str(folder)]
        env = {name: value for name, value in os.environ.items() if not name.startswith("RINGTIME_TEST_")}
        return subprocess.run(argv, capture_output=True, text=True, timeout=180, check=False, env=env)

    def test_up_status_down(self, tmp_path: Path) -> None:
        up = self.run(tmp_path, "up", "--only", "etcd")
        assert up.returncode == 0, up.stderr
        try:
            entry = json.loads((tmp_path / "servers.json").read_text())[0]
            server = ProcessId(**entry["processes"][0])
            assert up.stdout == f"export RINGTIME_TEST_ETCD={entry['addresses']}\n"
            assert server.is_running()
            assert "running" in self.run(tmp_path, "status").stdout
            again = self.run(tmp_path, "up", "--only", "etcd")
            assert (again.returncode, "already running" in again.stderr) == (1, True)
        finally:
            down = self.run(tmp_path, "down")
        assert down.stdout == "etcd: stopped\n"
        assert not server.is_running()
        assert self.run(tmp_path, "status").returncode == 1
