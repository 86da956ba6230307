"""What a process has measured, as a test asks for it."""

from __future__ import annotations

from ringtime_shared.metrics import Metrics
from ringtime_shared.metrics.names import Instrument, Kind

_SAMPLE = {Kind.HISTOGRAM: "_count", Kind.COUNTER: "", Kind.GAUGE: ""}


def counted(metrics: Metrics, instrument: Instrument, **labels: str) -> float:
    """Return how much was counted with these labels, whatever the others; of a histogram, how often."""
    name = instrument.name + _SAMPLE[instrument.kind]
    samples = [each for family in metrics.families() for each in family.samples if each.name == name]
    return sum(each.value for each in samples if labels.items() <= each.labels.items())
