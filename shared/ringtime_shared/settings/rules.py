"""Rules between settings: each returns what is broken, by the key that should change."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from datetime import date

from ringtime_shared.errors import Violation
from ringtime_shared.settings.completion import CompletionSettings
from ringtime_shared.settings.coordination import CoordinationSettings
from ringtime_shared.settings.egress import EgressSettings, parse_network, parse_ports
from ringtime_shared.settings.kafka import KafkaSettings
from ringtime_shared.settings.root import Settings
from ringtime_shared.settings.secrets import SecretSettings
from ringtime_shared.settings.server import ServerSettings
from ringtime_shared.settings.shadow import ShadowSettings
from ringtime_shared.settings.storage import CassandraSettings

MOST_PORT = 65_535
CLOCK_SKEW_MS = 60_000  #: clocks of two machines are taken to differ by less than this
RECORD_EXTRA_BYTES = 16_384  #: what key, headers and framing of a Kafka record can take
ESCAPED_BYTES = 6  #: the most that JSON can make of one byte: \u001f, or \u0041 if a client so likes
REQUEST_EXTRA_BYTES = 65_536  #: what a create takes beside its payload, or a replay with all its ids
MOST_PAGE_BYTES = 67_108_864  #: of payloads in one answer of the store

_NAME = re.compile(r"[A-Za-z0-9_.-]+")
_CAPPED = (
    "partitions",
    "future_period_days",
    "retention_days",
    "payload_bytes",
    "http_attempts",
    "http_timeout_ms",
    "requests_per_second",
    "creates_per_second",
    "payload_bytes_per_second",
    "stored_schedules",
)


def broken_rules(settings: Settings) -> list[Violation]:
    """Return every rule between settings that does not hold; the values' own ranges are taken to hold."""
    return [
        *_timing(settings),
        *_bounds(settings),
        *_limits(settings),
        *_sizes(settings),
        *_completion(settings.completion),
        *_shadow(settings.shadow),
        *_secrets(settings.secrets),
        *_egress(settings.egress),
        *_certificates(settings.server),
        *_contacts(settings.server),
        *_metrics(settings),
        *_profiles(settings.callbacks.tls_profiles),
        *_login("coordination", settings.coordination),
        *_login("cassandra", settings.cassandra),
        *_replication(settings.cassandra.replication),
        *_login("kafka", settings.kafka),
        *_kafka(settings),
    ]


def _timing(settings: Settings) -> Iterator[Violation]:
    ingest, dispatch, coordination = settings.ingest, settings.dispatch, settings.coordination
    if dispatch.read_ahead_ms >= ingest.commit_margin_ms:
        yield Violation("dispatch.read_ahead_ms", "must be less than ingest.commit_margin_ms")
    if dispatch.tick_ms > dispatch.max_tick_ms:
        yield Violation("dispatch.tick_ms", "must not exceed dispatch.max_tick_ms")
    if ingest.near_ms < CLOCK_SKEW_MS + ingest.write_deadline_ms:
        yield Violation("ingest.near_ms", f"must be at least {CLOCK_SKEW_MS} and ingest.write_deadline_ms")
    if 2 * settings.cassandra.request_timeout_ms > ingest.write_deadline_ms:
        yield Violation("cassandra.request_timeout_ms", "must not exceed half of ingest.write_deadline_ms")
    if coordination.margin_ms >= 1_000 * coordination.ttl_s:
        yield Violation("coordination.margin_ms", "must be less than coordination.ttl_s")
    if coordination.join_debounce_ms > coordination.dwell_ms:
        yield Violation("coordination.join_debounce_ms", "must not exceed coordination.dwell_ms")
    if settings.retry.first_delay_ms > settings.retry.max_delay_ms:
        yield Violation("retry.first_delay_ms", "must not exceed retry.max_delay_ms")


def _bounds(settings: Settings) -> Iterator[Violation]:
    ingest, dispatch = settings.ingest, settings.dispatch
    if ingest.flush_rows > ingest.max_pending:
        yield Violation("ingest.flush_rows", "must not exceed ingest.max_pending")
    for name in ("page_rows", "max_in_flight"):
        if getattr(dispatch, name) > dispatch.max_loaded:
            yield Violation(f"dispatch.{name}", "must not exceed dispatch.max_loaded")


def _limits(settings: Settings) -> Iterator[Violation]:
    limits = settings.limits
    for name in _CAPPED:
        value = getattr(limits, name)
        if value is not None and value > getattr(limits, f"max_{name}"):
            yield Violation(f"limits.{name}", f"must not exceed limits.max_{name}")


def _sizes(settings: Settings) -> Iterator[Violation]:
    """What one bound lets in must fit through every bound it meets after that."""
    server, kafka, payload_bytes = settings.server, settings.kafka, settings.limits.max_payload_bytes
    least = ESCAPED_BYTES * payload_bytes + REQUEST_EXTRA_BYTES
    if server.max_body_bytes < least:
        rule = (
            f"must be at least {least:,}: {ESCAPED_BYTES} times limits.max_payload_bytes, for JSON escapes,"
            f" and {REQUEST_EXTRA_BYTES:,} for the rest of a request"
        )
        yield Violation("server.max_body_bytes", rule)
    if server.max_reading_bytes < server.max_body_bytes:
        yield Violation("server.max_reading_bytes", "must be at least server.max_body_bytes")
    if server.max_head_bytes > server.max_reading_bytes:
        yield Violation("server.max_head_bytes", "must not exceed server.max_reading_bytes")
    least = payload_bytes + RECORD_EXTRA_BYTES
    if kafka.bootstrap and kafka.max_record_bytes < least:
        rule = (
            f"must be at least {least:,}: limits.max_payload_bytes and {RECORD_EXTRA_BYTES:,} for key and"
            " headers"
        )
        yield Violation("kafka.max_record_bytes", rule)
    if settings.dispatch.page_rows * payload_bytes > MOST_PAGE_BYTES:
        rule = (
            f"must be at most {MOST_PAGE_BYTES // payload_bytes:,}: with limits.max_payload_bytes a page may"
            f" take {MOST_PAGE_BYTES:,} bytes"
        )
        yield Violation("dispatch.page_rows", rule)


def _completion(completion: CompletionSettings) -> Iterator[Violation]:
    for one, other in (("base_url", "secret"), ("secret", "base_url")):
        if getattr(completion, one) and not getattr(completion, other):
            yield Violation(f"completion.{other}", f"goes with completion.{one}")


def _shadow(shadow: ShadowSettings) -> Iterator[Violation]:
    names = ("upstream_url", "tap_url", "secret")
    given = [name for name in names if getattr(shadow, name)]
    if given:
        yield from (
            Violation(f"shadow.{name}", f"goes with shadow.{given[0]}") for name in names if name not in given
        )


def _secrets(secrets: SecretSettings) -> Iterator[Violation]:
    if secrets.key_file and secrets.keys:
        yield Violation("secrets.keys", "must be empty where secrets.key_file is set")
    ids = [each.partition(":")[0] for each in secrets.keys]
    if len(set(ids)) != len(ids):
        yield Violation("secrets.keys", "must have each id once")


def _egress(egress: EgressSettings) -> Iterator[Violation]:
    network = "must be an address block such as 10.1.0.0/16 or fd00::/8, IPv4 in its own form"
    yield from _each("egress.allow", egress.allow, parse_network, network)
    yield from _each("egress.deny", egress.deny, parse_network, network)
    yield from _each("egress.ports", egress.ports, parse_ports, "must be a port or a range such as 8000-8999")


def _each(key: str, items: tuple[str, ...], parse: Callable[[str], object], rule: str) -> Iterator[Violation]:
    """At most one violation for the key: it names the first bad item by its place."""
    for place, item in enumerate(items, start=1):
        try:
            parse(item)
        except ValueError:
            yield Violation(key, f"item {place} {rule}")
            return


_CertificateFiles = ServerSettings | CoordinationSettings | CassandraSettings | KafkaSettings


def _login(
    group: str, login: CoordinationSettings | CassandraSettings | KafkaSettings
) -> Iterator[Violation]:
    if bool(login.username) != bool(login.password):
        missing = "password" if login.username else "username"
        yield Violation(f"{group}.{missing}", "username and password go together")
    yield from _pair(group, login)
    if login.cert_file and not login.ca_file:
        yield Violation(f"{group}.ca_file", "a client certificate needs ca_file")


def _pair(group: str, files: _CertificateFiles) -> Iterator[Violation]:
    if bool(files.cert_file) != bool(files.key_file):
        missing = "key_file" if files.cert_file else "cert_file"
        yield Violation(f"{group}.{missing}", "cert_file and key_file go together")


def _certificates(server: ServerSettings) -> Iterator[Violation]:
    yield from _pair("server", server)
    if server.client_ca_file and not server.cert_file:
        yield Violation("server.cert_file", "server.client_ca_file needs a certificate of the server")


def _metrics(settings: Settings) -> Iterator[Violation]:
    metrics, server, workers = settings.metrics, settings.server, settings.ingest.workers
    if metrics.port and metrics.port + workers - 1 > MOST_PORT:
        yield Violation("metrics.port", "must leave a port for each of ingest.workers")
    if metrics.port and server.port in range(metrics.port, metrics.port + workers):
        yield Violation("metrics.port", "must be another than server.port, for each of ingest.workers")


def _contacts(server: ServerSettings) -> Iterator[Violation]:
    if bool(server.security_contacts) != bool(server.security_expires):
        yield Violation("server.security_expires", "goes with server.security_contacts")
    if server.security_expires:
        try:
            date.fromisoformat(server.security_expires)
        except ValueError:
            yield Violation("server.security_expires", "must be a day, as 2027-06-30")


def _profiles(profiles: tuple[str, ...]) -> Iterator[Violation]:
    names = [each.partition("=")[0] for each in profiles]
    if len(set(names)) < len(names):
        yield Violation("callbacks.tls_profiles", "each name must be given once")


def _kafka(settings: Settings) -> Iterator[Violation]:
    """A login or a certificate that the kind of security leaves unused was meant to be used."""
    kafka = settings.kafka
    if kafka.security.startswith("SASL") and not kafka.username:
        yield Violation("kafka.username", "required by kafka.security SASL_PLAINTEXT and SASL_SSL")
    if kafka.completeness_topic and not kafka.bootstrap:
        yield Violation("kafka.bootstrap", "required by kafka.completeness_topic")
    if kafka.username and not kafka.security.startswith("SASL"):
        yield Violation("kafka.security", "must be SASL_PLAINTEXT or SASL_SSL for a login")
    if (kafka.ca_file or kafka.cert_file) and not kafka.security.endswith("SSL"):
        yield Violation("kafka.security", "must be SSL or SASL_SSL for certificates")


def _replication(text: str) -> Iterator[Violation]:
    """The text becomes part of a statement, so nothing but names and numbers may be in it."""
    try:
        options = json.loads(text)
    except (ValueError, RecursionError):
        options = None
    if not isinstance(options, dict) or "class" not in options or not all(map(_is_plain, options.items())):
        yield Violation(
            "cassandra.replication", 'must be a JSON object of names and numbers that has a "class"'
        )


def _is_plain(option: tuple[str, object]) -> bool:
    name, value = option
    if isinstance(value, bool) or not isinstance(value, int | str):
        return False
    return all(_NAME.fullmatch(part) is not None for part in (name, str(value)))
