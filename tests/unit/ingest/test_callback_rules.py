"""Callback details that are fine; the bad ones are in bad_callbacks."""

from __future__ import annotations

import pytest

from ringtime_shared.callbacks.http_rules import METHODS, check_http_details
from ringtime_shared.callbacks.kafka_rules import KafkaRules
from ringtime_shared.callbacks.url_rules import url_fault
from ringtime_shared.settings import KafkaSettings

LABEL = "a" * 63


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:8080/goscheduler/healthcheck",
        "HTTPS://Example.COM",
        "http://localhost",
        "http://localhost?x=1",
        "http://example.com:1/",
        "http://example.com:65535/a?b=c&d=%20e",
        "http://my_service.internal-net/a/../b",
        "http://xn--bcher-kva.example/",
        "http://XN--BCHER-KVA.example/",
        "http://xn--p1ai/",
        "http://xn--mgbh0fb.xn--kgbechtv/",
        "http://xn--i-7iq.ws/",
        "http://[::1]:8080/",
        "http://[2001:db8::1]",
        "http://1.2.3.4",
        "http://4.example/",
        "http://example.com/a@b:c",
        'http://example.com/?q={"a":[1]}',
        f"http://{LABEL}.{LABEL}.{LABEL}.{'a' * 61}/",
        "http://example.com/" + "a" * 2_029,
    ],
)
def test_good_urls(url: str) -> None:
    assert url_fault(url) is None


@pytest.mark.parametrize("method", METHODS)
def test_good_methods(method: str) -> None:
    assert check_http_details({"url": "http://a", "method": method}) == []


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"X-A": ""},
        {"X-A": "a b\tc"},
        {"Authorization": "Bearer x", "User-Agent": "me", "Content-Type": "text/plain"},
        {f"X-{number}": "a" for number in range(30)},
        {"X-A": "a" * (8_192 - 3)},
        {"!#$%&'*+-.^_`|~": "token"},
    ],
)
def test_good_headers(headers: dict[str, str]) -> None:
    assert check_http_details({"url": "http://a", "method": "GET", "headers": headers, "other": 1}) == []


def test_headers_in_two_cases_are_one() -> None:
    details = {"url": "http://a", "method": "GET", "headers": {"X-A": "1", "x-a": "2"}}
    [violation] = check_http_details(details)
    assert violation.field == "callback.details.headers.x-a"


@pytest.mark.parametrize(
    ("headers", "secret", "field", "rule"),
    [
        ({"X-A": "1"}, {"X-B": "2"}, "", ""),
        ({"X-A": "1"}, {"X-A": "2"}, ".X-A", ""),
        ({}, {"X-A": "***"}, ".X-A", "must be the value itself"),
        ({}, {"X-A": 7}, ".X-A", "must be a string"),
        ({}, {"ringtime-term": "2"}, ".ringtime-term", "cannot be chosen"),
        ({}, ["X-A"], "", "must be an object of strings"),
        ({f"X-{n}": "" for n in range(30)}, {"X-A": "1"}, "", "must be at most 30"),
        ({"X-A": "a" * 5_000}, {"X-B": "a" * 5_000}, "", "together must be at most 8192 bytes"),
    ],
)
def test_secret_headers_are_headers_like_others(
    headers: dict[str, str], secret: object, field: str, rule: str
) -> None:
    http = {"url": "http://a", "method": "GET", "headers": headers, "secretHeaders": secret}
    kafka = KafkaRules(KafkaSettings(topics=("*=*",)))
    for found in (
        check_http_details(http),
        kafka.validate({"topic": "t", "headers": headers, "secretHeaders": secret}, "shop"),
    ):
        if not field and not rule:
            assert found == []
            continue
        [violation] = found
        assert violation.field == f"callback.details.secretHeaders{field}"
        assert rule in violation.rule
