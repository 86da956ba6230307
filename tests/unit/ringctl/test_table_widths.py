"""Every table of every command, with long names, at 80, 100 and 120 columns: no word is broken."""

from __future__ import annotations

import ast
import asyncio
import io
import json
import re
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any, NamedTuple, TypeVar

import orjson
import pytest
from click import ClickException
from click.exceptions import Exit
from tests.contract.builders import (
    make_app,
    make_calendar,
    make_letter,
    make_log,
    make_outcome,
    make_row,
    make_rows,
    make_update,
)
from tests.contract.test_job_store import make_job
from tests.contract.test_tap_store import make_tap
from tests.harness.recurring import checked, first_of, new_definition
from tests.unit.ringctl.rig import Rig, make_health, make_rig

import ringtime_ringctl
from ringtime_ringctl.deployment.api import Refused
from ringtime_ringctl.deployment.changes import audited
from ringtime_ringctl.deployment.context import Context, Deployment
from ringtime_ringctl.doctor import command as doctor
from ringtime_ringctl.main import main
from ringtime_ringctl.output import Cell, Column, Output
from ringtime_ringctl.recurring import calendars
from ringtime_ringctl.recurring import command as recurring
from ringtime_ringctl.ring import nodes
from ringtime_ringctl.schedules import apply, deadletters
from ringtime_shared.access import Scope
from ringtime_shared.access.keys import make_key
from ringtime_shared.api.calendars import named_calendar_to_json, summary_to_json
from ringtime_shared.api.recurring import (
    BackfillEffect,
    backfill_to_json,
    preview_to_json,
    recurring_to_json,
    runs_to_json,
)
from ringtime_shared.buckets import BUCKET_MS
from ringtime_shared.coordination.protocol import Drain
from ringtime_shared.encryption.keyring import KeyRing, new_entry
from ringtime_shared.errors import Conflict
from ringtime_shared.ids import IdMint
from ringtime_shared.models.app import Instance
from ringtime_shared.models.recurring import recurring_id_of
from ringtime_shared.models.schedule import Status
from ringtime_shared.models.times import Times
from ringtime_shared.recurring.runs import preview
from ringtime_shared.stores.protocol import Marks, MarksWrite

T = TypeVar("T")
APP = "payments-of-the-nordic-region-and-more"
NODES = [f"ringtime-dispatcher-7d9f8b6c5d-x2x4{n}" for n in range(3)]
OPERATOR = "anna-maria.lindqvist@payments.example"
HOUR_MS = 60 * BUCKET_MS
PACKAGE = Path(ringtime_ringctl.__file__).parent


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Table(NamedTuple):
    """A table as it was asked for and as it was drawn."""

    call: tuple[str, int]  #: file and line
    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]
    lines: list[str]


@dataclass
class World:
    """A deployment with something for every table, and every command run on it."""

    rig: Rig
    tables: list[Table]
    ids: list[str]

    def run(self, *words: str) -> None:
        main.main(list(words), standalone_mode=False)


@pytest.fixture(params=[80, *(pytest.param(each, marks=pytest.mark.slow) for each in (100, 120))])
def width(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", str(request.param))
    return int(request.param)


@pytest.fixture
def world(width: int, monkeypatch: pytest.MonkeyPatch) -> World:
    rig = make_rig()
    tables: list[Table] = []
    real = Output.table

    def table(self: Output, columns: Any, rows: Any, *, title: str = "") -> None:
        call = sys._getframe(1)  # `inspect.stack` reads the sources of all the callers
        screen = Terminal()
        with monkeypatch.context() as patch:
            patch.setattr("sys.stdout", screen)
            real(self, columns, rows, title=title)
        drawn = re.sub(r"\x1b\[[0-9;]*m", "", screen.getvalue()).splitlines()
        tables.append(Table((call.f_code.co_filename, call.f_lineno), columns, rows, drawn))

    @asynccontextmanager
    async def open_rig(self: Context) -> AsyncIterator[Deployment]:
        ring = KeyRing.of_entries([new_entry("k2026-11-frankfurt-and-dublin")])
        yield replace(rig.deployment, ring=ring)

    async def fetch_health(members: Any) -> list[Any]:
        reason = "the lease of this node was lost, and it has not been granted a new one yet"
        return [make_health(node, 12_345.0, reason=reason) for node in sorted(members)]

    async def replay_ids(*_: Any) -> Any:
        skipped: list[Mapping[str, str]] = [
            {"scheduleId": each, "reason": "it is no dead letter of this app"} for each in ids
        ]
        return deadletters.Report(replayed=1_234, skipped=skipped)

    async def answer(method: str, url: str, *_: Any, **__: Any) -> Any:
        if "refused" in url:
            raise Refused("answered 400: cronExpression: five fields are needed, three are given", 400)
        return recurring_answer(url, rig.clock.now_ms())

    monkeypatch.setattr(recurring, "ask", answer)
    monkeypatch.setattr(apply, "ask", answer)
    monkeypatch.setattr(calendars, "ask", answer)
    monkeypatch.setattr(Output, "table", table)
    monkeypatch.setattr(Context, "open", open_rig)
    monkeypatch.setattr(nodes, "fetch_health", fetch_health)
    monkeypatch.setattr(doctor, "fetch_health", fetch_health)
    monkeypatch.setattr(doctor, "open_coordination", lambda _: rig.deployment.coordination)
    monkeypatch.setattr(deadletters, "replay_ids", replay_ids)
    ids = asyncio.run(fill(rig))
    return World(rig, tables, ids)


async def fill(rig: Rig) -> list[str]:
    """Return the id of a schedule that failed, and of one that is to fire."""
    store, now_ms = rig.store, rig.clock.now_ms()
    for node in NODES:
        await rig.join(node)
    app = await store.create_app(make_app(app_id=APP, writable=3, polled=6, created_ms=now_ms - HOUR_MS))
    marks = Marks(now_ms - 2_000, now_ms - 2_000)
    await store.put_marks([MarksWrite(Instance(APP, n), 123_456, marks) for n in range(6)])
    failed = make_row(app, now_ms - 60_000, 1, expires_ms=now_ms + HOUR_MS)
    pending = make_row(app, now_ms + HOUR_MS, 5, expires_ms=now_ms + 2 * HOUR_MS)
    full = make_rows(app, [now_ms + HOUR_MS + n for n in range(3_600)], 4)
    await store.put_rows([failed, pending, *full])
    outcome = make_outcome(status=Status.FAILURE, code=503, error="connection reset by peer", log=make_log(4))
    await store.put_updates([make_update(failed, outcome)])
    letter = make_letter(app, failed.place.slot_ms, code=503, error="no answer within httpTimeout")
    await store.put_dead_letters([letter])
    await store.put_tap(make_tap(APP, failed.schedule.schedule_id, fire_ms=failed.schedule.fire_ms))
    after = {"scheduleIds": [APP] * 3}
    async with audited(rig.deployment, "deadletters replay failed", APP, before={}, after=after):
        pass
    await store.replace_job(make_job(app, now_ms))
    hourly = Times(cron="0 * * * *", zone="America/Argentina/ComodRivadavia")
    await store.replace_definition(  # whose runs nobody filed
        new_definition(
            now_ms - HOUR_MS,
            hourly,
            app_id=APP,
            name="reports-for-the-auditors",
            recurring_id=recurring_id_of(app.number, "reports-for-the-auditors"),
        )
    )
    scopes = set(Scope) - {Scope.RING_OPERATE}  # which goes with all apps
    _, key = make_key(scopes, [APP, "mail"], label="the shop of the nordic region", now_ms=now_ms)
    await store.put_key(replace(key, expires_ms=now_ms + HOUR_MS, used_ms=now_ms))
    drain = Drain(node=NODES[2], operator=OPERATOR, since_ms=now_ms)
    assert rig.deployment.coordination is not None
    await rig.deployment.coordination.put_drain(drain)
    return [str(failed.schedule.schedule_id), str(pending.schedule.schedule_id)]


def recurring_answer(url: str, now_ms: int) -> Any:
    """Return what the API says of a recurring schedule, of its runs and of what is ahead."""
    times = Times(cron="*/15 8-18 * * MON-FRI", zone="America/Argentina/ComodRivadavia")
    definition = new_definition(now_ms, times, app_id=APP, name="settlement-of-all-accounts")
    mint = IdMint(1)
    definition, check = checked(definition, mint, now_ms=now_ms)
    run = first_of(definition, check, now_ms)
    assert run is not None
    failed = replace(run, outcome=make_outcome(status=Status.FAILURE, error="connection reset by peer"))
    calendar = make_calendar(make_app(app_id=APP), "holidays-of-argentina")
    answers: dict[str, object] = {
        "preview": preview_to_json(preview(times, 3, now_ms)),
        "runs": runs_to_json([failed], ""),
        "backfill": backfill_to_json(
            [(now_ms, BackfillEffect.FILED, run.schedule.schedule_id, "")], now_ms + HOUR_MS
        ),
        "calendars": {"calendars": [summary_to_json(calendar)]},
        "holidays": named_calendar_to_json(calendar),
        "recurring": {"recurring": [recurring_to_json(definition, now_ms)], "continuationToken": ""},
    }
    last = url.partition("?")[0].rpartition("/")[2]
    return json.loads(orjson.dumps(answers.get(last, recurring_to_json(definition, now_ms))))


def run_all(world: World) -> None:
    failed, pending = world.ids
    world.run("ring", "--all")
    world.run("ring", "--simulate", "+2")
    world.run("nodes")
    world.run("apps", "list")
    world.run("apps", "show", APP)
    with NamedTemporaryFile("w", suffix=".toml") as file:
        file.write(f'[[apps]]\nappId = "{APP}"\npartitions = 99\n')
        file.flush()
        with suppress(SystemExit, ClickException, Exit):
            world.run("apps", "apply", "-f", file.name)
    with NamedTemporaryFile("w", suffix=".toml") as file:
        for name in ("settlement-of-the-month", "refused-for-its-expression"):
            file.write(f'[[recurring]]\nappId = "{APP}"\nname = "{name}"\n')
        file.flush()
        with suppress(SystemExit, ClickException, Exit, Conflict):
            world.run("schedules", "apply", "-f", file.name, "--prune")
    world.run("schedules", "jobs", "list", APP)
    with suppress(SystemExit, Exit):
        world.run("audit-fires", APP, "--from", "-1d")
    with suppress(SystemExit, Exit):
        world.run("shadow", "report", APP)
    world.run("forecast", APP)
    world.run("forecast", APP, "--minutes")
    world.run("schedules", "list", APP, "--to", "+2h")
    world.run("schedules", "get", failed)
    world.run("explain", failed)
    world.run("explain", pending)
    world.run("deadletters", "list", APP)
    world.run("deadletters", "replay", APP, failed)
    world.run("resize", APP, "--partitions", "16")
    world.run("resize", APP, "--partitions", "2")
    for verb in ("get", "runs", "preview"):
        world.run("recurring", verb, APP, "settlement-of-all-accounts")
    world.run("recurring", "backfill", APP, "settlement-of-all-accounts", "--from", "-2d")
    world.run("calendars", "list", APP)
    world.run("calendars", "get", APP, "holidays")
    world.run("recurring", "list", APP)
    world.run("recurring", "repair", APP)
    world.run("parts", "4096")
    made = world.rig.store._api_keys
    world.run("keys", "list")
    world.run("keys", "show", next(iter(made)))
    world.run("audit")
    world.run("secrets", "status")
    (entry,) = asyncio.run(world.rig.store.fetch_audit(0, 1 << 62, 1))
    world.run("audit", "show", str(entry.entry_id))
    world.run("doctor")


def test_no_word_is_broken_and_no_line_is_too_long(world: World, width: int) -> None:
    run_all(world)
    assert {table.call for table in world.tables} == set(calls_of_table())
    for table in world.tables:
        shown = "\n".join(table.lines)
        assert max(map(len, table.lines)) <= width, shown
        words = {word for line in table.lines for word in line.split()}
        titles = {word for column in table.columns for word in column.title.split()}
        cells = [f"{cell:,}" if isinstance(cell, int) else cell for row in table.rows for cell in row if cell]
        assert {word for cell in cells for word in cell.split()} <= words, shown
        assert table.rows
        assert words & titles, shown


def calls_of_table() -> list[tuple[str, int]]:
    """Return where a command writes a table."""
    return [
        (str(path), node.lineno)
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "table"
    ]
