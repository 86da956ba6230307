"""What Prometheus reads, written in pieces: between two of them everybody else has a turn.

The text of a sample takes some 8 us, so a page of 2,000 takes 16 ms, and in one go would make a callback that
much late. A thread would not help: it would hold the interpreter for 5 ms at a time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from prometheus_client.exposition import generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from ringtime_shared.metrics.app_series import app_families
from ringtime_shared.metrics.registry import Metrics

TYPE = b"text/plain; version=0.0.4; charset=utf-8"
_SAMPLES_AT_ONCE = 25  #: a quarter of a millisecond


async def page(metrics: Metrics) -> bytes:
    """Return all that is measured, in Prometheus's text format."""
    await metrics.look()
    text = []
    for metric in metrics.families():
        await asyncio.sleep(0)  # to have made a family of many samples took a while, too
        for piece in text_of(metric):
            text.append(piece)
            await asyncio.sleep(0)
    return b"".join(text)


def app_page(metrics: Metrics, app_id: str) -> bytes:
    """Return what is measured of one app, in the same format, and of no other."""
    families = app_families({app_id: metrics.apps.find(app_id)}, metrics.roles)
    return b"".join(text for family in families for text in text_of(family))


def text_of(metric: Metric) -> Iterator[bytes]:
    """Yield the text of a family in pieces; one without series is named all the same. When each series began
    (`_created`) nobody asks."""
    samples = [each for each in metric.samples if not each.name.endswith("_created")]
    for start in range(0, max(len(samples), 1), _SAMPLES_AT_ONCE):
        part = Metric(metric.name, metric.documentation, metric.type)
        part.samples = samples[start : start + _SAMPLES_AT_ONCE]
        text = generate_latest(_Part(part))
        yield text.split(b"\n", 2)[2] if start else text  # its first two lines say what the family is


class _Part(Collector):
    def __init__(self, part: Metric) -> None:
        self._part = part

    def collect(self) -> Iterator[Metric]:
        yield self._part
