"""What the durable drivers keep as JSON comes back, is small, and may hold keys of later versions."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.contract.builders import make_app, make_letter, make_log, make_outcome, make_row

from ringtime_shared.models.app import AppConfiguration, SigningSecret
from ringtime_shared.models.dead_letter import DeadLetter
from ringtime_shared.models.recurring import Origin, RunOf, Stage, Work
from ringtime_shared.models.retry import RetryRules
from ringtime_shared.models.schedule import Attempt, Change, Outcome, Status
from ringtime_shared.models.sending import Priority, Sending
from ringtime_shared.models.trace import Trace
from ringtime_shared.stores.codec.apps import (
    decode_configuration,
    decode_secrets,
    encode_configuration,
    encode_secrets,
)
from ringtime_shared.stores.codec.cells import LAST_MS, encode_slim
from ringtime_shared.stores.codec.documents import decode_letter, encode_letter
from ringtime_shared.stores.codec.rows import (
    NO_EXTRAS,
    Extras,
    decode_extras,
    decode_outcome,
    encode_outcome,
    encode_outcome_extras,
    encode_row_extras,
)

numbers = st.integers(0, 1 << 53)
instants = st.integers(0, LAST_MS)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
rules = st.builds(
    RetryRules,
    attempts=st.none() | numbers,
    first_delay_ms=st.none() | numbers,
    factor=st.none() | st.floats(1, 100),
    max_delay_ms=st.none() | numbers,
    max_age_s=st.none() | numbers,
    statuses=st.none() | st.lists(texts).map(tuple),
)
attempts = st.builds(Attempt, at_ms=instants, took_ms=instants, code=st.none() | numbers, error=texts)
logs = st.lists(attempts, max_size=10).map(tuple)
outcomes = st.builds(
    Outcome,
    status=st.sampled_from(Status),
    ended_ms=instants,
    fired_ms=st.none() | instants,
    attempts=numbers,
    code=st.none() | numbers,
    error=texts,
    took_ms=st.none() | instants,
    replay=numbers,
    log=logs,
)
labels = st.lists(st.tuples(texts, texts), max_size=3).map(tuple)
works = st.builds(
    Work, **dict.fromkeys(("sent_ms", "attempt"), numbers), ended_ms=st.none() | numbers, error=texts
)
runs = st.builds(
    RunOf,
    recurring_id=st.uuids(),
    **dict.fromkeys(("version", "nominal_ms", "ordinal"), numbers),
    origin=st.sampled_from(Origin),
    **dict.fromkeys(("running", "buffered"), st.none() | st.uuids()),
    stage=st.sampled_from(Stage),
    is_contested=st.booleans(),
    work=st.none() | works,
)
configurations = st.builds(
    AppConfiguration,
    **dict.fromkeys(("retention_days", "http_attempts", "max_in_flight", "weight"), st.none() | numbers),
    retry=st.none() | rules,
)
secrets = st.lists(st.builds(SigningSecret, secret_id=texts, secret=texts, created_ms=numbers)).map(tuple)
letters = st.builds(
    DeadLetter,
    app_id=texts,
    schedule_id=st.uuids(),
    **dict.fromkeys(("slot_ms", "fire_ms", "failed_ms", "attempts", "replay", "expires_ms"), numbers),
    code=st.none() | numbers,
    error=texts,
    callback_type=texts,
)


@given(st.none() | rules, numbers, logs)
def test_extras_of_a_row(retry: RetryRules | None, replay: int, log: tuple[Attempt, ...]) -> None:
    row = make_row(make_app(), retry=retry)
    extras = Extras(retry, replay, log)
    changed = type(row)(schedule=row.schedule, place=row.place, replay=replay, log=log)
    encoded = encode_row_extras(changed)
    assert (encoded is None) == (extras == NO_EXTRAS)
    assert encoded is None or decode_extras(encoded) == decode_extras(encoded.decode()) == extras


@given(runs, st.none() | rules, st.integers(0, 9), logs, labels)
def test_extras_of_a_run_are_written_as_all_else_is(
    run: RunOf,
    retry: RetryRules | None,
    replay: int,
    log: tuple[Attempt, ...],
    labels: tuple[tuple[str, str], ...],
) -> None:
    row = make_row(make_app(), retry=retry)
    sending, trace, change = Sending(is_base64=True, priority=Priority.HIGH), Trace("parent"), Change(1, 2)
    for extras in (
        Extras(run=run),
        Extras(retry, replay, log, run, "name", labels),
        Extras(retry, 0, (), None, "", labels, change, sending, trace=trace),
    ):
        schedule = replace(
            row.schedule,
            retry=extras.retry,
            run=extras.run,
            name=extras.name,
            labels=extras.labels,
            sending=extras.sending,
            trace=extras.trace,
        )
        whole = replace(row, schedule=schedule, replay=extras.replay, log=extras.log, change=extras.change)
        assert encode_row_extras(whole) == (None if extras == NO_EXTRAS else encode_slim(extras))


@given(outcomes)
def test_outcome(outcome: Outcome) -> None:
    assert decode_outcome(encode_outcome(outcome)) == outcome
    assert json.loads(encode_outcome(outcome)).items() >= json.loads(encode_slim(outcome)).items()
    extras = encode_outcome_extras(outcome)
    expected = Extras(replay=outcome.replay, log=outcome.log)
    assert (NO_EXTRAS if extras is None else decode_extras(extras)) == expected


@given(configurations, secrets)
def test_configuration_and_secrets(
    configuration: AppConfiguration, secrets: tuple[SigningSecret, ...]
) -> None:
    assert decode_configuration(encode_configuration(configuration)) == configuration
    assert None not in json.loads(encode_configuration(configuration)).values()
    assert decode_secrets(encode_secrets(secrets)) == secrets


@given(letters, st.none() | numbers)
def test_letter(letter: DeadLetter, replayed_ms: int | None) -> None:
    found = decode_letter(encode_letter(letter), replayed_ms)
    assert (found.replayed_ms, decode_letter(encode_letter(letter), None)) == (replayed_ms, letter)


def test_the_common_ones_are_small() -> None:
    assert encode_row_extras(make_row(make_app())) is None
    assert encode_outcome_extras(make_outcome()) is None
    assert json.loads(encode_outcome(make_outcome(took_ms=12))).keys() == {
        "status",
        "ended_ms",
        "fired_ms",
        "attempts",
        "code",
        "took_ms",
    }
    assert encode_configuration(AppConfiguration()) == "{}"
    assert encode_configuration(AppConfiguration(weight=2, retry=RetryRules(attempts=3))) == (
        '{"retry":{"attempts":3},"weight":2}'
    )
    assert encode_secrets(()) == "[]"


@pytest.mark.parametrize(
    ("decode", "text", "expected"),
    [
        (
            decode_extras,
            '{"replay":1,"later":{"a":[1]},"retry":{"attempts":2,"later":0}}',
            Extras(RetryRules(attempts=2), 1),
        ),
        (decode_extras, "{}", NO_EXTRAS),
        (
            decode_outcome,
            '{"status":"MISS","ended_ms":1,"fired_ms":null,"attempts":0,"code":null,"error":""}',
            Outcome(status=Status.MISS, ended_ms=1),
        ),
        (
            decode_outcome,
            '{"status":"MISS","ended_ms":1,"later":true}',
            Outcome(status=Status.MISS, ended_ms=1),
        ),
        (decode_configuration, '{"http_attempts":3,"later":1}', AppConfiguration(http_attempts=3)),
        (decode_secrets, None, ()),
    ],
)
def test_earlier_and_later_versions_are_read(decode: Any, text: str | None, expected: object) -> None:
    assert decode(text) == expected


def test_letter_of_a_later_version_is_read() -> None:
    letter = make_letter(make_app())
    text = json.dumps(json.loads(encode_letter(letter)) | {"later": [1]})
    assert decode_letter(text, None) == letter


def test_a_log_keeps_its_order() -> None:
    outcome = make_outcome(log=make_log(10))
    assert [each.at_ms for each in decode_outcome(encode_outcome(outcome)).log] == [
        each.at_ms for each in make_log(10)
    ]
