"""The two clients: the verbs of `calls`, sent without asyncio or with it."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Callable, Coroutine, Mapping
from datetime import timedelta
from functools import wraps
from pathlib import Path
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Self, TypeVar, cast

from ringtime_client import calendars, calls, fires, jobs, operating, recurring
from ringtime_client.answers import settle
from ringtime_client.certificates import File, find_certificates
from ringtime_client.coalescing import Coalescer
from ringtime_client.credentials import find_key, with_key
from ringtime_client.exchange import Call, T
from ringtime_client.transport import AsyncTransport, Transport, root_of
from ringtime_client.tries import Tries
from ringtime_shared.api.schedules import ScheduleView
from ringtime_shared.arguments import checked
from ringtime_shared.errors import StoreUnavailable

P = ParamSpec("P")
M = TypeVar("M", bound=Callable[..., object])
_DEADLINE = timedelta(seconds=10)


def _verb(plan: Callable[P, Call[T]]) -> Callable[Concatenate[RingtimeClient, P], T]:
    """Return the method that plans a request and sends it, with the words and arguments of the plan."""

    @wraps(plan)
    def method(self: RingtimeClient, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self._run(plan(*args, **kwargs))

    return _signed(method)


def _async_verb(
    plan: Callable[P, Call[T]],
) -> Callable[Concatenate[AsyncRingtimeClient, P], Coroutine[Any, Any, T]]:
    """Return the same as a coroutine function."""

    @wraps(plan)
    async def method(self: AsyncRingtimeClient, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await self._run(plan(*args, **kwargs))

    return _signed(method)


def _signed(method: M) -> M:
    """Return a method that shows, to `help` and the like, its own signature and not that of its plan."""
    plan = inspect.signature(method)
    parameters = [inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)]
    parameters += plan.parameters.values()
    answer = str(plan.return_annotation).removeprefix("Call[").removesuffix("]")
    vars(method)["__signature__"] = inspect.Signature(parameters, return_annotation=answer)
    return method


class _Client:
    """What both clients know of their server."""

    def __init__(self, url: str, deadline: timedelta) -> None:
        self._root = root_of(url)
        self._deadline_s = deadline.total_seconds()
        self._is_closed = False

    def _begin(self, call: Call[T], spent_s: float = 0) -> tuple[str, Tries]:
        """Return where a call goes to, and the tries it has.

        Args:
            spent_s: how much of its deadline is over. Raises StoreUnavailable if that is all of it.
        """
        if self._is_closed:
            raise RuntimeError("the client is closed")
        if spent_s >= self._deadline_s:
            raise StoreUnavailable("the deadline was over before it could be sent")
        may_repeat = call.is_read or call.may_repeat
        return self._root + call.path, Tries(may_repeat=may_repeat, deadline_s=self._deadline_s - spent_s)


class RingtimeClient(_Client):
    """A Ringtime server, over HTTP; one client may serve many threads.

        with RingtimeClient("http://127.0.0.1:8080") as client:
            client.register_app("shop", partitions=4)
            schedule = client.create_schedule(
                "shop", payload="{}", delay=timedelta(minutes=5),
                callback=HttpCallbackDetails(url="https://example.org/hook"),
            )

    Args:
        url: the server's root, with or without `/goscheduler`.
        deadline: for one call in all: connecting, answer, and the tries after the first of what may be
            repeated: reads, and creates with an idempotency key.
        headers: sent with every request, say for the gateway in front.
        key: the API key to call with.
        key_file: the name of a file that holds it, readable by its owner alone. Without both, it comes from
            `RINGTIME_KEY` or `RINGTIME_KEY_FILE` of the environment, if either is set.
        ca_file: certificates that the server's may be signed by beside those of public authorities, PEM.
        client_cert_file, client_key_file: a certificate for servers that ask clients for one, PEM. Without
            these three, the files that `RINGTIME_CA_FILE`, `RINGTIME_CLIENT_CERT_FILE` and
            `RINGTIME_CLIENT_KEY_FILE` of the environment name, if any.

    Proxies of the environment are ignored and redirects are not followed.

    Besides what is said there, each verb raises StoreUnavailable (not done), UnexpectedAnswer, and unless
    it only reads, OutcomeUnknown (there was no answer that says whether it was done).
    """

    @checked
    def __init__(
        self,
        url: str,
        *,
        deadline: timedelta = _DEADLINE,
        headers: Mapping[str, str] | None = None,
        key: str | None = None,
        key_file: str | Path | None = None,
        ca_file: File = None,
        client_cert_file: File = None,
        client_key_file: File = None,
    ) -> None:
        super().__init__(url, deadline)
        given = with_key(self._root, headers, find_key(key, key_file))
        certificates = find_certificates(ca_file, client_cert_file, client_key_file)
        self._transport = Transport(deadline, given, certificates)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections; calls under way end with StoreUnavailable or OutcomeUnknown."""
        self._is_closed = True
        self._transport.close()

    register_app = _verb(calls.register_app)
    list_apps = _verb(calls.list_apps)
    get_app = _verb(calls.get_app)
    configure_app = _verb(calls.configure_app)
    activate_app = _verb(calls.activate_app)
    deactivate_app = _verb(calls.deactivate_app)
    delete_app = _verb(calls.delete_app)
    create_signing_secret = _verb(calls.create_signing_secret)
    list_signing_secrets = _verb(calls.list_signing_secrets)
    list_signing_keys = _verb(calls.list_signing_keys)
    delete_signing_secret = _verb(calls.delete_signing_secret)
    create_schedule = _verb(calls.create_schedule)
    create_schedules = _verb(calls.create_schedules)
    get_schedule = _verb(calls.get_schedule)
    put_schedule = _verb(calls.put_schedule)
    get_named_schedule = _verb(calls.get_named_schedule)
    cancel_named_schedule = _verb(calls.cancel_named_schedule)
    patch_schedule = _verb(calls.patch_schedule)
    trigger_schedule = _verb(calls.trigger_schedule)
    cancel_schedule = _verb(calls.cancel_schedule)
    cancel_schedules = _verb(calls.cancel_schedules)
    list_schedules = _verb(calls.list_schedules)
    put_recurring = _verb(recurring.put_recurring)
    patch_recurring = _verb(recurring.patch_recurring)
    get_recurring = _verb(recurring.get_recurring)
    find_recurring = _verb(recurring.find_recurring)
    delete_recurring = _verb(recurring.delete_recurring)
    list_recurring = _verb(recurring.list_recurring)
    pause_recurring = _verb(recurring.pause_recurring)
    resume_recurring = _verb(recurring.resume_recurring)
    trigger_recurring = _verb(recurring.trigger_recurring)
    backfill_recurring = _verb(recurring.backfill_recurring)
    list_runs = _verb(recurring.list_runs)
    preview_recurring = _verb(recurring.preview_recurring)
    preview_times = _verb(recurring.preview_times)
    complete_run = _verb(recurring.complete_run)
    create_job = _verb(jobs.create_job)
    get_job = _verb(jobs.get_job)
    list_jobs = _verb(jobs.list_jobs)
    get_completeness = _verb(fires.get_completeness)
    audit_fires = _verb(fires.audit_fires)
    cancel_job = _verb(jobs.cancel_job)
    put_calendar = _verb(calendars.put_calendar)
    get_calendar = _verb(calendars.get_calendar)
    list_calendars = _verb(calendars.list_calendars)
    delete_calendar = _verb(calendars.delete_calendar)
    list_audit = _verb(calls.list_audit)
    get_overview = _verb(operating.get_overview)
    list_nodes = _verb(operating.list_nodes)
    get_ring = _verb(operating.get_ring)
    list_destinations = _verb(operating.list_destinations)
    get_forecast = _verb(operating.get_forecast)
    list_dead_letters = _verb(calls.list_dead_letters)
    count_dead_letters = _verb(calls.count_dead_letters)
    replay_schedule = _verb(calls.replay_schedule)
    replay_dead_letters = _verb(calls.replay_dead_letters)

    def _run(self, call: Call[T]) -> T:
        url, tries = self._begin(call)
        ending = self._transport.send(call.method, url, call.body, tries.left_s(), call.headers)
        while (wait_s := tries.plan_wait(ending)) is not None:
            time.sleep(wait_s)
            ending = self._transport.send(call.method, url, call.body, tries.left_s(), call.headers)
        return settle(call, ending)


class AsyncRingtimeClient(_Client):
    """The same for asyncio: the verbs of `RingtimeClient` as coroutine functions.

        async with AsyncRingtimeClient("http://127.0.0.1:8080") as client:
            schedule = await client.get_schedule(schedule_id)

    A verb that is cancelled while it runs may have been done too.

    Args:
        url, deadline, headers, key, key_file, ca_file, client_cert_file, client_key_file: as of
            `RingtimeClient`.
        coalesce: send creates without a key that are made in one turn of the event loop in batches, which
            cost a fraction; each still has a result or an error of its own, and none waits for later ones.
    """

    @checked
    def __init__(
        self,
        url: str,
        *,
        deadline: timedelta = _DEADLINE,
        headers: Mapping[str, str] | None = None,
        coalesce: bool = True,
        key: str | None = None,
        key_file: str | Path | None = None,
        ca_file: File = None,
        client_cert_file: File = None,
        client_key_file: File = None,
    ) -> None:
        super().__init__(url, deadline)
        given = with_key(self._root, headers, find_key(key, key_file))
        certificates = find_certificates(ca_file, client_cert_file, client_key_file)
        self._transport = AsyncTransport(deadline, given, certificates)
        self._coalescer = Coalescer(self._send) if coalesce else None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections; calls under way end with StoreUnavailable or OutcomeUnknown."""
        self._is_closed = True
        await self._transport.close()

    register_app = _async_verb(calls.register_app)
    list_apps = _async_verb(calls.list_apps)
    get_app = _async_verb(calls.get_app)
    configure_app = _async_verb(calls.configure_app)
    activate_app = _async_verb(calls.activate_app)
    deactivate_app = _async_verb(calls.deactivate_app)
    delete_app = _async_verb(calls.delete_app)
    create_signing_secret = _async_verb(calls.create_signing_secret)
    list_signing_secrets = _async_verb(calls.list_signing_secrets)
    list_signing_keys = _async_verb(calls.list_signing_keys)
    delete_signing_secret = _async_verb(calls.delete_signing_secret)
    create_schedule = _async_verb(calls.create_schedule)
    create_schedules = _async_verb(calls.create_schedules)
    get_schedule = _async_verb(calls.get_schedule)
    put_schedule = _async_verb(calls.put_schedule)
    get_named_schedule = _async_verb(calls.get_named_schedule)
    cancel_named_schedule = _async_verb(calls.cancel_named_schedule)
    patch_schedule = _async_verb(calls.patch_schedule)
    trigger_schedule = _async_verb(calls.trigger_schedule)
    cancel_schedule = _async_verb(calls.cancel_schedule)
    cancel_schedules = _async_verb(calls.cancel_schedules)
    list_schedules = _async_verb(calls.list_schedules)
    put_recurring = _async_verb(recurring.put_recurring)
    patch_recurring = _async_verb(recurring.patch_recurring)
    get_recurring = _async_verb(recurring.get_recurring)
    find_recurring = _async_verb(recurring.find_recurring)
    delete_recurring = _async_verb(recurring.delete_recurring)
    list_recurring = _async_verb(recurring.list_recurring)
    pause_recurring = _async_verb(recurring.pause_recurring)
    resume_recurring = _async_verb(recurring.resume_recurring)
    trigger_recurring = _async_verb(recurring.trigger_recurring)
    backfill_recurring = _async_verb(recurring.backfill_recurring)
    list_runs = _async_verb(recurring.list_runs)
    preview_recurring = _async_verb(recurring.preview_recurring)
    preview_times = _async_verb(recurring.preview_times)
    complete_run = _async_verb(recurring.complete_run)
    create_job = _async_verb(jobs.create_job)
    get_job = _async_verb(jobs.get_job)
    list_jobs = _async_verb(jobs.list_jobs)
    get_completeness = _async_verb(fires.get_completeness)
    audit_fires = _async_verb(fires.audit_fires)
    cancel_job = _async_verb(jobs.cancel_job)
    put_calendar = _async_verb(calendars.put_calendar)
    get_calendar = _async_verb(calendars.get_calendar)
    list_calendars = _async_verb(calendars.list_calendars)
    delete_calendar = _async_verb(calendars.delete_calendar)
    list_audit = _async_verb(calls.list_audit)
    get_overview = _async_verb(operating.get_overview)
    list_nodes = _async_verb(operating.list_nodes)
    get_ring = _async_verb(operating.get_ring)
    list_destinations = _async_verb(operating.list_destinations)
    get_forecast = _async_verb(operating.get_forecast)
    list_dead_letters = _async_verb(calls.list_dead_letters)
    count_dead_letters = _async_verb(calls.count_dead_letters)
    replay_schedule = _async_verb(calls.replay_schedule)
    replay_dead_letters = _async_verb(calls.replay_dead_letters)

    async def _run(self, call: Call[T]) -> T:
        if call.may_join and self._coalescer is not None:
            return cast(T, await self._coalescer.run(cast(Call[ScheduleView], call)))
        return await self._send(call)

    async def _send(self, call: Call[T], spent_s: float = 0) -> T:
        url, tries = self._begin(call, spent_s)
        ending = await self._transport.send(call.method, url, call.body, tries.left_s(), call.headers)
        while (wait_s := tries.plan_wait(ending)) is not None:
            await asyncio.sleep(wait_s)
            ending = await self._transport.send(call.method, url, call.body, tries.left_s(), call.headers)
        return settle(call, ending)
