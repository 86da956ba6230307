"""What fault runs found: one JSON file each in `.ringtime/faults`, for a page that is made from them."""

from __future__ import annotations

import json
import os
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.harness.ledger import Verdict

FOLDER = Path(__file__).parents[2] / ".ringtime" / "faults"

#: Whether fault runs take minutes each instead of one. Taken out of the environment, which pods inherit:
#: they refuse variables with our prefix that are no settings.
IS_LONG = os.environ.pop("RINGTIME_FAULTS", "") == "long"


def record(name: str, verdict: Verdict, *, folder: Path = FOLDER, **facts: Any) -> Path:
    """Write the verdict of the run `name` in place of an earlier one; return the file.

    Args:
        folder: another one for runs that are no part of that page.
        facts: what else is worth a line in the report: the fault, its length, measured times. JSON.
    """
    entry = {
        "name": name,
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "set": "long" if IS_LONG else "quick",
        "passed": not verdict.broken(),
        "broken": verdict.broken(),
        "acknowledged": verdict.acknowledged,
        "lost": len(verdict.lost),
        "early": len(verdict.early),
        "after_cancel": len(verdict.after_cancel),
        "split": len(verdict.split),
        "duplicates": verdict.duplicates,
        "lag_ms": {
            key: round(verdict.lag_ms(share)) if verdict.lags_ms else None
            for key, share in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99), ("max", 1.0))
        },
        "facts": facts,
    }
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{re.sub(r'[^a-z0-9]+', '-', name.lower()).strip('-')}.json"
    draft = file.with_suffix(".part")
    draft.write_text(json.dumps(entry, indent=2) + "\n")
    draft.replace(file)
    return file


def report(name: str, verdict: Verdict, **facts: object) -> None:
    """Record a run of one server, print its line, and hold it to what must never be."""
    file = record(name, verdict, folder=FOLDER / "delivery", **facts)
    print(file.stem, verdict if verdict.lags_ms else f"{verdict.acknowledged} acknowledged", facts)
    assert verdict.broken() == []


def read_all(folder: Path = FOLDER) -> list[dict[str, object]]:
    """Return what was recorded, by name."""
    return [json.loads(file.read_text()) for file in sorted(folder.glob("*.json"))]
