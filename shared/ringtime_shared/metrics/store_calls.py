"""A store whose calls are timed, by method: `ringtime_store_seconds`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from inspect import iscoroutinefunction
from time import perf_counter
from typing import Any, TypeVar, cast

from ringtime_shared.metrics.names import STORE
from ringtime_shared.metrics.registry import Metrics

S = TypeVar("S")


def measured_store(store: S, metrics: Metrics) -> S:
    """Return the store as those see it whose calls are timed; the store itself where nobody measures."""
    return cast(S, _MeasuredStore(store, metrics)) if metrics.is_on else store


class _MeasuredStore:
    """Every method is the driver's, with a clock around what is awaited."""

    def __init__(self, store: Any, metrics: Metrics) -> None:
        self._store = store
        self._metrics = metrics

    def __getattr__(self, name: str) -> Any:
        """Remember a method, so that it is looked for, and its child bound, once."""
        method = getattr(self._store, name)
        if iscoroutinefunction(method) and not name.startswith("_"):
            method = _timed(method, self._metrics.spread(STORE, name).observe)
            setattr(self, name, method)
        return method


def _timed(
    method: Callable[..., Awaitable[Any]], observe: Callable[[float], None]
) -> Callable[..., Awaitable[Any]]:
    async def timed(*args: Any, **kwargs: Any) -> Any:
        begun_s = perf_counter()
        try:
            return await method(*args, **kwargs)
        finally:
            observe(perf_counter() - begun_s)

    return timed
