"""Every route, with every kind of key: who has none, or none that is good, is refused in one way; another's
app does not exist; a scope that is missing is named. By both HTTP ways.

The routes are those of the OpenAPI document and of the application. One without an entry here fails the test.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID, uuid1, uuid4

import pytest
from starlette.routing import Route
from tests.contract.builders import make_letter
from tests.unit.ingest.rig import NOW_MS, NOW_S, Client, Reply, Rig, http_callback, make_rig, schedule_body

from ringtime_ingest.http import create_app
from ringtime_ingest.http.gate import Gate
from ringtime_ingest.http.guard import ANY_KEY, OPEN, Declared, Guard, Needs
from ringtime_shared.access import KeyChecks, Scope
from ringtime_shared.access.keys import make_key, read_key
from ringtime_shared.errors import StoreUnavailable
from ringtime_shared.models.schedule import Outcome, Status
from ringtime_shared.settings import ServerSettings

MINE, THEIRS, NOBODYS = "test", "theirs", "nobodys"
BASE = "/goscheduler"
BY_APP = f"{BASE}/apps/{{appId}}"
BY_ID = f"{BASE}/schedules/{{scheduleId}}"
RECURRING = f"{BY_APP}/recurring"
CALENDARS = f"{BY_APP}/calendars"
SECRETS = f"{BY_APP}/signing-secrets"
JOBS = f"{BY_APP}/jobs"
LETTERS = f"{BY_APP}/dead-letters"
RUNS = {"cronExpression": "30 9 * * MON-FRI", "timeZone": "UTC", "payload": "{}", "callback": http_callback()}
BULK = f"start_time={NOW_S}&end_time={NOW_S + 60}"


@dataclass(frozen=True, slots=True)
class Ask:
    """What is sent, and the ids in it that are of the app it was made for."""

    target: str
    body: object = b""
    ids: tuple[str, ...] = ()

    def instead(self, before: str, after: str) -> Ask:
        """Return the same with another name or id."""
        ids = tuple(after if each == before else each for each in self.ids)
        return Ask(self.target.replace(before, after), _swap(self.body, before, after), ids)


class World:
    """One service behind two doors: one asks for keys, the other lets everybody in, to prepare things by."""

    def __init__(self, *, is_short: bool) -> None:
        self.rig: Rig = make_rig(is_short=is_short)
        self.names = iter(range(100_000))
        store, clock = self.rig.store, self.rig.clock
        for app_id in (THEIRS,):
            store.real._apps[app_id] = replace(
                self.rig.apps[MINE], app_id=app_id, number=store.real._numbers, created_ms=NOW_MS
            )
            store.real._numbers += 1
        self.keys = KeyChecks(store, clock)  # type: ignore[arg-type]

        async def ready() -> None:
            return None

        self.app = create_app(
            self.rig.service, ServerSettings(), ready, _Clock(), keys=self.keys, is_short=is_short
        )
        self.client = Client(self.app)

    async def prepare(self, method: str, target: str, body: object = b"") -> Any:
        reply = await self.rig.client.call(method, target, body)
        assert reply.status in (200, 202), (method, target, reply.body)
        return reply.json["data"]

    async def key(
        self,
        scopes: Iterable[Scope] = Scope,
        apps: Iterable[str] | None = (MINE,),
        expires_ms: int | None = None,
        revoked_ms: int | None = None,
    ) -> str:
        given, apps = set(scopes), None if apps is None else set(apps)
        if apps is not None and given == set(Scope):
            given.discard(Scope.RING_OPERATE)  # which goes with all apps
        text, key = make_key(given, apps, label="test", now_ms=1, expires_ms=expires_ms)
        self.rig.store.real._api_keys[key.key_id] = replace(key, revoked_ms=revoked_ms)
        return text

    async def call(self, method: str, ask: Ask, key: str | None) -> Reply:
        headers = [] if key is None else [("Authorization", f"Bearer {key}")]
        return await self.client.call(method.upper(), ask.target, ask.body, headers=headers)

    async def refuse(self, method: str, ask: Ask, key: str | None) -> Reply:
        """Return the answer to what is to have no effect."""
        before = self._stored()
        reply = await self.call(method, ask, key)
        assert self._stored() == before, (method, ask)
        return reply

    def _stored(self) -> object:
        real = self.rig.store.real
        return [
            dict(each) for each in (real._apps, real._definitions, real._jobs, real._claims, self.rig.rows)
        ]

    async def restore(self, app_id: str) -> None:
        """Give an app back what an earlier request took from it."""
        self.rig.apps[app_id] = replace(self.rig.apps[app_id], active=True, deletion=None)
        await self.rig.service.fetch_apps(app_id)

    async def schedule(self, app_id: str) -> str:
        made = await self.prepare("POST", f"{BASE}/schedules", schedule_body(appId=app_id))
        return str(made["schedule"]["scheduleId"])

    async def failed(self, app_id: str) -> str:
        schedule_id = await self.schedule(app_id)
        outcome = Outcome(
            status=Status.FAILURE, ended_ms=NOW_MS, fired_ms=NOW_MS, attempts=3, code=500, error=""
        )
        slot_ms = self.rig.end(UUID(schedule_id), outcome).place.slot_ms
        letter = make_letter(self.rig.apps[app_id], slot_ms, schedule_id=UUID(schedule_id))
        await self.rig.store.put_dead_letters([letter])
        return schedule_id

    async def named(self, app_id: str, kind: str, body: object) -> str:
        name = f"name-{next(self.names)}"
        await self.prepare("PUT", f"{BASE}/apps/{app_id}/{kind}/{name}", body)
        return name


class _Clock:
    async def advance(self, by_ms: int, limit_s: float) -> bool:
        return True

    def now_ms(self) -> int:
        return NOW_MS


Entry = Callable[[World, str, str], Awaitable[Ask]]


def plain(query: str = "", body: object = b"") -> Entry:
    """An entry for a path that has nothing in it but the app; `APP` in query and body stands for it."""

    async def ask(world: World, path: str, app_id: str) -> Ask:
        target = f"{path.replace('{appId}', app_id)}{'?' if query else ''}{query.replace('APP', app_id)}"
        return Ask(target, _filled(body, app_id))

    return ask


def of_schedule(body: object = b"", make: Callable[[World, str], Awaitable[str]] = World.schedule) -> Entry:
    async def ask(world: World, path: str, app_id: str) -> Ask:
        made = await make(world, app_id)
        return Ask(path.replace("{scheduleId}", made), _filled(body, app_id, made), (made,))

    return ask


def of_name(kind: str, make: object, body: object = b"", first: str = "") -> Entry:
    """An entry for a path that ends in a name; `first`: what is done to it before."""

    async def ask(world: World, path: str, app_id: str) -> Ask:
        name = await world.named(app_id, kind, make)
        if first:
            await world.prepare("POST", f"{BASE}/apps/{app_id}/{kind}/{name}/{first}")
        return Ask(path.replace("{appId}", app_id).replace("{name}", name), body)

    return ask


def _filled(body: object, app_id: str, schedule_id: str = "") -> object:
    if isinstance(body, dict):
        return {key: _filled(value, app_id, schedule_id) for key, value in body.items()}
    if isinstance(body, list):
        return [_filled(each, app_id, schedule_id) for each in body]
    return {"APP": app_id, "ID": schedule_id}.get(body, body) if isinstance(body, str) else body


async def _recurring_id(world: World, app_id: str) -> str:
    name = await world.named(app_id, "recurring", RUNS)
    return str((await world.prepare("GET", f"{BASE}/apps/{app_id}/recurring/{name}"))["scheduleId"])


async def _secret(world: World, path: str, app_id: str) -> Ask:
    world.rig.apps[app_id] = replace(world.rig.apps[app_id], secrets=())
    if "{secretId}" not in path:
        return Ask(path.replace("{appId}", app_id))
    made = await world.prepare("POST", f"{BASE}/apps/{app_id}/signing-secrets")
    return Ask(path.replace("{appId}", app_id).replace("{secretId}", made["secretId"]))


async def _job(world: World, path: str, app_id: str) -> Ask:
    job = (await world.prepare("POST", f"{BASE}/apps/{app_id}/bulk-action/delete?{BULK}"))["job"]
    return Ask(path.replace("{appId}", app_id).replace("{jobId}", job["jobId"]))


async def _activate(world: World, path: str, app_id: str) -> Ask:
    await world.restore(app_id)
    if path.endswith("/activate"):
        world.rig.apps[app_id] = replace(world.rig.apps[app_id], active=False)
    return Ask(path.replace("{appId}", app_id))


async def _bulk(world: World, path: str, app_id: str) -> Ask:
    return Ask(path.replace("{appId}", app_id).replace("{action}", "retry") + f"?{BULK}")


NAMED_BODY = schedule_body(appId=...)
ENTRIES: dict[tuple[str, str], Entry] = {
    ("post", f"{BASE}/schedules"): plain(body=schedule_body(appId="APP")),
    ("get", BY_ID): of_schedule(),
    ("delete", BY_ID): of_schedule(),
    ("patch", BY_ID): of_schedule({"payload": "{}"}),
    ("post", f"{BY_ID}/trigger"): of_schedule(),
    ("post", f"{BY_ID}/replay"): of_schedule(make=World.failed),
    ("get", f"{BY_ID}/runs"): of_schedule(make=_recurring_id),
    ("post", f"{BASE}/schedules/batch"): plain(body={"schedules": [schedule_body(appId="APP")]}),
    ("post", f"{BASE}/schedules/batch-cancel"): of_schedule({"scheduleIds": ["ID"]}),
    ("post", f"{BASE}/imports"): plain(
        body={"schedules": [schedule_body(appId="APP", scheduleId=str(UUID(int=1)))]}
    ),
    ("post", f"{BASE}/apps"): plain(body={"appId": "APP"}),
    ("get", f"{BASE}/apps"): plain("app_id=APP"),
    ("delete", BY_APP): plain("cancel_schedules=true"),
    **{("get", path): plain() for path in (f"{BY_APP}/audit", f"{BASE}/audit")},
    **{("get", f"{BASE}/{word}"): plain() for word in ("overview", "nodes", "ring", "destinations", "keys")},
    **{("get", f"{BY_APP}/{word}"): plain() for word in ("destinations", "forecast", "keys")},
    **{
        ("get", path): plain()
        for path in (f"{BY_APP}/completeness", f"{BASE}/completeness", f"{BY_APP}/audit-fires")
    },
    **{("get", path): plain() for path in (f"{BY_APP}/configuration", f"{BY_APP}/schedules", RECURRING)},
    **{("get", path): plain() for path in (CALENDARS, JOBS, LETTERS, f"{LETTERS}/count")},
    **{
        (verb, f"{BY_APP}/configuration"): plain(body={"httpRetries": 2}) for verb in ("post", "put", "patch")
    },
    ("delete", f"{BY_APP}/configuration"): plain(),
    **{("post", f"{BY_APP}/{word}"): _activate for word in ("activate", "deactivate")},
    ("put", f"{BY_APP}/schedules/{{name}}"): of_name("schedules", NAMED_BODY, NAMED_BODY),
    **{
        (verb, f"{BY_APP}/schedules/{{name}}"): of_name("schedules", NAMED_BODY) for verb in ("get", "delete")
    },
    **{(verb, SECRETS): _secret for verb in ("get", "post")},
    ("delete", f"{SECRETS}/{{secretId}}"): _secret,
    ("get", f"{BY_APP}/signing-keys"): plain(),
    ("post", f"{LETTERS}/replay"): plain(body={"startTime": NOW_S - 60, "endTime": NOW_S}),
    ("put", f"{RECURRING}/{{name}}"): of_name("recurring", RUNS, RUNS),
    ("patch", f"{RECURRING}/{{name}}"): of_name("recurring", RUNS, {"payload": "x"}),
    **{
        (verb, f"{RECURRING}/{{name}}{tail}"): of_name("recurring", RUNS, first=first)
        for verb, tail, first in (
            ("get", "", ""),
            ("delete", "", ""),
            ("post", "/pause", ""),
            ("post", "/resume", "pause"),
            ("post", "/trigger", ""),
            ("get", "/preview", ""),
            ("get", "/runs", ""),
        )
    },
    ("post", f"{RECURRING}/{{name}}/backfill"): of_name(
        "recurring", RUNS, {"from": NOW_S - 7_200, "to": NOW_S - 3_600, "dryRun": True}
    ),
    ("post", f"{RECURRING}/preview"): plain(body={"cronExpression": "@daily", "timeZone": "UTC"}),
    ("put", f"{CALENDARS}/{{name}}"): of_name("calendars", {"dates": ["2030-12-25"]}, {"dates": []}),
    **{
        (verb, f"{CALENDARS}/{{name}}"): of_name("calendars", {"dates": ["2030-12-25"]})
        for verb in ("get", "delete")
    },
    ("get", f"{BASE}/crons/schedules"): plain("app_id=APP"),
    ("post", f"{BY_APP}/bulk-action/{{action}}"): _bulk,
    **{(verb, f"{JOBS}/{{jobId}}"): _job for verb in ("get", "delete")},
    **{
        ("get", path): plain()
        for path in ("/", BASE, "/info", "/docs", "/openapi.json", "/metrics", "/clock")
    },
    ("get", f"{BY_APP}/metrics"): plain(),
    ("post", "/clock/advance"): plain(body={"seconds": 1}),
    **{
        (verb, f"{BASE}/healthcheck"): plain()
        for verb in ("get", "post", "put", "patch", "delete", "options")
    },
    **{("get", f"/health/{word}"): plain() for word in ("live", "ready")},
    ("get", "/.well-known/security.txt"): plain(),
    ("post", f"{BASE}/completions/{{token}}"): plain(),
}
#: what a route needs beside its scope, for what is asked here
ALSO = {("post", f"{BY_APP}/bulk-action/{{action}}"): Scope.DEADLETTERS_REPLAY}
#: where the whole deployment is concerned, and no app
OF_NO_APP = (Scope.RING_OPERATE, Scope.METRICS_READ)
DOCS = ("/docs", "/openapi.json")
UNDESCRIBED = (*DOCS, "/metrics", f"{BY_APP}/metrics", "/.well-known/security.txt")
OPEN_PATHS = {
    *(f"{BASE}/healthcheck", "/health/live", "/health/ready", "/.well-known/security.txt"),
    f"{BASE}/completions/{{token}}",
}
BATCHES = (f"{BASE}/schedules/batch", f"{BASE}/schedules/batch-cancel")


def _plural(path: str) -> str:
    return re.sub(r"(?<=/)(app|schedule)(?=/|$)", r"\1s", path)


async def _routes(world: World) -> dict[tuple[str, str], Needs]:
    """Return what each route needs, by method and path; the document and the application say the same."""
    assert isinstance(world.app, Gate)
    served = {
        (method.lower(), re.sub(r"_(\w)", lambda found: found[1].upper(), route.path)): route
        for route in world.app.routes
        if isinstance(route, Declared)
        for method in route.given_methods
    }
    document = (await world.call("get", Ask("/openapi.json"), await world.key())).json
    described = {
        (method, path): operation["security"]
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
    }
    needs: dict[tuple[str, str], Needs] = {}
    for key, route in served.items():
        needs[key] = route.needs
        if key not in described:
            assert _plural(key[1]) in UNDESCRIBED
            continue
        scopes = [needs[key].value] if isinstance(needs[key], Scope) else []
        assert described[key] == ([] if needs[key] is OPEN else [{"apiKey": scopes}])
    assert described.keys() <= served.keys()
    return needs


@pytest.mark.parametrize("is_short", [True, False], ids=["short way", "long way"])
async def test_every_route_with_every_kind_of_key(is_short: bool) -> None:
    world = World(is_short=is_short)
    routes = await _routes(world)
    assert {(verb, _plural(path)) for verb, path in routes} == ENTRIES.keys()  # each has an entry
    assert {path for (_, path), needs in routes.items() if needs is OPEN} == OPEN_PATHS
    assert {path for (_, path), needs in routes.items() if needs is ANY_KEY} == {"/", BASE, "/info", *DOCS}
    text = await world.key()
    parts, other = read_key(text.encode()), make_key(Scope, None, label="x", now_ms=1)[0]
    assert parts is not None
    bad = {
        "no key": None,
        "unknown": other,
        "wrong secret": f"rt_{parts.key_id}_{other.split('_')[2]}",
        "mistyped": text[:-1] + ("0" if text[-1] != "0" else "1"),
        "revoked": await world.key(apps=None, revoked_ms=1),
        "expired": await world.key(apps=None, expires_ms=NOW_MS),
    }
    foreign = await world.key(apps=(THEIRS,))
    refused = set()
    for (verb, path), needs in routes.items():
        entry, where = ENTRIES[verb, _plural(path)], f"{verb} {path}"
        ask = await entry(world, path, MINE)
        if needs is OPEN:
            statuses = {(await world.call(verb, ask, key)).status for key in (*bad.values(), foreign)}
            assert len(statuses) == 1, where
            assert not statuses & {401, 403}, where
            continue
        for what, key in bad.items():
            reply = await world.refuse(verb, ask, key)
            assert (reply.status, reply.headers["www-authenticate"]) == (401, "Bearer"), f"{where}: {what}"
            refused.add((tuple(sorted(reply.headers.items())), reply.body))
        if isinstance(needs, Scope):
            await _check_scope(world, verb, path, needs, ask)
            if needs not in OF_NO_APP or _plural(path).startswith(BY_APP):
                await _check_foreign(world, verb, path, foreign, ask)
            scopes = {needs, ALSO.get((verb, _plural(path)), needs)}
            key = await world.key(scopes, None if needs is Scope.RING_OPERATE else (MINE,))
        else:
            assert needs is ANY_KEY
            key = await world.key([Scope.METRICS_READ])
        reply = await world.call(verb, ask, key)
        assert reply.status in (200, 201, 202), f"{where}: {reply.body!r}"
        await world.restore(MINE)
    assert len(refused) == 1  # to the byte
    await world.keys.close()


async def _check_scope(world: World, verb: str, path: str, needs: Scope, ask: Ask) -> None:
    for missing in {needs, ALSO.get((verb, _plural(path)), needs)}:
        scopes = set(Scope) - {missing, Scope.RING_OPERATE}
        reply = await world.refuse(verb, ask, await world.key(scopes))
        status = reply.json["status"]
        assert (reply.status, status["error"]) == (403, "FORBIDDEN"), f"{verb} {path}: {reply.body!r}"
        assert status["details"] == {"scope": missing.value}


async def _check_foreign(world: World, verb: str, path: str, foreign: str, ask: Ask) -> None:
    """A thing of another's app is answered to the byte as one that does not exist."""
    reply = await world.refuse(verb, ask, foreign)
    if ask.ids:
        (made,) = ask.ids
        nothing = ask.instead(made, str(uuid4()))
    else:
        made, nothing = MINE, ask.instead(MINE, NOBODYS)
    unknown = await world.refuse(verb, nothing, foreign)
    other = nothing.ids[0] if ask.ids else NOBODYS
    assert reply.status == unknown.status
    assert reply.body.decode().replace(made, other) == unknown.body.decode(), f"{verb} {path}"
    if _plural(path) in BATCHES:
        (item,) = reply.json["data"]["results"]
        assert (reply.status, item["status"]["error"]) == (207, "NOT_FOUND"), f"{verb} {path}: {reply.body!r}"
    else:
        error = reply.json["status"]["error"]
        assert (reply.status, error) == (404, "NOT_FOUND"), f"{verb} {path}: {reply.body!r}"


def _swap(body: object, before: str, after: str) -> object:
    if isinstance(body, dict):
        return {key: _swap(value, before, after) for key, value in body.items()}
    if isinstance(body, list):
        return [_swap(each, before, after) for each in body]
    return after if body == before else body


async def test_only_granted_apps_are_listed_and_only_who_has_all_registers_one() -> None:
    world = World(is_short=True)

    async def listed(apps: Iterable[str] | None) -> list[str]:
        reply = await world.call("get", Ask(f"{BASE}/apps"), await world.key(apps=apps))
        assert reply.status == 200
        return [app["appId"] for app in reply.json["data"]["apps"]]

    assert await listed(None) == ["idle", MINE, THEIRS]
    assert await listed([MINE, NOBODYS]) == [MINE]
    assert await listed([NOBODYS]) == []
    new = Ask(f"{BASE}/apps", {"appId": NOBODYS})
    reply = await world.refuse("post", new, await world.key(apps=[MINE, NOBODYS]))
    assert (reply.status, reply.json["status"]["details"]) == (403, {"scope": "apps:admin"})
    assert (await world.call("post", new, await world.key(apps=None))).status == 200
    await world.keys.close()


async def test_each_item_of_a_batch_is_asked_for_itself() -> None:
    world = World(is_short=True)
    bodies = [schedule_body(appId=app_id) for app_id in (MINE, THEIRS, NOBODYS, MINE)]
    bodies[3]["idempotencyKey"] = "k"  # read by the other parser
    key = await world.key()
    for many in (bodies[:3], bodies):
        reply = await world.call("post", Ask(f"{BASE}/schedules/batch", {"schedules": many}), key)
        results = reply.json["data"]["results"]
        assert ["schedule" in result for result in results] == [n in (0, 3) for n in range(len(many))]
        told = [result["status"]["statusMessage"] for result in results[1:3]]
        assert told == [f"no granted app {THEIRS}", f"no granted app {NOBODYS}"]
    ids = [await world.schedule(app_id) for app_id in (MINE, THEIRS, MINE)] + [str(uuid4()), "x"]
    reply = await world.call("post", Ask(f"{BASE}/schedules/batch-cancel", {"scheduleIds": ids}), key)
    results = reply.json["data"]["results"]
    assert ["schedule" in result for result in results] == [True, False, True, False, False]
    assert world.rig.rows[UUID(ids[1])].cancelled_ms is None
    await world.keys.close()


async def test_who_has_some_apps_operates_nothing_that_concerns_all() -> None:
    world = World(is_short=True)
    text = await world.key([Scope.RING_OPERATE], None)
    (key,) = world.rig.store.real._api_keys.values()
    world.rig.store.real._api_keys[key.key_id] = replace(
        key, grant=replace(key.grant, apps=frozenset([MINE]))
    )
    reply = await world.refuse("post", Ask("/clock/advance", {"seconds": 1}), text)
    assert (reply.status, reply.json["status"]["details"]) == (403, {"scope": "ring:operate"})
    await world.keys.close()


@pytest.mark.parametrize("is_short", [True, False])
async def test_an_id_of_another_scheduler_is_of_the_app_whose_schedule_it_means(is_short: bool) -> None:
    world = World(is_short=is_short)
    mine, theirs, nobodys = (str(uuid1()) for _ in range(3))
    items = [
        schedule_body(appId=app_id, scheduleId=alias) for app_id, alias in ((MINE, mine), (THEIRS, theirs))
    ]
    await world.prepare("POST", f"{BASE}/imports", {"schedules": items})
    key = await world.key()
    for method, tail in (
        ("get", ""),
        ("delete", ""),
        ("patch", ""),
        ("post", "/trigger"),
        ("post", "/replay"),
    ):
        for alias in (theirs, nobodys):
            ask = Ask(f"{BASE}/schedules/{alias}{tail}", {"payload": "x"} if method == "patch" else b"")
            reply = await world.refuse(method, ask, key)
            told = reply.json["status"]["statusMessage"]
            assert (reply.status, told) == (404, f"no schedule {alias}"), "nor by whom it is meant here"
    cancels = Ask(f"{BASE}/schedules/batch-cancel", {"scheduleIds": [theirs, nobodys]})
    results = (await world.refuse("post", cancels, key)).json["data"]["results"]
    said = [(each["status"]["statusCode"], each["status"]["statusMessage"]) for each in results]
    assert said == [(404, f"no schedule {alias}") for alias in (theirs, nobodys)]
    assert (await world.call("get", Ask(f"{BASE}/schedules/{mine}"), key)).status == 200
    assert (await world.call("delete", Ask(f"{BASE}/schedules/{mine}"), key)).status == 200
    await world.keys.close()


async def test_a_second_key_in_one_request_is_none() -> None:
    world = World(is_short=True)
    said = ("Authorization", f"Bearer {await world.key()}")
    for headers in ([said, said], [said, ("Authorization", "Basic eDp5")], [("X-Api-Key", said[1])]):
        reply = await world.client.call("GET", f"{BASE}/apps", headers=headers)
        assert reply.status == 401
    assert (await world.client.call("GET", f"{BASE}/apps?key={said[1][7:]}")).status == 401
    assert (await world.client.call("GET", f"{BASE}/apps", headers=[said])).status == 200
    assert (await world.client.call("GET", "/nowhere")).status == 401
    await world.keys.close()


async def test_while_keys_cannot_be_read_nobody_comes_in_and_may_try_again() -> None:
    world = World(is_short=True)
    key = await world.key()
    world.rig.store.failure = StoreUnavailable("away")
    reply = await world.call("get", Ask(f"{BASE}/apps"), key)
    assert (reply.status, reply.json["status"]["error"]) == (503, "STORE_UNAVAILABLE")
    assert "retry-after" in reply.headers
    assert (await world.call("get", Ask("/health/live"), key)).status == 200
    await world.keys.close()


async def test_a_route_that_does_not_say_what_it_needs_stops_the_start() -> None:
    with pytest.raises(TypeError, match="must say what its caller needs"):
        Guard(make_rig().service, lambda *_: None).over([Route("/new", lambda _: None)])
