"""`ringtime-dispatcher`: one dispatcher pod on Cassandra and etcd. The composition root of the dispatcher."""

from __future__ import annotations

from pathlib import Path

import click

from ringtime_dispatcher.bursts import BurstWatch
from ringtime_dispatcher.callbacks.build import close_callbacks, make_callbacks, open_mark_topic
from ringtime_dispatcher.completeness import CompletenessWatch
from ringtime_dispatcher.engine import make_dispatcher
from ringtime_dispatcher.forecasting import Forecaster
from ringtime_dispatcher.health import HealthParts, create_health_app
from ringtime_dispatcher.ownership.capacity import fit_to_machine
from ringtime_dispatcher.rounds import Beat
from ringtime_dispatcher.status import Reporter
from ringtime_shared.clock import SystemClock
from ringtime_shared.clock.watched import WatchedClock
from ringtime_shared.coordination.etcd import EtcdSession
from ringtime_shared.encryption.keyring import PLAIN_TEXT, split_ring
from ringtime_shared.http_server import listen, serve_http, stop_on_signals
from ringtime_shared.metrics.export import exported, new_metrics
from ringtime_shared.metrics.names import Role
from ringtime_shared.process.options import conf_option, host_option, node_port_option
from ringtime_shared.process.service import process_name, run_service, settle_memory
from ringtime_shared.settings import Settings
from ringtime_shared.settings.goscheduler import Conf
from ringtime_shared.stores.cassandra import CassandraStore
from ringtime_shared.traces.export import open_spans


async def serve(settings: Settings) -> None:
    """Fire until a signal: leave the ring, drain, release, give the lease back.

    Raises StartupError when a server is away, the schema is not ours, or the node's name is taken.
    """
    machine = SystemClock()
    clock = WatchedClock(machine, settings.clock)
    settings = fit_to_machine(settings)
    ring = split_ring(settings.secrets)
    metrics = new_metrics(settings.metrics, Role.DISPATCHER)
    with listen(settings.server) as listener, stop_on_signals() as stop:
        host, port = listener.getsockname()[:2]
        node = settings.node.name or process_name("dispatcher")
        address = settings.node.address or f"{host}:{port}"
        if settings.server.cert_file:
            address = f"https://{address}"
        beat = Beat()
        callbacks, topic = make_callbacks(settings, clock), open_mark_topic(settings.kafka)
        spans = open_spans(settings.tracing, "ringtime-dispatcher", node)
        store = await CassandraStore.connect(settings.cassandra, now_ms=clock.now_ms, boot_ms=clock.boot_ms)
        try:
            async with exported(settings, metrics), clock.watched(store.fetch_times, beat.wait):
                dispatcher = make_dispatcher(
                    settings,
                    node=node,
                    address=address,
                    store=store,
                    clock=clock,
                    # The session asks for the era at each join, so a wiped etcd gets a new one.
                    new_session=lambda: EtcdSession(settings.coordination, clock, raise_era=store.raise_era),
                    callbacks=callbacks,
                    ring=ring,
                    spans=spans,
                    beat=beat,
                    metrics=metrics,
                )
                await dispatcher.start()
                scheme = settings.server.scheme
                click.echo(f"ringtime-dispatcher {node} listens on {scheme}://{host}:{port}/health/ready")
                if ring is None:
                    click.echo(PLAIN_TEXT)
                for block in settings.egress.allow:
                    click.echo(f"callbacks may reach {block}, as egress.allow says")
                app = create_health_app(
                    HealthParts(
                        check=store.check_ready,
                        is_ready=dispatcher.is_ready,
                        is_emptied=dispatcher.is_emptied,
                        clock_doubt=clock.doubt,
                        count_owned=lambda: len(dispatcher.owned),
                        count_left_out=lambda: dispatcher.left_out,
                        fronts=dispatcher.fronts,
                        now_ms=machine.now_ms,  # for whoever compares clocks
                    )
                )
                forecaster = Forecaster(store, clock, dispatcher.apps, dispatcher.is_first)
                forecaster.register(metrics)
                is_read = bool(settings.metrics.port or settings.metrics.statsd_host)
                bursts = BurstWatch(store, clock, lambda: is_read and dispatcher.is_first())
                bursts.register(metrics)
                watch = CompletenessWatch(store, clock, dispatcher.apps, dispatcher.is_first, topic)
                watch.register(metrics)
                reporter = Reporter(
                    dispatcher.observe, store, settings.node.status_ms, forecaster.over, beat.wait
                )
                reporter.start()
                settle_memory()
                async with (
                    forecaster.looking(settings.dispatch.forecast_s),
                    bursts.looking(settings.dispatch.ahead_s),
                    watch.looking(settings.dispatch.completeness_s),
                ):
                    await serve_http(app, settings.server, listener, stop)
                click.echo(f"ringtime-dispatcher {node} is draining")
                await dispatcher.stop()
                await reporter.close()
        finally:
            await close_callbacks(callbacks.values())
            await store.close()
            if spans is not None:
                spans.close()
    click.echo(f"ringtime-dispatcher {node} has stopped")


@click.command()
@click.version_option(package_name="ringtime")
@click.option("--port", type=int, help="TCP port of the health endpoints; 0 takes a free one.")
@host_option
@click.option("--name", help="Name of the node. Default: made from the host name and the process id.")
@click.option("--config", type=click.Path(path_type=Path), help="Settings file, TOML or JSON.")
@conf_option
@node_port_option
def main(
    port: int | None,
    host: str | None,
    name: str | None,
    config: Path | None,
    conf: Path | None,
    ring_port: str | None,
) -> None:
    """Run one dispatcher pod: it owns poller instances and delivers their callbacks."""
    at_port = ring_port if port is None else port
    run_service(
        serve,
        service="dispatcher",
        config=config,
        flags={"server.port": at_port, "server.host": host, "node.name": name},
        conf=None if conf is None else Conf(path=conf, is_node=True),
    )


if __name__ == "__main__":
    main()
