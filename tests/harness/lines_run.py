"""pytest, and the share of lines of services it ran: `python -m tests.harness.lines_run FILE [ARGUMENT ...]`.

Slipcover takes its probe out of a line that has run, so that what runs often costs nothing more. A tracer is
told of each line each time, which doubled the work of the unit tests.
"""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path

import pytest
import slipcover

ROOT = Path(__file__).parents[2]
#: It brings a plugin, and pytest warns of a plugin that was imported before it.
NO_WARNING = (
    "-W",
    "ignore:Module already imported so cannot be rewritten:pytest.PytestAssertRewriteWarning",
)


def services() -> list[str]:
    """Return the folders of what the wheel holds."""
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    return [str(ROOT / package) for package in wheel["packages"]]


def run(file: Path, arguments: Sequence[str], folders: Sequence[str]) -> int:
    """Run pytest, write the share of lines in these folders to a file, in percent; return its code."""
    probes = slipcover.Slipcover(source=folders)
    with slipcover.ImportManager(probes, slipcover.FileMatcher(sources=folders)):
        code = int(pytest.main([*NO_WARNING, *arguments]))
    file.write_text(str(probes.get_coverage()["summary"]["percent_covered_display"]))
    return code


if __name__ == "__main__":
    sys.exit(run(Path(sys.argv[1]), sys.argv[2:], services()))
