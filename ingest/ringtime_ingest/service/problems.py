"""What is wrong in a deployment, found in what its nodes say of themselves. Pure.

| word | is bad when | else |
|---|---|---|
| `no_nodes` | nobody said anything | |
| `node_silent` | a node said nothing for a while, and did not end in order | |
| `node_not_ready` | it has no lease, or its clock is in doubt | |
| `left_out` | poller instances have no owner | |
| `overdue` | the oldest row without an outcome is a minute late | ten seconds late |
| `missed` | something was missed in the last minute | |
| `given_up` | | something was given up in the last minute |
| `destination` | it is open or half open | slow, failing |
| `over_quota` | | an app has a minute ahead that its quota does not carry |
| `late` | | one attempt in 100 was more than five seconds late |
| `marks_behind` | | `settled` is a quarter of an hour behind |
| `app_damaged` | what is stored of an app cannot be read | |
| `resizing` | | the quota of an app is being changed |
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from ringtime_shared.api.instants import to_iso
from ringtime_shared.api.operating import MAX_PROBLEMS, DestinationView, NodeView, ProblemView
from ringtime_shared.models.app import App
from ringtime_shared.models.node_status import AppWork, OverQuota
from ringtime_shared.schedules.forecast import PER_PARTITION, quota_for

OVERDUE_WARN_MS, OVERDUE_BAD_MS = 10_000, 60_000
LATE_MS = 5_000
MARKS_MS = 900_000
_MOST_OF_A_KIND = 20
_MOST_OF_A_WORD = 6  #: apps named for one kind of what went wrong
_FIRES = (
    (
        "missed",
        "came too late to be sent: missed",
        "Look at the fires that were missed: the app's maxLateness, and what made them late.",
    ),
    (
        "late",
        "were sent more than 5 s late",
        "Look at its fires: a destination that is slow holds up its own rows, and a full node everybody's.",
    ),
    (
        "given_up",
        "were given up as failures",
        "Look at the dead letters: why they failed, and replay them when that is mended.",
    ),
)
_RESIZE = "Nothing, unless it stands still: `ringctl resize {0} --status` tells how far it is."


def find_problems(
    nodes: Sequence[NodeView],
    destinations: Sequence[DestinationView],
    over: Iterable[OverQuota],
    apps: Iterable[App],
    wrong: Iterable[AppWork] = (),
) -> list[ProblemView]:
    """Return them, the worst first.

    Args:
        over: apps whose quota does not carry a minute ahead.
        wrong: what went wrong of apps in the last minute, on each node.
    """
    of_apps = _of_fires(wrong)
    told = {each.word for each in of_apps}
    kinds = (
        _of_nodes(nodes),
        of_apps,
        [each for each in _of_work(nodes) if each.word not in told],
        _of_destinations(destinations),
        _of_quotas(over, known := {app.app_id: app for app in apps}),
        _of_apps(known.values()),
    )
    found = [each for kind in kinds for each in kind[:_MOST_OF_A_KIND]]
    return sorted(found, key=lambda each: each.severity != "bad")[:MAX_PROBLEMS]


def _of_nodes(nodes: Sequence[NodeView]) -> list[ProblemView]:
    if not nodes:
        return [
            ProblemView(
                word="no_nodes",
                severity="bad",
                told="No dispatcher says anything: it may be that nothing fires.",
                remedy="Start a dispatcher, or look why those that run do not reach the store;"
                " with node.status_ms = 0 they never say anything.",
            )
        ]
    found = []
    for each in nodes:
        if each.state == "silent":
            told = (
                f"{each.node} has said nothing for {each.silent_ms // 1_000} s and did not end in order;"
                f" it owned {each.owned:,} poller instances."
            )
            remedy = (
                "Others take these over by themselves. Look whether its process runs and reaches the store."
            )
            found.append(_bad("node_silent", told, remedy, node=each.node))
        elif each.state in ("not ready", "clock in doubt"):
            why = each.clock_doubt or "it has no lease, or does not know the apps"
            remedy = "Look at its log; `ringctl doctor` compares clocks and asks etcd."
            found.append(_bad("node_not_ready", f"{each.node} fires nothing: {why}.", remedy, node=each.node))
        if each.left_out and each.state != "silent":
            told = f"{each.left_out:,} poller instances have no owner: {each.node} may not own more."
            found.append(
                _bad(
                    "left_out", told, "Start another dispatcher, or raise dispatch.max_owned.", node=each.node
                )
            )
    return found


def _of_work(nodes: Sequence[NodeView]) -> list[ProblemView]:
    found = []
    for each in nodes:
        if each.state == "silent":
            continue
        late_s = each.oldest_due_ms // 1_000
        if each.oldest_due_ms >= OVERDUE_WARN_MS:
            told = (
                f"On {each.node} the oldest row without an outcome is {late_s} s late; {each.backlog:,} wait."
            )
            remedy = (
                "Look for a destination that is slow; else the node has too much to do: start another"
                " dispatcher, or raise dispatch.max_in_flight."
            )
            severity = "bad" if each.oldest_due_ms >= OVERDUE_BAD_MS else "warn"
            found.append(
                ProblemView(word="overdue", severity=severity, told=told, remedy=remedy, node=each.node)
            )
        elif each.lag_p99_ms is not None and each.lag_p99_ms > LATE_MS:
            told = (
                f"On {each.node} one first attempt in 100 was {each.lag_p99_ms / 1_000:.1f} s late or more."
            )
            found.append(_warn("late", told, "Look at its backlog, and at what is slow.", node=each.node))
        if each.missed_per_second:
            told = (
                f"On {each.node} {each.missed_per_second * 60:.0f} a minute came too late to be sent: missed."
            )
            remedy = "Look at the fires that were missed: the app's maxLateness, and what made them late."
            found.append(_bad("missed", told, remedy, node=each.node))
        if each.failed_per_second:
            told = f"On {each.node} {each.failed_per_second * 60:.0f} a minute were given up as failures."
            remedy = "Look at the dead letters: why they failed, and replay them when that is mended."
            found.append(_warn("given_up", told, remedy, node=each.node))
        if each.mark_age_ms >= MARKS_MS:
            behind_min = each.mark_age_ms // 60_000
            told = f"On {each.node} some poller instance is settled no further than {behind_min} min ago."
            remedy = "`ringctl ring --node` shows which; a row of it has no outcome, or the node is too slow."
            found.append(_warn("marks_behind", told, remedy, node=each.node))
    return found


def _of_fires(wrong: Iterable[AppWork]) -> list[ProblemView]:
    counts: dict[str, Counter[str]] = {}
    for each in wrong:
        counts.setdefault(each.app_id, Counter()).update(
            missed=each.missed, given_up=each.failed, late=each.late
        )
    found = []
    for word, what, remedy in _FIRES:
        make = _bad if word == "missed" else _warn
        worst = sorted(counts, key=lambda app_id: -counts[app_id][word])
        found += [
            make(
                word,
                f"{counts[app_id][word]:,} of {app_id} {what} in the last minute.",
                remedy,
                app_id=app_id,
            )
            for app_id in worst[:_MOST_OF_A_WORD]
            if counts[app_id][word]
        ]
    return found


def _of_destinations(destinations: Sequence[DestinationView]) -> list[ProblemView]:
    found = []
    for each in destinations:
        if each.state == "recovering":
            continue
        held = each.waiting + each.parked
        why = f" Last: {each.error}." if each.error else ""
        waits = f"; {held:,} of its rows wait" if held else ""
        told = f"{each.destination} of {each.app_id} is {each.state}{waits}.{why}"
        if each.state == "slow":
            remedy = "Ask who runs it to answer sooner, or have more attempts under way to it at once."
        else:
            remedy = "Ask who runs it; it is tried by itself, and what waits is sent when it answers."
        make = _bad if each.state in ("open", "half open") else _warn
        found.append(make("destination", told, remedy, app_id=each.app_id, destination=each.destination))
    return found


def _of_quotas(over: Iterable[OverQuota], apps: dict[str, App]) -> list[ProblemView]:
    found = []
    for each in over:
        app = apps.get(each.app_id)
        if app is None:
            continue
        told = (
            f"{each.app_id} has {each.due:,} or more due in the minute of {to_iso(each.minute_ms)[:16]}Z;"
            f" its quota of {app.writable:,} carries {app.writable * PER_PARTITION:,}."
        )
        remedy = f"Raise its quota: `ringctl resize {each.app_id} --partitions {quota_for(each.due)}`."
        found.append(_warn("over_quota", told, remedy, app_id=each.app_id))
    return found


def _of_apps(apps: Iterable[App]) -> list[ProblemView]:
    found = []
    for app in apps:
        if app.damage:
            told = f"What is stored of {app.app_id} cannot be read: {app.damage}."
            found.append(
                _bad("app_damaged", told, "Mend or delete it; nothing of it fires.", app_id=app.app_id)
            )
        elif app.resize is not None:
            before, quota = app.resize.before, app.resize.quota
            told = f"The quota of {app.app_id} is being changed from {before:,} to {quota:,}."
            found.append(_warn("resizing", told, _RESIZE.format(app.app_id), app_id=app.app_id))
    return found


def _bad(word: str, told: str, remedy: str, **about: str) -> ProblemView:
    return ProblemView(word=word, severity="bad", told=told, remedy=remedy, **about)


def _warn(word: str, told: str, remedy: str, **about: str) -> ProblemView:
    return ProblemView(word=word, severity="warn", told=told, remedy=remedy, **about)
