"""`--set KEY=VALUE` and `--unset KEY`."""

from __future__ import annotations

import orjson
import pytest

from ringtime_ringctl.apps.command import KEYS, change_configuration
from ringtime_shared.api.configuration import configuration_to_json
from ringtime_shared.errors import InvalidRequest
from ringtime_shared.models.app import AppConfiguration
from ringtime_shared.models.retry import RetryRules

EMPTY = AppConfiguration()


def test_every_key_the_api_shows_can_be_set() -> None:
    values = dict.fromkeys(KEYS, "7") | {
        "retryPolicy.factor": "1.5",
        "retryPolicy.statuses": "5XX, 404,5xx",
        "hooks": '{"onMissed": {"type": "http", "details": {"url": "http://a.example/"}}}',
    }
    values |= {"encryptPayloads": "true", "redactedFields": "card.number, name"}
    del values["retryPolicy.attempts"]  # the same as httpRetries
    found = change_configuration(EMPTY, [f"{key}={value}" for key, value in values.items()], ())
    shown = configuration_to_json(found)
    policy, hooks = shown.pop("retryPolicy"), shown.pop("hooks")
    assert (shown.pop("encryptPayloads"), shown.pop("redactedFields")) == (True, ("card.number", "name"))
    del values["encryptPayloads"], values["redactedFields"]
    numbers = (key for key in values if not key.startswith(("retryPolicy", "hooks")))
    assert shown == dict.fromkeys(numbers, 7) | {"tlsProfile": "7"}
    assert orjson.loads(orjson.dumps(hooks)) == orjson.loads(values["hooks"])
    assert policy == {
        "attempts": 7,
        "firstDelayMs": 7,
        "factor": 1.5,
        "maxDelayMs": 7,
        "maxAgeSeconds": 7,
        "statuses": ("5xx", "404"),
    }


def test_attempts_have_two_names() -> None:
    assert change_configuration(EMPTY, ["retryPolicy.attempts=4"], ()) == AppConfiguration(http_attempts=4)


def test_what_is_not_named_stays() -> None:
    before = AppConfiguration(weight=2, payload_bytes=9, retry=RetryRules(factor=2.0, max_age_s=60))
    after = change_configuration(before, ["weight=3"], ["retryPolicy.factor"])
    assert after == AppConfiguration(weight=3, payload_bytes=9, retry=RetryRules(max_age_s=60))
    assert change_configuration(after, (), ["retryPolicy.maxAgeSeconds", "weight"]) == AppConfiguration(
        payload_bytes=9
    )


@pytest.mark.parametrize(
    ("settings", "unset", "rule"),
    [
        (["weight"], (), "must be KEY=VALUE"),
        (["=3"], (), "no such key"),
        (["colour=red"], (), "colour: no such key"),
        ([], ["colour"], "colour: no such key"),
        (["weight=two"], (), "weight: must be a whole number"),
        (["weight="], (), "weight: must be a whole number"),
        (["weight=1.5"], (), "weight: must be a whole number"),
        (["weight=１２"], (), "weight: must be a whole number"),
        (["weight=" + "9" * 19], (), "weight: must be a whole number"),
        (["retryPolicy.factor=x"], (), "retryPolicy.factor: must be a number"),
        (["weight=1", "weight=2"], (), "weight: is given twice"),
        (["weight=1"], ["weight"], "weight: is given twice"),
    ],
)
def test_bad_forms_are_named(settings: list[str], unset: list[str], rule: str) -> None:
    with pytest.raises(InvalidRequest, match=rule):
        change_configuration(EMPTY, settings, unset)


def test_all_that_is_wrong_is_told_at_once() -> None:
    with pytest.raises(InvalidRequest) as told:
        change_configuration(EMPTY, ["weight=x", "colour=red", "payloadSize"], ["size"])
    assert len(told.value.violations) == 4
