"""Every entry of the table of settings is known to whoever follows from it, by the name it has there."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from ringtime_client.calls import register_app
from ringtime_ingest.http.parsing import parse_new_app
from ringtime_ingest.http.schemas import ANSWERS, requests_of
from ringtime_ingest.service.requests import Offer
from ringtime_ringctl.apps.apply import read_file
from ringtime_ringctl.apps.command import change_configuration
from ringtime_shared.api.apps import app_to_json, read_app
from ringtime_shared.api.configuration import ATTEMPTS, keys
from ringtime_shared.apps.reference import describe_app_settings
from ringtime_shared.apps.rules import check_app
from ringtime_shared.models.app import App, AppConfiguration
from ringtime_shared.models.retry import RetryRules
from ringtime_shared.models.setting import Entry, FieldPath, entries_of
from ringtime_shared.settings import AppLimits, CallbackSettings, Settings
from ringtime_shared.stores.codec.apps import decode_configuration, encode_configuration

SETTINGS = Settings(callbacks=CallbackSettings(tls_profiles=("shop.one=/x",), tls_grants=("*=*",)))
DOCS = Path(__file__).resolve().parents[2] / "docs"
APP = App(app_id="a", number=1, writable=2, polled=2, active=True, version=1, created_ms=0)
#: a value of each type, and how the command line spells it; 3 is within the bounds of every number
SAMPLES: dict[Any, tuple[Any, str]] = {
    int: (3, "3"),
    float: (1.5, "1.5"),
    str: ("shop.one", "shop.one"),
    bool: (True, "true"),
    tuple: (("429", "5xx"), "429,5xx"),
    FieldPath: (("card.number", "items.*.price"), "card.number,items.*.price"),
}

TABLE = [(key, model, entry) for key, (model, entry) in keys().items()]
every_key = pytest.mark.parametrize(("key", "model", "entry"), TABLE)
every_number = pytest.mark.parametrize(
    ("key", "model", "entry"), [each for each in TABLE if each[2].is_number]
)


def _holding(model: type, attribute: str, value: object) -> AppConfiguration:
    if model is AppConfiguration:
        return AppConfiguration(**{attribute: value})  # type: ignore[arg-type]
    return AppConfiguration(retry=RetryRules(**{attribute: value}))  # type: ignore[arg-type]


def _as_json(key: str, value: object) -> dict[str, Any]:
    group, _, name = key.rpartition(".")
    return {group: {name: value}} if group else {name: value}


def test_every_field_of_a_model_is_an_entry() -> None:
    for model in (AppConfiguration, RetryRules):
        assert [each.attribute for each in entries_of(model)] == [each.name for each in fields(model)]
    numbers = [entry for _, entry in keys().values() if entry.is_number]
    assert all(entry.setting.most for entry in numbers)


@every_key
def test_each_is_read_checked_stored_shown_and_read_back(key: str, model: type, entry: Entry) -> None:
    value, text = SAMPLES[entry.kind]
    configuration = _holding(model, entry.attribute, value)

    body = {"appId": "a", "configuration": _as_json(key, value)}
    assert parse_new_app(orjson.dumps(body), 8).configuration == configuration
    assert change_configuration(AppConfiguration(), [f"{key}={text}"], ()) == configuration
    assert change_configuration(configuration, (), [key]) == AppConfiguration()
    toml = f"[[apps]]\nappId='a'\nconfiguration.{key} = {orjson.dumps(value).decode()}"
    assert read_file(toml, SETTINGS)[0].configuration == configuration
    assert check_app("a", None, configuration, AppLimits()) == []
    assert decode_configuration(encode_configuration(configuration)) == configuration

    app = replace(APP, configuration=configuration)
    shown = orjson.loads(orjson.dumps(app_to_json(app)))
    if key != ATTEMPTS:  # shown as httpRetries
        plain = list(value) if isinstance(value, tuple) else value
        assert shown["configuration"] == _as_json(key, plain)
    assert read_app(shown).configuration == configuration
    call = register_app("a", partitions=None, active=True, configuration=configuration)
    assert parse_new_app(call.body or b"", 8).configuration == configuration


@every_key
def test_each_is_documented(key: str, model: type, entry: Entry) -> None:
    group, _, name = key.rpartition(".")
    schema = "RetryPolicy" if group else "Configuration"
    requests: Any = requests_of(Offer(limits=AppLimits(), callback_types=["http"]))
    answers: Any = ANSWERS
    for properties in (requests[schema]["properties"], answers[f"Shown{schema}"]["properties"]):
        assert properties[name]["description"]
    assert f"| `{key}` |" in (DOCS / "app-settings.md").read_text()


@every_number
def test_bounds_of_numbers_are_named(key: str, model: type, entry: Entry) -> None:
    limits = AppLimits()
    for value in (-1, 2**53):
        [violation] = check_app("a", None, _holding(model, entry.attribute, value), limits)
        path = "httpRetries" if key == ATTEMPTS else key
        assert violation.field == f"configuration.{path}"
        assert violation.rule.startswith("must be from 1 to ")
    if entry.kind is int:
        requests: Any = requests_of(Offer(limits=limits, callback_types=["http"]))
        schema = requests["RetryPolicy" if "." in key else "Configuration"]["properties"]
        assert schema[key.rpartition(".")[2]]["maximum"] >= SAMPLES[int][0]


def test_the_page_is_current() -> None:
    assert (DOCS / "app-settings.md").read_text() == describe_app_settings(), "run: make docs"
