"""Real Cassandra, Kafka and etcd on this machine, for tests, fault runs and development.

    with LocalServers(folder) as servers:
        servers.cassandra.contact_points, servers.kafka.bootstrap, servers.etcd.endpoint

Where a server comes from, in this order:

1. its address in the environment: RINGTIME_TEST_CASSANDRA, RINGTIME_TEST_KAFKA, RINGTIME_TEST_ETCD, each
   `host:port` (Cassandra and Kafka also take a comma-separated list). It is used and never signalled;
2. programs on this machine: Java 17 with jars that Maven fetches once into the per-user cache; etcd from
   PATH, from its Debian package unpacked into the cache (no root, no system service), or built by Go;
3. containers by `docker compose`, when 2 lacks something and a Docker engine answers. A container is only
   another place to find Java and the jars: it shares this machine's network and the server's folder, and
   gets the same command line and the same configuration files.

What must hold, and how:

- Nothing is signalled that we did not start. A process is known by pid *and* start time, so a pid that the
  kernel gave to somebody else is left alone.
- Nothing is left running. `stop` ends what `start` began, also when the start fails half way; and `guard.py`
  ends it when this process is itself killed with SIGKILL.
- A server comes back on the ports and the data it had, so `restart(kill=True)` is a crash as clients see it.
- Ready means that a real query was answered, not that a port is open.
- What is the same at each start is done once: the cache holds a formatted folder for Kafka and, for servers
  that live for minutes, the classes of Cassandra and Kafka as they are after a start (`archives`).
- Two runs at once do not meet: ports are locked per user while a run lives, and the cache is filled under a
  lock and by rename.

Beside these: `prometheus`, which alert rules are tested with, `compose`, which reads what Docker would, and
`dashboards`, which makes those of Grafana.
"""

from ringtime_local.cassandra import CassandraServer
from ringtime_local.cassandra_config import CassandraOptions
from ringtime_local.certificates import Authority, TlsFiles
from ringtime_local.errors import LaunchError, MissingPrerequisite, NotOurs, StartFailed
from ringtime_local.etcd import EtcdOptions, EtcdServer
from ringtime_local.kafka import KafkaServer
from ringtime_local.kafka_config import KafkaOptions
from ringtime_local.servers import LocalServers

__all__ = [
    "Authority",
    "CassandraOptions",
    "CassandraServer",
    "EtcdOptions",
    "EtcdServer",
    "KafkaOptions",
    "KafkaServer",
    "LaunchError",
    "LocalServers",
    "MissingPrerequisite",
    "NotOurs",
    "StartFailed",
    "TlsFiles",
]
