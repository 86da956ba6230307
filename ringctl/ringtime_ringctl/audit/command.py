"""`ringctl audit list`, `show` and `export`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click
import orjson

from ringtime_ringctl.audit.export import export, sending
from ringtime_ringctl.deployment.context import Deployment
from ringtime_ringctl.output import Column, Output
from ringtime_ringctl.shell import RingctlGroup, deployed
from ringtime_ringctl.times import FORMS, parse_time
from ringtime_shared.api.audit import entry_to_json, read_value
from ringtime_shared.api.instants import to_iso
from ringtime_shared.errors import InvalidRequest, NotFound
from ringtime_shared.ids import EPOCH_2020_MS
from ringtime_shared.models.audit import AuditEntry
from ringtime_shared.stores.protocol import AuditStore

_PAGE = 500
MAX_LIMIT = 10_000
MAX_FOLLOW_S = 31 * 86_400
_MOST_SHOWN = 20
_DAY_MS = 86_400_000
_CHANGE = ("before", "after")
_COLUMNS = (
    Column("AT"),
    Column("OPERATOR"),
    Column("ACTION"),
    Column("SUBJECT"),
    Column("CHANGE", folds=True),
)


async def fetch_entries(
    store: AuditStore,
    from_ms: int,
    upto_ms: int,
    limit: int,
    *,
    wanted: Callable[[AuditEntry], bool],
    app_id: str = "",
) -> list[AuditEntry]:
    """Return the newest entries that are `wanted`, at most `limit`. Raises StoreUnavailable."""
    entries: list[AuditEntry] = []
    after = None
    while len(entries) < limit:
        page = await store.fetch_audit(from_ms, upto_ms, _PAGE, app_id=app_id, after=after)
        entries += [entry for entry in page if wanted(entry)]
        if len(page) < _PAGE:
            break
        after = page[-1].key
    return entries[:limit]


def describe_change(entry: AuditEntry) -> str:
    """Return the keys that the change added or changed, with their values, in one line."""
    before, after = read_value(entry.before), read_value(entry.after)
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


class _AuditGroup(RingctlGroup):
    """`ringctl audit` alone lists."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not args or (args[0].startswith("-") and args[0] not in ctx.help_option_names):
            args = ["list", *args]
        return super().parse_args(ctx, args)


@click.group("audit", cls=_AuditGroup)
def audit() -> None:
    """Show who changed what, with ringctl or through the API; without a command, `list` it.

    An entry is written before its change; when that is refused, another one says "failed".

    \b
    Examples:
      ringctl audit
      ringctl audit show 0d5b7a3e
      ringctl audit export --topic audit --position audit.position
    """


@audit.command("list")
@click.option("--from", "start", default="-30d", show_default=True, help=f"From here on: {FORMS}.")
@click.option("--to", "end", default="now", show_default=True, help="Up to here, in the same forms.")
@click.option("--app", "app_id", metavar="APP", default="", help="Only changes of this app and what it has.")
@click.option("--subject", metavar="NAME", help="Only changes of this app, node or schedule.")
@click.option(
    "--by", "operator", metavar="NAME", help='Only changes by this operator, or by this API key: "key ID".'
)
@click.option("--action", default="", metavar="WORDS", help="Only actions that begin so, for example apps.")
@click.option("--request", "request_id", metavar="ID", help="Only changes of this request.")
@click.option(
    "--limit", default=100, show_default=True, type=click.IntRange(1, MAX_LIMIT), help="Most to show."
)
@deployed
async def list_command(
    deployment: Deployment,
    output: Output,
    start: str,
    end: str,
    app_id: str,
    subject: str | None,
    operator: str | None,
    action: str,
    request_id: str | None,
    limit: int,
) -> None:
    """List changes, newest first.

    \b
    Examples:
      ringctl audit list
      ringctl audit list --subject pay --from -365d
      ringctl audit list --app pay --action recurring
      ringctl audit list --by ana --json | jq '.entries[0].after'
    """
    from_ms, upto_ms = _range(deployment, start, end)
    entries = await fetch_entries(
        deployment.store,
        from_ms,
        upto_ms,
        limit,
        app_id=app_id,
        wanted=lambda entry: (
            subject in (None, entry.subject)
            and operator in (None, entry.operator)
            and request_id in (None, entry.request_id)
            and entry.action.startswith(action)
        ),
    )
    if output.is_json:
        output.data({"entries": [to_json(entry) for entry in entries]})
        return
    output.table(
        _COLUMNS,
        [
            (to_iso(entry.at_ms), entry.operator, entry.action, entry.subject, describe_change(entry))
            for entry in entries
        ],
    )


@audit.command("show")
@click.argument("entry_id", metavar="ENTRY")
@click.option("--from", "start", default="-30d", show_default=True, help=f"Looked for from here on: {FORMS}.")
@deployed
async def show_command(deployment: Deployment, output: Output, entry_id: str, start: str) -> None:
    """Show all of an entry, named by its id or the begin of that, and whether its change failed.

    \b
    Examples:
      ringctl audit show 0d5b7a3e
      ringctl audit show 0d5b7a3e-6c51-4b7e-8f0a-2f1c5c0b9d11 --from -365d
    """
    from_ms, upto_ms = _range(deployment, start, "now")
    wanted = entry_id.lower()
    found = await fetch_entries(
        deployment.store,
        from_ms,
        upto_ms,
        _MOST_SHOWN,
        wanted=lambda entry: str(entry.entry_id).startswith(wanted) or str(entry.about).startswith(wanted),
    )
    if not found:
        raise NotFound("audit entry", entry_id)
    if output.is_json:
        output.data({"entries": [to_json(entry) for entry in found]})
        return
    for entry in found:
        shown = {name: value for name, value in entry_to_json(entry).items() if name not in _CHANGE}
        rows = [(name, str(value)) for name, value in shown.items()]
        rows += [(name, _shown(read_value(getattr(entry, name)))) for name in _CHANGE]
        output.table((Column("FIELD"), Column("VALUE", folds=True)), rows)


@audit.command("export")
@click.option(
    "--topic", required=True, metavar="TOPIC", help="Kafka topic; brokers are those of the settings."
)
@click.option(
    "--position",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="File that has how far exports are; made by the first one.",
)
@click.option(
    "--from", "start", default="-30d", show_default=True, help=f"Where the first one begins: {FORMS}."
)
@click.option(
    "--follow",
    "follow_s",
    default=0.0,
    type=click.FloatRange(0, MAX_FOLLOW_S),
    metavar="SECONDS",
    help="Go on so long with what is new. Default: 0, end when all is sent.",
)
@deployed
async def export_command(
    deployment: Deployment, output: Output, topic: str, position: Path, start: str, follow_s: float
) -> None:
    """Write entries to a Kafka topic, oldest first, as the API shows them; the key is the entry's id.

    Each is written at least once. The position is stored when the brokers have acknowledged, so the same
    command goes on where it was broken off. Entries of the last minute wait.

    \b
    Examples:
      ringctl audit export --topic audit --position audit.position
      ringctl audit export --topic audit --position audit.position --follow 86400
    """
    from_ms, _ = _range(deployment, start, "now")
    async with sending(deployment.settings.kafka, topic) as send:
        with output.progress(f"exporting to {topic}", None) as bar:
            count = await export(
                deployment.store,
                deployment.clock,
                send,
                from_ms=from_ms,
                position=position,
                follow_s=follow_s,
                shown=bar.show,
            )
    if output.is_json:
        output.data({"topic": topic, "exported": count})
    else:
        output.line(f"{count:,} entries were written to {topic}")


def to_json(entry: AuditEntry) -> dict[str, Any]:
    """Return an entry for `--json`: as the API shows it, but for the word of who did it."""
    shown = entry_to_json(entry)
    return {"operator" if name == "actor" else name: value for name, value in shown.items()}


def _range(deployment: Deployment, start: str, end: str) -> tuple[int, int]:
    """Return both ends in ms. Raises InvalidRequest."""
    now_ms = deployment.clock.now_ms()
    from_ms, upto_ms = parse_time("--from", start, now_ms), parse_time("--to", end, now_ms)
    if from_ms > upto_ms:
        raise InvalidRequest.of("--from", "must not be after --to")
    # The store reads a day at a time: none before the first, none to come.
    return max(from_ms, EPOCH_2020_MS), min(upto_ms, now_ms + _DAY_MS)
