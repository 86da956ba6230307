"""`ringctl ring`: who owns what and how far behind; what other nodes would change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import click

from ringtime_ringctl.deployment.context import Deployment
from ringtime_ringctl.deployment.ownership import (
    InstanceState,
    RingReport,
    fetch_snapshot,
    report_ring,
    ring_of,
)
from ringtime_ringctl.deployment.probes import fetch_fronts
from ringtime_ringctl.output import Column, Output
from ringtime_ringctl.ring.simulation import FORMS, change_nodes
from ringtime_ringctl.shell import RingctlCommand, deployed
from ringtime_ringctl.times import count_of, to_span
from ringtime_shared.api.instants import to_iso
from ringtime_shared.errors import NotFound
from ringtime_shared.ring.simulation import Simulation, simulate

SHOWN = 20  #: poller instances without --all
_HALF_A_DAY_MS = 43_200_000
_NODES = (
    Column("NODE"),
    Column("STATE"),
    Column("CAPACITY", right=True),
    Column("OWNS", right=True),
    Column("RING GIVES", right=True),
    Column("SHARE", right=True),
)
_INSTANCES = (
    Column("INSTANCE"),
    Column("OWNER"),
    Column("BEHIND", right=True),
    Column("GOES TO"),
    Column("EPOCH", right=True),
    Column("FRONT"),
    Column("SEALED"),
    Column("SETTLED"),
)


@click.command("ring", cls=RingctlCommand)
@click.option("--app", "app_id", metavar="APP", help="Only poller instances of this app.")
@click.option("--node", metavar="NODE", help="Only poller instances that this node owns or is given.")
@click.option("--all", "is_all", is_flag=True, help=f"All poller instances, not the {SHOWN} furthest behind.")
@click.option("--simulate", multiple=True, metavar="CHANGE", help=f"Show what would move: {FORMS}.")
@click.argument("words", nargs=-1, metavar="")
def ring(
    app_id: str | None, node: str | None, is_all: bool, simulate: tuple[str, ...], words: tuple[str, ...]
) -> None:
    """Show the nodes, what each owns, what is moving, and the marks of the poller instances.

    BEHIND is now less `settled`. Usual are 90 s where there are rows, which are sealed after their minute,
    and 4 minutes for an idle poller instance (twice `dispatch.idle_seal_minutes`); `ringctl doctor` tells
    which.
    FRONT is in its owner's memory, asked for there; empty: nothing to read, or no answer.

    \b
    Examples:
      ringctl ring
      ringctl ring --app pay --all
      ringctl ring --json | jq '.nodes'
      ringctl ring --simulate +2 nodes
      ringctl ring --simulate -node dispatcher-2
    """
    changes = read_changes(simulate, words)
    if changes:
        show_simulation(changes)
    else:
        show_ring(app_id, node, is_all)


def read_changes(simulated: Sequence[str], words: Sequence[str]) -> list[str]:
    """Return the changes; `--simulate -node X` arrives as an option and a word that follows it."""
    if words and (not simulated or len(words) > 1):
        raise click.UsageError(f"Got unexpected extra argument ({words[0]})")
    return [*simulated[:-1], " ".join((*simulated[-1:], *words))] if simulated else []


@deployed
async def show_simulation(deployment: Deployment, output: Output, changes: Sequence[str]) -> None:
    """Show what would move, without touching anything."""
    snapshot = await fetch_snapshot(deployment, with_marks=False)
    current = ring_of(snapshot)
    simulation = simulate(current, change_nodes(current.nodes, changes))
    if output.is_json:
        output.data(simulation_to_json(simulation))
        return
    total = len(current.instances)
    output.line(f"{len(simulation.moves):,} of {total:,} poller instances would move; nothing was changed.")
    output.line(f"imbalance {simulation.imbalance_before:.3f} -> {simulation.imbalance_after:.3f}")
    output.line()
    names = sorted(simulation.before.keys() | simulation.after.keys())
    output.table(
        (Column("NODE"), Column("BEFORE", right=True), Column("AFTER", right=True)),
        [[name, simulation.before.get(name), simulation.after.get(name)] for name in names],
    )
    output.line()
    output.table(
        (Column("FROM"), Column("TO"), Column("MOVES", right=True)),
        [[source or "nobody", target or "nobody", count] for source, target, count in simulation.flows()],
    )


@deployed
async def show_ring(
    deployment: Deployment, output: Output, app_id: str | None, node: str | None, is_all: bool
) -> None:
    """Read the ring and show it."""
    snapshot = await fetch_snapshot(deployment)
    if app_id is not None and all(app.app_id != app_id for app in snapshot.apps):
        raise NotFound("app", app_id)
    fronts = await fetch_fronts(snapshot.view.members)
    report = report_ring(snapshot, fronts)
    if node is not None and all(load.node != node for load in report.nodes):
        raise NotFound("node", node)
    states = [
        each
        for each in report.instances
        if app_id in (None, each.instance.app_id) and node in (None, each.owner, each.target)
    ]
    if output.is_json:
        output.data(ring_to_json(report, states))
        return
    _show_nodes(output, report)
    _show_instances(output, states, report.now_ms, is_all=is_all)


def _show_nodes(output: Output, report: RingReport) -> None:
    total = len(report.instances)
    output.line(
        f"{count_of(len(report.nodes), 'node')}, {count_of(total, 'poller instance')},"
        f" {len(report.moves):,} to move,"
        f" {len(report.unowned):,} unowned; imbalance {report.imbalance:.3f},"
        f" {report.ring_imbalance:.3f} when all moves are done"
    )
    output.line()
    rows = [
        (
            load.node,
            "drained" if load.is_drained else "active" if load.capacity else "leaving",
            f"{load.capacity:g}",
            load.owned,
            load.wanted,
            f"{load.owned / total:.1%}" if total else "",
        )
        for load in report.nodes
    ]
    output.table(_NODES, rows)
    output.line()


def _show_instances(output: Output, states: Sequence[InstanceState], now_ms: int, *, is_all: bool) -> None:
    first = states if is_all else sorted(states, key=_urgency)[:SHOWN]
    output.table(_INSTANCES, [_to_row(each, now_ms) for each in first])
    if len(first) < len(states):
        output.line(f"... and {len(states) - len(first):,} that are less far behind: --all, --app, --node")


def _urgency(state: InstanceState) -> tuple[bool, bool, int]:
    """Unowned ones first, then those that move, then those furthest behind."""
    return (state.owner is not None, not state.is_moving, -(state.behind_ms or 0))


def _clock(ms: int | None, now_ms: int) -> str | None:
    """Return the time of day; with the date where it is not clear which day."""
    if ms is None:
        return None
    return to_iso(ms)[11:23] if abs(now_ms - ms) < _HALF_A_DAY_MS else to_iso(ms)


def _to_row(state: InstanceState, now_ms: int) -> list[str | int | None]:
    return [
        str(state.instance),
        state.owner or "unowned",
        None if state.behind_ms is None else to_span(state.behind_ms),
        state.target if state.is_moving else None,
        None if state.epoch is None else str(state.epoch),
        *(_clock(ms, now_ms) for ms in (state.front_ms, state.sealed_ms, state.settled_ms)),
    ]


def ring_to_json(report: RingReport, states: Sequence[InstanceState]) -> Mapping[str, object]:
    """Return the report for `--json`; slots are ISO 8601, as everywhere."""
    return {
        "now": to_iso(report.now_ms),
        "imbalance": round(report.imbalance, 4),
        "ringImbalance": round(report.ring_imbalance, 4),
        "moving": len(report.moves),
        "unowned": len(report.unowned),
        "nodes": [
            {
                "node": load.node,
                "capacity": load.capacity,
                "drained": load.is_drained,
                "owned": load.owned,
                "wanted": load.wanted,
            }
            for load in report.nodes
        ],
        "instances": [
            {
                "instance": str(each.instance),
                "owner": each.owner,
                "target": each.target,
                "epoch": each.epoch,
                "front": _iso(each.front_ms),
                "sealed": _iso(each.sealed_ms),
                "settled": _iso(each.settled_ms),
                "behindMs": each.behind_ms,
            }
            for each in states
        ],
    }


def simulation_to_json(simulation: Simulation) -> Mapping[str, object]:
    """Return the simulation for `--json`."""
    return {
        "before": simulation.before,
        "after": simulation.after,
        "imbalanceBefore": round(simulation.imbalance_before, 4),
        "imbalanceAfter": round(simulation.imbalance_after, 4),
        "moves": [
            {"instance": move.instance, "source": move.source, "target": move.target}
            for move in simulation.moves
        ],
    }


def _iso(ms: int | None) -> str | None:
    return None if ms is None else to_iso(ms)
