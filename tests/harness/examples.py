"""How Hypothesis plays its examples here."""

from __future__ import annotations

from hypothesis import HealthCheck, settings


def take_any_time() -> None:
    """Hold no example to 200 ms, nor a strategy to a second: on a busy machine either takes what it takes.

    Called by the conftest of folders that have such tests, before they are imported; elsewhere the import of
    Hypothesis would be half a second for nothing.
    """
    settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
    settings.load_profile("patient")
