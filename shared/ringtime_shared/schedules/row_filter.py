"""Which schedules a list shows: what is asked of each row beside its time. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from msgspec import MsgspecError, Struct
from msgspec.json import Decoder

from ringtime_shared.api.ids import NAME_PATTERN
from ringtime_shared.api.labels import Labels, check_labels
from ringtime_shared.errors import InvalidRequest, Violation
from ringtime_shared.models.schedule import Row, Status

MOST_LATE_MS = 366 * 86_400_000
_HOST = re.compile(r"[A-Za-z0-9._-]{1,253}|\[?(?=[^:]*:[^:]*:)[0-9A-Fa-f:.]{2,45}\]?")
_NAME = re.compile(NAME_PATTERN)


class _Target(Struct):
    url: str = ""


_decode_target = Decoder(_Target).decode


@dataclass(frozen=True, slots=True, kw_only=True)
class RowFilter:
    """Only schedules that are all of this."""

    status: Status | None = None
    labels: Labels = ()  #: that have these, and perhaps others
    name_prefix: str = ""  #: whose name begins so
    host: str = ""  #: whose callback goes to this host, in any case of letters, whatever the port
    late_by_ms: int | None = (
        None  #: whose last attempt was sent so late, or later; or that were missed so late
    )

    @property
    def is_sparse(self) -> bool:
        """Whether it may pass over most of what there is."""
        is_asked = self.status or self.labels or self.name_prefix or self.host
        return bool(is_asked) or self.late_by_ms is not None

    @property
    def is_about_contents(self) -> bool:
        """Whether it asks for what a change of a schedule may change."""
        return bool(self.labels or self.host)

    def wants(self, row: Row) -> bool:
        """Whether a list shows this home row."""
        schedule = row.schedule
        return (
            (self.status is None or self.status == row.status)
            and (not self.labels or set(self.labels) <= set(schedule.labels))
            and (not self.name_prefix or schedule.name.startswith(self.name_prefix))
            and (not self.host or host_of(schedule.callback_details) == self.host.lower().strip("[]"))
            and (self.late_by_ms is None or self._is_late(row))
        )

    def _is_late(self, row: Row) -> bool:
        outcome, lag_ms = row.outcome, row.lag_ms
        if lag_ms is None and outcome is not None and outcome.status is Status.MISS:
            lag_ms = outcome.ended_ms - row.schedule.awaited_ms
        return lag_ms is not None and self.late_by_ms is not None and lag_ms >= self.late_by_ms

    def check(self, label: str, name_prefix: str, host: str, late_by: str) -> list[Violation]:
        """Return what is wrong with it; the arguments are what its fields are called where it was asked."""
        wrong = check_labels(self.labels, label)
        if self.name_prefix and not _NAME.fullmatch(self.name_prefix):
            wrong.append(Violation(name_prefix, "must be how a name may begin: A-Z, a-z, 0-9, _, . and -"))
        if self.host and not _HOST.fullmatch(self.host):
            wrong.append(Violation(host, "must be the host of a URL, without its port"))
        if self.late_by_ms is not None and not 0 <= self.late_by_ms <= MOST_LATE_MS:
            wrong.append(Violation(late_by, "must be from 0 ms to a year"))
        return wrong


ALL_ROWS = RowFilter()


def host_of(details: bytes) -> str:
    """Return the host that the callback of these details goes to; "": to none, or it cannot be told."""
    try:
        return urlsplit(_decode_target(details).url).hostname or ""
    except (MsgspecError, ValueError):
        return ""


def parse_labels(texts: Iterable[str], field: str) -> Labels:
    """Read labels, each written `key:value`. Raises InvalidRequest, which names the field."""
    found: dict[str, str] = {}
    for text in texts:
        key, colon, value = text.partition(":")
        if not colon or found.setdefault(key, value) != value:
            raise InvalidRequest.of(field, "must be key:value, one value a key")
    return labels_of(found)


def labels_of(given: Mapping[str, str] | None) -> Labels:
    """Return labels as they are kept: by key."""
    return tuple(sorted((given or {}).items()))
