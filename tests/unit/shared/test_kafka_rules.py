"""Details of Kafka callbacks: what is taken, and classes 135 to 140 of the test plan, which are not."""

from __future__ import annotations

import time

import pytest

from ringtime_shared.callbacks.grants import TopicGrants
from ringtime_shared.callbacks.kafka_rules import KafkaRules
from ringtime_shared.settings import KafkaSettings

RULES = KafkaRules(KafkaSettings())
OPEN = KafkaRules(KafkaSettings(topics=("*=*",)))


def faults(details: dict[str, object], rules: KafkaRules = RULES) -> list[str]:
    """Return the fields at fault, short of `callback.details.`."""
    found = rules.validate(details, "app")
    assert all(each.rule and "\n" not in str(each) for each in found)
    return [each.field.removeprefix("callback.details.") for each in found]


@pytest.mark.parametrize(
    "details",
    [
        {},
        {"key": None, "headers": None, "partition": None},
        {"key": "k", "headers": {}, "partition": 0, "unknown": [1]},
        {"key": "é" * 512},
        {"key": "\0\r\n"},
        {"partition": 99_999},
        {"headers": {"A": "", "a": "é", "content type": "a\tb", "x" * 256: "y"}},
        {"headers": {f"name-{number}": "a" for number in range(30)}},
        {"headers": {"a": "é" * 4_095}},
    ],
)
def test_good(details: dict[str, object]) -> None:
    assert faults({"topic": "app.orders", **details}) == []


@pytest.mark.parametrize(
    "topic",
    ["app." + "a" * 245, "app..", "app.-_A9", "app.x"],
)
def test_good_topics(topic: str) -> None:
    assert faults({"topic": topic}) == []


@pytest.mark.parametrize(
    "topic",
    [
        *[None, 7, "", " ", ["app.x"], True],  # no text
        *["app.a b", "app.é", "app./x", "app.x\n", "app.x\0", "app.*", "app.x:1", "app.x,app.y"],  # 135
        *["app." + "a" * 246, ".", "..", "a" * 10_000],
        *["__consumer_offsets", "__transaction_state", "__app.x"],  # 136
        *["other.x", "app", "app-x", "App.x", "x.app.y", "app2.x", "ap.x"],  # 137
    ],
)
def test_bad_topics(topic: object) -> None:
    assert faults({"topic": topic}) == ["topic"]


@pytest.mark.parametrize("topic", [".", "..", "__consumer_offsets", "__x", "a" * 250, "a b"])
def test_topics_that_no_list_opens(topic: str) -> None:
    assert faults({"topic": "anything"}, OPEN) == []
    assert faults({"topic": topic}, OPEN) == ["topic"]


@pytest.mark.parametrize(
    "partition", [-1, 100_000, 2**31, 10**400, True, False, 1.0, 1.5, "1", [], {}, float("nan")]
)
def test_bad_partitions(partition: object) -> None:
    assert faults({"topic": "app.x", "partition": partition}) == ["partition"]


@pytest.mark.parametrize("key", ["", "k" * 1_025, "é" * 513, 1, True, ["k"], {"k": 1}, "\ud800"])
def test_bad_keys(key: object) -> None:
    assert faults({"topic": "app.x", "key": key}) == ["key"]


@pytest.mark.parametrize(
    ("headers", "field"),
    [
        ([], "headers"),
        ("a", "headers"),
        (7, "headers"),
        ({f"n{number}": "" for number in range(31)}, "headers"),
        ({"a": "x" * 8_192}, "headers"),
        ({"a": "é" * 4_096}, "headers"),
        ({"": "x"}, "headers"),
        ({"x" * 257: "y"}, "headers." + "x" * 64),
        ({"a\r\nb": "y"}, r"headers.a\r\nb"),
        ({"a\0": "y"}, r"headers.a\x00"),
        ({"\ud800": "y"}, r"headers.\ud800"),
        ({"Schedule-Id": "y"}, "headers.Schedule-Id"),
        ({"parent-schedule-id": "y"}, "headers.parent-schedule-id"),
        ({"RINGTIME-anything": "y"}, "headers.RINGTIME-anything"),
        ({"webhook-id": "y"}, "headers.webhook-id"),
        ({"a": None}, "headers.a"),
        ({"a": 1}, "headers.a"),
        ({"a": ["x"]}, "headers.a"),
        ({"a": "x\0"}, "headers.a"),
        ({"a": "x\r"}, "headers.a"),
        ({"a": "x\ny"}, "headers.a"),
        ({"a": "\ud800"}, "headers.a"),
    ],
)
def test_bad_headers(headers: object, field: str) -> None:
    assert faults({"topic": "app.x", "headers": headers}) == [field]


def test_everything_wrong_is_told_at_once() -> None:
    details = {"topic": "", "key": 1, "partition": -1, "headers": {"a": 1, "b": 2}}
    assert faults(details) == ["topic", "key", "partition", "headers.a", "headers.b"]


def test_a_refusal_does_not_show_who_may_write_what() -> None:
    rules = KafkaRules(KafkaSettings(topics=("secret=hidden.*",)))
    (violation,) = rules.validate({"topic": "hidden.x"}, "app")
    assert violation.rule == "must be a topic that this app may write to"


@pytest.mark.parametrize(
    ("entries", "app", "topic", "may"),
    [
        (("*={app}.*",), "a", "a.b", True),
        (("*={app}.*",), "a", "a.", True),
        (("*={app}.*",), "a", "b.a", False),
        (("a=events",), "a", "events", True),
        (("a=events",), "b", "events", False),
        (("a=events",), "a", "events2", False),
        (("team-*=x.{app}.y",), "team-1", "x.team-1.y", True),
        (("team-*=x.{app}.y",), "team", "x.team.y", False),
        (("b=b", "a=events", "a=log.*.end"), "a", "log.x.end", True),
        (("a=*",), "a", "__x", False),
        ((), "a", "a.b", False),
        (("*={app}.*",), "*", "a.b", False),  # an id means itself, also if it were a wildcard
        (("*={app}.*",), "[a-z]", "a.b", False),
        (("*={app}.{app}",), "a", "a.a", True),
    ],
)
def test_grants(entries: tuple[str, ...], app: str, topic: str, may: bool) -> None:
    assert TopicGrants(entries).allows(app, topic) is may


@pytest.mark.slow
def test_many_wildcards_and_many_apps_cost_little() -> None:
    grants = TopicGrants(("*=" + "*a" * 60 + "b", "*={app}.*"))
    began_s = time.process_time()
    for number in range(3_000):
        assert not grants.allows(f"app{number}", "a" * 249)
    assert time.process_time() - began_s < 5
    assert len(grants._kept) <= 1_000
