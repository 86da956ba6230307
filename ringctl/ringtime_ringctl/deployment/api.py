"""The HTTP API of ingest, for what only ingest may do: it alone files rows."""

from __future__ import annotations

from collections.abc import Mapping

import click

from ringtime_client.answers import NOTHING_DONE
from ringtime_client.credentials import find_key, with_key
from ringtime_ringctl.deployment.context import Context
from ringtime_ringctl.deployment.http_calls import Answer, check_url, send
from ringtime_shared.errors import Conflict, OutcomeUnknown, StoreUnavailable
from ringtime_shared.settings import Settings

TIMEOUT_S = 60.0
api_option = click.option(
    "--api",
    "api",
    metavar="URL",
    help="Where an ingest pod, or `ringtime serve`, answers. Default: server.host and server.port of the"
    " settings.",
)


class Refused(Conflict):
    """The API said no."""

    def __init__(self, message: str, http: int) -> None:
        super().__init__(message)
        self.http = http  #: the HTTP status of the answer


def base_of(settings: Settings, given: str | None) -> str:
    """Return the base of the API: the one given, or where `ringtime serve`, or a pod on this machine, answers
    by these settings. Raises InvalidRequest."""
    host = settings.server.host
    address = f"[{host}]" if ":" in host else host
    here = f"{settings.server.scheme}://{address}:{settings.server.port}/goscheduler"
    return check_url("--api", given or here)


async def ask(
    method: str,
    url: str,
    body: object = None,
    *,
    headers: Mapping[str, str] | None = None,
    timeout_s: float = TIMEOUT_S,
) -> Mapping[str, object]:
    """Return the `data` of the answer to one request, with the operator's API key if there is one. Raises as
    `read_answer` does."""
    answer = await send(method, url, body, headers=headers_of(url, headers), timeout_s=timeout_s)
    return read_answer(url, answer, is_read=method == "GET")


def headers_of(url: str, headers: Mapping[str, str] | None = None) -> Mapping[str, str]:
    """Return the headers of a request to the API: those given, and the operator's key. Raises
    InvalidRequest."""
    context = click.get_current_context(silent=True)
    given = Context() if context is None else context.ensure_object(Context)
    return with_key(url, headers, find_key(None, given.key_file, given.environ))


def read_answer(url: str, answer: Answer, done: int = 0, *, is_read: bool = False) -> Mapping[str, object]:
    """Return the `data` of an answer of the API.

    Args:
        done: how many earlier calls have filed again, for the message.
        is_read: it changes nothing, so nothing can be unknown.

    Raises Refused when the API refuses, StoreUnavailable and OutcomeUnknown when it cannot.
    """
    unsure = StoreUnavailable if is_read else OutcomeUnknown
    before = f"{done:,} were filed again, then: " if done else ""
    if answer.status is None:
        if not answer.is_sent:
            raise StoreUnavailable(f"{before}nobody answers at {url}: {answer.error}; see --api")
        raise unsure(f"{before}no answer from {url}: {answer.error}")
    status, data = answer.body.get("status"), answer.body.get("data")
    if answer.status < 300 and isinstance(data, dict):
        return data
    status = status if isinstance(status, dict) else {}
    sentence = status.get("statusMessage") or "nothing that can be read"
    message = f"{before}{url} answered {answer.status}: {sentence}"
    if status.get("error") in NOTHING_DONE:
        raise StoreUnavailable(message)
    if answer.status >= 500:
        raise unsure(message)
    raise Refused(message, answer.status)
