"""Who may use the API."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

NO_KEYS = "API keys are off (access.keys): whoever reaches this server may do everything with every app"


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessSettings:
    """Who may use the API."""

    keys: Literal["auto", "required", "off"] = "auto"
    """Whether requests need an API key; those of health checks and completion URLs never do. With `off`,
    whoever reaches the API may do everything with every app. `auto` is `required`, but `off` for `ringtime
    serve` on a loopback address, which says so at its start. The same on every pod."""

    gateway: bool = False
    """Whether a gateway in front asks who is calling and speaks TLS, and nobody reaches the API but through
    it. Without that an API that listens beyond this machine is not served without keys and TLS of its own:
    the start is refused."""

    def are_keys_required(self, *, is_serve_on_loopback: bool = False) -> bool:
        """Return whether requests need an API key."""
        return self.keys == "required" or (self.keys == "auto" and not is_serve_on_loopback)
