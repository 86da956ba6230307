"""All 180 classes of bad input of the test plan: three values each at least, or the test that has them.

`test_bad_input` sends the cases of most; here are the others of the API, on an application that judges where
callbacks lead and knows Kafka.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
from tests.unit.ingest import bad_bodies, bad_callbacks, bad_classes, bad_values
from tests.unit.ingest.cases import SCHEDULES, Case
from tests.unit.ingest.rig import NOW_MS, Client, Rig, make_rig, schedule_body
from tests.unit.ingest.test_bad_input import assert_refused

from ringtime_ingest.http import create_app
from ringtime_shared.access import KeyChecks, Scope
from ringtime_shared.access.keys import make_key
from ringtime_shared.callbacks.egress_policy import EgressPolicy
from ringtime_shared.callbacks.http_rules import HttpRules
from ringtime_shared.callbacks.kafka_rules import KafkaRules
from ringtime_shared.callbacks.resolver import Resolver
from ringtime_shared.settings import EgressSettings, KafkaSettings, ServerSettings

ROOT = Path(__file__).resolve().parents[3]
TABLES = (
    *(bad_bodies.CASES, bad_values.TYPES, bad_values.TIMES, bad_values.IDS, bad_values.PATHS),
    *(bad_callbacks.URLS, bad_callbacks.METHODS, bad_callbacks.HEADERS, bad_classes.CASES),
)
_MALFORMED = "tests/unit/http_server/malformed.py::CASES"
_SLOW = "tests/unit/http_server/test_deadlines.py::test_a_request_that_does_not_come_to_its_end_is_cut_off"
_AHEAD = (
    "tests/unit/http_server/test_deadlines.py"
    "::test_requests_sent_ahead_wait_in_the_socket_and_are_answered_in_turn"
)
_EGRESS = "tests/unit/dispatcher/test_http_egress.py"
_RESIZE = "tests/unit/ringctl/test_resize.py"
#: Where classes are tested that no request alone can show.
ELSEWHERE: Mapping[int, str] = {
    18: "tests/unit/ingest/test_bad_input.py::test_long_chunked_body_is_refused_while_it_arrives",
    19: _MALFORMED,
    25: _SLOW,
    115: f"{_EGRESS}::test_a_name_that_changes_its_meaning_between_check_and_connect",
    119: f"{_EGRESS}::test_a_redirect_is_an_answer",
    72: "tests/unit/ingest/test_access_matrix.py::test_every_route_with_every_kind_of_key",
    82: "tests/unit/ingest/test_keyed_api.py::test_while_it_is_in_flight_it_is_told_when_to_come_again",
    147: "tests/unit/ingest/test_census.py",
    163: "tests/unit/shared/test_keys.py::test_digests_are_compared_in_constant_time",
    167: _MALFORMED,
    168: _MALFORMED,
    169: _MALFORMED,
    170: _AHEAD,
    172: "tests/e2e/test_door.py::test_clients_at_work_do_not_notice_a_siege",
    175: f"{_RESIZE}::test_quotas_out_of_range",
    176: f"{_RESIZE}::test_the_second_is_refused_with_the_firsts_name_and_time",
    177: f"{_RESIZE}::test_an_unknown_app",
    178: f"{_RESIZE}::test_rows_ahead_are_waited_for",
    179: "tests/unit/ringctl/test_resize_kills.py",
    180: f"{_RESIZE}::test_at_the_same_instant_one_wins",
}
#: What is no fault here, and why.
TAKEN: Mapping[int, str] = {
    20: "clients of goscheduler send none; the server refuses bodies without one that a web page could send",
    21: "curl sends another; the server refuses those that a web page could send",
    27: "goscheduler passes over what it does not know; a typing error in a new kind of body is refused",
    28: "they are keys like others: no object is made of them",
    59: "a gap and an overlap are decided by the definition: dstGap, dstOverlap",
    83: "keys of two apps have nothing to do with each other",
    171: "100-continue is answered; anything else is refused with 417",
}


def look_up(host: str) -> tuple[str, ...]:
    """Return what a name of the tables means; all others are public."""
    return bad_classes.NAMES.get(host, ("1.1.1.1",))


def judging_rig() -> Rig:
    egress = EgressSettings()
    http = HttpRules(EgressPolicy.of(egress), Resolver(egress, lookup=look_up))
    return make_rig(callbacks=(http, KafkaRules(KafkaSettings())))


@pytest.fixture(scope="module")
def refusing() -> Rig:
    """One for all that is refused: nothing changes in it, or the case that did is the first to fail."""
    return judging_rig()


@pytest.mark.parametrize("case", bad_classes.CASES, ids=[case.name for case in bad_classes.CASES])
async def test_bad_request_is_refused(refusing: Rig, case: Case) -> None:
    rig = refusing
    body = case.body.replace(b"http://127.0.0.1:8080/goscheduler/healthcheck", b"https://a.example/callback")
    reply = await rig.client.call(case.method, case.target, body, headers=case.headers)
    assert_refused(reply, case.field)
    assert reply.status == case.status
    assert [error["field"] for error in reply.json["status"]["errors"]] == [case.field]
    if case.code is not None:
        assert reply.json["status"]["statusCode"] == case.code
    assert rig.rows == {}
    assert rig.store.real._definitions == {}
    assert set(rig.apps) == {"test", "idle"}


@pytest.mark.parametrize(
    "changes", [{"payload": "other"}, {"delaySeconds": 90, "scheduleTime": ...}, {"labels": {"a": "b"}}]
)
async def test_a_key_stands_for_one_create(changes: dict[str, object]) -> None:  # 81
    rig = make_rig()
    assert (await rig.client.call("POST", SCHEDULES, schedule_body(idempotencyKey="k"))).status == 200
    reply = await rig.client.call("POST", SCHEDULES, schedule_body(idempotencyKey="k", **changes))
    assert_refused(reply, "idempotencyKey")
    assert (reply.status, len(rig.rows)) == (422, 1)


async def issued(rig: Rig, *scopes: Scope, **ends: int) -> str:
    """Return a key that the store knows, perhaps one that has ended."""
    text, key = make_key(scopes or Scope, None, label="x", now_ms=NOW_MS)
    await rig.store.put_key(replace(key, **ends))  # type: ignore[arg-type]
    return text


async def test_who_has_no_good_key_is_refused() -> None:  # 153 to 158, and 160 to 162
    rig = make_rig()

    async def ready() -> None:
        """It always is."""

    keys = KeyChecks(cast(Any, rig.store), rig.clock)
    client = Client(create_app(rig.service, ServerSettings(), ready, keys=keys))
    good = await issued(rig)
    unknown = [make_key(Scope, None, label="x", now_ms=NOW_MS)[0] for _ in range(3)]
    revoked = [await issued(rig, revoked_ms=NOW_MS - n) for n in range(3)]
    expired = [await issued(rig, expires_ms=NOW_MS - n) for n in range(3)]
    places = (5, 20, len(good) - 1)
    mistyped = [good[:n] + ("a" if good[n] != "a" else "b") + good[n + 1 :] for n in places]
    values: dict[int, list[str | None]] = {
        153: [None, "", "Bearer", "Bearer "],
        154: ["Bearer x", "Bearer rt_", f"Basic {good}", good, f"Bearer {good}x", f"Bearer,{good}"],
        155: [f"Bearer {each}" for each in mistyped],
        156: [f"Bearer {each}" for each in unknown],
        157: [f"Bearer {each}" for each in revoked],
        158: [f"Bearer {each}" for each in expired],
        162: [f"Bearer {'a' * 8_192}", f"Bearer {good}{'a' * 8_192}", f"Bearer rt_{'0' * 12}_{'a' * 8_192}"],
    }
    asked = [[each] for many in values.values() for each in many]
    asked += [[f"Bearer {one}", f"Bearer {other}"] for one in (good, "x") for other in (good, "x")]  # 160
    for headers in asked:
        sent = [("Authorization", each) for each in headers if each is not None]
        reply = await client.call("POST", SCHEDULES, schedule_body(), headers=sent)
        assert (reply.status, reply.json["status"]["error"]) == (401, "UNAUTHENTICATED"), headers
        assert good not in reply.body.decode()
    for name in ("key", "access_token", "authorization", "api_key"):  # 161
        reply = await client.call("POST", f"{SCHEDULES}?{name}={good}", schedule_body())
        assert reply.status == 401
    assert rig.rows == {}
    assert all(len(many) >= 3 for many in values.values())
    reply = await client.call(
        "POST", SCHEDULES, schedule_body(), headers=[("Authorization", f"Bearer {good}")]
    )
    assert reply.status == 200
    reader = [("Authorization", f"Bearer {await issued(rig, Scope.SCHEDULES_READ)}")]
    for path in (SCHEDULES, f"{SCHEDULES}/batch", "/goscheduler/apps"):  # 159
        reply = await client.call("POST", path, b"{}", headers=reader)
        assert (reply.status, reply.json["status"]["error"]) == (403, "FORBIDDEN")
    await keys.close()


def test_every_class_has_its_values() -> None:
    found = Counter(
        int(match[1]) for table in TABLES for case in table if (match := re.match(r"(\d+) ", case.name))
    )
    named = {**ELSEWHERE, **TAKEN}
    here = {81, *range(153, 163)}
    assert {number for number in range(1, 181) if found[number] < 3} == {*named, *here}


def test_what_is_elsewhere_is_there() -> None:
    for place in sorted(set(ELSEWHERE.values())):
        path, _, name = place.partition("::")
        text = (ROOT / path).read_text()
        assert re.search(rf"\b(def )?{name}\b", text), place
