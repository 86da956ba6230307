"""Many creates or cancels in one request: its paths and bounds, and the form of its answer.

Each item has a result of its own, in the order of the request: what its own request would have been answered
in `data`, or the whole envelope of its failure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from ringtime_shared.api.imports import IMPORTS_PATH
from ringtime_shared.api.views import Doc

MAX_ITEMS = 1_000  #: of one batch
#: where a body may be as long as a batch of creates
BATCH_PATHS = frozenset({"/goscheduler/schedules/batch", "/goscheduler/schedule/batch", IMPORTS_PATH})


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchCounts:
    """What became of a batch, beside its `results`; the counts add up to the items."""

    done: Annotated[int, Doc("Schedules that were created, or cancelled.")]
    failed: Annotated[int, Doc("Items that nothing came of: to send one again is safe.")]
    unknown: Annotated[
        int, Doc("Items without an answer of the store in time, `OUTCOME_UNKNOWN`: they may be done, or not.")
    ]


def batch_to_json(results: Sequence[object], failed: int, unknown: int) -> dict[str, object]:
    """Return the results of a batch, each ready for orjson."""
    done = len(results) - failed - unknown
    return {"results": results, "done": done, "failed": failed, "unknown": unknown}
