"""docs/api.md is true: every route has an example on it, and every example answers what the page says."""

from __future__ import annotations

import re
from pathlib import Path

from tests.harness.api_page import PAGE, Shell, read
from tests.harness.server import serving
from tests.unit.ingest.rig import make_rig

AGAIN = "then `python -m tests.harness.api_page` writes what the server answers into the page"


async def test_every_route_has_an_example_and_every_example_a_route() -> None:
    spelt = re.compile(r"(?!GET).* /goscheduler/healthcheck")  # any method will do
    document = (await make_rig().client.call("GET", "/openapi.json")).json
    routes = {f"{verb.upper()} {path}" for path, verbs in document["paths"].items() for verb in verbs}
    short = {_singular(route) for route in routes if _singular(route) != route}
    written = {example.route for example in read(PAGE.read_text())}
    missing = sorted(route for route in routes - short - written if not spelt.fullmatch(route))
    assert not missing, (
        f"docs/api.md needs a heading ### `{missing[0]}` with a curl below it; {AGAIN}. All: {missing}"
    )
    assert not written - routes, "no such routes any more"


def test_every_example_answers_what_the_page_says(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        shell = Shell(server.base)
        for example in read(PAGE.read_text()):
            assert example.answer, f"{example.route}: no answer is said; {AGAIN}"
            assert not (wrong := shell.wrong(example)), f"{example.route}: {wrong}; {AGAIN}"


def _singular(route: str) -> str:
    """Return the same route as goscheduler's README spells it."""
    if "/crons/" in route:
        return route
    short = route.replace("/apps", "/app")
    return (
        short
        if short.endswith(("}/schedules", "/schedules/{name}"))
        else short.replace("/schedules", "/schedule")
    )
