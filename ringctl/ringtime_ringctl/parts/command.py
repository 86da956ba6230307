"""`ringctl parts`: into how many parts a minute's index is cut, and to change it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

import click

from ringtime_ringctl.deployment.context import Deployment
from ringtime_ringctl.deployment.ownership import fetch_snapshot, ring_of
from ringtime_ringctl.output import Bar, Column, Output
from ringtime_ringctl.parts.change import (
    PartChanger,
    Progress,
    Unfinished,
    check_count,
    describe,
    parts_to_json,
)
from ringtime_ringctl.shell import RingctlCommand, WaitExpired, deployed
from ringtime_ringctl.times import read_whole
from ringtime_shared.errors import Conflict, InvalidRequest
from ringtime_shared.parts import CHANGE_WAIT_MS, PartMap, group_of, part_of, parts_of
from ringtime_shared.ring import Ring

TIMEOUT_S = 3_600.0
_COLUMNS = (
    Column("NODE"),
    Column("INSTANCES", right=True),
    Column("PARTS READ", right=True),
    Column("THEN", right=True),
)


@click.command("parts", cls=RingctlCommand)
@click.argument("count", metavar="[COUNT]", required=False)
@click.option("--apply", "is_applied", is_flag=True, help="Do it. Without: print what it would do.")
@click.option("--resume", "is_resumed", is_flag=True, help="Go on with the change that is under way.")
@click.option("--abort", "is_aborted", is_flag=True, help="Give it up: back to the count before.")
@click.option(
    "--timeout",
    "timeout_s",
    type=click.FloatRange(min=0),
    metavar="SECONDS",
    default=TIMEOUT_S,
    show_default=True,
    help="How long to try; then the exit code is 3, and --resume goes on.",
)
def parts(count: str | None, is_applied: bool, is_resumed: bool, is_aborted: bool, timeout_s: float) -> None:
    """Show or change into how many parts a minute's index is cut. Nothing is lost, and nothing is late.

    A dispatcher reads the parts that hold poller instances it owns. More parts: it reads less of what is not
    its own, and asks more often. The new parts are read, then written, then what lies ahead is copied to
    them; that takes half a minute and the time of the copy. Killed half way, everything works on as it is;
    --resume or --abort, by anybody, ends it. Without a count it says how many there are, and how far a change
    is that is under way. All pods must be of a version that has this command.

    \b
    Examples:
      ringctl parts
      ringctl parts 131072
      ringctl parts 131072 --apply
      ringctl parts --resume
    """
    if sum((count is not None, is_resumed, is_aborted)) > 1:
        raise click.UsageError("give one of COUNT, --resume and --abort")
    if is_applied and count is None:
        raise click.UsageError("--apply needs COUNT")
    wanted = None if count is None else read_part_count(count)
    if is_aborted:
        abort(timeout_s)
    elif is_resumed:
        carry_on(timeout_s)
    elif wanted is None:
        show_state()
    elif is_applied:
        apply(wanted, timeout_s)
    else:
        plan(wanted)


def read_part_count(text: str) -> int:
    """Read COUNT. Raises InvalidRequest: one line, where click would print three."""
    try:
        count = read_whole(text)
    except ValueError as error:
        raise InvalidRequest.of("COUNT", str(error)) from None
    check_count(count)
    return count


@dataclass(frozen=True, slots=True)
class NodeParts:
    """One node of the ring, and the parts that hold its groups."""

    node: str
    instances: int
    before: int  #: parts that it reads
    after: int


@dataclass(frozen=True, slots=True)
class Plan:
    """What another part count comes to."""

    parts: PartMap
    count: int
    nodes: Sequence[NodeParts]  #: by name
    readers_before: float  #: nodes that read the entry of one poller instance, in the mean
    readers_after: float


def plan_parts(ring: Ring, parts: PartMap, count: int) -> Plan:
    """Return what `count` parts come to for the ring as it is."""
    groups = {node: {group_of(each) for each in ring.owned_by(node)} for node in sorted(ring.nodes)}
    before = {node: parts_of(own, parts.read) for node, own in groups.items()}
    after = {node: parts_of(own, [count]) for node, own in groups.items()}
    return Plan(
        parts,
        count,
        [NodeParts(node, len(ring.owned_by(node)), len(before[node]), len(after[node])) for node in groups],
        _readers(ring, before.values(), parts.written),
        _readers(ring, after.values(), count),
    )


def _readers(ring: Ring, read: Iterable[Sequence[int]], count: int) -> float:
    readers = [0] * count
    for parts in read:
        for part in parts:
            if part < count:
                readers[part] += 1
    return fmean([readers[part_of(group_of(each), count)] for each in ring.instances] or [0])


@deployed
async def plan(deployment: Deployment, output: Output, count: int) -> None:
    """Say what a change would do. Changes nothing."""
    _require_split(deployment)
    parts = await PartChanger(deployment).fetch()
    made = plan_parts(ring_of(await fetch_snapshot(deployment, with_marks=False)), parts, count)
    if output.is_json:
        output.data(_plan_to_json(made))
        return
    _show_plan(output, made)


@deployed
async def apply(deployment: Deployment, output: Output, count: int, timeout_s: float) -> None:
    """Begin a change and carry it out."""
    _require_split(deployment)
    with output.progress("parts", 100) as bar:
        changer = PartChanger(deployment, lambda progress: _show(bar, progress))
        before = await changer.fetch()
        begun = await changer.begin(count)
        done = await _finish(changer, begun, timeout_s)
    _tell(output, done, before=before)


@deployed
async def carry_on(deployment: Deployment, output: Output, timeout_s: float) -> None:
    """Take the change that is under way over and carry it out."""
    with output.progress("parts", 100) as bar:
        changer = PartChanger(deployment, lambda progress: _show(bar, progress))
        before = await changer.fetch()
        begun = before if before.change is None else await changer.resume()
        done = await _finish(changer, begun, timeout_s)
    _tell(output, done, before=before)


@deployed
async def abort(deployment: Deployment, output: Output, timeout_s: float) -> None:
    """Give the change that is under way up."""
    with output.progress("parts", 100) as bar:
        changer = PartChanger(deployment, lambda progress: _show(bar, progress))
        before = await changer.fetch()
        begun = before if before.change is None else await changer.abort()
        done = await _finish(changer, begun, timeout_s)
    _tell(output, done, before=before)


@deployed
async def show_state(deployment: Deployment, output: Output) -> None:
    """Say how many parts there are, and how far a change is that is under way."""
    parts = await PartChanger(deployment).fetch()
    if output.is_json:
        output.data(parts_to_json(parts))
    elif parts.change is None:
        output.line(_count(parts.written))
    else:
        output.line(f"{describe(parts)}: {parts.change.phase.value}")


async def _finish(changer: PartChanger, begun: PartMap, timeout_s: float) -> PartMap:
    if begun.change is None:
        return begun
    how = "`ringctl parts --resume` goes on, `--abort` gives it up"
    try:
        return await changer.finish(begun, timeout_s=timeout_s)
    except Unfinished as error:
        raise WaitExpired(f"{error}; {how}") from error
    except asyncio.CancelledError:  # Ctrl-C
        click.echo(f"Interrupted; {how}", err=True)
        raise


def _require_split(deployment: Deployment) -> None:
    """Raise Conflict for one process, which reads its whole index."""
    if deployment.coordination is None:
        raise Conflict("one process on a folder reads its whole index: it has no parts")


def _show(bar: Bar, progress: Progress) -> None:
    bar.show(round(100 * progress.share), progress.text)


def _show_plan(output: Output, made: Plan) -> None:
    parts, count = made.parts, made.count
    if parts.change is not None:
        output.line(describe(parts))
    if parts.change is None and parts.written == count:
        output.line(f"{_count(count)}: nothing to do")
    else:
        wait_s = 2 * CHANGE_WAIT_MS // 1_000
        output.line(f"{parts.written:,} parts -> {count:,}: takes {wait_s} s, and the copy of what is filed")
    rows = [(each.node, each.instances, each.before, each.after) for each in made.nodes]
    output.table(_COLUMNS, rows)
    output.line(f"an entry is read by {made.readers_before:.2f} nodes, then by {made.readers_after:.2f}")


def _plan_to_json(made: Plan) -> Mapping[str, object]:
    return {
        **parts_to_json(made.parts),
        "count": made.count,
        "nodes": [
            {
                "node": each.node,
                "instances": each.instances,
                "partsBefore": each.before,
                "partsAfter": each.after,
            }
            for each in made.nodes
        ],
        "readersBefore": round(made.readers_before, 3),
        "readersAfter": round(made.readers_after, 3),
    }


def _tell(output: Output, parts: PartMap, *, before: PartMap) -> None:
    if output.is_json:
        output.data({**parts_to_json(parts), "changed": parts != before, "before": parts_to_json(before)})
    elif parts == before:
        output.line(f"{_count(parts.written)} and no change under way: nothing to do")
    else:
        output.line(_count(parts.written))


def _count(count: int) -> str:
    return f"a minute's index has {count:,} part{'' if count == 1 else 's'}"
