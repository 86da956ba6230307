"""What the nodes themselves say: whether they are ready, what time it is, how far they have read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median

from ringtime_ringctl.deployment.http_calls import Answer, get_all
from ringtime_shared.clock import Clock, ServerTime
from ringtime_shared.coordination.protocol import Member
from ringtime_shared.models.app import Instance

TIMEOUT_S = 3.0  #: a node with all hands full takes a second to greet over TLS, and is not away


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """What `/health/ready` of a node answered."""

    node: str
    is_reached: bool
    is_ready: bool
    reason: str  #: why it is not ready, or not reached; "": it is
    skew_ms: float | None  #: its wall clock less this machine's; None: it did not say
    doubt_ms: float  #: how wrong `skew_ms` may be: half of the time the answer took


async def fetch_health(members: Mapping[str, Member]) -> list[Health]:
    """Ask every node that says where it listens, all at once."""
    reachable = _addressed(members)
    answers = await get_all([_url(each, "/health/ready") for each in reachable], timeout_s=TIMEOUT_S)
    return [read_health(member.node, answer) for member, answer in zip(reachable, answers, strict=True)]


async def fetch_fronts(members: Mapping[str, Member]) -> dict[Instance, int]:
    """Return the fronts of the poller instances of the nodes that answer, slots in ms.

    A front is in its owner's memory only. A node names those it is reading rows of; the others are read up to
    its now, and are not in the result.
    """
    reachable = _addressed(members)
    fronts: dict[Instance, int] = {}
    for answer in await get_all([_url(each, "/health/fronts") for each in reachable], timeout_s=TIMEOUT_S):
        fronts |= read_fronts(answer)
    return fronts


def read_health(node: str, answer: Answer) -> Health:
    """Judge one answer."""
    now_ms, reason = answer.body.get("nowMs"), answer.body.get("reason")
    middle_ms = (answer.asked_ms + answer.answered_ms) / 2
    is_ready = answer.status == 200 or answer.body.get("status") == "drained"  # as it was told to be
    why = answer.error or str(reason or f"HTTP {answer.status}")
    return Health(
        node=node,
        is_reached=answer.status is not None,
        is_ready=is_ready,
        reason="" if is_ready else why,
        skew_ms=now_ms - middle_ms if isinstance(now_ms, int) else None,
        doubt_ms=(answer.answered_ms - answer.asked_ms) / 2 + 1,
    )


def read_time(server: ServerTime, clock: Clock) -> Health:
    """Return the time of a server of the store in the form in which a node tells its own."""
    here_ms = clock.now_ms() - clock.boot_ms()
    return Health(
        node=server.server,
        is_reached=True,
        is_ready=True,
        reason="",
        skew_ms=server.offset_ms - here_ms,
        doubt_ms=server.doubt_ms,
    )


def read_fronts(answer: Answer) -> dict[Instance, int]:
    """Read what `/health/fronts` answered; what is not a front is passed over."""
    by_name = answer.body.get("fronts")
    if answer.status != 200 or not isinstance(by_name, dict):
        return {}
    fronts = {}
    for name, front_ms in by_name.items():
        try:
            instance = Instance.parse(name)
        except ValueError:
            continue
        if isinstance(front_ms, int):
            fronts[instance] = front_ms
    return fronts


def relative_skews(healths: list[Health]) -> dict[str, float]:
    """Return how far each clock, this machine's (`here`) among them, is off the middle one, in ms."""
    skews = {each.node: each.skew_ms for each in healths if each.skew_ms is not None} | {"here": 0.0}
    middle = median(skews.values())
    return {name: skew - middle for name, skew in skews.items()}


def _addressed(members: Mapping[str, Member]) -> list[Member]:
    return [members[node] for node in sorted(members) if members[node].address]


def _url(member: Member, path: str) -> str:
    address = member.address
    return f"{address if address.startswith('https://') else f'http://{address}'}{path}"
