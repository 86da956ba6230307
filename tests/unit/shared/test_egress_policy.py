"""What an operator's settings let callbacks reach, and what is refused when a schedule is created."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from ringtime_shared.callbacks.address_rules import Address, parse_address
from ringtime_shared.callbacks.egress_policy import EgressPolicy
from ringtime_shared.callbacks.http_rules import HttpRules
from ringtime_shared.callbacks.resolver import Resolver
from ringtime_shared.callbacks.url_rules import Target, parse_target
from ringtime_shared.errors import SettingsError, Violation
from ringtime_shared.settings import EgressSettings, Settings, check_settings, load_settings

DEFAULT = EgressSettings()
REFUSED = [Violation("callback.details.url", "the target is not allowed")]


def target(url: str) -> Target:
    found = parse_target(url)
    assert found is not None
    return found


def addresses(*texts: str) -> list[Address | None]:
    return [parse_address(text) for text in texts]


def allows(url: str, *texts: str, settings: EgressSettings = DEFAULT, loopback: bool = False) -> bool:
    """Whether the policy lets a URL be called, whose host has these addresses, by default its own."""
    found = target(url)
    given = addresses(*texts) if texts else [found.address]
    return EgressPolicy.of(settings, loopback=loopback).allows(found, given)


@pytest.mark.parametrize(
    ("url", "text", "is_allowed"),
    [
        ("http://1.1.1.1/", "", True),
        ("https://1.1.1.1:8443/", "", True),
        ("http://1.1.1.1:22/", "", False),
        ("https://1.1.1.1:444/", "", False),
        ("http://127.0.0.1/", "", False),
        ("http://[::1]/", "", False),
        ("http://[::]/", "", False),
        ("http://[::ffff:127.0.0.1]/", "", False),
        ("http://[::ffff:1.1.1.1]/", "", True),
        ("http://[::127.0.0.1]/", "", False),
        ("http://[64:ff9b::a9fe:a9fe]/", "", False),
        ("http://[2002:a9fe:a9fe::]/", "", False),
        ("http://[2001::1]/", "", False),
        ("http://[fd00:ec2::254]/", "", False),
        ("http://169.254.169.254/latest/meta-data", "", False),
        ("http://168.63.129.16/", "", False),
        ("http://100.100.100.200/", "", False),
        ("http://0.0.0.0/", "", False),
        ("http://example.com/", "1.1.1.1", True),
        ("http://example.com/", "10.0.0.1", False),  # 113
        ("http://example.com/", "fe80::1%eth0", False),
        ("http://example.com/", "::ffff:10.0.0.1", False),
        ("http://example.com:25/", "1.1.1.1", False),
        ("http://metadata.google.internal/", "1.1.1.1", False),  # 112
        ("http://localhost/", "1.1.1.1", False),
        ("http://printer/", "1.1.1.1", False),
    ],
)
def test_what_the_defaults_allow(url: str, text: str, is_allowed: bool) -> None:
    assert allows(url, *([text] if text else [])) is is_allowed


@pytest.mark.parametrize(
    "texts", [("1.1.1.1", "127.0.0.1"), ("10.0.0.1", "1.1.1.1"), ("2606:4700:4700::1111", "::1"), ("",)]
)
def test_one_bad_address_refuses_them_all(texts: Sequence[str]) -> None:
    assert not allows("http://example.com/", *texts)  # 114


def test_a_name_without_an_address_is_not_allowed() -> None:
    assert not EgressPolicy.of(DEFAULT).allows(target("http://example.com/"), [])


def test_allow_opens_a_block_on_the_listed_ports() -> None:
    settings = EgressSettings(allow=("10.1.0.0/16", "fd00::/8", "192.168.1.1"))
    assert allows("http://10.1.2.3/", settings=settings)
    assert allows("http://[::ffff:10.1.2.3]/", settings=settings)
    assert allows("http://[fd00::1]:8080/", settings=settings)
    assert allows("http://192.168.1.1/", settings=settings)
    assert allows("http://example.com/", "10.1.0.1", "1.1.1.1", settings=settings)
    assert not allows("http://10.1.2.3:9000/", settings=settings)
    assert not allows("http://10.2.0.1/", settings=settings)
    assert not allows("http://192.168.1.2/", settings=settings)


def test_deny_wins_over_everything() -> None:
    settings = EgressSettings(allow=("10.0.0.0/8",), deny=("10.9.0.0/16", "1.1.1.0/24", "127.0.0.2"))
    assert allows("http://10.8.0.1/", settings=settings)
    assert not allows("http://10.9.0.1/", settings=settings)
    assert not allows("http://1.1.1.1/", settings=settings)
    assert not allows("http://[::ffff:1.1.1.1]/", settings=settings)
    assert not allows("http://127.0.0.2:9000/", settings=settings, loopback=True)


def test_development_mode_opens_this_machine_and_nothing_else() -> None:
    for url in ("http://127.0.0.1:9000/", "http://127.9.9.9:1/", "http://[::1]:65535/"):
        assert allows(url, loopback=True)
    for url in ("http://10.0.0.1/", "http://1.1.1.1:9000/", "http://169.254.169.254/", "http://0.0.0.0/"):
        assert not allows(url, loopback=True)
    assert allows("http://localhost:3000/", "127.0.0.1", "::1", loopback=True)
    assert not allows("http://localhost:3000/", "127.0.0.1", "10.0.0.1", loopback=True)
    assert not allows("http://example.com:3000/", "1.1.1.1", loopback=True)


def test_an_internal_name_needs_the_operators_word_for_all_its_addresses() -> None:
    settings = EgressSettings(allow=("10.0.0.0/8",))
    assert allows("http://db.svc.cluster.local/", "10.0.0.1", settings=settings)
    assert not allows("http://db.svc.cluster.local/", "1.1.1.1", settings=settings)
    assert not allows("http://db.svc.cluster.local/", "10.0.0.1", "1.1.1.1", settings=settings)
    assert not allows("http://metadata.google.internal/", "169.254.169.254", settings=settings)


def test_https_only() -> None:
    settings = EgressSettings(https_only=True)
    assert allows("https://1.1.1.1/", settings=settings)
    assert not allows("http://1.1.1.1/", settings=settings)
    assert not allows("http://127.0.0.1/", settings=settings, loopback=True)


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("http://example.com", "http://example.com:80"),
        ("HTTP://EXAMPLE.com:80/a?b", "http://example.com:80"),
        ("https://example.com?x", "https://example.com:443"),
        ("https://example.com:8443/a/b", "https://example.com:8443"),
        ("http://[2606:4700:0:0::1111]/", "http://[2606:4700::1111]:80"),
        ("http://[::ffff:1.1.1.1]:81/", "http://1.1.1.1:81"),
        ("http://1.1.1.1:0081/", "http://1.1.1.1:81"),
    ],
)
def test_an_origin_is_the_same_for_all_spellings(url: str, origin: str) -> None:
    assert target(url).origin == origin


@pytest.mark.parametrize(
    "url", ["", "x", "ftp://a.example/", "http://a@b.example/", "http://127.1/", "http:///"]
)
def test_what_has_no_target(url: str) -> None:
    assert parse_target(url) is None


def details(url: object) -> dict[str, object]:
    return {"url": url, "method": "POST"}


@pytest.mark.parametrize(
    ("url", "is_refused"),
    [
        ("http://127.0.0.1/", True),
        ("http://169.254.169.254/", True),
        ("http://localhost/", True),
        ("http://redis/", True),
        ("http://example.com:25/", True),
        ("http://example.com/", False),
    ],
)
def test_a_create_refuses_what_the_url_itself_says(url: str, is_refused: bool) -> None:
    rules = HttpRules(EgressPolicy.of(DEFAULT), None)
    assert rules.validate(details(url), "shop") == (REFUSED if is_refused else [])


def test_form_and_target_are_told_apart() -> None:
    rules = HttpRules(EgressPolicy.of(DEFAULT), None)
    for url in ("http://127.1/", "ftp://example.com/", 7, None):
        [violation] = rules.validate(details(url), "shop")
        assert violation.rule != REFUSED[0].rule
    fields = [each.field for each in rules.validate({"url": "http://127.0.0.1/"}, "shop")]
    assert fields == ["callback.details.method", "callback.details.url"]


@pytest.mark.parametrize(
    ("found", "is_refused"),
    [
        (["1.1.1.1"], False),
        (["127.0.0.1"], True),
        (["1.1.1.1", "10.0.0.1"], True),
        (["2606:4700::1", "fe80::1%eth0"], True),
        ([f"1.1.{n // 256}.{n % 256}" for n in range(257)], True),
        ([], False),
    ],
)
async def test_a_create_looks_names_up(found: list[str], is_refused: bool) -> None:
    def look_up(host: str) -> list[str]:
        assert host == "callback.example"
        return found

    rules = HttpRules(EgressPolicy.of(DEFAULT), Resolver(DEFAULT, lookup=look_up))
    assert rules.validate(details("http://callback.example/"), "shop") == []
    assert await rules.screen(details("http://Callback.Example/"), "shop") == (REFUSED if is_refused else [])


async def test_what_cannot_be_found_out_is_no_violation() -> None:
    def look_up(host: str) -> list[str]:
        raise OSError(host)

    resolver = Resolver(DEFAULT, lookup=look_up)
    assert (
        await HttpRules(EgressPolicy.of(DEFAULT), resolver).screen(details("http://a.example/"), "shop") == []
    )
    assert await HttpRules(EgressPolicy.of(DEFAULT), None).screen(details("http://a.example/"), "shop") == []


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        (EgressSettings(allow=("10.0.0.0/8", "10.0.0.1/8")), "egress.allow"),
        (EgressSettings(allow=("10.0.0.0/33",)), "egress.allow"),
        (EgressSettings(allow=("localhost",)), "egress.allow"),
        (EgressSettings(deny=("",)), "egress.deny"),
        (EgressSettings(deny=("fe80::1%eth0",)), "egress.deny"),
        (EgressSettings(deny=("::ffff:10.0.0.0/104",)), "egress.deny"),
        (EgressSettings(ports=("0",)), "egress.ports"),
        (EgressSettings(ports=("80", "http")), "egress.ports"),
        (EgressSettings(ports=("90-80",)), "egress.ports"),
        (EgressSettings(ports=("1-65536",)), "egress.ports"),
        (EgressSettings(ports=("８0",)), "egress.ports"),
        (EgressSettings(ports=()), "egress.ports"),
        (EgressSettings(dns_keep_s=61), "egress.dns_keep_s"),
    ],
)
def test_settings_that_do_not_parse_are_refused_by_key(settings: EgressSettings, key: str) -> None:
    with pytest.raises(SettingsError) as caught:
        check_settings(Settings(egress=settings))
    assert [violation.field for violation in caught.value.violations] == [key]


def test_settings_from_the_environment() -> None:
    environ = {
        "RINGTIME_EGRESS_ALLOW": "127.0.0.0/8, ::1/128",
        "RINGTIME_EGRESS_PORTS": "80,9000-9999",
        "RINGTIME_EMBEDDED_LOOPBACK_CALLBACKS": "false",
    }
    settings = load_settings(None, environ)
    assert settings.egress.allow == ("127.0.0.0/8", "::1/128")
    assert not settings.embedded.loopback_callbacks
    assert allows("http://127.0.0.1:9500/", settings=settings.egress)
    assert not allows("http://127.0.0.1:8080/", settings=settings.egress)
