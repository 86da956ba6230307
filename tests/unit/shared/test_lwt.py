"""What a change by LWT comes to, by what the server answers; a real server cannot be made to answer so."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, cast

import pytest

from ringtime_shared.errors import OutcomeUnknown, StoreUnavailable
from ringtime_shared.stores.cassandra import lwt
from ringtime_shared.stores.cassandra.session import CqlSession

APPLIED, REFUSED, SILENCE = (True,), (False, "x"), None
DOWN = StoreUnavailable("down")


def next_of(answers: list[Any]) -> Any:
    answer = answers.pop(0)
    if isinstance(answer, Exception):
        raise answer
    return answer


class Scripted:
    """Answers LWTs with what it is given, in turn."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)

    async def write_if(self, statement: Any) -> Any:
        assert statement == "lwt"
        return next_of(self.answers)


def reader(*answers: Any) -> Callable[[], Awaitable[str]]:
    left = list(answers)

    async def fetch() -> str:
        return cast(str, next_of(left))

    return fetch


@pytest.fixture(autouse=True)
def _no_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lwt, "_BACKOFF_S", 0)


async def change(lwts: list[Any], reads: list[Any]) -> str:
    return await lwt.change(
        cast(CqlSession, Scripted(*lwts)),
        "lwt",
        reader(*reads),
        wanted="new",
        is_before=lambda stored: stored == "old",
        what="the change of it",
    )


@pytest.mark.parametrize(
    ("lwts", "reads", "stored"),
    [
        ([APPLIED], [], "new"),
        ([REFUSED], ["other"], "other"),
        ([SILENCE], ["new"], "new"),  # it was applied
        ([SILENCE, APPLIED], ["old"], "new"),  # it was not
        ([REFUSED, REFUSED, APPLIED], ["old", "old"], "new"),
    ],
)
async def test_what_is_stored_then_is_returned(lwts: list[Any], reads: list[Any], stored: str) -> None:
    assert await change(lwts, reads) == stored


@pytest.mark.parametrize(
    ("lwts", "reads", "error"),
    [
        ([DOWN], [], StoreUnavailable),
        ([REFUSED], [DOWN], StoreUnavailable),
        ([SILENCE], [DOWN], OutcomeUnknown),
        ([SILENCE, DOWN], ["old"], OutcomeUnknown),
        ([SILENCE] * lwt.ROUNDS, ["old"] * lwt.ROUNDS, OutcomeUnknown),
    ],
)
async def test_it_is_unknown_once_an_answer_was_missing(
    lwts: list[Any], reads: list[Any], error: type[Exception]
) -> None:
    with pytest.raises(error) as raised:
        await change(lwts, reads)
    assert type(raised.value) is error
