"""What the details of a Kafka callback must look like. Pure: no broker is asked.

Everything that could fail at send time because of its form is refused here, when the schedule is created.
Whether the topic exists only the brokers know; that is found out when the schedule is due. Keys that are
not known are kept and not read.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from ringtime_shared.callbacks.credentials import HEADERS, SECRET_HEADERS, mask_fault
from ringtime_shared.callbacks.grants import TopicGrants
from ringtime_shared.callbacks.http_rules import shown
from ringtime_shared.callbacks.protocol import CallbackRules
from ringtime_shared.errors import Violation
from ringtime_shared.settings.kafka import KafkaSettings

NAME = "kafka"  #: the `callback.type`
MAX_KEY_BYTES = 1_024
MAX_HEADERS = 30
MAX_NAME_BYTES = 256
MAX_HEADER_BYTES = 8_192  #: all names and values together
MAX_PARTITION = 99_999

CONTROLLED_NAMES = frozenset(["schedule-id", "parent-schedule-id"])
CONTROLLED_PREFIXES = ("ringtime-", "webhook-")

_TOPIC = re.compile(r"[a-zA-Z0-9._-]{1,249}")
_CONTROL_CHARACTER = re.compile(r"[\x00-\x1f\x7f]")
_LINE_CHARACTER = re.compile(r"[\x00\r\n]")


class KafkaRules(CallbackRules):
    """The rules of the `kafka` callback type, for whoever creates but does not send."""

    name = NAME

    def __init__(self, settings: KafkaSettings) -> None:
        self._grants = TopicGrants(settings.topics)

    def validate(self, details: Mapping[str, object], app_id: str) -> list[Violation]:
        """Return what is wrong with topic, key, headers and partition."""
        faults = (
            ("topic", self.topic_fault(details.get("topic"), app_id)),
            ("key", _key_fault(details.get("key"))),
            ("partition", _partition_fault(details.get("partition"))),
        )
        violations = [Violation(f"callback.details.{name}", fault) for name, fault in faults if fault]
        violations += _check_headers(details, HEADERS, sizes := dict[str, int]())
        return violations + _check_headers(details, SECRET_HEADERS, sizes)

    def topic_fault(self, topic: object, app_id: str) -> str | None:
        """Return why this app cannot write to this topic, or None."""
        if not isinstance(topic, str) or not topic:
            return "required: a non-empty string"
        if not _TOPIC.fullmatch(topic):
            return "must be 1 to 249 of A-Z, a-z, 0-9, ., _ and -"
        if topic in (".", ".."):
            return "must be more than dots"
        if not self._grants.allows(app_id, topic):
            return "must be a topic that this app may write to"
        return None


def _key_fault(key: object) -> str | None:
    if key is None:
        return None
    if not isinstance(key, str) or not key:
        return "must be a non-empty string; without one, the schedule's id is the key"
    size = _size(key)
    if size is None:
        return "must be text: it holds half of a surrogate pair"
    return f"must be at most {MAX_KEY_BYTES} bytes" if size > MAX_KEY_BYTES else None


def _partition_fault(partition: object) -> str | None:
    if partition is None:
        return None
    if isinstance(partition, int) and not isinstance(partition, bool) and 0 <= partition <= MAX_PARTITION:
        return None
    return f"must be a whole number from 0 to {MAX_PARTITION}"


def _check_headers(details: Mapping[str, object], group: str, sizes: dict[str, int]) -> list[Violation]:
    """Return what is wrong with one group of headers; `sizes`: of those of both, by name."""
    headers, field = details.get(group), f"callback.details.{group}"
    if headers is None:
        return []
    if not isinstance(headers, dict):
        return [Violation(field, "must be an object of strings")]
    if len(headers) + len(sizes) > MAX_HEADERS:
        return [Violation(field, f"must be at most {MAX_HEADERS}")]
    violations = []
    for name, value in headers.items():
        fault = _name_fault(name) or _value_fault(value)
        fault = fault or mask_fault(name, value, is_secret=group == SECRET_HEADERS)
        if fault is None and name in sizes:
            fault = f"is one of {HEADERS} already"
        if fault is None:
            sizes[name] = (_size(name) or 0) + (_size(value) or 0)
        else:
            violations.append(Violation(f"{field}.{shown(name)}".rstrip("."), fault))
    if sum(sizes.values()) > MAX_HEADER_BYTES:
        rule = f"names and values together must be at most {MAX_HEADER_BYTES} bytes"
        violations.append(Violation(field, rule))
    return violations


def _name_fault(name: object) -> str | None:
    size = _size(name)
    if not size or size > MAX_NAME_BYTES or not isinstance(name, str) or _CONTROL_CHARACTER.search(name):
        return f"the name must be text of 1 to {MAX_NAME_BYTES} bytes without control characters"
    lower = name.lower()
    if lower in CONTROLLED_NAMES or lower.startswith(CONTROLLED_PREFIXES):
        return "set by Ringtime; it cannot be chosen"
    return None


def _value_fault(value: object) -> str | None:
    if not isinstance(value, str):
        return "must be a string"
    if _size(value) is None or _LINE_CHARACTER.search(value):
        return "must be text without NUL, CR and LF"
    return None


def _size(text: object) -> int | None:
    """Return the size in bytes of UTF-8; None for what is no text or holds half of a surrogate pair."""
    if not isinstance(text, str):
        return None
    try:
        return len(text) if text.isascii() else len(text.encode())
    except UnicodeEncodeError:
        return None
