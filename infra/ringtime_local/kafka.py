"""Kafka: one broker in KRaft mode."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from threading import Event

from ringtime_local.addresses import Address
from ringtime_local.errors import NotReady
from ringtime_local.kafka_admin import ask_brokers, create_topic
from ringtime_local.kafka_config import (
    HOST,
    KafkaOptions,
    KafkaPorts,
    command_line,
    format_command,
    new_cluster_id,
    properties_text,
)
from ringtime_local.ports import take_ports
from ringtime_local.process import Command
from ringtime_local.runtimes import Runtime, jar_runtime
from ringtime_local.server import LocalServer
from ringtime_local.tools import run_tool

IN_IMAGE = Runtime(("java", "-cp", "/opt/kafka/libs/*"), image="apache/kafka:4.1.1")
FORMAT_TIMEOUT_S = 60.0


class KafkaServer(LocalServer):
    """One broker that is its own controller."""

    name = "kafka"

    def __init__(
        self,
        folder: Path,
        options: KafkaOptions | None = None,
        *,
        external: list[Address] | None = None,
        abort: Event | None = None,
    ) -> None:
        super().__init__(folder, external=bool(external), abort=abort)
        self.options = options or KafkaOptions()
        if external:
            self.bootstrap = ",".join(map(str, external))
            self.direct = self.bootstrap
            return
        direct, controller = take_ports(2)
        self._ports = KafkaPorts(self.options.port or take_ports(1)[0], direct, controller)
        self.bootstrap = str(Address(HOST, self._ports.clients))  #: where the broker listens for clients
        self.direct = str(Address(HOST, direct))  #: as above, but never led to `options.advertised`

    @property
    def addresses(self) -> str:
        """`host:port`: what RINGTIME_TEST_KAFKA takes."""
        return self.bootstrap

    @property
    def servers(self) -> list[LocalServer]:
        return [self]

    def probe(self) -> None:
        """Have the cluster's metadata answered, with a broker in it that takes requests."""
        if not ask_brokers(self.direct):
            raise NotReady("the metadata names no broker yet")

    def create_topic(
        self, name: str, *, partitions: int = 1, config: Mapping[str, str] | None = None
    ) -> None:
        """Create a topic with one replica. Raises LaunchError when it cannot, or when it exists."""
        create_topic(self.direct, name, partitions=partitions, config=config or {})

    def _prepare(self) -> Command:
        runtime = jar_runtime("kafka", IN_IMAGE, abort=self._abort)
        (self.folder / "tmp").mkdir(exist_ok=True)
        text = properties_text(self.options, self._ports, self.folder)
        (self.folder / "server.properties").write_text(text, encoding="utf-8")
        run = command_line(runtime, self.options, self.folder)
        if (self.folder / "data" / "meta.properties").exists():
            return Command(run, image=runtime.image)
        prepare = format_command(runtime, self.options, new_cluster_id(), self.folder)
        if runtime.image is None:
            run_tool(prepare, abort=self._abort, timeout_s=FORMAT_TIMEOUT_S, folder=self.folder)
            return Command(run)
        both = ("sh", "-c", '"$@" && exec ' + shlex.join(run), "sh", *prepare)
        return Command(both, image=runtime.image)
