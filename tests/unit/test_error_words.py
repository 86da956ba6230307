"""Every failure says in `status.error` what it is: one word for an error, each documented."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import pytest
from tests.unit.ingest.rig import make_rig

from ringtime_ingest.http.envelope import ERRORS, BodyTooSlow
from ringtime_shared import errors
from ringtime_shared.errors import (
    AlreadyDone,
    DiskFull,
    ErrorWord,
    LeaseLost,
    LimitReached,
    MarksAhead,
    RingtimeError,
    SecretUnreadable,
    SettingsError,
    StartupError,
)
from ringtime_shared.http_server.heads import Refusal

ROOT = Path(__file__).parents[2]
#: of one process alone, never in an answer
UNSAID = {SettingsError, LeaseLost, StartupError, SecretUnreadable}
#: names under which programs of ours hold a sentence
SENTENCES = re.compile(r"message|sentence|told|reason|rule|error|status_?message", re.IGNORECASE)


def _classes() -> set[type[RingtimeError]]:
    named = {each for each in vars(errors).values() if isinstance(each, type)}
    return {each for each in named if issubclass(each, RingtimeError)} | set(ERRORS)


def test_every_error_class_has_one_word_of_its_own() -> None:
    own = {each: each.__dict__["word"] for each in _classes() - UNSAID}
    assert [word for word, times in Counter(own.values()).items() if times > 1] == []
    assert all(isinstance(word, ErrorWord) for word in own.values())


def test_every_word_is_documented_once_in_its_order() -> None:
    rows = re.findall(r"^\| `([A-Z_]+)` \| (.+) \|$", (ROOT / "docs" / "errors.md").read_text(), re.MULTILINE)
    assert rows == [(word.value, word.meaning) for word in ErrorWord]


async def test_openapi_lists_the_words() -> None:
    document = (await make_rig().client.call("GET", "/openapi.json")).json
    status = document["components"]["schemas"]["Failure"]["properties"]["status"]
    assert status["properties"]["error"]["enum"] == list(ErrorWord)
    assert "error" in status["required"]
    assert all(
        f"{word}: {word.meaning}." in status["properties"]["error"]["description"] for word in ErrorWord
    )


def test_one_word_for_a_body_that_is_slow_whoever_notices() -> None:
    assert BodyTooSlow(7).word is ErrorWord.TOO_SLOW


@pytest.mark.parametrize(
    ("method", "target", "body", "word"),
    [
        ("GET", "/nowhere", None, ErrorWord.NO_SUCH_PATH),
        ("PATCH", "/goscheduler/apps", None, ErrorWord.METHOD_NOT_ALLOWED),
        ("POST", "/goscheduler/schedules", b"{", ErrorWord.UNREADABLE),
        ("POST", "/goscheduler/schedules", b"{}", ErrorWord.INVALID_REQUEST),
        ("POST", "/goscheduler/apps/nobody/activate", None, ErrorWord.NOT_FOUND),
        ("GET", f"/goscheduler/schedules/{UUID(int=7)}", None, ErrorWord.NOT_FOUND),
        ("GET", "/goscheduler/apps?app_id=nobody", None, ErrorWord.NOT_FOUND),
    ],
)
async def test_what_the_api_says_of_a_request(
    method: str, target: str, body: bytes | None, word: ErrorWord
) -> None:
    reply = await make_rig().client.call(method, target, body)
    assert reply.json["status"]["error"] == word


@pytest.mark.parametrize(
    ("error", "word"),
    [
        (LimitReached("x"), ErrorWord.LIMIT_REACHED),
        (MarksAhead("pay.1", 1), ErrorWord.MARKS_AHEAD),
        (DiskFull("x"), ErrorWord.DISK_FULL),
        (LeaseLost("x"), ErrorWord.INTERNAL_ERROR),
        (RuntimeError("x"), ErrorWord.INTERNAL_ERROR),
    ],
    ids=repr,
)
async def test_what_the_api_says_of_its_own_trouble(error: Exception, word: ErrorWord) -> None:
    rig = make_rig()
    rig.store.failure = error
    reply = await rig.client.call("POST", "/goscheduler/apps/test/activate")
    assert reply.json["status"]["error"] == word
    if isinstance(error, RingtimeError) and word is not ErrorWord.INTERNAL_ERROR:
        assert reply.json["status"].get("details", {}) == error.details()
    assert (await rig.client.call("GET", "/health/ready")).json["status"]["error"] == ErrorWord.NOT_READY


async def test_details_are_there_where_a_word_says_so() -> None:
    rig = make_rig()
    rig.store.failure = AlreadyDone("some-id", "MISS")
    status = (await rig.client.call("POST", "/goscheduler/apps/test/activate")).json["status"]
    assert (status["error"], status["details"]) == ("ALREADY_DONE", {"scheduleStatus": "MISS"})


def test_every_refusal_of_the_http_server_has_a_word() -> None:
    """They are made where a request is read, so one without a word would cut a connection."""
    folder = ROOT / "shared" / "ringtime_shared" / "http_server"
    text = "".join(file.read_text() for file in folder.glob("*.py"))
    statuses = {int(status) for status in re.findall(r"Refusal\.of\((\d+)", text)}
    assert len(statuses) > 5
    for status in statuses:
        assert isinstance(Refusal.of(status, "field", "rule").word, ErrorWord)


def _searched(tree: ast.AST) -> Iterator[str]:
    """Yield what a text is looked for in: the right of `"text" in x`, and `x` of `pattern.search(x)`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare) and isinstance(node.left, (ast.Constant, ast.Name)):
            is_text = not isinstance(node.left, ast.Constant) or isinstance(node.left.value, str)
            if is_text and any(isinstance(each, (ast.In, ast.NotIn)) for each in node.ops):
                yield from (ast.unparse(each) for each in node.comparators)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            if node.func.attr in ("search", "match", "fullmatch") and node.args:
                yield ast.unparse(node.args[-1])
            if node.func.attr in ("partition", "startswith", "endswith"):
                yield ast.unparse(node.func.value)


@pytest.mark.parametrize("folder", ["client", "ringctl"])
def test_no_program_of_ours_decides_by_a_sentence(folder: str) -> None:
    found = [
        f"{file.relative_to(ROOT)}: {text}"
        for file in sorted((ROOT / folder).rglob("*.py"))
        for text in _searched(ast.parse(file.read_text()))
        if SENTENCES.fullmatch(text.rpartition(".")[2].strip("()")) or "str(error)" in text
    ]
    assert found == []
