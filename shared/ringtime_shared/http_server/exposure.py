"""Whether a server may listen where it is told to: beyond this machine not without API keys and TLS. Pure."""

from __future__ import annotations

from ringtime_shared.errors import StartupError
from ringtime_shared.http_server.heads import is_loopback
from ringtime_shared.settings import Settings


def require_guarded(settings: Settings, *, has_keys: bool) -> None:
    """Raise StartupError for an API that others could use without a key, or whose keys others could read.

    Args:
        has_keys: whether requests need an API key.
    """
    if is_loopback(settings.server.host) or settings.access.gateway:
        return
    missing = [] if has_keys else ["API keys (access.keys = required)"]
    missing += _missing_tls(settings)
    if missing:
        raise StartupError(
            f"server.host = {settings.server.host} lets other machines reach the API, and it is not served to"
            f" them without {' and '.join(missing)}; if a gateway in front does that, set access.gateway"
        )


def require_metrics_guarded(settings: Settings) -> None:
    """Raise StartupError for metrics that others could read unasked, or on their way."""
    metrics = settings.metrics
    if not metrics.port or is_loopback(metrics.host) or settings.access.gateway:
        return
    has_guard = metrics.token or settings.server.client_ca_file
    missing = (
        [] if has_guard else ["a token (metrics.token) or clients' certificates (server.client_ca_file)"]
    )
    missing += _missing_tls(settings)
    if missing:
        raise StartupError(
            f"metrics.host = {metrics.host} lets other machines read metrics, which name apps, and it is not"
            f" served to them without {' and '.join(missing)}; if a gateway in front does that, set"
            " access.gateway"
        )


def _missing_tls(settings: Settings) -> list[str]:
    return [] if settings.server.cert_file else ["TLS (server.cert_file and server.key_file)"]
