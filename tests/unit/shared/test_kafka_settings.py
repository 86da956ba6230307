"""The group `kafka`: what is read, and what is refused by name."""

from __future__ import annotations

import pytest

from ringtime_ingest.main import callback_rules
from ringtime_shared.errors import SettingsError
from ringtime_shared.settings import KafkaSettings, Settings, load_settings

SASL = {"KAFKA_SECURITY": "SASL_SSL", "KAFKA_USERNAME": "u", "KAFKA_PASSWORD": "hunter2"}


def load(**variables: str) -> Settings:
    return load_settings(None, {f"RINGTIME_{name}": text for name, text in variables.items()})


def test_read() -> None:
    kafka = load(
        KAFKA_BOOTSTRAP="k1:9092, [::1]:9093",
        KAFKA_TOPICS="*={app}.*, billing=invoices,team-*=x.{app}.y",
        **SASL,
        KAFKA_CA_FILE="ca",
        KAFKA_CERT_FILE="crt",
        KAFKA_KEY_FILE="key",
    ).kafka
    assert kafka.bootstrap == ("k1:9092", "[::1]:9093")
    assert kafka.topics == ("*={app}.*", "billing=invoices", "team-*=x.{app}.y")
    assert "hunter2" not in repr(kafka)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("KAFKA_BOOTSTRAP", "k1"),
        ("KAFKA_BOOTSTRAP", "kafka://k1:9092"),
        ("KAFKA_SECURITY", "TLS"),
        ("KAFKA_MECHANISM", "GSSAPI"),
        ("KAFKA_TOPICS", "events"),
        ("KAFKA_TOPICS", "a=b=c"),
        ("KAFKA_TOPICS", "=x"),
        ("KAFKA_TOPICS", "a="),
        ("KAFKA_TOPICS", "a={ap}.x"),
        ("KAFKA_TOPICS", "{app}=x"),
        ("KAFKA_TOPICS", "a=x y"),
        ("KAFKA_DEADLINE_MS", "99"),
        ("KAFKA_MAX_RECORD_BYTES", "0"),
        ("KAFKA_LINGER_MS", "-1"),
        ("KAFKA_COMPRESSION", "snappy"),
        ("KAFKA_MAX_IN_FLIGHT", "0"),
    ],
)
def test_bad_values(name: str, text: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load(**{name: text})
    assert [violation.field for violation in caught.value.violations] == [f"RINGTIME_{name}"]


@pytest.mark.parametrize(
    ("variables", "key"),
    [
        ({"KAFKA_SECURITY": "SASL_SSL"}, "kafka.username"),
        ({"KAFKA_SECURITY": "SASL_PLAINTEXT", "KAFKA_USERNAME": "u"}, "kafka.password"),
        ({**SASL, "KAFKA_SECURITY": "SSL"}, "kafka.security"),
        ({"KAFKA_CA_FILE": "ca"}, "kafka.security"),
        ({**SASL, "KAFKA_CA_FILE": "ca", "KAFKA_CERT_FILE": "crt"}, "kafka.key_file"),
        ({"KAFKA_BOOTSTRAP": "k:1", "KAFKA_MAX_RECORD_BYTES": "49151"}, "kafka.max_record_bytes"),
    ],
)
def test_contradictions(variables: dict[str, str], key: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load(**variables)
    assert [violation.field for violation in caught.value.violations] == [key]
    assert "hunter2" not in str(caught.value)


def test_the_last_value_a_rule_allows_is_taken() -> None:
    load(KAFKA_BOOTSTRAP="k:1", KAFKA_MAX_RECORD_BYTES="49152")
    load(KAFKA_MAX_RECORD_BYTES="1024")  # without brokers the group is not used
    load(**SASL)


def test_the_type_is_offered_only_with_brokers() -> None:
    assert "kafka" not in callback_rules(Settings())
    assert "kafka" in callback_rules(Settings(kafka=KafkaSettings(bootstrap=("k:1",))))
