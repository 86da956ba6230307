"""How the driver is set up: every choice it would otherwise make for us."""

from __future__ import annotations

import logging
import socket
import ssl
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from cassandra import ConsistencyLevel
from cassandra.auth import PlainTextAuthProvider
from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile
from cassandra.policies import (
    DCAwareRoundRobinPolicy,
    ExponentialReconnectionPolicy,
    FallthroughRetryPolicy,
    TokenAwarePolicy,
)
from cassandra.query import tuple_factory

from ringtime_shared.certificates import client_context
from ringtime_shared.clock import SystemClock
from ringtime_shared.settings import CassandraSettings

PLAIN = EXEC_PROFILE_DEFAULT  #: reads, writes, and the commit of an LWT
SERIAL = "serial"  #: reads that must see, or finish, an LWT under way
PROTOCOL = 5  # of Cassandra 4.0 and newer; named, or the driver tries 66 first and logs each step down
CONNECT_TIMEOUT_S = 5.0
_MOST_HELD = 100  # log records of one connect
HEARTBEAT_S = 5.0  # a silent connection is asked after this, and given up after as much again

_SYSTEM_CLOCK = SystemClock()
_SERIAL_OF = {"LOCAL_QUORUM": ConsistencyLevel.LOCAL_SERIAL, "QUORUM": ConsistencyLevel.SERIAL}


def is_usual(warning: str) -> bool:
    """Whether it is one of two warnings of servers that come with each of our batches, and mean batches
    unlike ours: ours go to the replicas of their rows, and stay under the size that fails."""
    return "atch" in warning and ("threshold" in warning or "partitions" in warning)


class _QuietBatches(logging.Filter):
    """Drops the usual warnings."""

    def filter(self, record: logging.LogRecord) -> bool:
        return not (record.msg == "Server warning: %s" and is_usual(str(record.args)))


_QUIET_BATCHES = _QuietBatches()  # one object: a logger takes each filter once


@contextmanager
def held_logs() -> Iterator[None]:
    """Hold back what the driver logs while the body connects: an error that ends it says the same. What was
    held is logged after a connect that went well, such as that one server of three is away."""
    driver, held = logging.getLogger("cassandra"), _Held()
    propagates, driver.propagate = driver.propagate, False
    driver.addHandler(held)
    try:
        yield
    finally:
        driver.removeHandler(held)
        driver.propagate = propagates
    for record in held.records:
        driver.handle(record)


class _Held(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.records: deque[logging.LogRecord] = deque(maxlen=_MOST_HELD)

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


class WriteTimes:
    """Timestamps of writes, in microseconds: where a column has several writers, the later write counts.

    Each is above the one before, so of two writes of this process the second counts, unless the clock was set
    back by more than `_MOST_AHEAD_US`: then the right time matters more. The driver's own generator would
    follow a clock that jumps ahead, and go on from the false time for as long as it was ahead.
    """

    _MOST_AHEAD_US = 60_000_000  # a minute, by which clocks that are relied on may differ

    def __init__(self, now_ms: Callable[[], int]) -> None:
        self._now_ms = now_ms
        self._last_us = 0

    def __call__(self) -> int:
        now_us = self._now_ms() * 1_000
        if now_us <= self._last_us <= now_us + self._MOST_AHEAD_US:
            now_us = self._last_us + 1
        self._last_us = now_us
        return now_us


def make_cluster(
    settings: CassandraSettings,
    now_ms: Callable[[], int] = _SYSTEM_CLOCK.now_ms,
    connection_class: Any = None,
    *,
    protocol: int = PROTOCOL,
) -> Any:
    """Return a driver cluster that is not connected yet. Raises StartupError.

    Args:
        now_ms: the time of writes.
        connection_class: what its connections are made of; None: the driver's own, with a thread for I/O.
        protocol: version of the native protocol.
    """
    logging.getLogger("cassandra.protocol").addFilter(_QUIET_BATCHES)
    return Cluster(
        list(settings.contact_points),
        settings.port,
        protocol_version=protocol,
        connection_class=connection_class,
        execution_profiles=_profiles(settings),
        auth_provider=_login(settings),
        ssl_context=_tls(settings),
        sockopts=[(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)],
        # By default it waits up to ten minutes between tries, and gives up after 64.
        reconnection_policy=ExponentialReconnectionPolicy(0.25, 2.0, max_attempts=None),
        timestamp_generator=WriteTimes(now_ms),
        connect_timeout=CONNECT_TIMEOUT_S,
        control_connection_timeout=CONNECT_TIMEOUT_S,
        idle_heartbeat_interval=HEARTBEAT_S,
        idle_heartbeat_timeout=HEARTBEAT_S,
        compression=False,  # our batches are small, and the client's CPU is what is short
        monitor_reporting_enabled=False,
        application_name="ringtime",
    )


def _profiles(settings: CassandraSettings) -> dict[object, Any]:
    serial = _SERIAL_OF[settings.consistency]
    plain = ConsistencyLevel.name_to_value[settings.consistency]
    policy = TokenAwarePolicy(DCAwareRoundRobinPolicy(settings.local_dc), shuffle_replicas=True)
    return {
        name: ExecutionProfile(
            load_balancing_policy=policy,
            retry_policy=FallthroughRetryPolicy(),  # `session` knows which statements may be repeated
            consistency_level=consistency,
            serial_consistency_level=serial,
            request_timeout=settings.request_timeout_ms / 1000,
            row_factory=tuple_factory,
        )
        for name, consistency in ((PLAIN, plain), (SERIAL, serial))
    }


def _login(settings: CassandraSettings) -> Any:
    return PlainTextAuthProvider(settings.username, settings.password) if settings.username else None


def _tls(settings: CassandraSettings) -> ssl.SSLContext | None:
    """The nodes are known by address, so their certificates must name the address (or the contact point)."""
    if not settings.ca_file:
        return None
    return client_context(settings.ca_file, settings.cert_file, settings.key_file, purpose="Cassandra")
