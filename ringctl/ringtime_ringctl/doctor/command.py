"""`ringctl doctor`: is everything as it should be, and if not, what to do."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable
from pathlib import Path

import click

from ringtime_ringctl.deployment.context import Context, Deployment, open_coordination
from ringtime_ringctl.deployment.ownership import (
    RingReport,
    Snapshot,
    fetch_snapshot,
    node_versions,
    report_ring,
)
from ringtime_ringctl.deployment.probes import fetch_health, read_time
from ringtime_ringctl.doctor.checks import (
    BUCKET_FAIL,
    MAX_DAMAGE,
    Finding,
    State,
    check_buckets,
    check_chains,
    check_clocks,
    check_damage,
    check_deletions,
    check_drains,
    check_marks,
    check_nodes,
    check_ownership,
    check_parts,
    check_passed_over,
    check_resizes,
    check_schema,
    check_secrets,
    check_versions,
    idle_behind_ms,
    minutes_to_tell,
)
from ringtime_ringctl.doctor.folder import check_folder
from ringtime_ringctl.doctor.passed_over import find_passed_over
from ringtime_ringctl.output import Column, Output
from ringtime_ringctl.shell import UNHEALTHY, RingctlCommand
from ringtime_shared.buckets import bucket_of
from ringtime_shared.errors import RingtimeError, StartupError
from ringtime_shared.models.recurring import Definition
from ringtime_shared.schedules.buckets_ahead import count_entries, read_entries
from ringtime_shared.schedules.chain_repair import find_broken
from ringtime_shared.settings import Settings

MAX_CHAINS = 20_000  #: recurring schedules that are looked at
MAX_BROKEN = 1_000
MAX_COUNTED = 5_000  #: buckets; the nearest are counted first
BACK_MINUTES, AHEAD_MINUTES = 60, 1_440
STEPS = 6


@click.command("doctor", cls=RingctlCommand)
@click.pass_context
def doctor(context: click.Context) -> None:
    """Check servers, nodes, clocks, owners, marks, damage, rows, recurring schedules, buckets, changes.

    The exit code is 4 if something failed; warnings alone leave it 0. It changes nothing.

    \b
    Examples:
      ringctl doctor
      ringctl doctor --json | jq -r '.findings[] | select(.state != "ok") | .found'
    """
    ours = context.ensure_object(Context)
    output = Output(is_json=ours.is_json, is_plain=ours.is_plain)
    findings = asyncio.run(examine(ours, output))
    if output.is_json:
        output.data({"findings": [each._asdict() for each in findings]})
    else:
        show(output, findings)
    if any(each.state is State.FAILED for each in findings):
        context.exit(UNHEALTHY)


def show(output: Output, findings: list[Finding]) -> None:
    """Write the findings, then what to do."""
    output.table(
        (Column("CHECK"), Column("STATE"), Column("FOUND", folds=True)),
        [(each.check, each.state.value, each.found) for each in findings],
    )
    advised = [each for each in findings if each.advice]
    if advised:
        output.line()
        output.line("What to do:")
        for each in advised:
            output.line(f"  {each.check}: {each.advice}")


async def examine(context: Context, output: Output) -> list[Finding]:
    """Run all checks; a server that is away is a finding, and ends those that need it."""
    data = context.load_settings().embedded.data
    findings = await asyncio.to_thread(check_folder, Path(data)) if data else []
    if any(each.state is State.FAILED for each in findings):
        return findings
    try:
        async with context.open() as deployment:
            return findings + await examine_open(deployment, output)
    except StartupError as error:
        reason = " ".join(str(error).split())
        advice = "start it, correct the settings, or bring its schema up to date; most was not checked"
        return [Finding("store", State.FAILED, reason, advice), *await _check_etcd(context.load_settings())]


async def examine_open(deployment: Deployment, output: Output) -> list[Finding]:
    """Run the checks on an open deployment."""
    with output.progress("servers", STEPS) as bar:
        findings = await _check_servers(deployment)
        if any(each.state is State.FAILED for each in findings):
            return findings
        findings.append(check_schema(*await deployment.store.fetch_schema()))
        bar.show(1, "ring and marks")
        snapshot = await fetch_snapshot(deployment)
        report = report_ring(snapshot, {})
        bar.show(2, "nodes")
        healths = await fetch_health(snapshot.view.members)
        times = [read_time(each, deployment.clock) for each in await deployment.store.fetch_times()]
        findings += check_nodes(snapshot, healths)
        statuses = await deployment.store.fetch_node_statuses()
        findings.append(check_versions(node_versions(snapshot.view, statuses)))
        findings += check_clocks([*healths, *times])
        trust = deployment.settings.clock
        findings += check_ownership(report, snapshot.apps)
        findings += await _check_marks(deployment, report)
        findings += check_damage(snapshot.apps, await deployment.store.fetch_damage(MAX_DAMAGE))
        kept = await deployment.kept.fetch_apps()
        findings.append(check_secrets(kept, has_ring=deployment.ring is not None))
        bar.show(3, "rows passed over")
        from_ms = snapshot.now_ms - trust.look_back_s * 1_000
        passed = await find_passed_over(deployment.store, snapshot.marks, from_ms=from_ms)
        findings.append(check_passed_over(passed, trust.look_back_s * 1_000))
        bar.show(4, "recurring schedules")
        findings.append(await _check_chains(deployment, snapshot))
        bar.show(5, "buckets")
        findings += await _check_buckets(deployment, snapshot)
        findings += check_drains(snapshot) + check_resizes(snapshot)
        findings += check_deletions(snapshot)
        if deployment.coordination is not None:
            findings += check_parts(await deployment.store.fetch_parts(), snapshot.now_ms)
        return findings


async def _check_chains(deployment: Deployment, snapshot: Snapshot) -> Finding:
    """Look at recurring schedules, app by app, a page at a time."""
    looked_at, broken = 0, list[Definition]()
    for app in snapshot.apps:
        async for part in find_broken(deployment.store, app.app_id, deployment.clock):
            looked_at += part.looked_at
            broken += part.broken
            if looked_at >= MAX_CHAINS or len(broken) >= MAX_BROKEN:
                return check_chains(broken, looked_at, is_partial=True)
    return check_chains(broken, looked_at, is_partial=False)


async def _check_marks(deployment: Deployment, report: RingReport) -> list[Finding]:
    """Read the index of some minutes, and so tell what is idle from what is stuck."""
    settings = deployment.settings
    idle_ms = idle_behind_ms(settings.dispatch.idle_seal_minutes)
    minutes = minutes_to_tell(report, idle_ms)
    entries = await deployment.store.fetch_index(*minutes) if minutes else ()
    return check_marks(report, 2 * settings.clock.max_skew_ms, idle_ms=idle_ms, entries=entries)


async def _check_servers(deployment: Deployment) -> list[Finding]:
    settings = deployment.settings
    cassandra = f"Cassandra at {', '.join(settings.cassandra.contact_points)}"
    where = f"SQLite in {settings.embedded.data}" if settings.embedded.data else cassandra
    return [await _timed("store", where, deployment.store.ping()), *await _check_etcd(settings)]


async def _check_etcd(settings: Settings) -> list[Finding]:
    """Ask etcd on a connection of its own, so that it is asked also when the store is away."""
    coordination = open_coordination(settings)
    if coordination is None:
        return []
    try:
        where = f"etcd at {', '.join(settings.coordination.endpoints)}"
        return [await _timed("etcd", where, coordination.fetch_drains())]
    finally:
        await coordination.close()


async def _timed(check: str, where: str, call: Awaitable[object]) -> Finding:
    begun_s = time.monotonic()
    try:
        await call
    except RingtimeError as error:
        return Finding(check, State.FAILED, " ".join(str(error).split()), "start it, or correct the settings")
    return Finding(check, State.OK, f"{where} answered in {(time.monotonic() - begun_s) * 1000:.0f} ms")


async def _check_buckets(deployment: Deployment, snapshot: Snapshot) -> list[Finding]:
    """Count what lies nearest to now, over all apps."""
    now = bucket_of(snapshot.now_ms)
    entries = [
        entry
        for app in snapshot.apps
        async for _, chunk in read_entries(
            deployment.store, app.app_id, now - BACK_MINUTES, now + AHEAD_MINUTES
        )
        for entry in chunk
    ]
    entries.sort(key=lambda entry: abs(entry.bucket - now))
    nearest = entries[:MAX_COUNTED]
    counts = await count_entries(deployment.store, nearest, most=BUCKET_FAIL + 1)
    return check_buckets(counts, len(entries) - len(nearest))
