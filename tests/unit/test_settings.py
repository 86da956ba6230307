"""Settings: where values come from, what is refused and how, and that the reference is current."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from ringtime_shared.errors import SettingsError
from ringtime_shared.settings import (
    CassandraSettings,
    DispatchSettings,
    Settings,
    check_settings,
    describe_settings,
    load_settings,
)
from ringtime_shared.settings.catalog import catalog

ROOT = Path(__file__).parents[2]


def refusals(
    path: Path | None, environ: dict[str, str], flags: dict[str, object] | None = None
) -> dict[str, str]:
    with pytest.raises(SettingsError) as caught:
        load_settings(path, environ, flags=flags or {})
    return {violation.field: violation.rule for violation in caught.value.violations}


def file_of(folder: Path, content: object) -> Path:
    path = folder / "ringtime.json"
    path.write_text(json.dumps(content))
    return path


def test_nothing_given_means_the_defaults_and_they_hold() -> None:
    assert load_settings(None, {}) == Settings()
    assert check_settings(Settings()) == Settings()


def test_later_sources_win(tmp_path: Path) -> None:
    path = tmp_path / "ringtime.toml"
    path.write_text('[server]\nport = 1001\nhost = "::1"\n[dispatch]\ntick_ms = 100\npoll_share = 1\n')
    environ = {"RINGTIME_SERVER_PORT": "1002"}
    from_file = load_settings(path, {})
    assert (from_file.server.port, from_file.server.host) == (1001, "::1")
    assert (from_file.dispatch.tick_ms, from_file.dispatch.poll_share) == (100, 1.0)
    assert load_settings(path, environ).server.port == 1002
    assert load_settings(path, environ | {"PORT": "1003"}).server.port == 1003
    flagged = load_settings(
        path, environ | {"PORT": "1003"}, flags={"server.port": 1004, "server.host": None}
    )
    assert (flagged.server.port, flagged.server.host) == (1004, "::1")
    assert load_settings(None, {}, flags={"server.port": "1005"}).server.port == 1005


@pytest.mark.parametrize(
    ("variable", "text", "key", "value"),
    [
        ("RINGTIME_RETRY_FACTOR", "2.5", "retry.factor", 2.5),
        ("RINGTIME_LIMITS_MAX_LATENESS_S", "60", "limits.max_lateness_s", 60),
        ("RINGTIME_SERVER_CREATED_HTTP_STATUS", "201", "server.created_http_status", 201),
        ("RINGTIME_COORDINATION_ON_LOSS", "continue", "coordination.on_loss", "continue"),
        ("RINGTIME_COORDINATION_ENDPOINTS", "a:1, [::1]:2", "coordination.endpoints", ("a:1", "[::1]:2")),
        ("RINGTIME_EMBEDDED_DATA", "", "embedded.data", ""),
        ("RINGTIME_EMBEDDED_DATA", "7", "embedded.data", "7"),
    ],
)
def test_text_of_a_variable_is_read_as_the_fields_type(
    variable: str, text: str, key: str, value: object
) -> None:
    group, _, name = key.partition(".")
    assert getattr(getattr(load_settings(None, {variable: text}), group), name) == value


@pytest.mark.parametrize("text", ["", "x", "1.5", " 5", "-1", "65536", "nan", "9" * 40])
def test_bad_text_is_refused_by_the_name_that_gave_it(text: str) -> None:
    rule = "must be a whole number from 0 to 65,535"
    assert refusals(None, {"PORT": text}) == {"PORT": rule}
    assert refusals(None, {"RINGTIME_SERVER_PORT": text}) == {"RINGTIME_SERVER_PORT": rule}
    assert refusals(None, {}, {"server.port": text}) == {"--port": rule}


def test_everything_wrong_is_said_at_once(tmp_path: Path) -> None:
    path = file_of(
        tmp_path,
        {
            "dispatch": {
                "tick_ms": 0,
                "tik_ms": 250,
                "poll_share": "0.2",
                "page_rows": True,
                "drain_s": None,
            },
            "dispach": {},
            "server": 8080,
            "coordination": {"on_loss": "panic", "endpoints": [], "ttl_s": 10.5},
        },
    )
    environ = {"RINGTIME_DISPATCH_TICKMS": "1", "RINGTIME_42": "1", "RINGTIME_INGEST_FLUSH_ROWS": "many"}
    found = refusals(path, environ)
    assert found == {
        "dispatch.tick_ms": "must be a whole number from 10 to 1,000",
        "dispatch.tik_ms": "is no setting; did you mean dispatch.tick_ms?",
        "dispatch.poll_share": "must be a number from 0.01 to 1",
        "dispatch.page_rows": "must be a whole number from 1 to 5,000",
        "dispatch.drain_s": "must be a number from 0 to 600",
        "dispach": "is no setting; did you mean dispatch?",
        "server": "must be a table of settings",
        "coordination.on_loss": "must be continue or stop",
        "coordination.endpoints": found["coordination.endpoints"],
        "coordination.ttl_s": "must be a whole number from 2 to 300",
        "RINGTIME_DISPATCH_TICKMS": "is no setting; did you mean RINGTIME_DISPATCH_TICK_MS?",
        "RINGTIME_42": "is no setting",
        "RINGTIME_INGEST_FLUSH_ROWS": "must be a whole number from 1 to 10,000",
    }
    assert "at least 1" in found["coordination.endpoints"]


@pytest.mark.parametrize(
    ("variables", "key"),
    [
        ({"DISPATCH_READ_AHEAD_MS": "600"}, "dispatch.read_ahead_ms"),
        ({"DISPATCH_READ_AHEAD_MS": "1000"}, "RINGTIME_DISPATCH_READ_AHEAD_MS"),
        ({"DISPATCH_TICK_MS": "500", "DISPATCH_MAX_TICK_MS": "400"}, "dispatch.tick_ms"),
        ({"INGEST_NEAR_MS": "64999"}, "ingest.near_ms"),
        ({"CASSANDRA_REQUEST_TIMEOUT_MS": "2501"}, "cassandra.request_timeout_ms"),
        ({"COORDINATION_TTL_S": "3"}, "coordination.margin_ms"),
        ({"COORDINATION_DWELL_MS": "4999"}, "coordination.join_debounce_ms"),
        ({"RETRY_MAX_DELAY_MS": "999"}, "retry.first_delay_ms"),
        ({"INGEST_MAX_PENDING": "499"}, "ingest.flush_rows"),
        ({"DISPATCH_MAX_IN_FLIGHT": "5001"}, "dispatch.max_in_flight"),
        ({"DISPATCH_PAGE_ROWS": "5000", "DISPATCH_MAX_LOADED": "4999"}, "dispatch.page_rows"),
        ({"LIMITS_PARTITIONS": "9", "LIMITS_MAX_PARTITIONS": "8"}, "limits.partitions"),
        ({"LIMITS_MAX_RETENTION_DAYS": "9"}, "limits.retention_days"),
        ({"LIMITS_MAX_PAYLOAD_BYTES": "32769"}, "server.max_body_bytes"),
        ({"SERVER_MAX_BODY_BYTES": "262143"}, "server.max_body_bytes"),
        ({"SERVER_MAX_READING_BYTES": "262143"}, "server.max_reading_bytes"),
        (
            {
                "LIMITS_MAX_PAYLOAD_BYTES": "1048576",
                "SERVER_MAX_BODY_BYTES": "6356992",
                "DISPATCH_PAGE_ROWS": "65",
            },
            "dispatch.page_rows",
        ),
        ({"CASSANDRA_USERNAME": "ringtime"}, "cassandra.password"),
        ({"COMPLETION_SECRET": "x" * 32}, "completion.base_url"),
        ({"COMPLETION_BASE_URL": "https://a.example/x"}, "completion.secret"),
        (
            {"COMPLETION_BASE_URL": "https://\u00e4.example", "COMPLETION_SECRET": "x" * 32},
            "RINGTIME_COMPLETION_BASE_URL",
        ),
        ({"COMPLETION_BASE_URL": "https://a.example/"}, "RINGTIME_COMPLETION_BASE_URL"),
        ({"COORDINATION_PASSWORD": "hunter2"}, "coordination.username"),
        ({"COORDINATION_CA_FILE": "ca", "COORDINATION_KEY_FILE": "key"}, "coordination.cert_file"),
        ({"CASSANDRA_CERT_FILE": "crt", "CASSANDRA_KEY_FILE": "key"}, "cassandra.ca_file"),
    ],
)
def test_groups_that_contradict_each_other_are_refused(variables: dict[str, str], key: str) -> None:
    assert list(refusals(None, {f"RINGTIME_{name}": text for name, text in variables.items()})) == [key]


@pytest.mark.parametrize(
    "environ",
    [
        {"DISPATCH_READ_AHEAD_MS": "599"},
        {"INGEST_NEAR_MS": "65000"},
        {"COORDINATION_TTL_S": "4"},
        {"CASSANDRA_REQUEST_TIMEOUT_MS": "2500"},
        {"SERVER_MAX_READING_BYTES": "262144"},
        {
            "LIMITS_MAX_PAYLOAD_BYTES": "1048576",
            "SERVER_MAX_BODY_BYTES": "6356992",
            "DISPATCH_PAGE_ROWS": "64",
            "KAFKA_BOOTSTRAP": "k:1",
            "KAFKA_MAX_RECORD_BYTES": "1064960",
        },
    ],
)
def test_the_last_value_a_rule_allows_is_taken(environ: dict[str, str]) -> None:
    load_settings(None, {f"RINGTIME_{name}": text for name, text in environ.items()})


def test_a_refusal_names_both_bounds_and_what_would_fit() -> None:
    environ = {"RINGTIME_LIMITS_MAX_PAYLOAD_BYTES": "100000", "RINGTIME_KAFKA_BOOTSTRAP": "k:1"}
    environ["RINGTIME_KAFKA_MAX_RECORD_BYTES"] = "100000"
    found = refusals(None, environ)
    assert list(found) == ["server.max_body_bytes", "kafka.max_record_bytes"]
    assert all("limits.max_payload_bytes" in rule for rule in found.values())
    assert "at least 665,536" in found["server.max_body_bytes"]
    load_settings(
        None,
        environ | {"RINGTIME_SERVER_MAX_BODY_BYTES": "665536", "RINGTIME_KAFKA_MAX_RECORD_BYTES": "116384"},
    )


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[1]",
        "{}",
        '{"class": true}',
        '{"class": "SimpleStrategy", "dc1": [3]}',
        """{"class": "X'} AND durable_writes = false; --"}""",
        '{"class": "X", "it\'s": 3}',
        "[" * 100_000,
    ],
)
def test_replication_holds_nothing_but_names_and_numbers(text: str) -> None:
    assert list(refusals(None, {"RINGTIME_CASSANDRA_REPLICATION": text})) == ["cassandra.replication"]


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("RINGTIME_TEST_CASSANDRA", "127.0.0.1:9042"),
        ("RINGTIME_SERVICE_HOST", "10.0.0.1"),
        ("RINGTIME_INGEST_SERVICE_PORT_HTTP", "8080"),
        ("RINGTIME_INGEST_PORT_8080_TCP_ADDR", "10.0.0.1"),
        ("RINGTIME_PORT", "tcp://10.0.0.1:8080"),
        ("RINGTIME_SERVER_PORT", "tcp://10.0.0.1:8080"),
        ("ringtime_server_port", "x"),
        ("NOT_RINGTIME_X", "x"),
    ],
)
def test_what_others_put_into_the_environment_is_passed_over(variable: str, text: str) -> None:
    assert load_settings(None, {variable: text}) == Settings()


@pytest.mark.parametrize(
    ("name", "content", "rule"),
    [
        ("ringtime.yaml", "", "must be a .toml or a .json file"),
        ("missing.toml", None, "cannot be read: No such file or directory"),
        ("ringtime.json", "[]", "must be one object of groups"),
        ("ringtime.json", '{"cassandra": {"password": "hunter2', "is not valid JSON at line 1 column 28"),
        ("ringtime.json", "[" * 100_000, "is not valid JSON"),
        ("ringtime.toml", '[cassandra]\npassword = "hunter2', "is not valid TOML"),
        ("ringtime.toml", "[cassandra]\npassword = hunter2\n", "is not valid TOML at line 2 column 12"),
        ("ringtime.toml", b"password = '\xff'", "is not valid TOML"),
    ],
)
def test_a_file_that_cannot_be_used(
    tmp_path: Path, name: str, content: str | bytes | None, rule: str
) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    assert refusals(path, {}) == {str(path): rule}


def test_secrets_are_neither_shown_nor_repeated(tmp_path: Path) -> None:
    environ = {"RINGTIME_CASSANDRA_USERNAME": "u", "RINGTIME_CASSANDRA_PASSWORD": "hunter2"}
    settings = load_settings(None, environ)
    assert settings.cassandra.password == "hunter2"
    assert "hunter2" not in repr(settings)
    for content in ({"password": ["hunter2"]}, {"pasword": "hunter2"}, {"password": "hunter2"}):
        with pytest.raises(SettingsError) as caught:
            load_settings(file_of(tmp_path, {"cassandra": content}), {})
        assert "hunter2" not in str(caught.value)
    assert {field.key for field in catalog().values() if field.is_secret} == {
        "cassandra.password",
        "completion.secret",
        "coordination.password",
        "kafka.password",
        "metrics.token",
        "secrets.keys",
        "shadow.secret",
    }


def test_settings_made_by_code_are_checked_too() -> None:
    for bad, key in (
        (Settings(dispatch=DispatchSettings(tick_ms=0)), "dispatch.tick_ms"),
        (Settings(dispatch=DispatchSettings(read_ahead_ms=700)), "dispatch.read_ahead_ms"),
        (Settings(cassandra=CassandraSettings(contact_points=())), "cassandra.contact_points"),
    ):
        with pytest.raises(SettingsError) as caught:
            check_settings(bad)
        assert [violation.field for violation in caught.value.violations] == [key]


def test_settings_are_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Settings().server.port = 1  # type: ignore[misc]


def test_every_setting_is_documented_and_the_reference_is_current() -> None:
    text = describe_settings()
    assert all(f"| `{key}` |" in text for key in catalog())
    assert (ROOT / "docs/settings.md").read_text() == text, "run: make docs"


def test_variables_are_unambiguous() -> None:
    assert len({field.variable for field in catalog().values()}) == len(catalog())
