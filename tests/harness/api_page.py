"""The examples of docs/api.md: read, run with curl against a server, compared with what the page says.

`python -m tests.harness.api_page` runs them all against a server of its own and writes what it answered into
the page. So to add an example, write its heading and its command:

    ### `POST /goscheduler/apps`

    ```bash
    curl http://localhost:8080/goscheduler/apps ...
    ```

A heading names a route as the OpenAPI document does. The commands of a page run in its order, on one server.
Of an answer each field that ends in `Id` is a shell variable from then on: `scheduleId` is `$SCHEDULE_ID`.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.harness.server import serving

PAGE = Path(__file__).parents[2] / "docs" / "api.md"
_HEADING = re.compile(r"^### `([A-Z]+ /\S*)`$", re.MULTILINE)
_COMMAND = re.compile(r"```bash\n(.*?)```\n(?:\n```json\n(.*?)```\n)?", re.DOTALL)
_ID = re.compile(r'"(\w+Id)":\s*"([^"]+)"')
_WIDTH = 118
_PATIENCE_S = 60.0  #: for what a schedule that is due soon leads to
_AGAIN_S = 0.1  #: between two looks
_QUIET_S = 2.5  #: without a change, and an answer is written down

#: What differs from run to run, also within a sentence: ids, instants, wall times, secrets.
_PASSING = re.compile(
    r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"
    r"|\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{3}Z)?"
    r"|\b[0-9a-f]{16}\b"
    r"|wh(sec|pk)_\S{44}"
)
_VARYING = frozenset({"partitionId", "lagMs", "durationMs", "continuationToken", "ageMs"}) | {
    *(
        "version",
        "python",
        "node",
        "silentMs",
        "oldestDueMs",
        "markAgeMs",
        "windowMs",
        "loaded",
        "backlog",
        "inFlight",
    ),
    *("owned", "wanted", "instances", "moving", "apps", "parked", "moves", "imbalance", "imbalanceAfter"),
    *("ownedOfApp", "wantedAfter", "count", "capacity", "share", "source", "target", "carriedPerMinute"),
    *(
        "ahead",
        "problems",
        "minutes",
        "flows",
        "due",
        "nodeAfter",
        "destinationsInTrouble",
        "told",
        "meaning",
    ),
    *(f"{word}PerSecond" for word in ("sent", "succeeded", "failed", "retried", "parked", "missed")),
}
_PASSING_KEYS = frozenset({"lagP50Ms", "lagP99Ms", "aheadAt", "advisedQuota"})  #: which may be left out
_EPOCH_S = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Example:
    """One command of the page, and what it is said to answer, as JSON; empty: nothing is said."""

    route: str
    command: str
    answer: str

    def calls(self) -> tuple[str, str]:
        """Return the method and the path that its last curl asks for."""
        words = shlex.split(self.command[self.command.rindex("curl ") :])
        [url] = [word for word in words if word.startswith("http://localhost:8080")]
        path = url.removeprefix("http://localhost:8080").partition("?")[0]
        named = [words[n + 1] for n, word in enumerate(words) if word in ("-X", "--request")]
        return (*named, "POST" if {"-d", "--data"} & {*words} else "GET")[0], path or "/"

    def reads(self) -> bool:
        """Whether it may be asked again."""
        return self.calls()[0] == "GET"

    def is_of_route(self) -> bool:
        """Whether that is a request of the route it stands under."""
        verb, path = self.calls()
        expected, template = self.route.split(" ")
        return verb == expected and bool(re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", template), path))


class Shell:
    """Runs the examples against one server, each with the ids of those before."""

    def __init__(self, base: str) -> None:
        self._port = base.split(":")[2].split("/")[0]
        self._known: dict[str, str] = {}

    def wrong(self, example: Example) -> str:
        """Run an example; return where its answer differs from what is said; empty: nowhere.

        A read is asked again until it answers what is said, for a while: a callback takes its time.
        """
        until_s = time.monotonic() + _PATIENCE_S
        answer = self.ask(example)
        while found := difference(self._said(example), answer):
            if not example.reads() or time.monotonic() > until_s:
                break
            time.sleep(_AGAIN_S)
            answer = self.ask(example)
        self._learn(answer)
        return found

    def write(self, example: Example) -> str:
        """Run an example; return its answer as the page shows it: what is said if it is that, else what it is
        once it has not changed for a while."""
        if example.answer and not self.wrong(example):
            return example.answer
        answer, since_s = self.ask(example), time.monotonic()
        while example.reads() and time.monotonic() < since_s + _QUIET_S:
            time.sleep(_AGAIN_S)
            before, answer = answer, self.ask(example)
            if difference(before, answer):
                since_s = time.monotonic()
        self._learn(answer)
        return show(answer).replace(f":{self._port}/", ":8080/") + "\n"

    def _said(self, example: Example) -> Any:
        return json.loads(example.answer.replace(":8080/", f":{self._port}/"))

    def ask(self, example: Example) -> Any:
        """Return what it answers, once."""
        command = example.command.replace(":8080", f":{self._port}")
        script = f'set -eu; curl() {{ command curl --silent --show-error --max-time 30 "$@"; }}\n{command}'
        done = subprocess.run(
            ["bash", "-c", script],
            env={**os.environ, **self._known},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, ""), f"{example.route}: {done.stderr}"
        return json.loads(done.stdout)

    def _learn(self, answer: Any) -> None:
        for name, value in reversed(_ID.findall(json.dumps(answer))):
            self._known[re.sub(r"(?=[A-Z])", "_", name).upper()] = value


def read(page: str) -> list[Example]:
    """Return the examples of a page, in order. Raises AssertionError for one that is not of its route."""
    examples = [
        Example(heading, command, answer or "")
        for heading, text in _sections(page)
        for command, answer in _COMMAND.findall(text)
    ]
    for route in {example.route for example in examples}:
        assert any(each.is_of_route() for each in examples if each.route == route), f"{route}: no curl of it"
    return examples


def _sections(page: str) -> Iterator[tuple[str, str]]:
    parts = _HEADING.split(page)
    return zip(parts[1::2], parts[2::2], strict=True)


def difference(said: Any, told: Any, path: str = "answer") -> str:
    """Return where two answers differ, but for values that differ from run to run; empty: nowhere."""
    if isinstance(said, dict) and isinstance(told, dict):
        if said.keys() - _PASSING_KEYS != told.keys() - _PASSING_KEYS:
            return f"{path} has {sorted(told)}, not {sorted(said)}"
        found = (
            difference(said[key], told[key], f"{path}.{key}")
            for key in said
            if key not in _PASSING_KEYS and (key not in _VARYING or type(said[key]) is not type(told[key]))
        )
        return next((each for each in found if each), "")
    if isinstance(said, list) and isinstance(told, list):
        if len(said) != len(told):
            return f"{path} has {len(told)} entries, not {len(said)}"
        found = (difference(*pair, f"{path}[{n}]") for n, pair in enumerate(zip(said, told, strict=True)))
        return next((each for each in found if each), "")
    return "" if _lasting(said) == _lasting(told) else f"{path} is {told!r}, not {said!r}"


def _lasting(value: Any) -> object:
    """Return a value without what differs from run to run."""
    if isinstance(value, str):
        return _PASSING.sub("*", value)
    return int if type(value) is int and value > _EPOCH_S else value


def show(value: Any, indent: str = "", before: int = 0) -> str:
    """Return JSON in which whatever fits is on one line; `before`: how much of the line is taken."""
    line = json.dumps(value, ensure_ascii=False)
    if len(line) + len(indent) + before <= _WIDTH or not value or not isinstance(value, dict | list):
        return line
    deeper = f"{indent}  "
    if isinstance(value, dict):
        parts = [f'"{key}": {show(each, deeper, len(key) + 5)}' for key, each in value.items()]
        opening, closing = "{", "}"
    else:
        parts = [show(each, deeper, 1) for each in value]
        opening, closing = "[", "]"
    lines = [parts[0]]
    for part in parts[1:]:
        if "\n" in lines[-1] + part or len(deeper + lines[-1]) + len(part) + 3 > _WIDTH:
            lines.append(part)
        else:
            lines[-1] += f", {part}"
    return f"{opening}\n{deeper}" + f",\n{deeper}".join(lines) + f"\n{indent}{closing}"


def main() -> None:
    """Run every example against a server, and write the answers that differ from the page's into it."""
    page = PAGE.read_text()
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder)) as server:
        shell = Shell(server.base)
        examples = iter(read(page))

        def with_answer(block: re.Match[str]) -> str:
            return f"```bash\n{block[1]}```\n\n```json\n{shell.write(next(examples))}```\n"

        PAGE.write_text(_COMMAND.sub(with_answer, page))


if __name__ == "__main__":
    main()
