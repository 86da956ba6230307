"""What Ringtime writes down for other processes and later versions to read, with every field filled.

`python -m tests.harness.stored_formats write FILE` writes a document of each kind as this code encodes it,
and `read FILE` prints what this code makes of such a file. Run by path it needs nothing but
`ringtime_shared`, so the interpreter of an earlier release runs it too: that is how its documents are made,
and how it is shown those of this code. `tests/golden/stored` keeps one file a release, and `next.json` of
what the next one will write; docs/upgrade.md says what may change in them.

Fields are filled by their types, so one that is added is in the next file without a line here.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from datetime import date
from enum import Enum
from hashlib import sha256
from importlib import import_module
from importlib.util import find_spec
from inspect import signature
from pathlib import Path
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, Union, get_args, get_origin, get_type_hints
from uuid import UUID

from ringtime_shared.access.grants import SCOPES, grant_of
from ringtime_shared.access.keys import ApiKey
from ringtime_shared.coordination.etcd import keys as etcd
from ringtime_shared.coordination.protocol import Drain, Member
from ringtime_shared.models.app import AppConfiguration, Deletion, Instance, Resize, SigningSecret
from ringtime_shared.models.audit import AuditEntry
from ringtime_shared.models.calendar import Calendar
from ringtime_shared.models.claim import Claim, ClaimKey, ClaimKind
from ringtime_shared.models.dead_letter import DeadLetter
from ringtime_shared.models.job import Job
from ringtime_shared.models.node_status import NodeStatus
from ringtime_shared.models.recurring import Definition
from ringtime_shared.models.schedule import Outcome, Row
from ringtime_shared.models.times import Exclusions
from ringtime_shared.parts import FIRST_COUNT, PartMap
from ringtime_shared.stores import status_codec
from ringtime_shared.stores.cassandra.migrate import read_steps
from ringtime_shared.stores.sqlite.schema import STEPS


def _codec(room: str) -> Any:
    """Return a module of the codec. The release before, whose Python runs this file too, has one for all."""
    name = "ringtime_shared.stores.codec"
    spec = find_spec(name)
    is_room = spec is not None and spec.submodule_search_locations is not None
    return import_module(f"{name}.{room}" if is_room else name)


if TYPE_CHECKING:
    from ringtime_shared.stores.codec import apps, cells, documents, recurring, rows
else:
    apps, cells, documents, recurring, rows = map(_codec, ("apps", "cells", "documents", "recurring", "rows"))

ID = UUID("01234567-89ab-7def-8123-456789abcdef")
INSTANT_MS = 1_800_000_000_000
_DEPTH = 6  #: of models in models
#: What a field has to hold for its document to be read at all, by its name.
_FIXED: Mapping[str, Any] = {
    "damage": "",
    "callback_details": b'{"url":"https://example.com/hook"}',
    "number": 7,
    "capacity": 2.5,
    "dialect": 1,
    "written": FIRST_COUNT,
    "other": FIRST_COUNT,
    "exclusions": Exclusions(),  # of a definition it is not stored
    "secret": "whsec_c2VjcmV0",
    "payload": "",  # a column of its own
    "replayed_ms": None,  # the same
}


def sample(kind: Any, name: str = "", depth: int = _DEPTH) -> Any:
    """Return a value of this type in which nothing is left at its default that could be another."""
    if name in _FIXED:
        return _FIXED[name]
    origin, args = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return sample(args[0], name, depth)
    if origin in (Union, UnionType):
        return sample(next(each for each in args if each is not NoneType), name, depth)
    if origin in (tuple, frozenset) or getattr(origin, "__name__", "") in ("Mapping", "Sequence"):
        return _collection(origin, args, name, depth)
    if is_dataclass(kind):
        return _model(kind, depth)
    if isinstance(kind, type) and issubclass(kind, tuple) and hasattr(kind, "_fields"):
        hints = get_type_hints(kind)
        return kind(*(sample(hints[each], each, depth) for each in kind._fields))
    return _plain(kind, name)


def _collection(origin: Any, args: tuple[Any, ...], name: str, depth: int) -> Any:
    if depth <= 0:
        return () if origin is tuple else {}
    if getattr(origin, "__name__", "") == "Mapping":
        return {"key": sample(args[1], name, depth)}
    if origin is tuple and args[-1] is not Ellipsis:
        return tuple(sample(each, name, depth) for each in args)
    items = [sample(args[0], name, depth)]
    return frozenset(items) if origin is frozenset else tuple(items)


def _model(kind: Any, depth: int) -> Any:
    hints = get_type_hints(kind, include_extras=True)
    values = {}
    for field in fields(kind):
        if depth <= 0 and (field.default is not MISSING or field.default_factory is not MISSING):
            continue
        if field.init:
            values[field.name] = sample(hints[field.name], field.name, depth - 1)
    return kind(**values)


def _plain(kind: Any, name: str) -> Any:
    if kind is bool:
        return True
    if kind is int:
        return INSTANT_MS if name.endswith("_ms") else 3
    if kind is float:
        return 0.5
    if kind is str or getattr(kind, "__supertype__", None) is str:
        return f"a {name}"
    if kind is bytes:
        return b"{}"
    if kind is UUID:
        return ID
    if kind is date:
        return date(2027, 1, 6)
    if isinstance(kind, type) and issubclass(kind, Enum):
        return list(kind)[-1]
    raise TypeError(f"no sample of {kind} for {name}")


class Format(NamedTuple):
    """A kind of document: how one is written with every field filled, and read and written again."""

    write: Callable[[], bytes | str | None]
    rewrite: Callable[[str], bytes | str | None]


def _slim(kind: Any, decode: Callable[[str], Any]) -> Format:
    return Format(lambda: cells.encode_slim(sample(kind)), lambda text: cells.encode_slim(decode(text)))


def _sound(model: Any) -> Any:
    """Return what was read, if it could be."""
    if getattr(model, "damage", "") or "cannot be read" in str(getattr(model, "subject", "")):
        raise ValueError(str(model))
    return model


def _extras(text: str) -> bytes:
    return cells.encode_slim(rows.read_extras(text))


def _row_extras() -> bytes | None:
    return rows.encode_row_extras(sample(Row))


def _of_definition(text: str) -> str:
    return recurring.encode_definition(
        _sound(recurring.read_definition(f"a {'app_id'}", ID, json.loads(text)["revision"], text, ""))
    )


def _of_job(text: str) -> str:
    return documents.encode_job(
        _sound(documents.read_job("a app_id", ID, json.loads(text)["revision"], text))
    )


def _calendar(text: str) -> str:
    return recurring.encode_calendar(
        _sound(recurring.read_calendar("shop", "days", 1, INSTANT_MS, False, text))
    )[3]


def _full_calendar() -> str:
    said = Exclusions(frozenset([date(2027, 1, 6)]), ((INSTANT_MS, INSTANT_MS + 1),))
    return recurring.encode_calendar(
        Calendar(app_id="shop", name="days", changed_ms=INSTANT_MS, exclusions=said)
    )[3]


_CLAIM = ClaimKey("shop", ClaimKind.KEY, "k-1")


def _key(text: str) -> str:
    return documents.encode_api_key(_sound(documents.read_api_key("k1", text, None, None, None)))


def _full_key() -> str:
    grant = grant_of(SCOPES.values(), ["shop"])
    return documents.encode_api_key(
        ApiKey(
            key_id="k1", digest=b"\x07" * 32, grant=grant, label="a label", created_ms=INSTANT_MS,
            expires_ms=INSTANT_MS, requests_per_second=3, creates_per_second=3,
        )
    )  # fmt: skip


def _parts(text: str) -> str | None:
    return documents.encode_parts(documents.read_parts(FIRST_COUNT, text))


def _status(text: str) -> str:
    return status_codec.encode_status(_sound(status_codec.read_status("a node", INSTANT_MS, text)))


def _drain(text: str) -> Drain:
    given: Any = ("a node", text.encode(), 0)  # release 0.1.0 does not ask for the lease of the key
    return etcd.parse_drain(*given[: len(signature(etcd.parse_drain).parameters)])


FORMATS: Mapping[str, Format] = {
    "row extras": Format(_row_extras, _extras),
    "outcome": Format(
        lambda: rows.encode_outcome(sample(Outcome)),
        lambda text: rows.encode_outcome(rows.read_outcome(text)),
    ),
    "outcome extras": Format(lambda: rows.encode_outcome_extras(sample(Outcome)), _extras),
    "app configuration": _slim(AppConfiguration, apps.decode_configuration),
    "app secrets": Format(
        lambda: apps.encode_secrets((sample(SigningSecret),)),
        lambda text: apps.encode_secrets(apps.decode_secrets(text)),
    ),
    "app resize": _slim(Resize, apps._decode_resize),
    "app deletion": _slim(Deletion, apps._decode_deletion),
    "definition": Format(lambda: recurring.encode_definition(sample(Definition)), _of_definition),
    "calendar": Format(_full_calendar, _calendar),
    "claim": Format(
        lambda: documents.encode_claim(sample(Claim)),
        lambda text: documents.encode_claim(documents.read_claim(_CLAIM, text)),
    ),
    "job": Format(lambda: documents.encode_job(sample(Job)), _of_job),
    "dead letter": Format(
        lambda: documents.encode_letter(sample(DeadLetter)),
        lambda text: documents.encode_letter(documents.decode_letter(text, None)),
    ),
    "audit entry": Format(
        lambda: documents.encode_entry(sample(AuditEntry)),
        lambda text: documents.encode_entry(_sound(documents.read_entry(INSTANT_MS, ID, text))),
    ),
    "api key": Format(_full_key, _key),
    "part map": Format(lambda: documents.encode_parts(sample(PartMap)), _parts),
    "node status": Format(lambda: status_codec.encode_status(sample(NodeStatus)), _status),
    "etcd member": Format(
        lambda: etcd.to_value(sample(Member)),
        lambda text: etcd.to_value(etcd.parse_member("a node", text.encode())),
    ),
    "etcd drain": Format(
        lambda: etcd.drain_to_value(sample(Drain)),
        lambda text: etcd.drain_to_value(_drain(text)),
    ),
}


def words() -> dict[str, list[str]]:
    """Return the words that stored fields may hold, by what they are: a reader knows no others."""
    found: dict[str, list[str]] = {}

    def look(kind: Any) -> None:
        for each in get_args(kind):
            look(each)
        if isinstance(kind, type) and issubclass(kind, Enum):
            found[kind.__name__] = [str(word.value) for word in kind]
        elif isinstance(kind, type) and is_dataclass(kind) and kind.__name__ not in seen:
            seen.add(kind.__name__)
            for hint in get_type_hints(kind, include_extras=True).values():
                look(hint)

    seen: set[str] = set()
    for kind in (Row, Definition, AppConfiguration, SigningSecret, Job, AuditEntry, PartMap, DeadLetter):
        look(kind)
    found[ClaimKind.__name__] = [str(word.value) for word in ClaimKind]
    return dict(sorted(found.items()))


def steps() -> dict[str, list[str]]:
    """Return a digest of each step of the schemas: what was released is applied and never changes."""
    return {
        "cassandra": [f"{step.name} {_digest(' '.join(step.statements))}" for step in read_steps()],
        "sqlite": [_digest(text) for text in STEPS],
    }


def _digest(text: str) -> str:
    return sha256(" ".join(text.split()).encode()).hexdigest()[:16]


def keys() -> dict[str, str]:
    """Return where things lie in etcd."""
    at = etcd.Layout("/ringtime")
    found = {
        "node": at.node_key("n1"),
        "claim": at.claim_key(Instance("shop", 3)),
        "drain": at.drain_key("n1"),
        "identity": at.identity,
    }
    return {name: key.decode() for name, key in found.items()}


def write() -> dict[str, Any]:
    """Return a document of each kind, the words, the keys and the steps."""
    documents = {name: _loaded(each.write()) for name, each in FORMATS.items()}
    return {"documents": documents, "words": words(), "etcd": keys(), "steps": steps()}


def read(documents: Mapping[str, Any]) -> dict[str, Any]:
    """Return each document as it is after it was read and written again. Raises what reading raises."""
    return {
        name: _loaded(FORMATS[name].rewrite(json.dumps(document)))
        for name, document in documents.items()
        if name in FORMATS
    }


def _loaded(text: bytes | str | None) -> Any:
    assert text is not None
    return json.loads(text)


if __name__ == "__main__":
    verb, file = sys.argv[1], Path(sys.argv[2])
    if verb == "write":
        file.write_text(json.dumps(write(), indent=1, sort_keys=True) + "\n")
    else:
        json.dump(read(json.loads(file.read_text())["documents"]), sys.stdout)
