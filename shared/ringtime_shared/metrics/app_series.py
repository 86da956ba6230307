"""The families of the busiest apps, as they are read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate

from prometheus_client.metrics_core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from ringtime_shared.metrics.apps import CREATES, FAILURE, LAG, LAG_BOUNDS, LAG_S, MISS, RETRY, SUCCESS
from ringtime_shared.metrics.names import APP_CREATES, APP_FIRE_LAG, APP_FIRES, APP_RETRIES, Role
from ringtime_shared.metrics.registry import Metrics

_RESULTS = {"success": SUCCESS, "failure": FAILURE, "miss": MISS}
_BOUNDS = [*map(floatToGoString, LAG_BOUNDS), "+Inf"]
Series = Mapping[str, Sequence[float]]


class AppSeries(Collector):
    """Counts of the busiest apps; `look` comes before each reading."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._series: Series = {}

    async def look(self) -> None:
        self._series = await self._metrics.apps.series()

    def describe(self) -> Iterator[Metric]:
        yield from app_families({}, self._metrics.roles)

    def collect(self) -> Iterator[Metric]:
        yield from app_families(self._series, self._metrics.roles)


def app_families(series: Series, roles: Sequence[Role]) -> Iterator[Metric]:
    """Yield what services of these roles count of the apps in `series`."""
    if Role.INGEST in roles:
        creates = CounterMetricFamily(APP_CREATES.name, APP_CREATES.help, labels=APP_CREATES.labels)
        for app_id, numbers in series.items():
            creates.add_metric([app_id], numbers[CREATES])
        yield creates
    if Role.DISPATCHER in roles:
        fires = CounterMetricFamily(APP_FIRES.name, APP_FIRES.help, labels=APP_FIRES.labels)
        for app_id, numbers in series.items():
            for result, place in _RESULTS.items():
                fires.add_metric([app_id, result], numbers[place])
        yield fires
        retries = CounterMetricFamily(APP_RETRIES.name, APP_RETRIES.help, labels=APP_RETRIES.labels)
        for app_id, numbers in series.items():
            retries.add_metric([app_id], numbers[RETRY])
        yield retries
        lag = HistogramMetricFamily(APP_FIRE_LAG.name, APP_FIRE_LAG.help, labels=APP_FIRE_LAG.labels)
        for app_id, numbers in series.items():
            counts = accumulate(numbers[LAG:])
            lag.add_metric([app_id], list(zip(_BOUNDS, counts, strict=True)), numbers[LAG_S])
        yield lag
