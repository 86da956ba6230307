"""Hooks through both clients and the library."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from tests.contract.builders import make_app, make_row
from tests.unit.client_rig import Verb
from tests.unit.test_recurring_clients import DAILY, app_id, run, server

from ringtime import Ringtime
from ringtime_client import AppConfiguration, HttpCallbackDetails, NewSchedule, make_hooks
from ringtime_ringctl.schedules.records import row_to_json
from ringtime_shared.api.hooks import hooks_to_json
from ringtime_shared.api.schedules import outline_of
from ringtime_shared.errors import InvalidRequest
from ringtime_shared.models.hooks import Hook, Hooks
from ringtime_shared.models.sending import Sending

__all__ = ["app_id", "run", "server"]  # fixtures

HOUR = timedelta(hours=1)
BELL = HttpCallbackDetails(url="http://127.0.0.1:9/bell")
HOOKS = make_hooks(
    on_success={"type": "http", "details": {"url": "http://127.0.0.1:9/?token=t", "method": "POST"}},
    on_missed=HttpCallbackDetails(url="http://127.0.0.1:9/", headers={"api-key": "k"}),
    includes_payload=True,
)
OTHERS = make_hooks(on_failure=BELL)


def events(shown: Any) -> set[str]:
    """Return the hooks of a schedule, a recurring one, or a view of one."""
    if isinstance(getattr(shown, "hooks", None), dict):
        return set(shown.hooks) - {"includePayload"}
    sending = shown.sending if hasattr(shown, "sending") else shown.schedule.sending
    return {event.value for event in sending.hooks.given()}


async def test_hooks_are_given_and_shown_everywhere(run: Verb, app_id: str) -> None:
    made = await run("create_schedule", app_id, payload="", callback=BELL, delay=HOUR, hooks=HOOKS)
    assert events(made) == {"onSuccess", "onMissed"}
    schedule_id = getattr(made, "schedule_id", None) or made.schedule.schedule_id
    assert events(await run("patch_schedule", schedule_id, hooks=OTHERS)) == {"onFailure"}
    named = await run("put_schedule", app_id, "mine", payload="", callback=BELL, delay=HOUR, hooks=HOOKS)
    assert events(named) == {"onSuccess", "onMissed"}
    new = NewSchedule(app_id=app_id, payload="", callback=BELL, delay=HOUR, hooks=HOOKS)
    (created,) = await run("create_schedules", [new])
    assert events(created) == {"onSuccess", "onMissed"}
    given: dict[str, Any] = {"times": DAILY, "payload": "", "callback": BELL}
    recurring = await run("put_recurring", app_id, "nightly", **given, hooks=HOOKS)
    assert events(recurring) == {"onSuccess", "onMissed"}
    assert events(await run("patch_recurring", app_id, "nightly", payload="x")) == {"onSuccess", "onMissed"}
    assert events(await run("patch_recurring", app_id, "nightly", hooks=OTHERS)) == {"onFailure"}


async def test_an_apps_hooks_come_back_without_credentials(run: Verb, app_id: str) -> None:
    stored = await run("configure_app", app_id, configuration=AppConfiguration(hooks=HOOKS))
    hooks = getattr(stored, "configuration", stored).hooks
    assert [event.value for event in hooks.given()] == ["onSuccess", "onMissed"]
    assert hooks.has_payload
    details = json.loads(hooks.on_missed.callback_details)
    assert details["headers"]["api-key"] in ("***", "k")  # the library has them as they are stored
    app = await run("get_app", app_id)
    assert app.configuration.hooks == hooks


def test_ringctl_notes_which_hooks_there_are_and_not_where_they_go() -> None:
    hooks = hooks_to_json(HOOKS, is_hidden=False)
    assert outline_of({"hooks": hooks})["hooks"] == ["includePayload", "onMissed", "onSuccess"]
    row = make_row(make_app(), sending=Sending(hooks=HOOKS))
    assert row_to_json(row)["hooks"] == ["onMissed", "onSuccess"]


@pytest.mark.parametrize("details", ["x", "[]", '{"a":"' + "a" * 70_000 + '"}'])
async def test_a_hook_made_by_hand_keeps_the_rules_too(details: str) -> None:
    hooks = Hooks(on_success=Hook(callback_type="http", callback_details=details))
    async with Ringtime() as ringtime:
        await ringtime.register_app("shop", partitions=1)
        with pytest.raises(InvalidRequest) as caught:
            await ringtime.create_schedule("shop", payload="", callback=BELL, delay=HOUR, hooks=hooks)
        assert caught.value.violations[0].field == "hooks.onSuccess.details"
        with pytest.raises(InvalidRequest):
            await ringtime.configure_app("shop", configuration=AppConfiguration(hooks=hooks))
