"""Every setting: what it means, its unit, its default, its range and why.

One frozen dataclass a group; `Settings` holds them all. A value comes from, later ones winning:

1. the default in the dataclass,
2. the file named by `--config`, TOML or JSON: one table a group, `[dispatch]` with `tick_ms = 250`,
3. the environment: `RINGTIME_DISPATCH_TICK_MS=250`; lists are separated by commas,
4. `PORT`, for `server.port`,
5. a flag of the command line.

`load_settings` reads once, at start, and refuses everything wrong at once: unknown keys and variables,
values of the wrong type or out of range, and groups that contradict each other. A refusal names the key
and the rule and never repeats the value, which may be a secret.

`docs/settings.md` is made from these docstrings: `python -m ringtime_shared.settings > docs/settings.md`.
"""

from ringtime_shared.settings.access import AccessSettings
from ringtime_shared.settings.audit import AuditSettings
from ringtime_shared.settings.callbacks import CallbackSettings
from ringtime_shared.settings.clock import ClockSettings
from ringtime_shared.settings.completion import CompletionSettings
from ringtime_shared.settings.coordination import CoordinationSettings, NodeSettings
from ringtime_shared.settings.describe import describe_settings
from ringtime_shared.settings.dispatch import DispatchSettings, RetrySettings
from ringtime_shared.settings.egress import EgressSettings
from ringtime_shared.settings.ingest import IngestSettings
from ringtime_shared.settings.kafka import KafkaSettings
from ringtime_shared.settings.limits import AppLimits
from ringtime_shared.settings.load import check_settings, load_settings
from ringtime_shared.settings.logs import LogSettings
from ringtime_shared.settings.metrics import MetricsSettings
from ringtime_shared.settings.root import Settings
from ringtime_shared.settings.secrets import SecretSettings
from ringtime_shared.settings.server import ServerSettings
from ringtime_shared.settings.shadow import ShadowSettings
from ringtime_shared.settings.storage import CassandraSettings, EmbeddedSettings
from ringtime_shared.settings.tracing import TracingSettings
from ringtime_shared.settings.web import WebSettings

__all__ = [
    "AccessSettings",
    "AppLimits",
    "AuditSettings",
    "CallbackSettings",
    "CassandraSettings",
    "ClockSettings",
    "CompletionSettings",
    "CoordinationSettings",
    "DispatchSettings",
    "EgressSettings",
    "EmbeddedSettings",
    "IngestSettings",
    "KafkaSettings",
    "LogSettings",
    "MetricsSettings",
    "NodeSettings",
    "RetrySettings",
    "SecretSettings",
    "ServerSettings",
    "Settings",
    "ShadowSettings",
    "TracingSettings",
    "WebSettings",
    "check_settings",
    "describe_settings",
    "load_settings",
]
