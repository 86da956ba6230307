"""`ringtime-ingest`: one stateless ingest pod on Cassandra. The composition root of ingest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import click

from ringtime_ingest.http import create_app
from ringtime_ingest.service import IngestParts, IngestService
from ringtime_ingest.shadow import Receivers
from ringtime_shared.access import KeyChecks
from ringtime_shared.callbacks.egress_policy import EgressPolicy
from ringtime_shared.callbacks.grants import TlsProfiles
from ringtime_shared.callbacks.http_rules import HttpRules
from ringtime_shared.callbacks.kafka_rules import KafkaRules
from ringtime_shared.callbacks.plugins import load_callback_types
from ringtime_shared.callbacks.protocol import CallbackRules
from ringtime_shared.callbacks.resolver import Resolver
from ringtime_shared.clock import SystemClock, require_trust
from ringtime_shared.clock.watched import WatchedClock
from ringtime_shared.encryption.keyring import PLAIN_TEXT, split_ring
from ringtime_shared.http_server import hold_port, listen, serve_http, stop_on_signals
from ringtime_shared.http_server.exposure import require_guarded
from ringtime_shared.metrics.export import exported, new_metrics
from ringtime_shared.metrics.names import Role
from ringtime_shared.process.options import conf_option, host_option, ring_port_option
from ringtime_shared.process.service import process_name, run_service, settle_memory
from ringtime_shared.process.workers import Workers
from ringtime_shared.recurring.completing import Completions
from ringtime_shared.settings import Settings
from ringtime_shared.settings.access import NO_KEYS
from ringtime_shared.settings.goscheduler import Conf
from ringtime_shared.stores.cassandra import CassandraStore
from ringtime_shared.traces.export import open_spans

_ENDING_S = 10.0  #: what a pod does at its end beside draining


def callback_rules(settings: Settings) -> Mapping[str, CallbackRules]:
    """Return what a pod knows of each callback type: the rules, not the means."""
    kinds: list[CallbackRules] = [HttpRules(EgressPolicy.of(settings.egress), Resolver(settings.egress))]
    if settings.kafka.bootstrap:
        kinds.append(KafkaRules(settings.kafka))
    return {kind.name: kind for kind in kinds} | load_callback_types(settings.callbacks.types)


async def serve(settings: Settings) -> None:
    """Serve until a signal: take no more connections, answer what is open, let the store go.

    Raises StartupError when the port is taken, Cassandra is away, or its schema is not ours, and for an API
    that others could reach unguarded.
    """
    has_keys = settings.access.are_keys_required()
    require_guarded(settings, has_keys=has_keys)
    clock = WatchedClock(SystemClock(), settings.clock)
    ring = split_ring(settings.secrets)
    is_shared = settings.ingest.workers > 1
    metrics = new_metrics(settings.metrics, Role.INGEST)
    with listen(settings.server, is_shared=is_shared) as listener, stop_on_signals() as stop:

        async def ready() -> None:
            require_trust(clock)
            await store.check_ready()

        store = await CassandraStore.connect(settings.cassandra, now_ms=clock.now_ms, boot_ms=clock.boot_ms)
        holder = settings.node.name or process_name("ingest")
        spans = open_spans(settings.tracing, "ringtime-ingest", holder)
        try:
            async with exported(settings, metrics), clock.watched(store.fetch_times):
                service = await IngestService.start(
                    IngestParts(
                        store=store,
                        clock=clock,
                        settings=settings.ingest,
                        limits=settings.limits,
                        callbacks=callback_rules(settings),
                        holder=holder,
                        completions=Completions.of(settings.completion),
                        ring=ring,
                        audit=settings.audit,
                        profiles=TlsProfiles(settings.callbacks),
                        metrics=metrics,
                        shadow=settings.shadow,
                        receivers=Receivers(settings) if settings.shadow.upstream_url else None,
                    )
                )
                host, port = listener.getsockname()[:2]
                service.jobs.start(is_alone=False)
                keys = KeyChecks(store, clock) if has_keys else None
                if keys is None:
                    click.secho(NO_KEYS, bold=True)
                processes = settings.limits.pods * settings.ingest.workers
                app = create_app(service, settings.server, ready, processes=processes, keys=keys, spans=spans)
                settle_memory()
                listener.listen()  # `serve_http` lengthens the queue
                scheme = settings.server.scheme
                click.echo(f"ringtime-ingest listens on {scheme}://{host}:{port}/goscheduler")
                if ring is None:
                    click.echo(PLAIN_TEXT)
                await serve_http(app, settings.server, listener, stop)
                if keys is not None:
                    await keys.close()
                await service.close()
        finally:
            await store.close()
            if spans is not None:
                spans.close()
    click.echo("ringtime-ingest has stopped")


def split(settings: Settings) -> Settings:
    """Return in each worker of the pod its settings. Raises StartupError when the port is taken."""
    if settings.ingest.workers == 1:
        return settings
    with hold_port(settings.server) as holder:
        number = Workers(settings.ingest.workers, settings.server.drain_s + _ENDING_S).start()
        port = holder.getsockname()[1]
    node = settings.node
    if node.name:  # else it has the number of its process in it
        node = replace(node, name=f"{node.name}-{number}")
    metrics = settings.metrics
    if metrics.port:
        metrics = replace(metrics, port=metrics.port + number - 1)
    return replace(settings, server=replace(settings.server, port=port), node=node, metrics=metrics)


@click.command()
@click.version_option(package_name="ringtime")
@click.option("--port", type=int, help="TCP port; 0 takes a free one. Default: PORT, or 8080.")
@host_option
@click.option("--workers", type=int, help="Processes that share the port, one a core. Default: 1.")
@click.option("--config", type=click.Path(path_type=Path), help="Settings file, TOML or JSON.")
@conf_option
@ring_port_option
def main(
    port: int | None,
    host: str | None,
    workers: int | None,
    config: Path | None,
    conf: Path | None,
) -> None:
    """Run one ingest pod: the HTTP API on Cassandra."""
    flags = {"server.port": port, "server.host": host, "ingest.workers": workers}
    of_conf = None if conf is None else Conf(path=conf)
    run_service(serve, service="ingest", config=config, flags=flags, conf=of_conf, split=split)


if __name__ == "__main__":
    main()
