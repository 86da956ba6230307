"""The verbs of operators. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from ringtime_client.exchange import BASE, Call
from ringtime_client.forms import safe, with_query
from ringtime_shared.api.operating import (
    DestinationList,
    ForecastView,
    NodeList,
    OverviewView,
    RingView,
)
from ringtime_shared.api.views import read
from ringtime_shared.arguments import checked


@checked
def get_overview() -> Call[OverviewView]:
    """Return how the deployment is, in one answer. Raises Forbidden."""
    return Call(method="GET", path=f"{BASE}/overview", read=partial(read, OverviewView))


@checked
def list_nodes() -> Call[NodeList]:
    """Return the dispatchers, as each said of itself some seconds ago. Raises Forbidden."""
    return Call(method="GET", path=f"{BASE}/nodes", read=partial(read, NodeList))


@checked
def get_ring(app_id: str | None = None, *, join: int = 0, leave: Sequence[str] = ()) -> Call[RingView]:
    """Return what the ring gives each node, and what it would with other nodes.

    Args:
        app_id: tell where each partition of this app is; None: of none.
        join: as if so many nodes joined, 0 to 100.
        leave: as if these left.

    Raises InvalidRequest, NotFound (app), Forbidden.
    """
    asked: dict[str, object] = {
        "app_id": "" if app_id is None else safe(app_id),
        "join": join or "",
        "leave": list(leave),
    }
    return Call(
        method="GET",
        path=with_query(f"{BASE}/ring", asked),
        read=partial(read, RingView),
        app_id=app_id or "",
    )


@checked
def list_destinations(app_id: str | None = None, *, size: int = 100) -> Call[DestinationList]:
    """Return the destinations that are not well, the worst first.

    Args:
        app_id: of this app alone; None: of all.
        size: most of them, 1 to 500.

    Raises InvalidRequest, NotFound (app), Forbidden.
    """
    of_app = "" if app_id is None else f"/apps/{safe(app_id)}"
    path = with_query(f"{BASE}{of_app}/destinations", {"size": size})
    return Call(method="GET", path=path, read=partial(read, DestinationList), app_id=app_id or "")


@checked
def get_forecast(app_id: str, *, hours: int = 1) -> Call[ForecastView]:
    """Return what falls due of an app in the next hours, 1 to 48. Raises InvalidRequest, NotFound (app)."""
    path = with_query(f"{BASE}/apps/{safe(app_id)}/forecast", {"hours": hours})
    return Call(method="GET", path=path, read=partial(read, ForecastView), app_id=app_id)
