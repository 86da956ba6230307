"""What is measured under goscheduler's names, for dashboards that were made for it: `metrics.goscheduler`.

Nothing is counted for it: each series is one of ours under another name. Where goscheduler has a label that
ours has not, its value is `all`: a series for each partition of each app would have no bound. The names of
its HTTP side are at the API's own `/metrics`, always.

| goscheduler | ours |
|---|---|
| `callback_status_count{appId,partitionId,status}` | ends and retries of the busiest apps |
| `callback_duration{appId,partitionId}` | `ringtime_attempt_seconds` |
| `poller_life_cycle{lifeCycleMethod,appId,partitionId}` | `ringtime_moves_total` |
| `get_schedules_by_entity{appId,partitionId}`, `get_schedules_by_entity_duration` | calls of `fetch_rows` |
| `get_schedules_by_entity_max_query_count` | 0: no read gives up before its end |
| `create_one_time_schedule{appId}` | `ringtime_create_seconds` |
| `request_app_status{request,appId,status}` | creates of the busiest apps |
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from prometheus_client.metrics_core import Metric
from prometheus_client.samples import Sample

from ringtime_shared.metrics.names import (
    APP_CREATES,
    APP_FIRES,
    APP_RETRIES,
    ATTEMPT,
    CREATE,
    MOVES,
    STORE,
    Instrument,
)

_ALL = "all"
_APP = {"appId": _ALL, "partitionId": _ALL}
_STATUS = {"success": "Success", "failure": "Fail", "miss": "", "shadow": ""}
_METHODS = {"in": "Start", "out": "Stop"}
_HISTOGRAM = ("_bucket", "_count", "_sum")
Labels = Mapping[str, str]
_NONE: Labels = {}


def goscheduler_families(families: Sequence[Metric]) -> Iterator[Metric]:
    """Yield its families, made from ours, as far as these have them."""
    found = defaultdict[str, list[Sample]](list)
    for family in families:
        for sample in family.samples:
            found[sample.name].append(sample)

    def of(instrument: Instrument) -> list[Sample]:
        return found.get(instrument.name, [])

    callbacks = [
        ({"appId": each.labels["app"], "partitionId": _ALL, "status": status}, each.value)
        for each in of(APP_FIRES)
        if (status := _STATUS[each.labels["result"]])
    ]
    callbacks += [
        ({"appId": each.labels["app"], "partitionId": _ALL, "status": "Retry"}, each.value)
        for each in of(APP_RETRIES)
    ]
    if callbacks:
        yield _counts("callback_status_count", "Callbacks by how they ended.", callbacks)
    if ATTEMPT.name + "_count" in found:
        yield _spread("callback_duration", "How long callbacks took, in seconds.", found, ATTEMPT, _APP)
    moves = [
        ({"lifeCycleMethod": _METHODS[each.labels["direction"]], **_APP}, each.value) for each in of(MOVES)
    ]
    if moves:
        yield _counts("poller_life_cycle", "Pollers that were started and stopped.", moves)
        reads = {"call": "fetch_rows"}
        about = "How long reads of due schedules took, in seconds."
        duration = _spread("get_schedules_by_entity_duration", about, found, STORE, _NONE, reads)
        if duration.samples:
            counts = [(_APP, each.value) for each in duration.samples if each.name.endswith("_count")]
            yield _counts("get_schedules_by_entity", "Reads of due schedules.", counts)
            yield duration
        about = "Reads that were given up before the end of what is due."
        yield _counts("get_schedules_by_entity_max_query_count", about, [(_NONE, 0)])
    if CREATE.name + "_count" in found:
        about = "How long creates of one-time schedules took, in seconds."
        yield _spread("create_one_time_schedule", about, found, CREATE, {"appId": _ALL})
    creates = [
        ({"request": "create_schedule", "appId": each.labels["app"], "status": "Success"}, each.value)
        for each in of(APP_CREATES)
    ]
    if creates:
        yield _counts("request_app_status", "Requests that an app got what it asked for.", creates)


def _counts(name: str, about: str, values: Sequence[tuple[Labels, float]]) -> Metric:
    """Return counts under a name without `_total`, which the library would not leave without."""
    family = Metric(name, about, "unknown")
    for labels, value in values:
        family.add_sample(name, dict(labels), value)
    return family


def _spread(
    name: str,
    about: str,
    found: Mapping[str, Sequence[Sample]],
    ours: Instrument,
    labels: Labels,
    only: Labels = _NONE,
) -> Metric:
    """Return one of our histograms under another name, with these labels; of its series those with `only`."""
    family = Metric(name, about, "histogram")
    for suffix in _HISTOGRAM:
        for sample in found.get(ours.name + suffix, ()):
            if only.items() <= sample.labels.items():
                bound = {"le": sample.labels["le"]} if suffix == "_bucket" else {}
                family.add_sample(name + suffix, {**labels, **bound}, sample.value)
    return family
