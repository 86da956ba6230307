"""One exchange with the server: what is asked, and how it may end."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from ringtime_shared.errors import ErrorWord, RingtimeError

T = TypeVar("T")
BASE = "/goscheduler"  #: of the API, below the root of a server


@dataclass(frozen=True, slots=True, kw_only=True)
class Call(Generic[T]):
    """A request, and what its answer means."""

    method: str
    path: str  #: from the server's root on, query included
    body: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)  #: beside those of the client
    read: Callable[[dict[str, Any]], T]  #: makes the result of `data`; raises MsgspecError
    kind: str = ""  #: what a 404 is about: "app" or "schedule"
    key: str = ""  #: which one
    app_id: str = ""  #: the app an unknown-app answer is about
    conflict: ErrorWord = ErrorWord.CONFLICT  #: what a 409 is of a server that does not say
    may_repeat: bool = False  #: a write that the server carries out once, however often it is sent
    may_join: bool = False  #: a create that may travel as an item of a batch

    @property
    def is_read(self) -> bool:
        """Whether it changes nothing, so that it may be sent again whatever became of it."""
        return self.method == "GET"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The server, or something on the way to it, answered."""

    http: int
    body: bytes
    retry_after: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Broken:
    """There was no complete answer."""

    reason: str
    sent: bool  #: whether the request may have reached the server


Ending = Answer | Broken


class UnexpectedAnswer(RingtimeError):
    """An answer the API does not give: a gateway's own, another service's, or that of a server with a bug."""

    def __init__(self, http: int, about: str) -> None:
        super().__init__(f"unexpected answer, HTTP {http}: {about}")
        self.http = http
