"""`ringctl resize`: change how many partitions an app has, while it works."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import click

from ringtime_ringctl.deployment.context import Deployment
from ringtime_ringctl.deployment.ownership import fetch_snapshot
from ringtime_ringctl.output import Bar, Output
from ringtime_ringctl.resize import steps
from ringtime_ringctl.resize.evidence import fetch_holdings, find_unowned
from ringtime_ringctl.resize.plan import Plan, plan_resize
from ringtime_ringctl.resize.runner import Progress, Resizer, Unfinished
from ringtime_ringctl.resize.steps import Step, next_step
from ringtime_ringctl.resize.views import plan_to_json, show_plan
from ringtime_ringctl.shell import RingctlCommand, WaitExpired, deployed
from ringtime_ringctl.sizing import Advice, advise
from ringtime_ringctl.times import read_whole
from ringtime_shared.errors import InvalidRequest, NotFound
from ringtime_shared.models.app import App, Instance

TIMEOUT_S = 90.0
WAIT_S = 3_600.0


@click.command("resize", cls=RingctlCommand)
@click.argument("app_id", metavar="APP")
@click.option("--partitions", metavar="N", help="The quota the app is to have.")
@click.option(
    "--rpm", metavar="R", help="Instead: the quota for so many callbacks a minute, and why it is that."
)
@click.option("--apply", "is_applied", is_flag=True, help="Do it. Without: print what it would do.")
@click.option("--resume", "is_resumed", is_flag=True, help="Go on with the resize that is under way.")
@click.option("--abort", "is_aborted", is_flag=True, help="Give it up: back to the quota before.")
@click.option(
    "--wait",
    "is_waiting",
    is_flag=True,
    help="Shrinking: wait until the rows ahead in the old partitions have fired, and release them.",
)
@click.option(
    "--timeout",
    "timeout_s",
    type=click.FloatRange(min=0),
    metavar="SECONDS",
    help="How long to try; then the exit code is 3, and --resume goes on."
    f" Default: {TIMEOUT_S:.0f}, with --wait {WAIT_S:,.0f}.",
)
@click.option("--all", "is_all", is_flag=True, help="Show every poller instance of the plan.")
def resize(
    app_id: str,
    partitions: str | None,
    rpm: str | None,
    is_applied: bool,
    is_resumed: bool,
    is_aborted: bool,
    is_waiting: bool,
    timeout_s: float | None,
    is_all: bool,
) -> None:
    """Change an app's quota while it works. Nothing is lost, and nothing is late.

    More partitions: they are polled, then owned, then opened to creates. Fewer: creates leave the old ones at
    once; each goes on firing what it has, and all are released when none has anything left. Killed half way,
    the app works on as it is; --resume or --abort, by anybody, ends it. Without a quota it says how far the
    resize is that is under way.

    \b
    Examples:
      ringctl resize pay --partitions 16
      ringctl resize pay --partitions 16 --apply
      ringctl resize pay --partitions 4 --apply --wait --timeout 600
      ringctl resize pay --rpm 50000
      ringctl resize pay --resume --wait
    """
    if sum((partitions is not None, rpm is not None, is_resumed, is_aborted)) > 1:
        raise click.UsageError("give one of --partitions, --rpm, --resume and --abort")
    if is_applied and partitions is None and rpm is None:
        raise click.UsageError("--apply needs --partitions or --rpm")
    wanted = None if partitions is None else read_count("partitions", partitions)
    rate = None if rpm is None else read_count("rpm", rpm)
    most_s = (WAIT_S if is_waiting else TIMEOUT_S) if timeout_s is None else timeout_s
    if is_aborted:
        abort(app_id)
    elif is_resumed:
        carry_on(app_id, is_waiting, most_s)
    elif wanted is None and rate is None:
        show_state(app_id)
    elif is_applied:
        apply(app_id, wanted, rate, is_waiting, most_s)
    else:
        plan(app_id, wanted, rate, is_all)


def read_count(option: str, text: str) -> int:
    """Read a whole number. Raises InvalidRequest: one line, where click would print three."""
    try:
        return read_whole(text)
    except ValueError as error:
        raise InvalidRequest.of(option, str(error)) from None


@deployed
async def plan(
    deployment: Deployment, output: Output, app_id: str, wanted: int | None, rate: int | None, is_all: bool
) -> None:
    """Say what a resize would do. Changes nothing."""
    advice, quota = _quota_of(deployment, wanted, rate)
    plan = await make_plan(deployment, app_id, quota)
    if output.is_json:
        output.data(plan_to_json(plan, advice))
        return
    if advice is not None:
        output.line(advice.why())
    show_plan(output, plan, is_all=is_all)


@deployed
async def apply(
    deployment: Deployment,
    output: Output,
    app_id: str,
    wanted: int | None,
    rate: int | None,
    is_waiting: bool,
    timeout_s: float,
) -> None:
    """Begin a resize and carry it out."""
    advice, quota = _quota_of(deployment, wanted, rate)
    if advice is not None and not output.is_json:
        output.line(advice.why())
    with output.progress(f"resizing {app_id}", None) as bar:
        resizer = Resizer(deployment, app_id, lambda progress: _show(bar, progress))
        before = await resizer.fetch()
        begun = await resizer.begin(quota)
        if begun.resize is None:
            _tell(output, begun, before=begun, done=False)
            return
        done = await _finish(resizer, begun, is_waiting, timeout_s)
        await resizer.until_let_go(_let_go(before, done))
    _tell(output, done, before=before, done=True)


@deployed
async def carry_on(
    deployment: Deployment, output: Output, app_id: str, is_waiting: bool, timeout_s: float
) -> None:
    """Take the resize that is under way over and carry it out."""
    with output.progress(f"resizing {app_id}", None) as bar:
        resizer = Resizer(deployment, app_id, lambda progress: _show(bar, progress))
        before = await resizer.fetch()
        if before.resize is None:
            _tell(output, before, before=before, done=False)
            return
        done = await _finish(resizer, await resizer.resume(), is_waiting, timeout_s)
        await resizer.until_let_go(_let_go(before, done))
    _tell(output, done, before=before, done=True)


@deployed
async def abort(deployment: Deployment, output: Output, app_id: str) -> None:
    """Give the resize that is under way up."""
    resizer = Resizer(deployment, app_id)
    before = await resizer.fetch()
    if before.resize is None:
        _tell(output, before, before=before, done=False)
        return
    done = await resizer.abort()
    await resizer.until_let_go(_let_go(before, done))
    _tell(output, done, before=before, done=True)


@deployed
async def show_state(deployment: Deployment, output: Output, app_id: str) -> None:
    """Say how far the resize is that is under way."""
    app = await Resizer(deployment, app_id).fetch()
    if app.resize is None:
        _tell(output, app, before=app, done=False)
        return
    plan = await make_plan(deployment, app_id, app.resize.quota)
    if output.is_json:
        output.data(plan_to_json(plan, None))
        return
    output.line(f"{steps.describe(app)}; {await _waits_for(deployment, app)}")
    show_plan(output, plan, is_all=False)


async def _waits_for(deployment: Deployment, app: App) -> str:
    if next_step(app) is Step.RELEASE:
        return "it waits for the old partitions to be empty"
    unowned = await find_unowned(deployment.store, app) if app.active else []
    return f"{len(unowned):,} of {len(steps.added(app)):,} new partitions are not owned yet"


async def make_plan(deployment: Deployment, app_id: str, quota: int) -> Plan:
    """Return what resizing an app to `quota` comes to, or what is left of it.

    Raises InvalidRequest, NotFound, StoreUnavailable.
    """
    steps.check_quota(quota, deployment.settings.limits)
    snapshot = await fetch_snapshot(deployment, with_marks=False)
    app = next((each for each in snapshot.apps if each.app_id == app_id), None)
    if app is None:
        raise NotFound("app", app_id)
    holdings = await fetch_holdings(
        deployment.store,
        app,
        [Instance(app_id, partition) for partition in range(quota, app.polled)],
        now_ms=snapshot.now_ms,
        limits=deployment.settings.limits,
    )
    ingest = deployment.settings.ingest
    quiet_ms = ingest.map_age_ms + ingest.write_deadline_ms
    return plan_resize(snapshot, app, quota, holdings, quiet_ms=quiet_ms)


async def _finish(resizer: Resizer, begun: App, is_waiting: bool, timeout_s: float) -> App:
    how = f"`ringctl resize {begun.app_id} --resume` goes on, `--abort` gives it up"
    try:
        return await resizer.finish(begun, timeout_s=timeout_s, is_waiting=is_waiting)
    except Unfinished as error:
        raise WaitExpired(f"{error}; {how}") from error
    except asyncio.CancelledError:  # Ctrl-C
        click.echo(f"Interrupted; {how}", err=True)
        raise


def _quota_of(deployment: Deployment, wanted: int | None, rate: int | None) -> tuple[Advice | None, int]:
    limits = deployment.settings.limits
    if rate is not None:
        advice = advise(rate, limits)
        return advice, advice.quota
    quota = wanted or 0
    steps.check_quota(quota, limits)
    return None, quota


def _let_go(before: App, after: App) -> list[Instance]:
    """Return the poller instances that were polled and are so no more."""
    return [Instance(after.app_id, partition) for partition in range(after.polled, before.polled)]


def _show(bar: Bar, progress: Progress) -> None:
    bar.show(progress.done, progress.text)


def _tell(output: Output, app: App, *, before: App, done: bool) -> None:
    if output.is_json:
        output.data(_to_json(app, before, done))
    elif not done:
        output.line(f"{app.app_id} has {app.writable:,} partitions and no resize under way: nothing to do")
    else:
        output.line(f"{app.app_id} has {app.writable:,} partitions")


def _to_json(app: App, before: App, done: bool) -> Mapping[str, object]:
    return {
        "appId": app.app_id,
        "changed": done,
        "partitions": app.writable,
        "polled": app.polled,
        "before": {"partitions": before.writable, "polled": before.polled},
    }
