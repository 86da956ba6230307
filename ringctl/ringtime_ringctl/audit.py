"""`ringctl audit`: who changed what, and when. `deployment.changes` writes it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import click
import orjson

from ringtime_ringctl.deployment.context import Deployment
from ringtime_ringctl.output import Column, Output
from ringtime_ringctl.shell import RingctlCommand, deployed
from ringtime_ringctl.times import FORMS, parse_time
from ringtime_shared.api.instants import to_iso
from ringtime_shared.errors import InvalidRequest
from ringtime_shared.ids import EPOCH_2020_MS
from ringtime_shared.models.audit import AuditEntry
from ringtime_shared.stores.protocol import OperatorStore

_PAGE = 500
MAX_LIMIT = 10_000
_DAY_MS = 86_400_000
_COLUMNS = (
    Column("AT"),
    Column("OPERATOR"),
    Column("ACTION"),
    Column("SUBJECT"),
    Column("CHANGE", folds=True),
)


async def fetch_entries(
    store: OperatorStore, from_ms: int, upto_ms: int, limit: int, *, wanted: Callable[[AuditEntry], bool]
) -> list[AuditEntry]:
    """Return the newest entries that are `wanted`, at most `limit`. Raises StoreUnavailable."""
    entries: dict[object, AuditEntry] = {}
    size = _PAGE
    while len(entries) < limit:
        page = await store.fetch_audit(from_ms, upto_ms, size)
        entries |= {entry.entry_id: entry for entry in page if wanted(entry)}
        if len(page) < size:
            break
        if page[-1].at_ms == page[0].at_ms:  # more of one millisecond than a page holds
            size *= 2
        upto_ms = page[-1].at_ms  # again: a page may end between two of one millisecond
    return list(entries.values())[:limit]


def read_json(text: str) -> object:
    """Return `before` or `after` of an entry; empty and unreadable ones as they are."""
    try:
        return orjson.loads(text) if text else None
    except orjson.JSONDecodeError:
        return text


def describe_change(entry: AuditEntry) -> str:
    """Return the keys that the change added or changed, with their values, in one line."""
    before, after = read_json(entry.before), read_json(entry.after)
    if not isinstance(before, Mapping) or not isinstance(after, Mapping):
        return " -> ".join(_shown(each) for each in (before, after) if each is not None)
    parts = []
    for name, new in after.items():
        if name not in before:
            parts.append(f"{name}: {_shown(new)}")
        elif before[name] != new:
            parts.append(f"{name}: {_shown(before[name])} -> {_shown(new)}")
    return ", ".join(parts)


def _shown(value: object) -> str:
    return value if isinstance(value, str) else _shown_inside(value)


def _shown_inside(value: object) -> str:
    """Return JSON with a space after each comma, so that a line can be folded there."""
    if isinstance(value, Mapping):
        return (
            f"{{{', '.join(f'{_shown_inside(name)}:{_shown_inside(each)}' for name, each in value.items())}}}"
        )
    if isinstance(value, list):
        return f"[{', '.join(map(_shown_inside, value))}]"
    return orjson.dumps(value).decode()


@click.command("audit", cls=RingctlCommand)
@click.option("--from", "start", default="-30d", show_default=True, help=f"From here on: {FORMS}.")
@click.option("--to", "end", default="now", show_default=True, help="Up to here, in the same forms.")
@click.option("--subject", metavar="NAME", help="Only changes of this app, node or schedule.")
@click.option("--by", "operator", metavar="NAME", help="Only changes by this operator.")
@click.option(
    "--limit", default=100, show_default=True, type=click.IntRange(1, MAX_LIMIT), help="Most to show."
)
@deployed
async def audit(
    deployment: Deployment,
    output: Output,
    start: str,
    end: str,
    subject: str | None,
    operator: str | None,
    limit: int,
) -> None:
    """Show what operators changed with ringctl, newest first.

    An entry is written before its change; when that is refused, another one says "failed". What clients do
    through the HTTP API is not in it.

    \b
    Examples:
      ringctl audit
      ringctl audit --subject pay --from -365d
      ringctl audit --by ana --json | jq '.entries[0].after'
    """
    now_ms = deployment.clock.now_ms()
    from_ms, upto_ms = parse_time("--from", start, now_ms), parse_time("--to", end, now_ms)
    if from_ms > upto_ms:
        raise InvalidRequest.of("--from", "must not be after --to")
    entries = await fetch_entries(
        deployment.store,
        max(from_ms, EPOCH_2020_MS),  # the store reads a day at a time: none before the first, none to come
        min(upto_ms, now_ms + _DAY_MS),
        limit,
        wanted=lambda entry: subject in (None, entry.subject) and operator in (None, entry.operator),
    )
    if output.is_json:
        output.data(
            {
                "entries": [
                    {
                        "at": to_iso(entry.at_ms),
                        "operator": entry.operator,
                        "action": entry.action,
                        "subject": entry.subject,
                        "before": read_json(entry.before),
                        "after": read_json(entry.after),
                    }
                    for entry in entries
                ]
            }
        )
        return
    output.table(
        _COLUMNS,
        [
            (to_iso(entry.at_ms), entry.operator, entry.action, entry.subject, describe_change(entry))
            for entry in entries
        ],
    )
