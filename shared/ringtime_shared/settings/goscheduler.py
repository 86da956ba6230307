"""goscheduler's configuration, read as settings of ours: `--conf FILE`, and `ringtime convert-config FILE`.

Each of its keys is either taken over (`_TAKEN`) or named as without effect, with the reason (`_UNUSED`, and
what `_TAKEN` overrules). As there, a key may be spelled in any case, and 0, "" and null are a key that is not
given. Its own file has keys that goscheduler does not read; they are named too, as is what is no key. A
file without any of its keys is refused: it is another program's, or one of ours, which goes with `--config`.

What is not taken over although there is a setting of that kind, because the number would do harm here:
`HttpConnector.Routines`, `AggregateSchedulesConfig.BatchSize` and `PageSize` are small where each of them
holds up one worker, and the keyspace is goscheduler's own, whose tables have other columns.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from ringtime_shared.errors import SettingsError, Violation
from ringtime_shared.settings.catalog import catalog
from ringtime_shared.settings.root import Settings
from ringtime_shared.settings.rules import (
    CLOCK_SKEW_MS,
    ESCAPED_BYTES,
    MOST_PAGE_BYTES,
    REQUEST_EXTRA_BYTES,
)
from ringtime_shared.settings.sources import Given, parse_file


@dataclass(frozen=True, slots=True, kw_only=True)
class Conf:
    """A file of goscheduler's, and which process is to read it."""

    path: Path
    is_node: bool = False  #: a dispatcher, whose port is that of goscheduler's ring: the API has another
    is_alone: bool = False  #: one process on a folder, without Cassandra


class Unused(NamedTuple):
    """Keys that have no effect, and why. Their values are told nowhere: there are licence keys among them."""

    keys: tuple[str, ...]
    why: str

    def __str__(self) -> str:
        return f"{', '.join(self.keys)}: {self.why}"


class Conversion(NamedTuple):
    """What a file of goscheduler's comes to."""

    given: tuple[Given, ...]  #: each names the key that it comes from as its source
    unused: tuple[Unused, ...]


class _Without(Exception):
    """This value has no effect; the message says why."""


Values = Mapping[str, object]  #: by our keys
Read = Callable[[object], Values]  #: raises ValueError with the rule, or _Without


def read_conf(conf: Conf, environ: Mapping[str, str]) -> Conversion:
    """Return what a file comes to. Raises SettingsError: all that is wrong, by goscheduler's keys."""
    conversion = convert(parse_file(conf.path), is_node=conf.is_node, is_alone=conf.is_alone)
    variables = tuple(sorted(name for name in environ if name.startswith("CONFIGOR_")))
    if not variables:
        return conversion
    why = "variables of Ringtime's begin with RINGTIME_"
    return conversion._replace(unused=(*conversion.unused, Unused(variables, why)))


def convert(tree: Mapping[str, object], *, is_node: bool = False, is_alone: bool = False) -> Conversion:
    """Return what a configuration comes to; arguments as of `Conf`. Raises SettingsError."""
    found, bad, unknown = _flatten(tree)
    if not found and not bad:
        rule = "holds no key of goscheduler's; a settings file of Ringtime's goes with --config"
        raise SettingsError([Violation("--conf", rule)])
    values: dict[str, tuple[str, object]] = {}  # our key: the key it comes from, and the value
    without: dict[str, str] = {**unknown}
    for key, value in found.items():
        if key in _UNUSED:
            reader, why = _UNUSED[key]
            without[key] = why
            bad += _check(key, reader, value)
    for sources, read in _TAKEN:
        by = ""
        for key in (key for key in sources if _is_given(found.get(key))):
            if by:
                without[key] = f"{by} is taken"
                continue
            try:
                taken = dict(read(found[key]))
                for name, each in taken.items():
                    if name != _RING:
                        catalog()[name].read(each)
            except _Without as reason:
                without[key] = str(reason)
            except ValueError as error:
                bad.append(Violation(key, str(error)))
                by = key
            else:
                by = key
                values |= {name: (key, each) for name, each in taken.items()}
    if bad:
        raise SettingsError(bad)
    if not found.get(_STATSD):
        for name in ("metrics.statsd_host", "metrics.statsd_port"):
            if name in values:
                without[values.pop(name)[0]] = _NO_STATSD
    _place(values, without, is_node=is_node, is_alone=is_alone)
    values |= _room(values)
    given = tuple(Given(catalog()[name], key, each, is_text=False) for name, (key, each) in values.items())
    return Conversion(given, tuple(_grouped(without)))


def _place(
    values: dict[str, tuple[str, object]], without: dict[str, str], *, is_node: bool, is_alone: bool
) -> None:
    """Leave to each process its own port, and to one process no Cassandra."""
    http, ring = values.pop(_HTTP, None), values.pop(_RING, None)
    mine, other = (ring, http) if is_node else (http, ring)
    if mine is not None:
        values["server.port"] = mine
    if other is not None:
        without[other[0]] = _OF_INGEST if is_node else _OF_NODES
    if is_alone:
        for name in [name for name in values if name.startswith("cassandra.")]:
            without[values.pop(name)[0]] = _ALONE


def _room(values: Mapping[str, tuple[str, object]]) -> Mapping[str, tuple[str, object]]:
    """Return the bounds of ours that have to move so that what was taken fits under them."""
    default = Settings()
    room: dict[str, tuple[str, object]] = {}

    def move(name: str, source: str, least: int) -> None:
        group, _, field = name.partition(".")
        if least > getattr(getattr(default, group), field):
            room[name] = (source, least)

    for name, (key, value) in values.items():
        match name, value:
            case "limits.payload_bytes", int():
                if value > default.limits.max_payload_bytes:
                    move("server.max_body_bytes", key, ESCAPED_BYTES * value + REQUEST_EXTRA_BYTES)
                    room["dispatch.page_rows"] = (
                        key,
                        min(default.dispatch.page_rows, MOST_PAGE_BYTES // value),
                    )
            case "cassandra.request_timeout_ms", int():
                move("ingest.write_deadline_ms", key, 2 * value)
                move("ingest.near_ms", key, CLOCK_SKEW_MS + 2 * value)
        if name.startswith("limits.") and isinstance(value, int):
            move(name.replace("limits.", "limits.max_"), key, value)
    return room


def write_toml(conversion: Conversion, name: str) -> str:
    """Return a settings file of ours that says the same, with what has no effect as comments."""
    lines = [f"# Made of goscheduler's {_plain(name)} by `ringtime convert-config`.", *_NOT_IN_IT]
    groups: dict[str, list[str]] = {}
    for field, source, value, _ in conversion.given:
        groups.setdefault(field.group, []).append(f"{field.name} = {_toml(value)}  # {source}")
    for group, settings in groups.items():
        lines += ["", f"[{group}]", *settings]
    if conversion.unused:
        lines += ["", "# Without effect:", *(f"#   {each}" for each in conversion.unused)]
    return "\n".join([*lines, ""])


def _flatten(tree: Mapping[str, object]) -> tuple[dict[str, object], list[Violation], dict[str, str]]:
    """Return the values by goscheduler's keys, what should be a group and is none, and what is no key."""
    found: dict[str, object] = {}
    bad: list[Violation] = []
    unknown: dict[str, str] = {}

    def walk(group: Mapping[str, object], prefix: str) -> None:
        for name, value in group.items():
            key = _SPELLED.get(f"{prefix}{name}".lower())
            if key is None:
                path = _plain(f"{prefix}{name}")
                near = difflib.get_close_matches(path, _KEYS, n=1, cutoff=0.8)
                unknown[path] = "no key of goscheduler's" + (f"; did you mean {near[0]}?" if near else "")
            elif key in _KEYS:
                found[key] = value
            elif isinstance(value, dict):
                walk(value, f"{key}.")
            elif value is not None:
                bad.append(Violation(key, "must be an object"))

    walk(tree, "")
    return found, bad, unknown


def _is_given(value: object) -> bool:
    return not (value is None or value == "" or (value == 0 and not isinstance(value, bool)))


def _grouped(without: Mapping[str, str]) -> Iterator[Unused]:
    by_why: dict[str, list[str]] = {}
    for key, why in without.items():
        by_why.setdefault(why, []).append(key)
    for why, keys in by_why.items():
        yield Unused(tuple(keys), why)


def _plain(text: str) -> str:
    """Return a text from outside as part of one line."""
    return "".join(each if each.isprintable() else "?" for each in text)[:200]


def _toml(value: object) -> str:
    match value:
        case bool():
            return str(value).lower()
        case int():
            return str(value)
        case tuple() | list():
            return f"[{', '.join(_toml(each) for each in value)}]"
    escaped = str(value).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'  # the readers let nothing through that would need more


# Readers of goscheduler's values. Each raises ValueError with the rule.


def _whole(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError("must be a whole number, 0 or more")
    return value


def _text(value: object) -> str:
    if not isinstance(value, str) or not value.isprintable():
        raise ValueError("must be text on one line")
    return value


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError("must be true or false")
    return value


def _texts(value: object) -> list[str]:
    if not isinstance(value, list):
        raise ValueError("must be a list of text")
    return [_text(each) for each in value]


def _anything(value: object) -> object:
    return value


def _check(key: str, reader: Callable[[object], object], value: object) -> list[Violation]:
    if value is not None:
        try:
            reader(value)
        except ValueError as error:
            return [Violation(key, str(error))]
    return []


def _to(name: str) -> Read:
    return lambda value: {name: _whole(value)}


def _port(name: str) -> Read:
    def read(value: object) -> Values:
        text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
        if not isinstance(text, str) or re.fullmatch(r"[0-9]{1,5}", text) is None or int(text) > 65_535:
            raise ValueError("must be a port, 0 to 65535, as text")
        return {name: int(text)}

    return read


def _hosts(value: object) -> Values:
    """Hosts, each with a port or all without: we ask all of them at one."""
    hosts, ports = list[str](), set[int]()
    for each in _text(value).split(","):
        match = re.fullmatch(r"\s*(?:\[([0-9a-fA-F:.]+)\]|([^\s:\[\]]+))(?::([0-9]{1,5}))?\s*", each)
        bare = each.strip()
        if match is not None:
            hosts.append(match[1] or match[2])
            ports.add(int(match[3] or 9042))
        elif bare.count(":") > 1 and re.fullmatch(r"[0-9a-fA-F:.]+", bare):
            hosts.append(bare)
            ports.add(9042)
        else:
            raise ValueError("must be hosts, separated by commas")
    if len(ports) > 1:
        raise ValueError("must name one port for all hosts")
    return {"cassandra.contact_points": tuple(hosts), "cassandra.port": ports.pop()}


def _consistency(value: object) -> Values:
    name = _text(value).upper()
    if name not in _CONSISTENCIES:
        raise ValueError(f"must be one of {', '.join(_CONSISTENCIES)}")
    if name not in ("LOCAL_QUORUM", "QUORUM"):
        raise _Without(
            "rows are read and written by LOCAL_QUORUM or QUORUM (`cassandra.consistency`): a read must see"
            " every acknowledged write"
        )
    return {"cassandra.consistency": name}


def _data_center(value: object) -> Values:
    return {"cassandra.local_dc": _text(value)}


def _statsd_address(value: object) -> Values:
    match = re.fullmatch(r"([^\s:]+):([0-9]{1,5})", _text(value))
    if match is None or int(match[2]) not in range(1, 65_536):
        raise ValueError("must be host:port")
    return {"metrics.statsd_host": match[1], "metrics.statsd_port": int(match[2])}


def _statsd_enabled(value: object) -> Values:
    if not _flag(value):
        raise _Without(_NO_STATSD)
    return {}


_HTTP, _RING = "server.port", "node.port"  #: the second stands for `server.port` of a dispatcher
_CONSISTENCIES = (
    *("ANY", "ONE", "TWO", "THREE", "QUORUM", "ALL", "LOCAL_QUORUM", "EACH_QUORUM", "LOCAL_ONE"),
)
_APP = "AppLevelConfiguration"


def _of_store(name: str) -> tuple[str, ...]:
    """Return both places of a key of Cassandra: apps and schedules are in one keyspace here."""
    return f"ScheduleDB.DBConfig.{name}", f"ClusterDB.DBConfig.{name}"


_NO_STATSD = "statsd is not enabled"
_STATSD = "MonitoringConfig.Statsd.Enabled"
_OF_NODES = "the port of its ring is that of a dispatcher's health checks here: `ringtime-dispatcher -p`"
_OF_INGEST = "a dispatcher serves no API; its health checks are at the port of goscheduler's ring"
_ALONE = (
    "`ringtime serve` keeps schedules in a folder (`--data`); `ringtime-ingest` and `-dispatcher` take this"
)
_RING_WHY = (
    "nodes find each other in etcd, which `coordination.endpoints` names, and share by a ring of theirs"
)
_SCHEMA = "`ringtime migrate` makes the tables, and brings them up to date"
_KEYSPACE = (
    "Ringtime has tables of its own, in `cassandra.keyspace`, and leaves goscheduler's as they are;"
    " `cassandra.keyspace` and `coordination.prefix` together tell two deployments apart"
)
_PAGES = "what falls due in a minute is read to its end, in pages of `dispatch.page_rows`"
_TRIES = "what got no answer is tried again within `ingest.write_deadline_ms`"
_CONNECTIONS = "connections to Cassandra are made and counted by Ringtime itself"
_WORKERS = "there is no pool of workers: `dispatch.max_in_flight` and its neighbours bound attempts"
_OUTCOMES = "outcomes are written at once, in batches of up to `dispatch.outcome_batch`"
_CRONS = "each recurring schedule files its next run itself: no app and no window is needed for that"
_TAKEOVER = "whoever takes a poller instance over goes on at its settled mark, always"
_BULK = "bulk actions are jobs, which go page by page and go on after a crash"
_NOT_READ = "goscheduler does not read it either"

#: Where the values of ours come from: of several keys the first that is given.
_TAKEN: tuple[tuple[tuple[str, ...], Read], ...] = (
    (("HttpPort",), _port(_HTTP)),
    (("Cluster.TChannelPort",), _port(_RING)),
    (_of_store("Hosts"), _hosts),
    (_of_store("Consistency"), _consistency),
    (_of_store("DataCenter"), _data_center),
    (_of_store("ConnectionPool.InitialConnectTimeout"), _to("cassandra.request_timeout_ms")),
    (("Poller.DefaultCount",), _to("limits.partitions")),
    ((f"{_APP}.FutureScheduleCreationPeriod",), _to("limits.future_period_days")),
    ((f"{_APP}.FiredScheduleRetentionPeriod",), _to("limits.retention_days")),
    ((f"{_APP}.PayloadSize",), _to("limits.payload_bytes")),
    ((f"{_APP}.HttpRetries",), _to("limits.http_attempts")),
    # The first is what callbacks had there, whatever the second said.
    (("HttpConnector.TimeoutMillis", f"{_APP}.HttpTimeout"), _to("limits.http_timeout_ms")),
    ((_STATSD,), _statsd_enabled),
    (("MonitoringConfig.Statsd.Address",), _statsd_address),
)

_UNUSED: Mapping[str, tuple[Callable[[object], object], str]] = {
    "SchemaPath": (_text, _SCHEMA),
    "CreateSchema": (_anything, _SCHEMA),
    "Cluster.ClusterName": (_text, _KEYSPACE),
    "Cluster.Address": (_text, "`-h` and `-p` say where a dispatcher answers, as they do there"),
    "Cluster.BootStrapServers": (_texts, _RING_WHY),
    "Cluster.JoinSize": (_whole, _RING_WHY),
    "Cluster.ReplicaPoints": (_whole, _RING_WHY),
    "Cluster.Log.Enable": (_flag, "what is logged is up to `logs.level`"),
    "Cluster.PageSize": (_anything, _NOT_READ),
    "Cluster.NumRetry": (_anything, _NOT_READ),
    "ClusterDB.ClusterKeySpace": (_text, _KEYSPACE),
    "ClusterDB.EntityHistorySize": (_whole, "who owned what is in the log and in `ringtime_moves_total`"),
    "ScheduleDB.ScheduleKeySpace": (_text, _KEYSPACE),
    "ScheduleDB.ScheduleTableName": (_text, _KEYSPACE),
    **dict.fromkeys(_of_store("PageSize"), (_whole, _PAGES)),
    **dict.fromkeys(_of_store("NumRetry"), (_whole, _TRIES)),
    **dict.fromkeys(_of_store("ConnectionPool.ConnectTimeout"), (_whole, _CONNECTIONS)),
    **dict.fromkeys(_of_store("ConnectionPool.MaxNumConnections"), (_whole, _CONNECTIONS)),
    "Poller.Interval": (_whole, "callbacks are sent at their own millisecond"),
    "Poller.MaxQueryLimit": (_whole, _PAGES),
    "Poller.BufferSize": (_anything, _NOT_READ),
    "HttpConnector.Routines": (_whole, _WORKERS),
    "HttpConnector.MaxRetry": (_whole, f"{_APP}.HttpRetries is what counts; goscheduler reads neither"),
    "StatusUpdateConfig.Routines": (_whole, _OUTCOMES),
    "AggregateSchedulesConfig.BufferSize": (_whole, _OUTCOMES),
    "AggregateSchedulesConfig.Routines": (_whole, _OUTCOMES),
    "AggregateSchedulesConfig.BatchSize": (_whole, _OUTCOMES),
    "AggregateSchedulesConfig.FlushPeriod": (_whole, _OUTCOMES),
    "NodeCrashReconcile.NeedsReconcile": (_flag, _TAKEOVER),
    "NodeCrashReconcile.ReconcileOffset": (_whole, _TAKEOVER),
    "MonitoringConfig.Statsd.Prefix": (_text, "names are those of docs/metrics.md"),
    "Newrelic": (_anything, _NOT_READ),
    "VaultConfig": (_anything, _NOT_READ),
    "CronConfig.App": (_text, _CRONS),
    "CronConfig.Window": (_whole, _CRONS),
    "CronConfig.Routines": (_whole, _CRONS),
    "BulkActionConfig.AppName": (_anything, _NOT_READ),
    "BulkActionConfig.EventName": (_anything, _NOT_READ),
    "BulkActionConfig.HistorySize": (_anything, _NOT_READ),
    "BulkActionConfig.BufferSize": (_whole, _BULK),
    "BulkActionConfig.Routines": (_whole, _BULK),
    "DCConfig.Prefix": (_text, "app ids are taken as they are"),
    "DCConfig.Location": (_text, "Cassandra's datacenter is `cassandra.local_dc`"),
}

#: goscheduler's keys, and all of these and their groups by their spelling in small letters.
_KEYS = {*_UNUSED, *(key for sources, _ in _TAKEN for key in sources)}
_SPELLED = {
    ".".join(parts[:length]).lower(): ".".join(parts[:length])
    for parts in (key.split(".") for key in _KEYS)
    for length in range(1, len(parts) + 1)
}
_NOT_IN_IT = (
    "# goscheduler has no etcd. Name yours for the pods, and the datacenter if the file named none:",
    '#   [coordination] endpoints = ["127.0.0.1:2379"]   [cassandra] local_dc = "datacenter1"',
)
