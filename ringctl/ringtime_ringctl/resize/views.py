"""A plan for people and as JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from ringtime_ringctl.output import Cell, Column, Output
from ringtime_ringctl.resize.plan import Added, Plan, Retired
from ringtime_ringctl.resize.steps import is_quota
from ringtime_ringctl.sizing import Advice
from ringtime_shared.api.apps import resize_to_json
from ringtime_shared.api.instants import to_iso

SHOWN = 20  #: poller instances without --all
_ADDED = (Column("NEW"), Column("NODE"))
_RETIRED = (
    Column("OLD"),
    Column("OWNER"),
    Column("ROWS AHEAD", right=True),
    Column("IN MINUTES", right=True),
    Column("LAST"),
)
_NODES = (
    Column("NODE"),
    Column("CAPACITY", right=True),
    Column("BEFORE", right=True),
    Column("AFTER", right=True),
    Column("MOVES IN", right=True),
    Column("MOVES OUT", right=True),
)


def show_plan(output: Output, plan: Plan, *, is_all: bool) -> None:
    """Write a plan as tables."""
    app, quota = plan.app, plan.quota
    if is_quota(app, quota):
        output.line(f"{app.app_id} has {quota:,} partitions already: nothing to do")
        return
    before = app.writable if app.resize is None else app.resize.before
    output.line(
        f"{app.app_id}: {before:,} -> {quota:,} partitions; adds {len(plan.added):,} poller instances,"
        f" retires {len(plan.retired):,}, moves {len(plan.moves):,} others"
    )
    for remark in plan.remarks:
        output.line(f"note: {remark}")
    if plan.added:
        _table(output, _ADDED, [_added_row(each) for each in plan.added], is_all=is_all)
    if plan.retired:
        _table(output, _RETIRED, [_retired_row(each) for each in plan.retired], is_all=is_all)
    output.line()
    moves_in = Counter(move.target for move in plan.moves)
    moves_out = Counter(move.source for move in plan.moves)
    output.table(
        _NODES,
        [
            (
                each.node,
                f"{each.capacity:g}",
                each.before,
                each.after,
                moves_in[each.node],
                moves_out[each.node],
            )
            for each in plan.shares
        ],
    )
    output.line()
    output.line(_when(plan))


def _table(
    output: Output, columns: Sequence[Column], rows: Sequence[Sequence[Cell]], *, is_all: bool
) -> None:
    output.line()
    first = rows if is_all else rows[:SHOWN]
    output.table(columns, first)
    if len(first) < len(rows):
        output.line(f"... and {len(rows) - len(first):,} more: --all")


def _added_row(each: Added) -> Sequence[Cell]:
    return str(each.instance), each.node or "nobody"


def _retired_row(each: Retired) -> Sequence[Cell]:
    holding = each.holding
    return (
        str(each.instance),
        each.owner or "nobody",
        holding.rows if holding.is_counted else f"{holding.rows:,} or more",
        holding.minutes,
        None if holding.last_ms is None else to_iso(holding.last_ms),
    )


def _when(plan: Plan) -> str:
    """Say how long it takes."""
    if not plan.is_shrinking:
        return "new creates reach the new partitions within seconds"
    if plan.done_ms is None:
        return "the old partitions hold rows that nobody fires while the app is deactivated"
    end = to_iso(plan.done_ms)
    return f"new creates leave the old partitions within seconds; they are released about {end}"


def plan_to_json(plan: Plan, advice: Advice | None) -> Mapping[str, object]:
    """Return a plan for `--json`."""
    view: dict[str, object] = {
        "appId": plan.app.app_id,
        "partitions": plan.app.writable,
        "polled": plan.app.polled,
        "quota": plan.quota,
        "nothingToDo": is_quota(plan.app, plan.quota),
        "underWay": resize_to_json(plan.app.resize),
        "added": [{"instance": str(each.instance), "node": each.node} for each in plan.added],
        "retired": [_retired_json(each) for each in plan.retired],
        "moves": [
            {"instance": move.instance, "source": move.source, "target": move.target} for move in plan.moves
        ],
        "nodes": [
            {"node": each.node, "capacity": each.capacity, "before": each.before, "after": each.after}
            for each in plan.shares
        ],
        "releasedAt": None if plan.done_ms is None else to_iso(plan.done_ms),
        "remarks": plan.remarks,
    }
    if advice is not None:
        view["advice"] = {
            "rpm": advice.rpm,
            "least": advice.least,
            "spare": advice.spare,
            "quota": advice.quota,
            "why": advice.why(),
        }
    return view


def _retired_json(each: Retired) -> Mapping[str, object]:
    holding = each.holding
    return {
        "instance": str(each.instance),
        "owner": each.owner,
        "rows": holding.rows,
        "isCounted": holding.is_counted,
        "minutes": holding.minutes,
        "lastSlot": None if holding.last_ms is None else to_iso(holding.last_ms),
    }
