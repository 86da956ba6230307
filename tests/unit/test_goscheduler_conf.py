"""goscheduler's configuration: what each key comes to, and that none is passed over in silence."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from tests.harness.goscheduler_conf import leaves, shipped_conf

from ringtime.main import main
from ringtime_shared.errors import SettingsError
from ringtime_shared.settings import Settings, load_settings
from ringtime_shared.settings.goscheduler import Conf, convert, read_conf, write_toml


def settings_of(tree: dict[str, Any], **to: bool) -> Settings:
    return load_settings(None, {}, under=convert(tree, **to).given)


def refusals(tree: object, folder: Path) -> dict[str, str]:
    path = folder / "conf.json"
    path.write_text(json.dumps(tree))
    with pytest.raises(SettingsError) as caught:
        read_conf(Conf(path=path), {})
    return {violation.field: violation.rule for violation in caught.value.violations}


def unused(tree: dict[str, Any], **to: bool) -> dict[str, str]:
    return {key: each.why for each in convert(tree, **to).unused for key in each.keys}


def test_what_the_shipped_file_comes_to() -> None:
    settings = settings_of(shipped_conf(hosts="10.0.0.1,10.0.0.2"))
    assert settings.server.port == 8080
    assert settings.cassandra.contact_points == ("10.0.0.1", "10.0.0.2")
    assert (settings.cassandra.port, settings.cassandra.request_timeout_ms) == (9042, 1_000)
    assert settings.cassandra.keyspace == "ringtime", "goscheduler's own tables are left alone"
    assert settings.cassandra.consistency == "LOCAL_QUORUM"
    limits = settings.limits
    assert (limits.partitions, limits.http_attempts, limits.http_timeout_ms) == (5, 3, 2_000)
    assert (limits.future_period_days, limits.retention_days, limits.payload_bytes) == (30, 10, 1_024)
    assert settings.metrics.statsd_host == ""


@pytest.mark.parametrize("to", [{}, {"is_node": True}, {"is_alone": True}], ids=str)
def test_every_key_is_taken_or_named_with_a_reason(to: dict[str, bool]) -> None:
    conversion = convert(shipped_conf(), **to)
    taken = {each.source for each in conversion.given}
    named = {key for each in conversion.unused for key in each.keys}
    keys = {key for key in leaves(shipped_conf()) if not key.startswith("Newrelic.")} | {"Newrelic"}
    assert taken | named == keys
    assert not taken & named
    assert all(each.why for each in conversion.unused)


def test_a_process_takes_what_is_its_own() -> None:
    assert settings_of(shipped_conf(), is_node=True).server.port == 9091
    alone = settings_of(shipped_conf(hosts="10.0.0.1"), is_alone=True)
    assert alone.cassandra == Settings().cassandra
    assert (alone.server.port, alone.limits.partitions) == (8080, 5)
    assert "--data" in unused(shipped_conf(), is_alone=True)["ScheduleDB.DBConfig.Hosts"]


@pytest.mark.parametrize(
    ("tree", "name", "value"),
    [
        ({"HttpPort": 8081}, "server.port", 8081),
        ({"httpport": "8081"}, "server.port", 8081),
        ({"ScheduleDB": {"DBConfig": {"Hosts": "a, b"}}}, "cassandra.contact_points", ("a", "b")),
        ({"ScheduleDB": {"DBConfig": {"Hosts": "a:9043,b:9043"}}}, "cassandra.port", 9043),
        ({"ScheduleDB": {"DBConfig": {"Hosts": "[::1]:9043"}}}, "cassandra.contact_points", ("::1",)),
        ({"ScheduleDB": {"DBConfig": {"Hosts": "fd00::1"}}}, "cassandra.contact_points", ("fd00::1",)),
        ({"ClusterDB": {"DBConfig": {"Hosts": "c"}}}, "cassandra.contact_points", ("c",)),
        ({"ScheduleDB": {"DBConfig": {"Consistency": "quorum"}}}, "cassandra.consistency", "QUORUM"),
        ({"ScheduleDB": {"DBConfig": {"DataCenter": "dc2"}}}, "cassandra.local_dc", "dc2"),
        ({"AppLevelConfiguration": {"HttpTimeout": 700}}, "limits.http_timeout_ms", 700),
        ({"AppLevelConfiguration": {"HttpRetries": 0}}, "limits.http_attempts", 3),
        ({"HttpConnector": None, "HttpPort": "1"}, "limits.http_timeout_ms", 2_000),
        # What stands in the way moves.
        ({"AppLevelConfiguration": {"FiredScheduleRetentionPeriod": 400}}, "limits.max_retention_days", 400),
        ({"AppLevelConfiguration": {"PayloadSize": 1_048_576}}, "limits.max_payload_bytes", 1_048_576),
        ({"AppLevelConfiguration": {"PayloadSize": 1_048_576}}, "server.max_body_bytes", 6_356_992),
        ({"AppLevelConfiguration": {"PayloadSize": 1_048_576}}, "dispatch.page_rows", 64),
        (
            {"ScheduleDB": {"DBConfig": {"ConnectionPool": {"InitialConnectTimeout": 20_000}}}},
            "ingest.near_ms",
            100_000,
        ),
        (
            {"MonitoringConfig": {"Statsd": {"Enabled": True, "Address": "stats:8126"}}},
            "metrics.statsd_port",
            8126,
        ),
    ],
    ids=str,
)
def test_what_a_key_comes_to(tree: dict[str, Any], name: str, value: object) -> None:
    group, _, field = name.partition(".")
    assert getattr(getattr(settings_of(tree), group), field) == value


@pytest.mark.parametrize(
    ("tree", "key", "rule"),
    [
        ({"HttpPort": "http"}, "HttpPort", "must be a port"),
        ({"HttpPort": True}, "HttpPort", "must be a port"),
        ({"HttpPort": "70000"}, "HttpPort", "must be a port"),
        ({"Cluster": []}, "Cluster", "must be an object"),
        ({"Cluster": {"BootStrapServers": "a"}}, "Cluster.BootStrapServers", "must be a list of text"),
        ({"Cluster": {"JoinSize": "1"}}, "Cluster.JoinSize", "must be a whole number"),
        ({"ScheduleDB": {"DBConfig": {"Hosts": ["a"]}}}, "ScheduleDB.DBConfig.Hosts", "must be text"),
        ({"ScheduleDB": {"DBConfig": {"Hosts": "a,,b"}}}, "ScheduleDB.DBConfig.Hosts", "must be hosts"),
        ({"ScheduleDB": {"DBConfig": {"Hosts": "a:1,b:2"}}}, "ScheduleDB.DBConfig.Hosts", "one port"),
        ({"ScheduleDB": {"DBConfig": {"Hosts": 'a"\n'}}}, "ScheduleDB.DBConfig.Hosts", "one line"),
        ({"ScheduleDB": {"DBConfig": {"Hosts": "a:99999"}}}, "ScheduleDB.DBConfig.Hosts", "65,535"),
        ({"ScheduleDB": {"DBConfig": {"Consistency": "ON"}}}, "ScheduleDB.DBConfig.Consistency", "one of"),
        (
            {"AppLevelConfiguration": {"PayloadSize": 1 << 21}},
            "AppLevelConfiguration.PayloadSize",
            "from 1 to 1,048,576",
        ),
        ({"HttpConnector": {"TimeoutMillis": 1.5}}, "HttpConnector.TimeoutMillis", "must be a whole number"),
        ({"HttpConnector": {"TimeoutMillis": -1}}, "HttpConnector.TimeoutMillis", "must be a whole number"),
        ({"MonitoringConfig": {"Statsd": {"Enabled": "yes"}}}, "MonitoringConfig.Statsd.Enabled", "true or"),
        (
            {"MonitoringConfig": {"Statsd": {"Enabled": True, "Address": "stats"}}},
            "MonitoringConfig.Statsd.Address",
            "must be host:port",
        ),
        ({"server": {"port": 8080}}, "--conf", "goes with --config"),
        ({}, "--conf", "holds no key"),
    ],
    ids=str,
)
def test_a_bad_value_is_refused_by_its_key(tree: object, key: str, rule: str, tmp_path: Path) -> None:
    told = refusals(tree, tmp_path)
    assert list(told) == [key]
    assert rule in told[key]


def test_everything_wrong_is_told_at_once(tmp_path: Path) -> None:
    tree = {"HttpPort": "x", "Poller": {"Interval": "x", "DefaultCount": "x"}}
    assert refusals(tree, tmp_path).keys() == {"HttpPort", "Poller.Interval", "Poller.DefaultCount"}


@pytest.mark.parametrize("name", ["conf.yml", "none.json", "broken.json"])
def test_a_file_that_cannot_be_read(name: str, tmp_path: Path) -> None:
    (tmp_path / "conf.yml").write_text("HttpPort: 1\n")
    (tmp_path / "broken.json").write_text('{"Newrelic": {"LicenseKey": "hunter2"')
    ended = CliRunner().invoke(main, ["convert-config", str(tmp_path / name)])
    assert ended.exit_code == 1
    assert name in ended.output
    assert "hunter2" not in ended.output
    assert ended.output.count("\n") == 1


def test_a_key_that_nobody_knows_is_named() -> None:
    told = unused({"HttpPort": "1", "Poler": {"Interval": 1}, "Poller": {"Intervall": 1}, "a\nb": 1})
    assert told["Poller.Intervall"] == "no key of goscheduler's; did you mean Poller.Interval?"
    assert {"Poler", "a?b"} < told.keys()


def test_variables_of_goschedulers_are_named(tmp_path: Path) -> None:
    path = tmp_path / "conf.json"
    path.write_text('{"HttpPort": "1"}')
    *_, last = read_conf(Conf(path=path), {"CONFIGOR_HTTPPORT": "2", "HOME": "/"}).unused
    assert last.keys == ("CONFIGOR_HTTPPORT",)


def test_what_is_written_says_the_same_as_what_was_read(tmp_path: Path) -> None:
    tree = shipped_conf(hosts="10.0.0.1,[::1]")
    tree["ScheduleDB"]["DBConfig"]["DataCenter"] = 'a "b" \\ é'
    tree["AppLevelConfiguration"]["PayloadSize"] = 100_000
    (tmp_path / "conf.json").write_text(json.dumps(tree))
    ended = CliRunner().invoke(main, ["convert-config", str(tmp_path / "conf.json")])
    assert ended.exit_code == 0, ended.output
    written = tmp_path / "ringtime.toml"
    written.write_text(ended.stdout)
    assert load_settings(written, {}) == settings_of(tree)
    for each in convert(tree).unused:
        assert f"#   {each}" in ended.stdout.splitlines()
        assert f"without effect: {each}" in ended.stderr.splitlines()
    assert "abcd" not in ended.output, "a licence key is told to nobody"


def test_a_comment_ends_with_its_line() -> None:
    text = write_toml(convert({"HttpPort": "1", "x\n[cassandra]": 1}), "a\n[limits]\nb")
    assert tomllib.loads(text) == {"server": {"port": 1}}


def test_everything_else_wins_over_it(tmp_path: Path) -> None:
    under = convert(shipped_conf()).given
    config = tmp_path / "ringtime.toml"
    config.write_text("[server]\nport = 1\n[limits]\npartitions = 9\n")
    settings = load_settings(config, {"PORT": "2"}, flags={"limits.http_attempts": 1}, under=under)
    assert (settings.server.port, settings.limits.partitions, settings.limits.http_attempts) == (2, 9, 1)
