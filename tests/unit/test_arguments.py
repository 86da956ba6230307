"""Every verb of the library and of both clients, with the wrong thing for each argument."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Any
from uuid import UUID, uuid4

import pytest

from ringtime import Priority, Ringtime, Status
from ringtime_client import (
    AppConfiguration,
    AsyncRingtimeClient,
    DefinitionState,
    HttpCallbackDetails,
    Interval,
    JobAction,
    Misfire,
    NewSchedule,
    Overlap,
    RecurringTimes,
    RetryRules,
    RingtimeClient,
    SigningKind,
    Unit,
    make_hooks,
)
from ringtime_shared.arguments import checked
from ringtime_shared.errors import InvalidRequest, NotFound

ID = UUID("83b0d6a4-3f80-8001-8000-000028000001")
CALLBACK = {"type": "http", "details": {"url": "http://127.0.0.1:1/", "method": "POST"}}
HOUR = timedelta(hours=1)
HOOKS = make_hooks(on_success=CALLBACK)
NAIVE = datetime(2030, 1, 1)  # noqa: DTZ001
ANY = [7, 1.5, b"bytes", object(), [], {}, "text", True, None, date(2030, 1, 1), uuid4, ID]

NEW = NewSchedule(app_id="shop", payload="", callback=CALLBACK, delay=HOUR)
TIMES = RecurringTimes(cron="0 9 * * *", zone="UTC", start=datetime(2030, 1, 1, tzinfo=UTC))
RECURRING: dict[str, Any] = {
    "app_id": "shop",
    "name": "report",
    "times": TIMES,
    "payload": "",
    "callback": CALLBACK,
    "retry": RetryRules(),
    "misfire": Misfire.ALL,
    "misfire_most": 2,
    "misfire_age": HOUR,
    "overlap": Overlap.SKIP,
    "completion": HOUR,
    "keeps": True,
    "timeout": HOUR,
    "priority": Priority.HIGH,
    "hooks": HOOKS,
    "revision": 3,
}
SPAN = [datetime(2030, 1, 1, tzinfo=UTC), datetime(2030, 1, 2, tzinfo=UTC)]
NAMED = {"app_id": "shop", "name": "report"}
#: A call of each verb in which everything is of the right type.
GOOD: dict[str, dict[str, Any]] = {
    "register_app": {"app_id": "shop", "partitions": 1, "active": True, "configuration": AppConfiguration()},
    "get_app": {"app_id": "shop"},
    "configure_app": {"app_id": "shop", "configuration": AppConfiguration()},
    "activate_app": {"app_id": "shop"},
    "deactivate_app": {"app_id": "shop"},
    "delete_app": {"app_id": "shop", "cancel_schedules": True},
    "create_signing_secret": {
        "app_id": "shop",
        "secret": "whsec_" + "A" * 32,
        "kind": SigningKind.HMAC,
    },
    "list_signing_secrets": {"app_id": "shop"},
    "list_signing_keys": {"app_id": "shop"},
    "delete_signing_secret": {"app_id": "shop", "secret_id": "0" * 16},
    "create_schedule": {
        "app_id": "shop",
        "payload": "",
        "callback": CALLBACK,
        "at": datetime(2030, 1, 1, tzinfo=UTC),
        "delay": HOUR,
        "retry": RetryRules(),
        "labels": {"team": "a"},
        "idempotency_key": "k",
        "timeout": HOUR,
        "priority": Priority.HIGH,
        "hooks": HOOKS,
    },
    "put_schedule": {
        "app_id": "shop",
        "name": "nightly",
        "payload": "",
        "callback": CALLBACK,
        "at": datetime(2030, 1, 1, tzinfo=UTC),
        "delay": HOUR,
        "retry": RetryRules(),
        "labels": {"team": "a"},
        "timeout": HOUR,
        "priority": Priority.HIGH,
        "hooks": HOOKS,
    },
    "get_named_schedule": {"app_id": "shop", "name": "nightly"},
    "cancel_named_schedule": {"app_id": "shop", "name": "nightly"},
    "create_schedules": {"schedules": [NEW]},
    "get_schedule": {"schedule_id": ID},
    "patch_schedule": {
        "schedule_id": ID,
        "at": datetime(2030, 1, 1, tzinfo=UTC),
        "delay": HOUR,
        "payload": "",
        "callback": CALLBACK,
        "retry": RetryRules(),
        "labels": {"team": "a"},
        "timeout": HOUR,
        "priority": Priority.HIGH,
        "hooks": HOOKS,
    },
    "trigger_schedule": {"schedule_id": ID},
    "cancel_schedule": {"schedule_id": ID},
    "cancel_schedules": {"schedule_ids": [ID]},
    "list_schedules": {
        "app_id": "shop",
        "start": datetime(2030, 1, 1, tzinfo=UTC),
        "end": datetime(2030, 1, 2, tzinfo=UTC),
        "status": Status.FAILURE,
        "labels": {"team": "a"},
        "name_prefix": "night",
        "host": "a.example",
        "late_by": HOUR,
        "size": 5,
        "token": "",
    },
    "put_recurring": RECURRING,
    "patch_recurring": RECURRING,
    "get_recurring": NAMED,
    "find_recurring": {"recurring_id": ID},
    "delete_recurring": NAMED,
    "list_recurring": {"app_id": "shop", "state": DefinitionState.PAUSED, "size": 5, "token": ""},
    "pause_recurring": NAMED | {"reason": "", "until": datetime(2030, 1, 1, tzinfo=UTC)},
    "resume_recurring": NAMED,
    "trigger_recurring": NAMED,
    "complete_run": {"completion_url": "https://a.example/goscheduler/completions/x", "error": "no"},
    "backfill_recurring": NAMED
    | {
        "start": datetime(2026, 1, 1, tzinfo=UTC),
        "end": datetime(2026, 1, 2, tzinfo=UTC),
        "size": 5,
        "dry_run": True,
    },
    "list_runs": NAMED | {"when": "past", "size": 5, "token": ""},
    "preview_recurring": NAMED | {"size": 5},
    "preview_times": {"app_id": "shop", "times": TIMES, "size": 5},
    "create_job": {
        "app_id": "shop",
        "action": JobAction.PAUSE,
        "start": datetime(2030, 1, 1, tzinfo=UTC),
        "end": datetime(2030, 1, 2, tzinfo=UTC),
        "status": Status.MISS,
        "dry_run": True,
        "reason": "",
        "until": datetime(2030, 1, 2, tzinfo=UTC),
    },
    "get_job": {"app_id": "shop", "job_id": ID},
    "cancel_job": {"app_id": "shop", "job_id": ID},
    "list_jobs": {"app_id": "shop", "size": 5, "token": ""},
    "get_completeness": {"app_id": "shop"},
    "audit_fires": {
        "app_id": "shop",
        "start": datetime(2030, 1, 1, tzinfo=UTC),
        "end": datetime(2030, 1, 2, tzinfo=UTC),
        "token": "",
    },
    "put_calendar": NAMED | {"dates": [date(2030, 1, 1)], "spans": [SPAN], "ics": "x"},
    "get_calendar": NAMED,
    "list_calendars": {"app_id": "shop"},
    "delete_calendar": NAMED,
    "list_dead_letters": {
        "app_id": "shop",
        "start": datetime(2030, 1, 1, tzinfo=UTC),
        "end": datetime(2030, 1, 2, tzinfo=UTC),
        "size": 5,
        "token": "",
        "replayed": False,
    },
    "list_audit": {
        "app_id": "shop",
        "start": datetime(2030, 1, 1, tzinfo=UTC),
        "end": datetime(2030, 1, 2, tzinfo=UTC),
        "size": 5,
        "token": "",
        "actor": "ana",
        "action": "apps",
    },
    "get_ring": {"app_id": "shop", "join": 1, "leave": ["a"]},
    "list_destinations": {"app_id": "shop", "size": 5},
    "get_forecast": {"app_id": "shop", "hours": 2},
    "count_dead_letters": {
        "app_id": "shop",
        "start": datetime(2030, 1, 1, tzinfo=UTC),
        "end": datetime(2030, 1, 2, tzinfo=UTC),
    },
    "replay_schedule": {"schedule_id": ID},
    "replay_dead_letters": {
        "app_id": "shop",
        "schedule_ids": [ID],
        "start": datetime(2030, 1, 1, tzinfo=UTC),
        "end": datetime(2030, 1, 2, tzinfo=UTC),
        "size": 5,
        "token": "",
    },
}
WITHOUT_ARGUMENTS = {"list_apps", "close", "get_overview", "list_nodes"}
MAY_BE_OF_ALL = ("list_audit", "get_ring", "list_destinations", "get_completeness")
OTHERS = {"callback", "register_callback", "advance", "serve_http"}  #: of the library, tested below

#: What is right for an argument, beside what has the type of the good value.
RIGHT: dict[str, tuple[type, ...]] = {
    "partitions": (type(None),),
    "configuration": (type(None),),
    "secret": (type(None),),
    "callback": (dict,),
    "at": (type(None),),
    "delay": (type(None),),
    "retry": (type(None),),
    "timeout": (type(None),),
    "priority": (type(None),),
    "hooks": (type(None),),
    "labels": (type(None), dict),
    "start": (type(None),),
    "end": (type(None),),
    "replayed": (type(None),),
    "dates": (type(None), list),
    "spans": (type(None), list),
    **dict.fromkeys(
        (
            "ics",
            "error",
            "completion",
            "misfire",
            "misfire_most",
            "misfire_age",
            "overlap",
            "keeps",
            "revision",
            "state",
            "until",
        ),
        (type(None),),
    ),
    "status": (type(None),),
    "schedule_ids": (type(None), list),
}


def wrong_for(verb: str, argument: str) -> Iterator[Any]:
    good = GOOD[verb][argument]
    for value in ANY:
        is_right = type(value) in (type(good), *RIGHT.get(argument, ()))
        if verb == "replay_dead_letters" and argument == "size" and value is None:
            is_right = True
        if verb in MAY_BE_OF_ALL and argument == "app_id" and value is None:
            is_right = True
        if argument == "late_by" and value is None:
            is_right = True
        if verb == "patch_recurring" and argument in ("times", "payload", "callback") and value is None:
            is_right = True
        takes_bytes = (
            "create_schedule",
            "put_schedule",
            "patch_schedule",
            "put_recurring",
            "patch_recurring",
        )
        if verb in takes_bytes and argument == "payload":
            is_right = is_right or isinstance(value, bytes)
        if verb == "patch_schedule" and argument in ("payload", "callback") and value is None:
            is_right = True
        if isinstance(good, datetime) and type(value) in (int, float):  # epoch seconds
            is_right = True
        if verb == "backfill_recurring" and argument in ("start", "end") and value is None:
            is_right = False
        if verb == "cancel_schedules" and value is None:
            is_right = False
        if not is_right:
            yield value
    if isinstance(good, datetime):
        yield from ("2030-01-01T00:00:00Z", [2030], True)
    if argument in ("dates", "spans"):
        yield from ([7], ["x"], [None])
    if argument in ("schedule_id", "recurring_id"):
        yield from ("f47a", "{" + str(ID) + "}", ID.hex, str(ID) + "\n")
    if argument == "schedule_ids":
        yield from (["f47a"], [7], [None], {ID})
    if argument == "schedules":
        yield from ([7], [None], ["x"], [NEW, None], {"app_id": "shop"})


def verbs_of(kind: type) -> list[str]:
    return [name for name, _ in inspect.getmembers(kind, inspect.isfunction) if not name.startswith("_")]


def test_every_verb_is_in_the_table() -> None:
    for kind in (Ringtime, AsyncRingtimeClient, RingtimeClient):
        for verb in verbs_of(kind):
            assert verb in GOOD or verb in WITHOUT_ARGUMENTS | OTHERS, f"{kind.__name__}.{verb}"
            if verb in GOOD:
                arguments = list(inspect.signature(getattr(kind, verb)).parameters)[1:]
                assert arguments == list(GOOD[verb]), f"{kind.__name__}.{verb}"


@dataclass
class Callee:
    """Something that has verbs, whether they are to be awaited or not."""

    target: Any

    async def call(self, verb: str, **arguments: Any) -> Any:
        answer = getattr(self.target, verb)(**arguments)
        return await answer if inspect.isawaitable(answer) else answer


@pytest.fixture(params=["library", "async client", "client"])
async def callee(request: pytest.FixtureRequest) -> Any:
    if request.param == "library":
        async with Ringtime() as ringtime:
            await ringtime.register_app("shop")
            yield Callee(ringtime)
    elif request.param == "async client":
        async with AsyncRingtimeClient("http://127.0.0.1:1", deadline=timedelta(seconds=1)) as client:
            yield Callee(client)
    else:
        with RingtimeClient("http://127.0.0.1:1", deadline=timedelta(seconds=1)) as client:
            yield Callee(client)


async def test_the_wrong_type_for_each_argument_is_told_by_its_name(callee: Callee) -> None:
    """Nothing listens where the clients would send it: what is told was found out before."""
    checked_calls = 0
    for verb in verbs_of(type(callee.target)):
        for argument in GOOD.get(verb, {}):
            for value in wrong_for(verb, argument):
                with pytest.raises(InvalidRequest) as caught:
                    await callee.call(verb, **(GOOD[verb] | {argument: value}))
                [violation] = caught.value.violations
                assert violation.field.partition("[")[0] == argument, (verb, argument, value)
                assert violation.rule.startswith("must be "), (verb, argument, value)
                checked_calls += 1
    assert checked_calls > 200


@pytest.mark.parametrize(
    ("verb", "argument", "value", "field"),
    [
        ("register_app", "configuration", AppConfiguration(weight="2"), "configuration.weight"),  # type: ignore[arg-type]
        (
            "register_app",
            "configuration",
            AppConfiguration(retry=RetryRules(factor="x")),  # type: ignore[arg-type]
            "configuration.retry.factor",
        ),
        (
            "register_app",
            "configuration",
            AppConfiguration(retry={"attempts": "3"}),  # type: ignore[arg-type]
            "configuration.retry.attempts",
        ),
        ("create_schedule", "retry", RetryRules(attempts=True), "retry.attempts"),
        ("create_schedule", "retry", RetryRules(statuses=("5xx", 503)), "retry.statuses[1]"),  # type: ignore[arg-type]
        ("create_schedule", "labels", {"a": 1}, "labels"),
        ("patch_schedule", "labels", {1: "a", "b": "c"}, "labels"),
        ("create_schedule", "at", NAIVE, "at"),
        ("list_dead_letters", "start", NAIVE, "start"),
        ("pause_recurring", "until", NAIVE, "until"),
        ("preview_times", "times", replace(TIMES, end=NAIVE), "times.end"),
        ("put_recurring", "times", replace(TIMES, max_runs="3"), "times.max_runs"),  # type: ignore[arg-type]
        (
            "put_recurring",
            "times",
            replace(TIMES, cron=None, interval=Interval(every=1, unit=Unit.DAYS, anchor=NAIVE)),
            "times.interval.anchor",
        ),
        ("put_recurring", "name", "-", "name"),
        ("put_calendar", "name", ".b", "name"),
        ("put_calendar", "spans", [[SPAN[0]]], "spans[0]"),
        ("put_calendar", "spans", [SPAN, [SPAN[0], NAIVE]], "spans[1][1]"),
        ("create_schedules", "schedules", [NEW, replace(NEW, at=NAIVE, delay=None)], "schedules[1].at"),
        ("create_schedules", "schedules", [NEW, replace(NEW, payload=7)], "schedules[1].payload"),  # type: ignore[arg-type]
        ("create_schedules", "schedules", [replace(NEW, at=NAIVE)], "schedules[0].at"),
        ("create_schedules", "schedules", [{"app_id": "shop"}], "schedules[0]"),
        ("create_schedules", "schedules", [asdict(NEW) | {"dry_run": True}], "schedules[0]"),
        ("create_schedules", "schedules", [asdict(NEW) | {"callback": "x"}], "schedules[0].callback"),
        (
            "create_schedules",
            "schedules",
            [asdict(NEW) | {"retry": RetryRules(attempts=True)}],
            "schedules[0].retry.attempts",
        ),
    ],
)
async def test_what_lies_inside_an_argument_is_named_too(
    callee: Callee, verb: str, argument: str, value: Any, field: str
) -> None:
    good = {key: each for key, each in GOOD[verb].items() if key != "delay"}
    with pytest.raises(InvalidRequest) as caught:
        await callee.call(verb, **(good | {argument: value}))
    assert caught.value.violations[0].field == field


async def test_an_id_may_be_its_text() -> None:
    async with Ringtime() as ringtime:
        await ringtime.register_app("shop")
        row = await ringtime.create_schedule("shop", payload="", callback=CALLBACK, delay=HOUR)
        text = str(row.schedule.schedule_id)
        assert await ringtime.get_schedule(text) == row
        assert (await ringtime.get_schedule(text.upper())) == row
        assert (await ringtime.cancel_schedule(text)).row.status is Status.DELETED
        with pytest.raises(NotFound):
            await ringtime.get_schedule(str(uuid4()))
        report = await ringtime.replay_dead_letters("shop", schedule_ids=(text,))
        assert [str(each.schedule_id) for each in report.skipped] == [text]


@pytest.mark.parametrize(
    "callback",
    [
        {"type": 7, "details": {}},
        {"details": {}},
        {"type": "http", "details": []},
        {"type": "http", "details": MappingProxyType({})},
    ],
)
async def test_a_callback_of_another_form(callback: Any) -> None:
    async with Ringtime() as ringtime:
        await ringtime.register_app("shop")
        with pytest.raises(InvalidRequest, match=r"^callback"):
            await ringtime.create_schedule("shop", payload="", callback=callback, delay=HOUR)


@pytest.mark.parametrize("bad", [object(), b"x", {1: 2}, "\ud800", {"a", "b"}])
async def test_details_that_are_no_json(bad: Any) -> None:
    ringtime = Ringtime()

    @ringtime.callback("bell")
    async def ring(delivery: Any) -> None: ...

    async with ringtime:
        await ringtime.register_app("shop")
        with pytest.raises(InvalidRequest, match=r"^callback\.details: must be JSON: "):
            await ringtime.create_schedule(
                "shop", payload="", callback={"type": "bell", "details": {"x": bad}}, delay=HOUR
            )


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda: Ringtime(7), "data"),  # type: ignore[arg-type]
        (lambda: Ringtime(b"data"), "data"),  # type: ignore[arg-type]
        (lambda: Ringtime(settings={}), "settings"),  # type: ignore[arg-type]
        (lambda: Ringtime().register_callback("mail"), "kind"),  # type: ignore[arg-type]
        (lambda: Ringtime().register_callback(None), "kind"),  # type: ignore[arg-type]
        (lambda: Ringtime().callback(7), "name"),  # type: ignore[arg-type]
        (lambda: Ringtime().callback("mail")("not a function"), "function"),  # type: ignore[arg-type]
        (lambda: Ringtime().callback("a name with blanks")(print), "kind"),  # type: ignore[arg-type]
        *(
            (lambda client=client, given=given: client(**{"url": "http://127.0.0.1:1"} | given), field)
            for client in (RingtimeClient, AsyncRingtimeClient)
            for given, field in (
                ({"url": 7}, "url"),
                ({"url": None}, "url"),
                ({"deadline": 5}, "deadline"),
                ({"deadline": None}, "deadline"),
                ({"headers": [("a", "b")]}, "headers"),
                ({"headers": {"a": 1}}, "headers"),
                ({"headers": {1: "a"}}, "headers"),
            )
        ),
    ],
)
def test_what_things_are_made_with(make: Callable[[], object], field: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        make()
    assert caught.value.violations[0].field == field


def test_details_of_a_clients_callback_are_checked() -> None:
    bad: Any = HttpCallbackDetails(url=7)  # type: ignore[arg-type]
    with RingtimeClient("http://127.0.0.1:1") as client:
        with pytest.raises(InvalidRequest, match=r"^callback\.url: "):
            client.create_schedule("shop", payload="", callback=bad, delay=HOUR)
        bad = HttpCallbackDetails(url="http://a", headers=[])  # type: ignore[arg-type]
        with pytest.raises(InvalidRequest, match=r"^callback\.headers: "):
            client.create_schedule("shop", payload="", callback=bad, delay=HOUR)


def test_a_mapping_that_is_no_dict_will_do() -> None:
    @checked
    def take(
        callback: HttpCallbackDetails, ids: Sequence[UUID | str] = (), path: Path | str | None = None
    ) -> Any:
        return callback, ids, path

    given = HttpCallbackDetails(url="http://a", headers=MappingProxyType({"a": "b"}))
    callback, ids, path = take(given, (ID, str(ID)), path=Path("x"))
    assert (callback.headers, ids, path) == ({"a": "b"}, [ID, ID], Path("x"))
    with pytest.raises(TypeError, match="unexpected keyword"):
        take(given, other=7)  # type: ignore[call-arg]
