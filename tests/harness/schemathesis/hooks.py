"""What Schemathesis is told of this API: `SCHEMATHESIS_HOOKS` names this file; see `make schemathesis`.

Its own check that nothing valid is refused knows statuses only, and goscheduler's is 400 for an app that is
not there, too. So here is a finer one: a valid request may be refused for what there is, not for its form.
"""

from __future__ import annotations

import atexit
import re
import sys
from pathlib import Path
from typing import Any

import hypothesis
import schemathesis  # type: ignore[import-not-found]

sys.path.insert(0, str(Path(__file__).parents[1]))
from refusals import errors_of_form, is_of_state  # type: ignore[import-not-found]

#: what is there, or has a grammar that a schema cannot tell: of others nothing else is said
KNOWN = {"appId": "test", "cronExpression": "30 9 * * MON-FRI", "timeZone": "Europe/Berlin"}

#: the names of most paths
PLACES = {"appId": "test", "name": "one"}

#: These have an app of their own, never the one that all others are about: what is configured may be a limit
#: that only they are to meet, and of the others the app is gone, or stopped, afterwards.
OWN_APPS = (
    (re.compile(r"POST /goscheduler/apps|\w+ /goscheduler/apps/\{appId\}/configuration"), "configured"),
    (re.compile(r"DELETE /goscheduler/apps/\{appId\}"), "gone"),
    (re.compile(r"POST /goscheduler/apps/\{appId\}/(de)?activate"), "stopped"),
)

# Schemathesis makes it a target that a request is accepted. Half of all examples are then small changes of
# one, and half the time goes into sorting them: without, they differ and cost half.
hypothesis.target = lambda observation, *, label="": observation


class _Fuzzed:
    """How many requests were made up at random; each other phase has numbers of its own."""

    count = 0


@atexit.register
def _tell() -> None:
    print(f"\nfuzzed: {_Fuzzed.count}", flush=True)


@schemathesis.hook  # type: ignore[untyped-decorator]
def before_call(context: Any, case: Any, kwargs: Any) -> None:
    """Let most valid requests be about what is there, and write whole numbers without a fraction, as the
    document asks for in words: a schema cannot."""
    _Fuzzed.count += case.meta is not None and case.meta.phase.name.value == "fuzzing"
    if case.meta is not None and not case.meta.generation.mode.is_positive:
        return
    app_id = next((own for route, own in OWN_APPS if route.fullmatch(case.operation.label)), KNOWN["appId"])
    for name, known in {**PLACES, "appId": app_id}.items():
        value = (case.path_parameters or {}).get(name, "")
        if len(value) % 2 or value == KNOWN["appId"]:
            case.path_parameters[name] = known
    if isinstance(case.body, dict):
        case.body = without_fractions(case.body)
        for each in (case.body, *case.body.get("schedules", [])):
            about_what_is_there(each, app_id)


def about_what_is_there(body: dict[str, Any], app_id: str) -> None:
    """Put in what is known, but once in a while."""
    for name, known in {**KNOWN, "appId": app_id}.items():
        if isinstance(body.get(name), str) and len(body[name]) % 8:
            body[name] = known


def without_fractions(value: Any) -> Any:
    """Return JSON in which 2.0 is 2."""
    if isinstance(value, dict):
        return {key: without_fractions(each) for key, each in value.items()}
    if isinstance(value, list):
        return [without_fractions(each) for each in value]
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) < 2**53 else value


@schemathesis.check  # type: ignore[untyped-decorator]
def valid_form_is_accepted(context: Any, response: Any, case: Any) -> None:
    """A request that the document calls valid is not refused for its form, and none of its items is."""
    if case.meta is None or not case.meta.generation.mode.is_positive:
        return
    if response.status_code not in (207, 400, 404):
        return
    for error in errors_of_form(response.json()):
        assert is_of_state(error["field"], error["rule"]), f"refused for its form: {error}"
