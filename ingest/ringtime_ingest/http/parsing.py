"""Request bodies and ids, from bytes to `requests`.

What is checked here is form: JSON, types, spellings of times and ids. Rules about values that the library
mode shares are with the requests; fields that were left out go there as empty values.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any, cast

from ringtime_ingest.http.fields import (
    CALLBACK,
    COMPLETED,
    CONFIGURATION,
    DETAILS,
    ENDS,
    HOOKS,
    MISFIRES,
    NAMED_SCHEDULE,
    NEW_APP,
    NEW_RECURRING,
    NEW_SCHEDULE,
    OVERLAPS,
    OWN_CALLBACK,
    OWN_RETRY_POLICY,
    RECURRING_PATCH,
    RETRY_POLICY,
    SCHEDULE_PATCH,
    SETTINGS,
)
from ringtime_ingest.http.shapes import Shape, Unreadable, is_all_text, to_plain
from ringtime_ingest.service.imports import Foreign
from ringtime_ingest.service.requests import (
    NewApp,
    NewRecurring,
    NewSchedule,
    ScheduleChange,
    check_contents_form,
    check_form,
    encode_details,
)
from ringtime_shared.api.completions import ENDINGS, SUCCESS
from ringtime_shared.api.completions import FIELD as COMPLETION
from ringtime_shared.api.configuration import ATTEMPTS, POLICY
from ringtime_shared.api.hooks import FIELD, PAYLOAD, hooks_of
from ringtime_shared.api.ids import (
    KEY_FIELD,
    check_app_id,
    check_key,
    check_schedule_id,
    parse_schedule_id,
)
from ringtime_shared.api.instants import NoInstant, parse_delay, parse_instant
from ringtime_shared.api.labels import check_labels
from ringtime_shared.api.recurring import KEEP, recurring_to_request
from ringtime_shared.api.schedules import BASE64, ENCODINGS
from ringtime_shared.apps.hook_rules import at_hook
from ringtime_shared.apps.retry_rules import STATUS_RULE
from ringtime_shared.callbacks import http_rules
from ringtime_shared.errors import WHOLE_BODY, InvalidRequest, Violation
from ringtime_shared.ids import is_ours
from ringtime_shared.models.app import AppConfiguration
from ringtime_shared.models.hooks import Hook, HookEvent, Hooks
from ringtime_shared.models.recurring import Definition, Misfire, Overlap
from ringtime_shared.models.retry import RetryRules
from ringtime_shared.models.sending import Priority, Sending
from ringtime_shared.models.setting import FieldPath, entries_of
from ringtime_shared.models.times import Times
from ringtime_shared.recurring.parsing import KEYS as TIMES_KEYS
from ringtime_shared.recurring.parsing import parse_times, patch_times
from ringtime_shared.schedules.row_filter import labels_of


def parse_new_schedule(document: object) -> NewSchedule:
    """Read a create that is one of many, as `load` returns it. Raises InvalidRequest."""
    new = parse_create(document)
    if isinstance(new, NewRecurring):
        raise InvalidRequest.of("cronExpression", "recurring schedules are created one in a request")
    return new


def parse_create(document: object, key: str | None = None) -> NewSchedule | NewRecurring:
    """Read the body of a create, as `load` returns it; of a recurring schedule without a name, if it has a
    `cronExpression`. Raises InvalidRequest.

    Args:
        key: the idempotency key of its headers, which may stand in the body as well; None: there is none.
    """
    wrong: list[Violation] = []
    broken: list[Violation] = []
    fields = NEW_SCHEDULE.read(document, "", wrong)
    app_id, repeats = str(fields.get("appId", "")), bool(fields.get("cronExpression"))
    new: NewSchedule | NewRecurring
    if repeats:  # goscheduler passes scheduleTime over then
        times = _read_times({"cronExpression": fields["cronExpression"]}, broken, default_zone="UTC")
        new = NewRecurring(
            name="", times=times, **_read_contents(app_id, fields, wrong, broken, is_own=False)
        )
        if fields.get("labels"):
            broken.append(Violation("labels", "only for one-time schedules"))
    else:
        new = _to_schedule(app_id, fields, wrong, broken, is_own=False)
    if schedule_id := fields.get("scheduleId"):
        wrong += check_schedule_id(schedule_id)
    key = _read_key(key, fields, repeats, broken)
    if key and isinstance(new, NewSchedule):
        new = replace(new, idempotency_key=key)
    if wrong or broken or check_app_id(new.app_id):
        told = wrong + broken
        raise refused(wrong, broken + _check_rest(new, {violation.field for violation in told}))
    return new


def parse_import(document: object) -> Foreign:
    """Read a schedule of another scheduler, as `load` returns it: a create, or a put of a recurring one with
    its `appId`; with the id that it has there. Raises InvalidRequest."""
    if not isinstance(document, dict):
        raise Unreadable.of(WHOLE_BODY, "must be an object")
    schedule_id = document.get("scheduleId")
    if not isinstance(schedule_id, str):
        raise InvalidRequest.of("scheduleId", "required: the id that it has there")
    alias = parse_schedule_id(schedule_id)
    if is_ours(alias):
        raise InvalidRequest.of("scheduleId", "must not be an id of the form that is given out here")
    if not (document.get("cronExpression") or document.get("interval")):
        return Foreign(alias, replace(parse_new_schedule(document), idempotency_key=""))
    app_id = document.get("appId")
    if not isinstance(app_id, str) or check_app_id(app_id):
        raise InvalidRequest(check_app_id(app_id if isinstance(app_id, str) else ""))
    rest = {key: value for key, value in document.items() if key not in ("appId", "scheduleId")}
    wrong: list[Violation] = []
    return Foreign(alias, _to_recurring(app_id, str(alias), NEW_RECURRING.read(rest, "", wrong), wrong))


def parse_named(app_id: str, name: str, body: bytes, max_depth: int) -> NewSchedule:
    """Read the body of a put of a one-time schedule. Raises InvalidRequest."""
    wrong: list[Violation] = []
    broken: list[Violation] = []
    fields = NAMED_SCHEDULE.decode(body, max_depth, wrong)
    new = _to_schedule(app_id, fields, wrong, broken)
    if wrong or broken:
        told = wrong + broken
        raise refused(wrong, broken + _check_rest(new, {violation.field for violation in told}))
    return replace(new, name=name)


def _to_schedule(
    app_id: str,
    fields: Mapping[str, object],
    wrong: list[Violation],
    broken: list[Violation],
    *,
    is_own: bool = True,
) -> NewSchedule:
    """Return what the fields of a one-time schedule ask for."""
    fire_ms = read_time("scheduleTime", fields.get("scheduleTime"), parse_instant, wrong, broken)
    delay_ms = read_time("delaySeconds", fields.get("delaySeconds"), parse_delay, wrong, broken)
    labels = labels_of(cast("dict[str, str]", fields.get("labels")))
    broken += check_labels(labels, "labels")
    contents = _read_contents(app_id, fields, wrong, broken, is_own=is_own)
    return NewSchedule(fire_ms=fire_ms, delay_ms=delay_ms, labels=labels, **contents)


def _read_key(
    header: str | None, fields: Mapping[str, object], repeats: bool, broken: list[Violation]
) -> str:
    """Return the idempotency key of a create; "": it has none."""
    in_body = cast("str | None", fields.get(KEY_FIELD))
    key = header if in_body is None else in_body
    if key is None:
        return ""
    if header not in (None, key):
        broken.append(Violation(KEY_FIELD, "must be that of the header Idempotency-Key where both are given"))
    elif repeats:
        rule = "only for one-time schedules: to put a recurring one under a name may be repeated as it is"
        broken.append(Violation(KEY_FIELD, rule))
    else:
        broken += check_key(key)
    return key


def parse_schedule_patch(body: bytes, max_depth: int) -> ScheduleChange:
    """Read the body of a change of a one-time schedule. Raises InvalidRequest."""
    wrong: list[Violation] = []
    broken: list[Violation] = []
    given = SCHEDULE_PATCH.decode(body, max_depth, wrong)
    fields = {key: value for key, value in given.items() if value is not None}
    contents = _read_contents("", {"payload": "", "callback": {}} | fields, wrong, broken)
    fire_ms = read_time("scheduleTime", fields.get("scheduleTime"), parse_instant, wrong, broken)
    delay_ms = read_time("delaySeconds", fields.get("delaySeconds"), parse_delay, wrong, broken)
    is_called, sending = "callback" in fields, contents["sending"] or Sending()
    if is_called and not contents["callback_type"]:
        broken.append(Violation("callback.type", "required: a non-empty string"))
    if wrong or broken:
        raise refused(wrong, broken)
    return ScheduleChange(
        fire_ms=fire_ms,
        delay_ms=delay_ms,
        payload=contents["payload"] if "payload" in fields else None,
        is_base64=sending.is_base64 if "payloadEncoding" in fields else None,
        timeout_ms=sending.timeout_ms,
        priority=sending.priority if "priority" in fields else None,
        hooks=sending.hooks,
        callback_type=contents["callback_type"] if is_called else None,
        callback_details=contents["callback_details"] if is_called else None,
        retry=contents["retry"],
        labels=labels_of(cast("dict[str, str]", fields["labels"])) if "labels" in fields else None,
        taken=frozenset(_TAKEN[key] for key in given.keys() & _TAKEN.keys() if given[key] is None),
    )


def parse_recurring(app_id: str, name: str, body: bytes, max_depth: int) -> NewRecurring:
    """Read the body of a put of a recurring schedule. Raises InvalidRequest."""
    wrong: list[Violation] = []
    fields = NEW_RECURRING.decode(body, max_depth, wrong)
    return _to_recurring(app_id, name, fields, wrong)


def parse_recurring_patch(definition: Definition, body: bytes, max_depth: int) -> NewRecurring:
    """Read a patch of a recurring schedule: what is not given is as it is, and what is null is as in a put
    that leaves it out; what a put may not leave out stays. Raises InvalidRequest."""
    wrong: list[Violation] = []
    given = RECURRING_PATCH.decode(body, max_depth, wrong)
    given = {key: value for key, value in given.items() if value is not None or key not in _REQUIRED}
    kept: dict[str, object] = json.loads(recurring_to_request(definition), parse_float=Decimal)
    if "payload" in given:  # the encoding is that of the payload before
        kept.pop("payloadEncoding", None)
    changed = kept | given | patch_times(definition.times, given)
    fields = {key: value for key, value in changed.items() if value is not None}
    new = _to_recurring(definition.app_id, definition.name, fields, wrong)
    before = definition.sending
    if "payload" not in given and before is not None and before.is_private:  # it stays so, as it stays
        sending = new.sending or Sending()
        new.sending = replace(sending, is_private=True, is_encrypted=before.is_encrypted)
    return new


def parse_completion(body: bytes, max_depth: int) -> str | None:
    """Read how a receiver says that a run ended: None: it is done; else why it failed. No body: it is done.
    Raises InvalidRequest."""
    wrong: list[Violation] = []
    broken: list[Violation] = []
    fields = COMPLETED.decode(body, max_depth, wrong) if body else {}
    is_done = _word_of("status", fields, ENDINGS, broken) == SUCCESS
    error = cast(str, fields.get("errorMessage", ""))
    if is_done and error:
        broken.append(Violation("errorMessage", "goes with the status failure"))
    if wrong or broken:
        raise refused(wrong, broken)
    return None if is_done else error


def _to_recurring(
    app_id: str, name: str, fields: Mapping[str, object], wrong: list[Violation]
) -> NewRecurring:
    broken: list[Violation] = []
    contents = _read_contents(app_id, fields, wrong, broken)
    times = _read_times({key: fields[key] for key in TIMES_KEYS if key in fields}, broken)
    age_s = fields.get("misfireAgeSeconds")
    new = NewRecurring(
        name=name,
        times=times,
        misfire=Misfire(_word_of("misfirePolicy", fields, MISFIRES, broken).upper()),
        misfire_most=cast(int, fields.get("misfireMost", 1)),
        misfire_age_ms=None if age_s is None else cast(int, age_s) * 1_000,
        overlap=Overlap(_word_of("overlapPolicy", fields, OVERLAPS, broken).upper()),
        keeps=_word_of("atEnd", fields, ENDS, broken) == KEEP,
        **contents,
    )
    if wrong or broken:
        told = wrong + broken
        raise refused(wrong, broken + _check_rest(new, {violation.field for violation in told}))
    return new


def _word_of(name: str, fields: Mapping[str, object], words: Sequence[str], broken: list[Violation]) -> str:
    """Return one of the words of a policy, the first if none is given."""
    word = fields.get(name, words[0])
    if word in words:
        return str(word)
    broken.append(Violation(name, f"must be {' or '.join(words)}"))
    return words[0]


def _read_times(
    fields: Mapping[str, object], broken: list[Violation], default_zone: str | None = None
) -> Times:
    try:
        return parse_times(fields, default_zone)
    except InvalidRequest as error:
        broken += error.violations
        return Times()


def _read_contents(
    app_id: str,
    fields: Mapping[str, object],
    wrong: list[Violation],
    broken: list[Violation],
    *,
    is_own: bool = True,
) -> dict[str, Any]:
    """Return what `Contents` is made of.

    Args:
        is_own: the request is none of goscheduler's, which passes over keys that are not known.
    """
    shape, policy = (OWN_CALLBACK, OWN_RETRY_POLICY) if is_own else (CALLBACK, RETRY_POLICY)
    callback = shape.read(fields["callback"], "callback.", wrong) if "callback" in fields else {}
    if "payload" not in fields:
        broken.append(Violation("payload", "required: a string, which may be empty"))
    if "callback" not in fields:
        broken.append(Violation("callback", "required: an object with type and details"))
    kind = str(callback.get("type", ""))
    if kind in DETAILS and "details" not in callback:
        broken.append(Violation("callback.details", "required: an object"))
    return {
        "app_id": app_id,
        "payload": str(fields.get("payload", "")),
        "callback_type": kind,
        "callback_details": _read_details(kind, callback.get("details"), wrong),
        "retry": _read_retry(fields[POLICY], POLICY, wrong, policy) if POLICY in fields else None,
        "sending": _read_sending(fields, wrong, broken) if not fields.keys().isdisjoint(_SENDING) else None,
    }


def _read_sending(
    fields: Mapping[str, object], wrong: list[Violation], broken: list[Violation]
) -> Sending | None:
    sending = Sending(
        is_base64=_word_of("payloadEncoding", fields, ENCODINGS, broken) == BASE64,
        timeout_ms=cast("int | None", fields.get("timeoutMs")),
        priority=Priority(_word_of("priority", fields, _PRIORITIES, broken)),
        hooks=_read_hooks(fields[FIELD], FIELD, wrong) if FIELD in fields else None,
        completion_ms=1_000 * cast(int, fields[COMPLETION]) if COMPLETION in fields else None,
    )
    return None if sending == Sending() else sending


def _read_hooks(value: object, path: str, wrong: list[Violation]) -> Hooks:
    """Return the hooks of a schedule, a recurring one, or an app."""
    fields = HOOKS.read(value, f"{path}.", wrong)
    hooks = {each: _read_hook(fields[each], f"{path}.{each}", wrong) for each in HookEvent if each in fields}
    return hooks_of(hooks, has_payload=bool(fields.get(PAYLOAD, False)))


def _read_hook(value: object, path: str, wrong: list[Violation]) -> Hook:
    callback = OWN_CALLBACK.read(value, f"{path}.", wrong)
    kind, misread = str(callback.get("type", "")), list[Violation]()
    if not kind:
        wrong.append(Violation(f"{path}.type", "required: a non-empty string"))
    elif kind in DETAILS and "details" not in callback:
        wrong.append(Violation(f"{path}.details", "required: an object"))
    details = _read_details(kind, callback.get("details"), misread)
    wrong += at_hook(path, misread)
    try:
        return Hook(callback_type=kind, callback_details=encode_details(details).decode())
    except InvalidRequest as error:
        wrong += [] if misread else at_hook(path, list(error.violations))
        return Hook(callback_type=kind, callback_details="{}")


def refused(wrong: Sequence[Violation], broken: Sequence[Violation]) -> InvalidRequest:
    """Return the error for what is wrong with a body: values of the wrong type, and rules that are broken."""
    return Unreadable([*wrong, *broken]) if wrong else InvalidRequest(broken)


def _check_rest(new: NewSchedule | NewRecurring, told: set[str]) -> list[Violation]:
    """Return what else can be said of a bad create without its app."""
    violations = check_form(new) if isinstance(new, NewSchedule) else check_contents_form(new)
    if new.callback_type == http_rules.NAME:
        violations += http_rules.check_http_details(new.callback_details)
    if "delaySeconds" in told:  # a time was given, though a bad one
        violations = [each for each in violations if each.field != "scheduleTime"]
    return violations


def read_time(
    name: str,
    value: object,
    parse: Callable[[object], int],
    wrong: list[Violation],
    broken: list[Violation],
) -> int | None:
    """Return a time of a body as ms, None if there is none; note what is no time in `wrong`, and a bad one
    in `broken`."""
    if value is None:
        return None
    try:
        return parse(value)
    except NoInstant as error:
        wrong.append(Violation(name, str(error)))
    except ValueError as error:
        broken.append(Violation(name, str(error)))
    return None


def _read_details(kind: str, details: object, wrong: list[Violation]) -> dict[str, object]:
    """Return the details as sent, except that types of our own find their keys whatever their case."""
    if details is None:
        return {}
    plain, shape = cast(dict[str, object], details), DETAILS.get(kind)
    if shape is not None:
        plain = shape.with_own_keys(plain)
        shape.read(plain, "callback.details.", wrong)
    if is_all_text(plain):
        return plain
    return cast(dict[str, object], to_plain(plain, "callback.details", wrong))


def parse_new_app(body: bytes, max_depth: int) -> NewApp:
    """Read the body of a registration. Raises InvalidRequest."""
    wrong: list[Violation] = []
    fields = NEW_APP.decode(body, max_depth, wrong)
    values = _read_settings(AppConfiguration, fields.get("configuration", {}), "configuration.", wrong)
    partitions = cast(int, fields.get("partitions", 0))
    if partitions < 0:
        wrong.append(Violation("partitions", "must be a whole number, 0 or more"))
    if wrong:
        raise refused(wrong, check_app_id(str(fields.get("appId", ""))))
    return NewApp(
        app_id=str(fields.get("appId", "")),
        partitions=partitions or None,
        active=bool(fields.get("active", False)),
        configuration=_with_attempts(AppConfiguration(**values)),
    )


def parse_configuration(body: bytes, max_depth: int) -> AppConfiguration:
    """Read the body of a change of an app's configuration. Raises InvalidRequest."""
    wrong: list[Violation] = []
    fields = CONFIGURATION.decode(body, max_depth, wrong)
    values = _read_settings(AppConfiguration, fields, "", wrong)
    if wrong:
        raise refused(wrong, ())
    return _with_attempts(AppConfiguration(**values), "")


def _with_attempts(configuration: AppConfiguration, path: str = "configuration.") -> AppConfiguration:
    """Return the configuration with its attempts in one place: one number has two names. Raises
    InvalidRequest."""
    retry, attempts = configuration.retry, configuration.http_attempts
    if retry is None or retry.attempts is None:
        return configuration
    if attempts not in (None, retry.attempts):
        rule = f"must be the same as {path}{ATTEMPTS} where both are given"
        raise InvalidRequest.of(f"{path}httpRetries", rule)
    rest = replace(retry, attempts=None)
    return replace(configuration, http_attempts=retry.attempts, retry=None if rest == RetryRules() else rest)


def _read_settings(
    model: type, value: object, path: str, wrong: list[Violation], shape: Shape | None = None
) -> dict[str, Any]:
    """Return what an object sets of a model, by attribute; note wrong types in `wrong`. 0 and "" are as
    good as left out."""
    fields = (shape or SETTINGS[model]).read(value, path, wrong)
    known, values = _KNOWN[model], {}
    for name, item in fields.items():
        attribute, read = known[name]
        values[attribute] = (item or None) if read is None else read(item, f"{path}{name}", wrong)
    return values


def _read_retry(
    value: object, path: str, wrong: list[Violation], shape: Shape = RETRY_POLICY
) -> RetryRules | None:
    rules = RetryRules(**_read_settings(RetryRules, value, f"{path}.", wrong, shape))
    return None if rules == RetryRules() else rules


def _read_statuses(value: object, path: str, wrong: list[Violation]) -> tuple[str, ...]:
    statuses = []
    for item in cast(list[object], value):
        if type(item) is int:
            statuses.append(str(item))
        elif isinstance(item, str):
            statuses.append(item.lower())
        else:
            wrong.append(Violation(path, STATUS_RULE))
            break
    return tuple(dict.fromkeys(statuses))


def _read_paths(value: object, path: str, wrong: list[Violation]) -> tuple[str, ...]:
    paths = cast(list[object], value)
    if not all(isinstance(item, str) for item in paths):
        wrong.append(Violation(path, "must be a list of texts"))
        return ()
    return tuple(dict.fromkeys(map(str, paths)))


#: by type; None: the number or text as it is
_READERS: Mapping[Any, Callable[[object, str, list[Violation]], object] | None] = {
    int: None,
    str: None,
    float: lambda value, _path, _wrong: float(cast(Decimal, value)) or None,
    bool: lambda value, _path, _wrong: bool(value),
    tuple: _read_statuses,
    FieldPath: _read_paths,
    RetryRules: _read_retry,
    Hooks: _read_hooks,
}
_SENDING = frozenset({"payloadEncoding", "timeoutMs", "priority", FIELD, COMPLETION})
#: of a recurring schedule; of two of these it has one
_REQUIRED = frozenset({"payload", "payloadEncoding", "cronExpression", "interval", "timeZone"})
#: what a change may take away of a one-time schedule, and its name in `ScheduleChange`
_TAKEN = {
    "timeoutMs": "timeout_ms",
    "priority": "priority",
    FIELD: "hooks",
    POLICY: "retry",
    "labels": "labels",
}
_PRIORITIES = [Priority.NORMAL.value, Priority.HIGH.value, Priority.LOW.value]
_KNOWN = {
    model: {entry.name: (entry.attribute, _READERS[entry.kind]) for entry in entries_of(model)}
    for model in SETTINGS
}


def parse_flag(name: str, query: Sequence[tuple[str, str]]) -> bool:
    """Read whether `name` is true in a query; left out or empty it is false. Raises InvalidRequest."""
    values = {value for key, value in query if key == name}
    if values <= {"", "false"}:
        return False
    if values == {"true"}:
        return True
    raise InvalidRequest.of(name, "must be true or false, and given once")


def parse_app_id(text: str) -> str:
    """Return an app id from a path or a query. Raises InvalidRequest."""
    if violations := check_app_id(text):
        raise InvalidRequest(violations)
    return text
