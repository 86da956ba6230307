"""The document of one server."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from importlib.metadata import version

import orjson

from ringtime_ingest.http import schemas
from ringtime_ingest.http.guard import Needs
from ringtime_ingest.http.openapi.apps import APPS
from ringtime_ingest.http.openapi.operating import CLOCK, OPERATING
from ringtime_ingest.http.openapi.operation import NAMED, SCHEME, Document
from ringtime_ingest.http.openapi.recurring import RECURRING
from ringtime_ingest.http.openapi.schedules import SCHEDULES
from ringtime_ingest.service.requests import Offer
from ringtime_shared.access import Scope
from ringtime_shared.api.audit import (
    REASON,
    REQUEST_ID,
)
from ringtime_shared.settings import ServerSettings

_INTRO = """Callbacks at the time you ask for. Times are UTC. Every answer comes in one of two envelopes; \
an error names each field and the rule it broke. Unknown keys are passed over and keys are matched \
without regard to case, so that no object has two that differ in case alone; \
null stands for leaving a field out where the schema allows it. Whole numbers are \
written without a fraction, and fit 64 bits. In callbacks `***` stands where a credential is hidden, and is \
refused as the value of one."""
_SCOPES = (
    "An API key, `rt_...`, where the server asks for keys. An operation names the scope it needs: "
    + "; ".join(f"`{scope.value}`, {scope.meaning}" for scope in Scope)
    + ". Apps that a key does not name do not exist for it."
)
_OPERATIONS = (*SCHEDULES, *APPS, *RECURRING, *OPERATING)


def openapi_document(
    settings: ServerSettings,
    offer: Offer,
    needs: Mapping[tuple[str, str], Needs],
    noted: Collection[tuple[str, str]],
    *,
    is_stepped: bool = False,
) -> Document:
    """Return the document of a server with these settings that offers this.

    Args:
        needs: what routes need of their caller, by method in lower case and path, the names in it left out.
        noted: the routes whose changes are in the audit log.
        is_stepped: whether it has a test clock.
    """
    created = str(settings.created_http_status)
    paths: dict[str, dict[str, Document]] = {}
    for operation in (*_OPERATIONS, *(CLOCK if is_stepped else ())):
        if is_stepped and operation.answer is schemas.HEALTHY:
            operation = replace(operation, answer=schemas.STEPPED_HEALTHY)
        for path in dict.fromkeys((operation.path, _singular(operation.path))):
            copy = paths.setdefault(path, {})
            if operation.method not in copy:
                key = operation.method, NAMED.sub("{}", path)
                headers = (*operation.headers, *((REQUEST_ID, REASON) if key in noted else ()))
                own = replace(operation, path=path, headers=headers)
                copy[operation.method] = own.describe(created, needs[key])
    return {
        "openapi": "3.1.0",
        "info": {"title": "Ringtime", "version": version("ringtime"), "description": _INTRO},
        "paths": paths,
        "components": {
            "schemas": {**schemas.requests_of(offer, is_stepped=is_stepped), **schemas.ANSWERS},
            "securitySchemes": {SCHEME: {"type": "http", "scheme": "bearer", "description": _SCOPES}},
        },
    }


def _singular(path: str) -> str:
    """Return the same path as goscheduler's README spells it; a create there has an entry of its own."""
    if path.startswith("/goscheduler/crons"):
        return path
    singular = path.replace("/apps", "/app")
    return (
        singular
        if path.endswith(("/schedules", "/schedules/{name}"))
        else singular.replace("/schedules", "/schedule")
    )


def to_bytes(document: Document) -> bytes:
    """Return the document as JSON."""
    return orjson.dumps(document)
