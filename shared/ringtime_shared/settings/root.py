"""All groups together."""

from __future__ import annotations

from dataclasses import dataclass, field

from ringtime_shared.settings.access import AccessSettings
from ringtime_shared.settings.audit import AuditSettings
from ringtime_shared.settings.callbacks import CallbackSettings
from ringtime_shared.settings.clock import ClockSettings
from ringtime_shared.settings.completion import CompletionSettings
from ringtime_shared.settings.coordination import CoordinationSettings, NodeSettings
from ringtime_shared.settings.dispatch import DispatchSettings, RetrySettings
from ringtime_shared.settings.egress import EgressSettings
from ringtime_shared.settings.ingest import IngestSettings
from ringtime_shared.settings.kafka import KafkaSettings
from ringtime_shared.settings.limits import AppLimits
from ringtime_shared.settings.logs import LogSettings
from ringtime_shared.settings.metrics import MetricsSettings
from ringtime_shared.settings.secrets import SecretSettings
from ringtime_shared.settings.server import ServerSettings
from ringtime_shared.settings.shadow import ShadowSettings
from ringtime_shared.settings.storage import CassandraSettings, EmbeddedSettings
from ringtime_shared.settings.tracing import TracingSettings
from ringtime_shared.settings.web import WebSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Every setting of every service; a process reads the groups it needs.

    The attribute is the group's name in a file and in a variable.
    """

    server: ServerSettings = field(default_factory=ServerSettings)
    access: AccessSettings = field(default_factory=AccessSettings)
    ingest: IngestSettings = field(default_factory=IngestSettings)
    limits: AppLimits = field(default_factory=AppLimits)
    dispatch: DispatchSettings = field(default_factory=DispatchSettings)
    retry: RetrySettings = field(default_factory=RetrySettings)
    clock: ClockSettings = field(default_factory=ClockSettings)
    callbacks: CallbackSettings = field(default_factory=CallbackSettings)
    completion: CompletionSettings = field(default_factory=CompletionSettings)
    shadow: ShadowSettings = field(default_factory=ShadowSettings)
    secrets: SecretSettings = field(default_factory=SecretSettings)
    egress: EgressSettings = field(default_factory=EgressSettings)
    embedded: EmbeddedSettings = field(default_factory=EmbeddedSettings)
    node: NodeSettings = field(default_factory=NodeSettings)
    coordination: CoordinationSettings = field(default_factory=CoordinationSettings)
    cassandra: CassandraSettings = field(default_factory=CassandraSettings)
    kafka: KafkaSettings = field(default_factory=KafkaSettings)
    audit: AuditSettings = field(default_factory=AuditSettings)
    web: WebSettings = field(default_factory=WebSettings)
    metrics: MetricsSettings = field(default_factory=MetricsSettings)
    logs: LogSettings = field(default_factory=LogSettings)
    tracing: TracingSettings = field(default_factory=TracingSettings)
