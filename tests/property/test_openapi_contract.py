"""The reference is a contract: what it calls valid is not refused for its form, answers are as it says."""

from __future__ import annotations

import asyncio
import json
import re
from functools import cache
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]
from tests.harness.from_schema import FromSchema
from tests.harness.refusals import errors_of_form, is_of_state
from tests.unit.ingest.rig import Reply, make_rig

from ringtime_shared.callbacks.url_rules import URL_PATTERN, url_fault

Node = dict[str, Any]
APP_IDS = st.sampled_from(["test", "idle"])


@cache
def document() -> Node:
    made: Node = asyncio.run(make_rig().client.call("GET", "/openapi.json")).json
    return made


def operations() -> list[tuple[str, str]]:
    """Return all but the singular spellings of paths, which have the same handlers."""
    paths = document()["paths"]
    plural = {path: re.sub("/(app|schedule)(?=/|$)", r"/\1s", path) for path in paths}
    singular = {path for path, other in plural.items() if other != path and other in paths}
    singular -= {"/goscheduler/schedule"}
    return [(verb, path) for path, verbs in paths.items() if path not in singular for verb in verbs]


def validator(schema: Node) -> Draft202012Validator:
    components = {"components": document()["components"]}
    return Draft202012Validator({**schema, **components}, format_checker=Draft202012Validator.FORMAT_CHECKER)


def test_the_schemas_are_schemas() -> None:
    for schema in document()["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)


def hold_answer(reply: Reply, described: Node) -> None:
    """The status is one that is documented, and the body is as documented for it."""
    responses = described["responses"]
    assert str(reply.status) in responses, (reply.status, reply.body)
    schema = responses[str(reply.status)]["content"]["application/json"]["schema"]
    validator(schema).validate(reply.json)


def hold_form(reply: Reply) -> None:
    """If it was refused, or one of its items was, it was not for its form."""
    if reply.status in (207, 400, 404):
        for error in errors_of_form(reply.json):
            assert is_of_state(error["field"], error["rule"]), error


@cache
def from_document() -> FromSchema:
    return FromSchema(document())


def requests(verb: str, path: str) -> st.SearchStrategy[tuple[str, bytes, list[tuple[str, str]]]]:
    """Return a strategy of targets, bodies and headers that the document calls valid."""
    described, make = document()["paths"][path][verb], from_document()
    values = [(each, make.values(each["schema"])) for each in described["parameters"]]
    contents = is_valid = None
    if "requestBody" in described:
        schema = described["requestBody"]["content"]["application/json"]["schema"]
        contents, is_valid = make.values(schema), validator(schema).is_valid

    @st.composite
    def request(draw: st.DrawFn) -> tuple[str, bytes, list[tuple[str, str]]]:
        target, query, headers = path, {}, list[tuple[str, str]]()
        for parameter, value in values:
            name = parameter["name"]
            if parameter["in"] == "path":
                known = {"appId": APP_IDS}.get(name, st.nothing())
                target = target.replace(f"{{{name}}}", quote(str(draw(known | value)), safe=""))
            elif parameter["in"] == "header":
                headers += [(name, draw(value))] * draw(st.booleans())
            elif parameter["required"] or draw(st.booleans()):
                query[name] = draw(value)
        body = b""
        if contents is not None and is_valid is not None:
            content = draw(contents)
            for each in (content, *content.get("schedules", [])):
                if "appId" in each and "payload" in each and draw(st.integers(0, 9)):
                    each["appId"] = "test"  # of an unknown app nothing else is said
            assume(is_valid(content))
            if headers:  # one place for a key is enough, and only one-time schedules have one
                assume(content.get("idempotencyKey") is None and not content.get("cronExpression"))
            body = json.dumps(content).encode()
        return target + (f"?{urlencode(query)}" if query else ""), body, headers

    return request()


@pytest.mark.slow
@pytest.mark.parametrize(("verb", "path"), operations())
def test_valid_requests_are_not_refused_for_their_form(verb: str, path: str) -> None:
    described = document()["paths"][path][verb]
    has_input = "requestBody" in described or described["parameters"]

    @settings(
        max_examples=30 if "requestBody" in described else 12 if has_input else 1,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
    )
    @given(requests(verb, path))
    def check(request: tuple[str, bytes, list[tuple[str, str]]]) -> None:
        target, body, headers = request
        reply = asyncio.run(make_rig().client.call(verb.upper(), target, body, headers=headers))
        hold_form(reply)
        hold_answer(reply, described)

    check()


@pytest.mark.slow
@settings(max_examples=100, deadline=None)
@given(st.from_regex(f"^(?:{URL_PATTERN})\\Z", alphabet=st.characters(codec="ascii")))
def test_urls_of_the_pattern_have_no_fault(url: str) -> None:
    assert url_fault(url) is None or "xn--" in url.lower() or len(url) > 2_048
