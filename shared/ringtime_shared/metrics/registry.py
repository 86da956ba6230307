"""What one process measures: made by its composition root, and handed to those who have something to tell.

Whoever counts asks for what it counts with when it is made, with the values of all labels, and keeps it
(`count`, `spread`): 0.3 us an increment, 0.2 an observation, for which a histogram is plain numbers: that of
the library takes 3, with its lock and its values one by one. A level at this moment (`level`, `levels`), and
what somebody counts for himself anyway (`counts`, `buckets`), is asked for by who reads and costs nothing
else. `UNMEASURED` stands where nobody measures: what it hands out does nothing.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from itertools import accumulate
from time import monotonic
from typing import Protocol

from prometheus_client import CollectorRegistry, Counter, ProcessCollector
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from ringtime_shared.metrics.apps import AppCounts, NoAppCounts
from ringtime_shared.metrics.names import Instrument, Kind, Role

SHOWN_APPS = 50  #: that have series of their own, unless the settings say otherwise


class Count(Protocol):
    """A number that grows."""

    def inc(self, amount: float = 1) -> None: ...


class Spread(Protocol):
    """A histogram, in the unit of its name."""

    def observe(self, amount: float) -> None: ...


class Buckets:
    """A histogram in plain numbers. For one thread."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, instrument: Instrument) -> None:
        self.bounds = instrument.buckets
        self.counts = [0] * (len(self.bounds) + 1)  #: the last one has no bound
        self.total = 0.0

    def add(self, amount: float, times: int = 1) -> None:
        self.total += amount * times
        self.counts[bisect_left(self.bounds, amount)] += times

    observe = add


Levels = Mapping[tuple[str, ...], float]  #: by the values of the labels


class Metrics:
    """The instruments of one process, and what it counts of single apps."""

    is_on = True  #: whether anybody measures

    def __init__(
        self,
        roles: Sequence[Role] = tuple(Role),
        shown_apps: int = SHOWN_APPS,
        now_s: Callable[[], float] = monotonic,
    ) -> None:
        """
        Args:
            roles: what this process is.
            shown_apps: how many apps may have series of their own.
            now_s: a clock that never goes back.
        """
        self.roles = tuple(roles)
        self.apps = AppCounts(shown_apps, now_s)
        self._registry = CollectorRegistry()
        self._counters: dict[str, Counter] = {}
        self._spreads: dict[str, dict[tuple[str, ...], Buckets]] = {}
        self._translate: Callable[[Sequence[Metric]], Iterable[Metric]] | None = None
        self._looks: list[Callable[[], Awaitable[None]]] = []
        ProcessCollector(registry=self._registry)

    def count(self, instrument: Instrument, *values: str) -> Count:
        """Return what counts for these values of its labels."""
        _require(instrument, Kind.COUNTER)
        family = self._counters.get(instrument.name)
        if family is None:
            family = self._counters[instrument.name] = Counter(
                instrument.name, instrument.help, instrument.labels, registry=self._registry
            )
        return family.labels(*values) if values else family

    def spread(self, instrument: Instrument, *values: str) -> Spread:
        """Return what observes for these values of its labels."""
        _require(instrument, Kind.HISTOGRAM)
        if len(values) != len(instrument.labels):
            raise ValueError(f"{instrument.name} has labels {instrument.labels}, not {len(values)}")
        spreads = self._spreads.get(instrument.name)
        if spreads is None:
            spreads = self._spreads[instrument.name] = {}
            self.add(_AskedBuckets(instrument, spreads))
        return spreads.setdefault(values, Buckets(instrument))

    def level(self, instrument: Instrument, read: Callable[[], float]) -> None:
        """Let whoever reads ask how high this stands."""
        self.levels(instrument, lambda: {(): read()})

    def levels(self, instrument: Instrument, read: Callable[[], Levels]) -> None:
        """Let whoever reads ask how high this stands, by the values of its labels."""
        _require(instrument, Kind.GAUGE)
        self.add(_Asked(instrument, read))

    def counts(self, instrument: Instrument, read: Callable[[], Levels]) -> None:
        """Let whoever reads ask what somebody counts for himself, by the values of its labels."""
        _require(instrument, Kind.COUNTER)
        self.add(_Asked(instrument, read))

    def buckets(self, instrument: Instrument, buckets: Buckets) -> None:
        """Let whoever reads ask for a histogram that somebody keeps for himself."""
        _require(instrument, Kind.HISTOGRAM)
        self.add(_AskedBuckets(instrument, {(): buckets}))

    def add(self, collector: Collector) -> None:
        """Let whoever reads ask for families that are made from something else."""
        self._registry.register(collector)

    def translate(self, translate: Callable[[Sequence[Metric]], Iterable[Metric]]) -> None:
        """Add to each reading what this makes of it, under other names."""
        self._translate = translate

    def before_reading(self, look: Callable[[], Awaitable[None]]) -> None:
        """Have this awaited before each reading: what takes long to find out, in slices."""
        self._looks.append(look)

    async def look(self) -> None:
        """Do what is to be done before a reading."""
        for look in self._looks:
            await look()

    def families(self) -> Iterator[Metric]:
        """Yield what is measured, a family at a time; what is not asked for yet is not made."""
        if self._translate is None:
            yield from self._registry.collect()
            return
        families = []
        for family in self._registry.collect():
            families.append(family)
            yield family
        yield from self._translate(families)


class _Unmeasured(Metrics):
    """Nothing is measured."""

    is_on = False

    def __init__(self) -> None:
        self.roles = ()
        self.apps = NoAppCounts()

    def count(self, instrument: Instrument, *values: str) -> Count:
        return _NOTHING

    def spread(self, instrument: Instrument, *values: str) -> Spread:
        return _NOTHING

    def add(self, collector: Collector) -> None:
        return

    def before_reading(self, look: Callable[[], Awaitable[None]]) -> None:
        return

    async def look(self) -> None:
        return

    def families(self) -> Iterator[Metric]:
        return iter(())


class _Nothing:
    """What takes everything and keeps nothing."""

    def inc(self, amount: float = 1) -> None:
        return

    def observe(self, amount: float) -> None:
        return


class _Asked(Collector):
    """A gauge or counter that is asked for."""

    def __init__(self, instrument: Instrument, read: Callable[[], Levels]) -> None:
        self._instrument = instrument
        self._read = read

    def describe(self) -> Iterator[Metric]:
        yield self._family()

    def collect(self) -> Iterator[Metric]:
        family = self._family()
        for values, level in self._read().items():
            family.add_metric(values, level)
        yield family

    def _family(self) -> GaugeMetricFamily | CounterMetricFamily:
        instrument = self._instrument
        kind = GaugeMetricFamily if instrument.kind is Kind.GAUGE else CounterMetricFamily
        return kind(instrument.name, instrument.help, labels=instrument.labels)


class _AskedBuckets(Collector):
    """A histogram that is asked for."""

    def __init__(self, instrument: Instrument, spreads: Mapping[tuple[str, ...], Buckets]) -> None:
        """`spreads`: by the values of the labels; more may come."""
        self._instrument = instrument
        self._spreads = spreads
        self._bounds = [*map(floatToGoString, instrument.buckets), "+Inf"]

    def describe(self) -> Iterator[Metric]:
        yield self._family()

    def collect(self) -> Iterator[Metric]:
        family = self._family()
        for values, buckets in tuple(self._spreads.items()):
            counts = accumulate(buckets.counts)
            family.add_metric(values, list(zip(self._bounds, counts, strict=True)), buckets.total)
        yield family

    def _family(self) -> HistogramMetricFamily:
        return HistogramMetricFamily(
            self._instrument.name, self._instrument.help, labels=self._instrument.labels
        )


def _require(instrument: Instrument, kind: Kind) -> None:
    if instrument.kind is not kind:
        raise TypeError(f"{instrument.name} is a {instrument.kind}, not a {kind}")


_NOTHING = _Nothing()
UNMEASURED: Metrics = _Unmeasured()
