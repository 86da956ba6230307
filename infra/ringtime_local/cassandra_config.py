"""The files and the command line of one Cassandra node; the jar brings none of them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ringtime_local.certificates import TlsFiles
from ringtime_local.java import heap_and_compiler, is_brief
from ringtime_local.runtimes import Runtime

DATA_FOLDERS = ("data", "commitlog", "hints", "saved_caches", "cdc_raw")
ALLOW_ALL = "AllowAllAuthenticator"
PASSWORD = "PasswordAuthenticator"
PEM_FACTORY = "org.apache.cassandra.security.PEMBasedSslContextFactory"
TOKEN_RANGE = 2**64

EXPORTS = (
    "java.base/jdk.internal.misc",
    "java.base/java.lang.ref",
    "java.management.rmi/com.sun.jmx.remote.internal.rmi",
    "java.rmi/sun.rmi.registry",
    "java.rmi/sun.rmi.server",
    "java.sql/java.sql",
    "jdk.unsupported/sun.misc",
)
OPENS = (
    "java.base/java.lang",
    "java.base/java.lang.module",
    "java.base/java.io",
    "java.base/java.nio",
    "java.base/java.util",
    "java.base/java.util.concurrent",
    "java.base/java.util.concurrent.atomic",
    "java.base/jdk.internal.loader",
    "java.base/jdk.internal.ref",
    "java.base/jdk.internal.reflect",
    "java.base/jdk.internal.math",
    "java.base/jdk.internal.module",
    "java.base/jdk.internal.util.jar",
    "java.base/sun.nio.ch",
    "jdk.management/com.sun.management.internal",
)


#: How much longer than it asks a node may sleep. Workers without work look for some again and again, 10 to
#: 1,000 µs apart, as long as there was any of late: half of what a node does that idle dispatchers poll, a
#: third under the load of tests. Linux adds 50 µs by itself; with 500 a node that idle dispatchers poll takes
#: half (docs/benchmarks.md), and an answer comes a fraction of a millisecond later. An answer waits for
#: several threads: with 4 ms, tests of a store that ask one thing after the other took three times as long.
SLACK_US = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class CassandraOptions:
    """What a run may choose."""

    nodes: int = 1  #: on 127.0.0.1, 127.0.0.2, ...; all use the same ports
    port: int | None = None  #: of CQL; None takes a free one
    storage_port: int | None = None  #: between nodes; None takes a free one
    heap_mib: int = 1024  #: 1 to 2 GiB serves all tests
    commitlog_sync: str = "batch"  #: `periodic` may lose acknowledged writes on SIGKILL
    authenticator: str = ALLOW_ALL  #: PASSWORD makes the role cassandra/cassandra
    username: str = "cassandra"
    password: str = "cassandra"
    tls: TlsFiles | None = None  #: its certificate; clients then need one that the same authority signed
    settings: Mapping[str, object] = field(default_factory=dict)  #: more of cassandra.yaml; wins over ours
    java_options: tuple[str, ...] = ()  #: more of the Java command line

    @property
    def has_passwords(self) -> bool:
        return self.authenticator.rpartition(".")[2] == PASSWORD


def node_host(index: int) -> str:
    """Return the address of a node, counted from 0."""
    return f"127.0.0.{index + 1}"


def yaml_text(options: CassandraOptions, *, index: int, port: int, storage_port: int, folder: Path) -> str:
    """Return cassandra.yaml; every value is written as JSON, which is YAML too."""
    host = node_host(index)
    seeds = [{"seeds": f"{node_host(0)}:{storage_port}"}]
    settings: dict[str, object] = {
        "cluster_name": "ringtime-local",
        "partitioner": "org.apache.cassandra.dht.Murmur3Partitioner",
        "num_tokens": 1,
        "initial_token": str(index * TOKEN_RANGE // options.nodes - TOKEN_RANGE // 2),
        "auto_bootstrap": False,  # the nodes of a cluster start empty together: nothing to stream
        "seed_provider": [
            {"class_name": "org.apache.cassandra.locator.SimpleSeedProvider", "parameters": seeds}
        ],
        "endpoint_snitch": "SimpleSnitch",
        "listen_address": host,
        "rpc_address": host,
        "storage_port": storage_port,
        "native_transport_port": port,
        "start_native_transport": True,
        "data_file_directories": [str(folder / "data")],
        "commitlog_directory": str(folder / "commitlog"),
        "hints_directory": str(folder / "hints"),
        "saved_caches_directory": str(folder / "saved_caches"),
        "cdc_raw_directory": str(folder / "cdc_raw"),
        "commitlog_sync": options.commitlog_sync,
        "storage_compatibility_mode": "NONE",  # for bti sstables and for TTLs past 2038
        "materialized_views_enabled": False,
        "authenticator": options.authenticator,
        "authorizer": "CassandraAuthorizer" if options.has_passwords else "AllowAllAuthorizer",
        "role_manager": "CassandraRoleManager",
        "concurrent_compactors": 1,
        "auto_snapshot": False,  # DROP TABLE then leaves nothing behind
    }
    if options.commitlog_sync == "periodic":
        settings["commitlog_sync_period"] = "10000ms"
    if options.tls is not None:
        settings["client_encryption_options"] = {
            "enabled": True,
            "require_client_auth": True,
            "keystore": str(options.tls.both),
            "truststore": str(options.tls.ca),
            "ssl_context_factory": {"class_name": PEM_FACTORY},
        }
    settings.update(options.settings)
    return "".join(f"{key}: {json.dumps(value)}\n" for key, value in settings.items())


LOGBACK = """\
<configuration>
  <appender name="stdout" class="ch.qos.logback.core.ConsoleAppender">
    <encoder><pattern>%-5level %date{HH:mm:ss.SSS} [%thread] %logger{0}: %msg%n</pattern></encoder>
  </appender>
  <root level="INFO"><appender-ref ref="stdout"/></root>
</configuration>
"""


def command_line(
    runtime: Runtime, options: CassandraOptions, folder: Path, *, index: int = 0
) -> tuple[str, ...]:
    """Return the command that runs the node whose files are in `folder`."""
    properties = {
        "cassandra.config": f"file://{folder}/cassandra.yaml",
        "cassandra.storagedir": str(folder),
        "cassandra.logdir": str(folder),
        "logback.configurationFile": str(folder / "logback.xml"),
        "java.io.tmpdir": str(folder / "tmp"),  # native libraries are unpacked here: not left in /tmp
        "jna.tmpdir": str(folder / "tmp"),
        "java.net.preferIPv4Stack": "true",
        "jdk.attach.allowAttachSelf": "true",
        "io.netty.tryReflectionSetAccessible": "true",
        # How long, at most, a node asks the first one for the ring before it gives up; the first asks nobody.
        "cassandra.ring_delay_ms": "30000" if index else "0",
        "cassandra.skip_wait_for_gossip_to_settle": "0",  # `cassandra.py` asks each node for its peers
        "cassandra.shutdown_announce_in_ms": "0",  # it goes on for 2 s after this by default
        "cassandra.superuser_setup_delay_ms": "0",  # the role cassandra is made 10 s after start by default
    }
    if is_brief():
        properties["cassandra.approximate_time_precision_ms"] = "20"  # else a thread does nothing but tell it
        # It measures what a row of a memtable takes on 100,000 of them before it begins: half of its start.
        properties["cassandra.memtable_row_overhead_computation_step"] = "100"
    java = [*heap_and_compiler(options.heap_mib)]
    if 18 <= runtime.java_release < 24:
        java.append("-Djava.security.manager=allow")
    java += [f"--add-exports={name}=ALL-UNNAMED" for name in EXPORTS]
    java += [f"--add-opens={name}=ALL-UNNAMED" for name in OPENS]
    java += [f"-D{name}={value}" for name, value in properties.items()]
    java += options.java_options
    program, *classpath = runtime.argv
    return (program, *classpath, *java, "org.apache.cassandra.service.CassandraDaemon")
