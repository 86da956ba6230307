"""A configuration with the keys and values of what goscheduler ships: `conf/conf.json` at `ea0a600`."""

from __future__ import annotations

from typing import Any


def shipped_conf(*, hosts: str = "127.0.0.1") -> dict[str, Any]:
    """Return it, with these hosts of Cassandra."""

    def database(page_size: int) -> dict[str, Any]:
        pool = {"InitialConnectTimeout": 1000, "ConnectTimeout": 1000, "MaxNumConnections": 4}
        return {
            "PageSize": page_size,
            "NumRetry": 2,
            "Hosts": hosts,
            "Consistency": "ONE",
            "ConnectionPool": pool,
        }

    return {
        "HttpPort": "8080",
        "CreateSchema": True,
        "SchemaPath": "/src/goscheduler/cassandra/cassandra.cql",
        "Cluster": {
            "ClusterName": "goscheduler",
            "Address": "127.0.0.1:9091",
            "TChannelPort": "9091",
            "BootStrapServers": ["127.0.0.1:9091", "127.0.0.1:9092"],
            "JoinSize": 1,
            "Log": {"Enable": True},
            "ReplicaPoints": 2,
        },
        "ClusterDB": {"ClusterKeySpace": "cluster", "DBConfig": database(1000), "EntityHistorySize": 100},
        "ScheduleDB": {
            "ScheduleKeySpace": "schedule_management",
            "ScheduleTableName": "schedules",
            "DBConfig": database(1500),
        },
        "AppLevelConfiguration": {
            "FiredScheduleRetentionPeriod": 10,
            "FutureScheduleCreationPeriod": 30,
            "HttpRetries": 3,
            "HttpTimeout": 2000,
            "PayloadSize": 1024,
        },
        "NodeCrashReconcile": {"NeedsReconcile": True, "ReconcileOffset": 3},
        "MonitoringConfig": {
            "Statsd": {"Address": "54.251.41.202:8125", "Prefix": "goscheduler", "Enabled": False}
        },
        "Poller": {"Interval": 60, "BufferSize": 1000, "DefaultCount": 5, "MaxQueryLimit": 100},
        "HttpConnector": {"Routines": 10, "MaxRetry": 3, "TimeoutMillis": 2000},
        "StatusUpdateConfig": {"Routines": 10},
        "AggregateSchedulesConfig": {"BufferSize": 10, "Routines": 1, "BatchSize": 2, "FlushPeriod": 60},
        "Newrelic": {"LicenseKey": "abcd", "AppName": "local", "Enable": False},
        "CronConfig": {"App": "Athena", "Window": 5, "Routines": 10},
        "BulkActionConfig": {
            "AppName": "goscheduler",
            "EventName": "bulkAction",
            "HistorySize": 2,
            "BufferSize": 1000,
            "Routines": 10,
        },
    }


def leaves(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return a configuration's values by their whole keys."""
    found: dict[str, Any] = {}
    for name, value in tree.items():
        found |= leaves(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return found
