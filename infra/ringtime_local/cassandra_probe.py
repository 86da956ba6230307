"""One CQL question to one node."""

from __future__ import annotations

from dataclasses import dataclass

from ringtime_local.addresses import Address, check_port
from ringtime_local.certificates import TlsFiles
from ringtime_local.errors import NotReady

TIMEOUT_S = 5.0
PROTOCOL = 5  # of Cassandra 4.0 and newer; named, or the driver tries 66 first and logs each step down


@dataclass(frozen=True, slots=True)
class Login:
    """The role that asks."""

    username: str
    password: str


def ask_now(address: Address, login: Login | None, tls: TlsFiles | None = None) -> int:
    """Have `SELECT now()` answered by this node; return how many peers it knows. Raises NotReady."""
    check_port(address)  # cheap and quiet; the driver starts threads and logs each refusal
    # Imported late: `ringtime-dev status` and a run that needs only etcd do without the driver.
    from cassandra import DriverException, OperationTimedOut, RequestExecutionException
    from cassandra.auth import PlainTextAuthProvider
    from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile, NoHostAvailable
    from cassandra.policies import WhiteListRoundRobinPolicy

    only_this_node = ExecutionProfile(WhiteListRoundRobinPolicy([address.host]), request_timeout=TIMEOUT_S)
    cluster = Cluster(
        [address.host],
        address.port,
        auth_provider=PlainTextAuthProvider(login.username, login.password) if login else None,
        ssl_context=tls.client_context() if tls else None,
        execution_profiles={EXEC_PROFILE_DEFAULT: only_this_node},
        protocol_version=PROTOCOL,
        connect_timeout=TIMEOUT_S,
        control_connection_timeout=TIMEOUT_S,
        monitor_reporting_enabled=False,
    )
    try:
        session = cluster.connect()
        session.execute("SELECT now() FROM system.local").one()
        return len(session.execute("SELECT peer FROM system.peers_v2").all())
    except (NoHostAvailable, OperationTimedOut, RequestExecutionException, DriverException, OSError) as error:
        raise NotReady(f"{type(error).__name__}: {error}") from error
    finally:
        cluster.shutdown()
