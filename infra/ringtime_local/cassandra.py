"""Cassandra: one node, or several on 127.0.0.1, 127.0.0.2, ..."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Event

from ringtime_local.addresses import Address
from ringtime_local.archives import WRITE_S, archive_options
from ringtime_local.cassandra_config import (
    DATA_FOLDERS,
    LOGBACK,
    SLACK_US,
    CassandraOptions,
    command_line,
    node_host,
    yaml_text,
)
from ringtime_local.cassandra_probe import Login, ask_now
from ringtime_local.errors import NotReady
from ringtime_local.ports import take_ports
from ringtime_local.process import Command
from ringtime_local.runtimes import Runtime, jar_runtime
from ringtime_local.server import START_TIMEOUT_S, LocalServer

IN_IMAGE = Runtime(("java", "-cp", "/opt/cassandra/lib/*"), image="cassandra:5.0")


class CassandraNode(LocalServer):
    """One node."""

    name = "cassandra"

    def __init__(
        self,
        folder: Path,
        options: CassandraOptions,
        *,
        index: int = 0,
        address: Address,
        storage_port: int = 0,
        external: bool = False,
        abort: Event | None = None,
    ) -> None:
        super().__init__(folder, external=external, abort=abort)
        self.options = options
        self.index = index
        self.expected_peers = 0
        self.address = address
        self._storage_port = storage_port

    def probe(self) -> None:
        options = self.options
        login = Login(options.username, options.password) if options.has_passwords else None
        peers = ask_now(self.address, login, options.tls)
        if peers < self.expected_peers:
            raise NotReady(f"knows {peers} of {self.expected_peers} peers")

    def _prepare(self) -> Command:
        runtime = jar_runtime("cassandra", IN_IMAGE, abort=self._abort)
        for name in (*DATA_FOLDERS, "tmp"):
            (self.folder / name).mkdir(exist_ok=True)
        text = yaml_text(
            self.options,
            index=self.index,
            port=self.address.port,
            storage_port=self._storage_port,
            folder=self.folder,
        )
        (self.folder / "cassandra.yaml").write_text(text, encoding="utf-8")
        (self.folder / "logback.xml").write_text(LOGBACK, encoding="utf-8")
        given = self.options.java_options
        kept = archive_options(self.name, runtime, given, self._rehearse, self._abort)
        options = replace(self.options, java_options=(*given, *kept))
        run = command_line(runtime, options, self.folder, index=self.index)
        return Command(run, image=runtime.image, slack_us=SLACK_US)

    def _rehearse(self, folder: Path, java_options: tuple[str, ...]) -> None:
        server = CassandraServer(folder, CassandraOptions(java_options=java_options), abort=self._abort)
        server.start()
        server.nodes[0].stop(WRITE_S)


class CassandraServer:
    """All nodes of a cluster; with one node, that node."""

    name = "cassandra"

    def __init__(
        self,
        folder: Path,
        options: CassandraOptions | None = None,
        *,
        external: list[Address] | None = None,
        abort: Event | None = None,
    ) -> None:
        self.options = options or CassandraOptions()
        self.folder = folder.absolute()
        if external:
            self.nodes = [
                CassandraNode(folder, self.options, address=address, external=True, abort=abort)
                for address in external
            ]
            return
        hosts = [node_host(index) for index in range(self.options.nodes)]
        port = self.options.port or take_ports(1, hosts)[0]
        storage_port = self.options.storage_port or take_ports(1, hosts)[0]
        self.nodes = [
            CassandraNode(
                folder / host if len(hosts) > 1 else folder,
                self.options,
                index=index,
                address=Address(host, port),
                storage_port=storage_port,
                abort=abort,
            )
            for index, host in enumerate(hosts)
        ]

    @property
    def contact_points(self) -> list[str]:
        return [node.address.host for node in self.nodes]

    @property
    def port(self) -> int:
        return self.nodes[0].address.port

    @property
    def addresses(self) -> str:
        """`host:port`, separated by commas: what RINGTIME_TEST_CASSANDRA takes."""
        return ",".join(str(node.address) for node in self.nodes)

    @property
    def pid(self) -> int:
        """The pid of the first node."""
        return self.nodes[0].pid

    @property
    def is_running(self) -> bool:
        return all(node.is_running for node in self.nodes)

    @property
    def is_external(self) -> bool:
        return self.nodes[0].is_external

    @property
    def servers(self) -> list[CassandraNode]:
        return self.nodes

    def start(self, timeout_s: float = START_TIMEOUT_S) -> None:
        """Start every node, one after the other: each learns the ring from those before it."""
        try:
            for node in self.nodes:
                node.start(timeout_s)
            for node in () if self.is_external else self.nodes:
                node.expected_peers = len(self.nodes) - 1
                node.wait_ready(timeout_s)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        with ThreadPoolExecutor(len(self.nodes)) as pool:
            list(pool.map(CassandraNode.stop, self.nodes))

    def kill(self) -> None:
        """SIGKILL every node; use `nodes[i].kill()` for one."""
        for node in self.nodes:
            node.kill()

    def pause(self) -> None:
        for node in self.nodes:
            node.pause()

    def resume(self) -> None:
        for node in self.nodes:
            node.resume()

    def restart(self, *, kill: bool = False, timeout_s: float = START_TIMEOUT_S) -> None:
        """End every node and start it with the same ports and data. Raises NotOurs."""
        for node in self.nodes:
            node.check_ours()
        if kill:
            self.kill()
        else:
            self.stop()
        self.start(timeout_s)
