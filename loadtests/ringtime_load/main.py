"""`./run load [SHAPE]`: a cluster on this machine and Locust against it, with a verdict as exit code.

0: every criterion was kept; 1: one was not; 130: interrupted before the load began.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from urllib.parse import urlsplit

import click
import msgspec

from ringtime_load.plan import SHAPES, plan_of
from ringtime_load.report import verdict
from ringtime_load.session import run
from ringtime_local.cluster import Cluster
from ringtime_local.errors import LaunchError
from ringtime_shared.entry import INTERRUPTED, take_interrupts

WARM_UP_S = 60.0  #: of a cluster that has just been started: its JVMs compile themselves meanwhile
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


@click.command()
@click.argument("shape", type=click.Choice(list(SHAPES)), default="http")
@click.option("--factor", default=0.05, show_default=True, help="Of the shape's full size.")
@click.option("--seconds", default=60.0, show_default=True, help="Length, the climb included.")
@click.option("--warm-up", "warm_up_s", type=float,
              help="Seconds before, without a bound of answers.  [default: 60; with --base 0]")  # fmt: skip
@click.option("--ramp", "ramp_s", default=10.0, show_default=True, help="Seconds of climbing to full rate.")
@click.option("--lead", "lead_s", nargs=2, type=float, default=(2.0, 10.0), show_default=True,
              help="Seconds that fire times lie ahead, least and most.")  # fmt: skip
@click.option("--tenants", type=click.IntRange(1, 20_000), help="Apps, instead of the shape's own number.")
@click.option("--workers", default=0, show_default=True, type=click.IntRange(0, 16),
              help="Locust processes beside its master; 0: one does it all.")  # fmt: skip
@click.option("--web", is_flag=True, help="Show Locust's pages while it runs; Ctrl-C ends it.")
@click.option("--web-port", default=8089, show_default=True, type=click.IntRange(1, 65_535))
@click.option("--p99-ms", type=float, help="Bound of answers, instead of the published one.")
@click.option("--lag-p99-ms", type=float, help="Bound of lag.  [default: 1000]")
@click.option("--late-ms", type=float, help="No callback may lag more.  [default: 10000]")
@click.option("--duplicates", type=int, help="How many are allowed.  [default: 0]")
@click.option("--ingest", default=2, show_default=True, type=click.IntRange(1, 16), help="Ingest pods.")
@click.option("--dispatchers", default=3, show_default=True, type=click.IntRange(1, 16))
@click.option("--base", "bases", multiple=True, metavar="URL",
              help="An ingest pod here, up to /goscheduler; then no cluster is started.")  # fmt: skip
@click.option("--kafka", metavar="HOST:PORT", default="", help="The broker of what --base names.")
@click.option("--data", "folder", default=Path(".ringtime/load"), type=click.Path(path_type=Path),
              show_default=True, help="Each run makes a folder in it.")  # fmt: skip
def main(
    shape: str,
    factor: float,
    seconds: float,
    warm_up_s: float | None,
    ramp_s: float,
    lead_s: tuple[float, float],
    tenants: int | None,
    workers: int,
    web: bool,
    web_port: int,
    ingest: int,
    dispatchers: int,
    bases: tuple[str, ...],
    kafka: str,
    folder: Path,
    **criteria: float | None,
) -> None:
    """Load a cluster with a shape: http (the default), kafka, kafka-delete or wide. See docs/load.md."""
    chosen = {name: value for name, value in criteria.items() if value is not None}
    try:
        plan = plan_of(
            shape,
            factor=factor,
            seconds=seconds,
            ramp_s=ramp_s,
            warm_up_s=(0.0 if bases else WARM_UP_S) if warm_up_s is None else warm_up_s,
            lead_s=lead_s,
            tenants=tenants,
            **chosen,
        )
    except (ValueError, msgspec.ValidationError) as error:
        raise click.UsageError(str(error)) from error
    if any(urlsplit(base).hostname not in _LOOPBACK for base in bases):
        raise click.UsageError(
            "--base: the receiver listens on this machine's loopback, so pods have to be here"
        )
    if bases and plan.callback == "kafka" and not kafka:
        raise click.UsageError("--kafka: needed for this shape")
    here = folder / time.strftime(f"%Y%m%d-%H%M%S-{shape}")
    stop = threading.Event()
    signal.signal(signal.SIGTERM, _interrupt)
    take_interrupts()
    try:
        with _deployment(here, bases, kafka, ingest, dispatchers) as (hosts, broker):
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, lambda *_: stop.set())
            plan = msgspec.structs.replace(plan, hosts=hosts)
            checks = run(
                plan,
                here,
                kafka=broker,
                workers=workers,
                web_port=web_port if web else None,
                stop=stop,
                tell=click.echo,
            )
    except (LaunchError, OSError) as error:
        raise click.ClickException(str(error)) from error
    except KeyboardInterrupt:
        click.echo("stopped before the load began")
        raise click.exceptions.Exit(INTERRUPTED) from None
    click.echo(verdict(checks))
    click.echo(f"report: {here / 'report.html'}")
    raise click.exceptions.Exit(0 if all(check.is_kept for check in checks) else 1)


@contextmanager
def _deployment(
    folder: Path, bases: tuple[str, ...], kafka: str, ingest: int, dispatchers: int
) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield the base URLs and the broker of what is there, or of a cluster that ends with the run."""
    if bases:
        yield bases, kafka
        return
    cluster = Cluster(folder / "cluster", ingest=ingest, dispatchers=dispatchers, settings={})
    try:
        click.echo("starting Cassandra, Kafka and etcd, then the pods; the first time takes longest")
        cluster.start()
        yield cluster.bases, cluster.servers.kafka.bootstrap
    finally:
        cluster.stop()


def _interrupt(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - the signature of a handler
    raise KeyboardInterrupt


if __name__ == "__main__":
    main()
