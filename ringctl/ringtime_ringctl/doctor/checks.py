"""The checks of `ringctl doctor`: what was found, and what to do about it. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import NamedTuple

from ringtime_ringctl.deployment.ownership import InstanceState, RingReport, Snapshot
from ringtime_ringctl.deployment.probes import Health, relative_skews
from ringtime_ringctl.doctor.passed_over import PassedOver
from ringtime_ringctl.times import to_span
from ringtime_shared.api.instants import to_iso
from ringtime_shared.buckets import BUCKET_MS, bucket_of, last_slot
from ringtime_shared.encryption.records import PLAIN, keys_of_app
from ringtime_shared.models.app import App
from ringtime_shared.models.damage import Damage
from ringtime_shared.models.recurring import Definition
from ringtime_shared.parts import PartMap
from ringtime_shared.stores.protocol import IndexEntry

SKEW_WARN_MS = 250  #: as much as a callback may be late in steady state
SKEW_FAIL_MS = 2_000
SEALED_BEHIND_MS = 180_000  #: one with rows is sealed some seconds after its minute
IDLE_SPARE_MS = 120_000  #: an idle one, within this after its turn: `dispatch.idle_seal_minutes`
SETTLED_BEHIND_MS = 900_000  #: no attempt may take that long
BUCKET_WARN, BUCKET_FAIL = 10_000, 50_000  #: rows of one partition in one minute
NEW_APP_MS = 15_000  #: until its poller instances should have owners
RESIZE_MS = 1_800_000  # and of a change of the parts
DELETION_MS = 600_000
MAX_DAMAGE = 1_000  #: notes that are read
MAX_NAMED = 5  #: recurring schedules, in one line
MARKS_AHEAD_MS = 10_000  #: twice `clock.max_skew_ms`


class State(StrEnum):
    """How a check ended."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


class Finding(NamedTuple):
    """One line of the doctor's report."""

    check: str
    state: State
    found: str
    advice: str = ""


def check_schema(there: int, needed: int) -> Finding:
    """Of a schema that may be used: a later one whose steps only add may."""
    if there == needed:
        return Finding("schema", State.OK, f"version {there}")
    if there > needed:
        found = f"version {there}, made by a later release; this one knows {needed}"
        return Finding("schema", State.OK, found)
    found = f"version {there}, this Ringtime needs {needed}"
    return Finding("schema", State.FAILED, found, "run `ringtime migrate`")


def check_nodes(snapshot: Snapshot, healths: Sequence[Health]) -> list[Finding]:
    """Whether there are nodes, and each says that it can work."""
    if not snapshot.view.members:
        advice = "start a dispatcher, or `ringtime serve` on this folder: nothing fires until then"
        return [Finding("nodes", State.FAILED, "no node is in the ring", advice)]
    findings = []
    is_any_reached = any(each.is_reached for each in healths)
    for each in healths:
        if not each.is_reached:
            # Where none answers it is rather the way from here; where others do, it is rather the node.
            state = State.FAILED if is_any_reached else State.WARNING
            advice = "look whether it runs; its `node.address` must be reachable from here to be checked"
            findings.append(Finding("nodes", state, f"{each.node} cannot be asked: {each.reason}", advice))
        elif not each.is_ready:
            advice = "its servers may be away, or its lease lost; its log says more"
            findings.append(
                Finding("nodes", State.FAILED, f"{each.node} is not ready: {each.reason}", advice)
            )
    ready = sum(each.is_ready for each in healths)
    answers = f", {ready:,} of {len(healths):,} asked are ready" if healths else ""
    return findings or [Finding("nodes", State.OK, f"{len(snapshot.view.members):,} in the ring{answers}")]


def check_versions(versions: Mapping[str, str]) -> Finding:
    """Whether all nodes run one version; some run another while they are upgraded."""
    counts = Counter(version or "a version it does not tell" for version in versions.values())
    told = ", ".join(f"{count:,} run{'s' * (count == 1)} {name}" for name, count in counts.items())
    if len(counts) < 2:
        return Finding("versions", State.OK, told or "no node")
    return Finding("versions", State.WARNING, told, "finish the upgrade, or go back: docs/upgrade.md")


def check_clocks(healths: Sequence[Health]) -> list[Finding]:
    """Whether the clocks of nodes, servers and this machine agree; a callback leaves by its node's clock."""
    doubts = {each.node: each.doubt_ms for each in healths}
    skews = relative_skews(list(healths))
    if len(skews) == 1:
        return [Finding("clocks", State.OK, "no node told its time, so there is nothing to compare")]
    findings = []
    for name, skew_ms in sorted(skews.items()):
        sure_ms = abs(skew_ms) - doubts.get(name, 0.0)
        if sure_ms > SKEW_WARN_MS:
            where = "this machine" if name == "here" else name
            findings.append(
                Finding(
                    "clocks",
                    State.FAILED if sure_ms > SKEW_FAIL_MS else State.WARNING,
                    f"the clock of {where} is {skew_ms:+,.0f} ms off the middle one",
                    "set it right (chrony, ntpd): what it fires is that much early or late, and a node that"
                    " is off by more than `clock.max_skew_ms` fires nothing",
                )
            )
    widest = max(abs(skew) for skew in skews.values())
    return findings or [Finding("clocks", State.OK, f"{len(skews):,} agree within {widest:,.0f} ms")]


def check_ownership(report: RingReport, apps: Sequence[App]) -> list[Finding]:
    """Whether every poller instance has an owner, and the right one; a new app's need a moment."""
    total = len(report.instances)
    new = {app.app_id for app in apps if report.now_ms - app.created_ms < NEW_APP_MS}
    unowned = [each for each in report.unowned if each.instance.app_id not in new]
    if unowned:
        what = f"{len(unowned):,} of {total:,} poller instances have no owner: {_some(unowned)}"
        advice = (
            "look again in 15 s: a lease may just have ended; if it stays so, start dispatchers, or raise"
            " dispatch.max_owned where a node's log says that it may own no more"
        )
        return [Finding("ownership", State.FAILED, what, advice)]
    if report.unowned:
        what = f"{len(report.unowned):,} of {total:,} have none yet: their apps were registered just now"
        return [Finding("ownership", State.OK, what)]
    moving = f", {len(report.moves):,} on their way to another node" if report.moves else ""
    return [Finding("ownership", State.OK, f"all {total:,} poller instances have an owner{moving}")]


def idle_behind_ms(idle_seal_minutes: int) -> int:
    """Return how far `sealed` of a poller instance without rows may be behind."""
    return idle_seal_minutes * BUCKET_MS + IDLE_SPARE_MS


def minutes_to_tell(report: RingReport, idle_ms: int) -> tuple[int, int] | None:
    """Return the first and the last bucket whose index tells which poller instances are behind for they are
    idle; None: there are none to tell."""
    now_ms = report.now_ms
    sealed_ms = [
        each.sealed_ms
        for each in report.instances
        if each.owner is not None
        and each.sealed_ms is not None
        and SEALED_BEHIND_MS < now_ms - each.sealed_ms <= idle_ms
    ]
    first, last = bucket_of(min(sealed_ms, default=now_ms) + 1), bucket_of(now_ms - SEALED_BEHIND_MS) - 1
    return (first, last) if first <= last else None


def check_marks(
    report: RingReport,
    most_ahead_ms: int = MARKS_AHEAD_MS,
    *,
    idle_ms: int = SEALED_BEHIND_MS,
    entries: Iterable[IndexEntry] = (),
) -> list[Finding]:
    """Whether the marks of owned poller instances keep up with now, and none is ahead of it.

    Args:
        most_ahead_ms: as far as clocks that are relied on may differ.
        idle_ms: as far as `sealed` may be behind where there are no rows; `settled` may be twice that.
        entries: of the index of `minutes_to_tell`, read after the marks.
    """
    now_ms = report.now_ms
    last_rows = {instance: bucket for bucket, instance in sorted(entries)}
    owned = [each for each in report.instances if each.owner is not None]
    unmarked = [each for each in owned if each.sealed_ms is None]
    behind = [each for each in owned if _is_stuck(each, now_ms, idle_ms, last_rows.get(each.instance))]
    stuck = {each.instance for each in behind}
    open_long = [
        each
        for each in owned
        if each.instance not in stuck
        and _behind(each.settled_ms, now_ms) > max(SETTLED_BEHIND_MS, 2 * idle_ms)
    ]
    ahead = [
        each
        for each in report.instances
        if max(-_behind(mark_ms, report.now_ms) for mark_ms in (each.sealed_ms, each.settled_ms))
        > most_ahead_ms
    ]
    findings = []
    if ahead:
        findings.append(_ahead(ahead, report.now_ms))
    if unmarked:
        advice = (
            "their app was registered by hand, or the rows were deleted or damaged: the next owner writes"
            " them anew, see docs/ringctl.md"
        )
        what = f"{len(unmarked):,} have no marks that can be read: {_some(unmarked)}"
        findings.append(Finding("marks", State.FAILED, what, advice))
    if behind:
        findings.append(_stuck("sealed", behind, report.now_ms))
    if open_long:
        findings.append(_stuck("settled", open_long, report.now_ms))
    return findings or [Finding("marks", State.OK, "every owned poller instance keeps up")]


def _is_stuck(state: InstanceState, now_ms: int, idle_ms: int, last_rows: int | None) -> bool:
    """Whether `sealed` is further behind than it should be.

    Args:
        last_rows: the last bucket with rows of it, of those that should be sealed by now.
    """
    behind_ms = _behind(state.sealed_ms, now_ms)
    has_rows = last_rows is not None and last_slot(last_rows) > (state.sealed_ms or 0)
    return behind_ms > (SEALED_BEHIND_MS if has_rows else max(idle_ms, SEALED_BEHIND_MS))


def _ahead(states: Sequence[InstanceState], now_ms: int) -> Finding:
    furthest_ms = max(-_behind(each.sealed_ms, now_ms) for each in states)
    what = (
        f"the marks of {len(states):,} poller instances are up to {to_span(furthest_ms)} ahead of now:"
        f" {_some(states)}; creates for that time are refused, or not seen"
    )
    advice = (
        "look at `clocks` first: the clock that set them was wrong, or this machine's is; then restart their"
        " owners, one after the other: a new owner lowers the marks and reads again what lies there"
    )
    return Finding("marks", State.FAILED, what, advice)


def check_passed_over(passed: PassedOver, look_back_ms: int) -> Finding:
    """Whether schedules without an outcome lie where nobody looks any more."""
    since = f"of the last {to_span(look_back_ms)}"
    rest = "; not all minutes were looked at" if passed.is_partial else ""
    if not passed.rows:
        return Finding("passed over", State.OK, f"no schedule {since} lies under `settled` unfired{rest}")
    named = ", ".join(str(row.schedule.schedule_id) for row in passed.rows[:3])
    count = f"{'at least ' if passed.is_partial else ''}{len(passed.rows):,}"
    return Finding(
        "passed over",
        State.FAILED,
        f"{count} schedules {since} have no outcome and lie under `settled`: {named}{rest}",
        "where `marks` are ahead, do first what it says there: the next owner fires them; otherwise nobody"
        " will: `ringctl explain ID` shows each, create them again",
    )


def _stuck(mark: str, states: Sequence[InstanceState], now_ms: int) -> Finding:
    slots = {each: each.sealed_ms if mark == "sealed" else each.settled_ms for each in states}
    furthest = max(states, key=lambda each: _behind(slots[each], now_ms))
    owners = Counter(each.owner or "" for each in states)
    owner, count = owners.most_common(1)[0]
    what = (
        f"`{mark}` of {len(states):,} poller instances is behind, of {furthest.instance} by"
        f" {to_span(_behind(slots[furthest], now_ms))}; {owner} owns {count:,} of them"
    )
    if mark == "sealed":
        advice = (
            "look again in a minute (`ringctl ring`): BEHIND that falls is a backlog that is being worked"
            f" off; if it stands still, `ringctl drain {owner} --wait` and restart it"
        )
        return Finding("marks", State.FAILED, what, advice)
    advice = (
        "a delivery is open that long: look for hanging callbacks and for store errors in the owner's log"
    )
    return Finding("marks", State.WARNING, what, advice)


def check_damage(apps: Sequence[App], notes: Sequence[Damage]) -> list[Finding]:
    """Whether something that is stored cannot be read.

    Args:
        notes: of records that were met, newest first, at most `MAX_DAMAGE` of them.
    """
    findings = [
        Finding(
            "damage",
            State.FAILED,
            f"app {app.app_id} cannot be read: {app.damage}",
            "its creates are refused, and a node that starts does not fire for it: mend the cell, see"
            " docs/ringctl.md",
        )
        for app in apps
        if app.damage
    ]
    if notes:
        count = f"{len(notes):,}" if len(notes) < MAX_DAMAGE else f"{MAX_DAMAGE:,} or more"
        last = notes[0]
        findings.append(
            Finding(
                "damage",
                State.WARNING,
                f"{count} stored records could not be read in the last 30 days, of"
                f" {_named(note.app_id for note in notes)}; the last at {to_iso(last.found_ms)}:"
                f" {last.table} {last.key}: {last.fault}",
                "look at disk and memory, and at who writes into the store; what was not sent is among the"
                " dead letters, see docs/ringctl.md",
            )
        )
    return findings or [Finding("damage", State.OK, "every record that was met can be read")]


def check_secrets(apps: Sequence[App], *, has_ring: bool) -> Finding:
    """Whether secrets of apps lie in the store as plain text.

    Args:
        apps: as they are stored.
        has_ring: the settings name a key ring.
    """
    plain = [app.app_id for app in apps if not app.damage and PLAIN in keys_of_app(app)]
    if plain:
        what = f"signing secrets, or credentials of hooks, of {_named(plain)} are stored as plain text"
        advice = "`ringctl secrets rotate --apply`" if has_ring else "give every process a key ring"
        return Finding("secrets", State.WARNING, what, f"{advice}; see docs/secrets.md")
    what = "those of apps are stored encrypted" if has_ring else "no app has any; there is no key ring"
    return Finding("secrets", State.OK, what)


def check_buckets(counts: Mapping[IndexEntry, int], passed_over: int) -> list[Finding]:
    """Whether some minute of a partition holds more rows than it should.

    Args:
        passed_over: how many buckets further ahead were not counted.
    """
    large = sorted(((count, entry) for entry, count in counts.items() if count > BUCKET_WARN), reverse=True)
    rest = f"; {passed_over:,} further ahead were not counted" if passed_over else ""
    if not large:
        return [Finding("buckets", State.OK, f"none of {len(counts):,} over {BUCKET_WARN:,} rows{rest}")]
    count, entry = large[0]
    more = "at least " if count > BUCKET_FAIL else ""
    return [
        Finding(
            "buckets",
            State.FAILED if count > BUCKET_FAIL else State.WARNING,
            f"{len(large):,} hold more than {BUCKET_WARN:,} rows; {entry.instance} has {more}{count:,} at"
            f" {to_iso(entry.bucket * 60_000)[:16]}Z{rest}",
            f"give {entry.instance.app_id} more partitions, as `ringctl forecast {entry.instance.app_id}`"
            " says; rows that are filed stay where they are",
        )
    ]


def check_drains(snapshot: Snapshot) -> list[Finding]:
    """Drains that may have been forgotten."""
    members, drained = snapshot.view.members, snapshot.view.drained
    findings = []
    if members and members.keys() <= drained:
        advice = "undrain those that are to work: as it is, the drains have no effect"
        findings.append(Finding("drains", State.WARNING, "every node is drained", advice))
    findings += [
        Finding(
            "drains",
            State.WARNING,
            f"{node} is drained, but no member of the ring",
            f"`ringctl undrain {node}`, or it will own nothing when it comes back",
        )
        for node in sorted(drained - members.keys())
    ]
    there = len(drained & members.keys())
    return findings or [Finding("drains", State.OK, f"{there:,} nodes are drained" if there else "none")]


class OpenChange(NamedTuple):
    """A change of an app in several steps, none of which needs the one who began it to stay."""

    what: str  #: `pay goes from 4 to 8`
    begun_ms: int
    advice: str
    more: str = ""  #: after the time


def check_resizes(snapshot: Snapshot) -> list[Finding]:
    """Resizes that were begun and left alone."""
    changes = [
        OpenChange(
            f"{app.app_id} goes from {app.resize.before:,} to {app.resize.quota:,}",
            app.resize.begun_ms,
            f"`ringctl resize {app.app_id} --resume` goes on with it, `--abort` gives it up",
            f", begun by {app.resize.operator}",
        )
        for app in snapshot.apps
        if app.resize is not None
    ]
    return _check_left_alone("resizes", changes, snapshot.now_ms, RESIZE_MS)


def check_deletions(snapshot: Snapshot) -> list[Finding]:
    """Deletions of apps that were begun and left alone."""
    changes = [
        OpenChange(
            f"{app.app_id} is being deleted",
            app.deletion.begun_ms,
            f"`ringctl apps delete {app.app_id} --apply` goes on with it",
        )
        for app in snapshot.apps
        if app.deletion is not None
    ]
    return _check_left_alone("deletions", changes, snapshot.now_ms, DELETION_MS)


def check_chains(broken: Sequence[Definition], looked_at: int, *, is_partial: bool) -> Finding:
    """Whether each recurring schedule that is active has a run to come."""
    rest = "; not all were looked at" if is_partial else ""
    if not broken:
        found = f"{looked_at:,} of {looked_at:,} that are active have a run to come{rest}"
        return Finding("recurring", State.OK, found)
    named = [f"{each.app_id}/{each.name or each.recurring_id}" for each in broken[:MAX_NAMED]]
    more = f" and {len(broken) - len(named):,} more" if len(broken) > len(named) else ""
    what = f"{len(broken):,} of {looked_at:,} make no more runs: {', '.join(named)}{more}{rest}"
    damaged = sum(bool(each.damage) for each in broken)
    advice = "`ringctl recurring repair APP --apply` starts them again"
    if damaged:
        advice += f"; {damaged:,} cannot be read: put each anew by its name"
    return Finding("recurring", State.FAILED, what, advice)


def check_parts(parts: PartMap, now_ms: int) -> list[Finding]:
    """A change of the parts of the index that was begun and left alone."""
    changes = (
        [
            OpenChange(
                f"the index is read in {parts.read[0]:,} and {parts.read[1]:,} parts",
                parts.change.begun_ms,
                "`ringctl parts --resume` goes on with the change, `--abort` gives it up",
                f", begun by {parts.change.operator}",
            )
        ]
        if parts.change is not None
        else []
    )
    return _check_left_alone("parts", changes, now_ms, RESIZE_MS)


def _check_left_alone(check: str, changes: Sequence[OpenChange], now_ms: int, most_ms: int) -> list[Finding]:
    """Warn of what has taken longer than `most_ms`: nobody goes on with it."""
    warnings = [
        Finding(check, State.WARNING, f"{what} since {to_span(now_ms - begun_ms)}{more}", advice)
        for what, begun_ms, advice, more in changes
        if now_ms - begun_ms > most_ms
    ]
    return warnings or [
        Finding(check, State.OK, f"{len(changes):,} under way" if changes else "none under way")
    ]


def _behind(slot_ms: int | None, now_ms: int) -> int:
    return 0 if slot_ms is None else now_ms - slot_ms


def _named(app_ids: Iterable[str], most: int = 3) -> str:
    names = list(dict.fromkeys(app_ids))
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "")


def _some(states: Sequence[InstanceState], most: int = 3) -> str:
    named = ", ".join(str(each.instance) for each in states[:most])
    return named + (", ..." if len(states) > most else "")
