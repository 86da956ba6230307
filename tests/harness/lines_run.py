"""pytest, and which lines of services it ran: `python -m tests.harness.lines_run FILE [ARGUMENT ...]`.

Slipcover takes its probe out of a line that has run, so that what runs often costs nothing more. A tracer is
told of each line each time, which doubled the work of the unit tests.

When, is said here. By itself it does so whenever a probe has been passed fifty times, and looks through
every function of every module each time. Probes that it cannot reach (of properties, of whatever is
wrapped) set it off by the hundred, which was more than half of all the work again. So it is asked once the
modules are imported, and after so many tests, each time twice as many: a dozen times in all.
"""

from __future__ import annotations

import json
import sys
import tomllib
from collections.abc import Sequence
from functools import reduce
from pathlib import Path

import pytest
import slipcover

ROOT = Path(__file__).parents[2]
NEVER = 2**31 - 1  #: passings of one probe after which Slipcover would do by itself what `_Probes` has it do
#: It brings a plugin, and pytest warns of a plugin that was imported before it.
NO_WARNING = (
    "-W",
    "ignore:Module already imported so cannot be rewritten:pytest.PytestAssertRewriteWarning",
)


def services() -> list[str]:
    """Return the folders of what the wheel holds."""
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    return [str(ROOT / package) for package in wheel["packages"]]


class _Probes:
    """Has probes taken out of what has run, now and then."""

    def __init__(self, probes: slipcover.Slipcover) -> None:
        self._probes = probes
        self._ended = 0
        self._next = 1

    def pytest_collection_finish(self) -> None:
        self._probes.deinstrument_seen()

    def pytest_runtest_logfinish(self) -> None:
        self._ended += 1
        if self._ended == self._next:
            self._next *= 2
            self._probes.deinstrument_seen()


def run(file: Path, arguments: Sequence[str], folders: Sequence[str]) -> int:
    """Run pytest, write which lines in these folders ran and which did not to a file; return its code."""
    probes = slipcover.Slipcover(source=folders, d_miss_threshold=NEVER)
    with slipcover.ImportManager(probes, slipcover.FileMatcher(sources=folders)):
        code = int(pytest.main([*NO_WARNING, *arguments], plugins=[_Probes(probes)]))
    file.write_text(json.dumps(probes.get_coverage()))
    return code


def share(files: Sequence[Path]) -> str:
    """Return the share of lines that ran in one run or another, in percent."""
    runs = [json.loads(file.read_text()) for file in files]
    return str(reduce(slipcover.merge_coverage, runs)["summary"]["percent_covered_display"])


if __name__ == "__main__":
    sys.exit(run(Path(sys.argv[1]), sys.argv[2:], services()))
