"""What clients can ask for, without any transport: the HTTP routes and the library call this."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Protocol
from uuid import UUID

from ringtime_ingest.service.apps import AppMaps, AppsAsked, AppsPage
from ringtime_ingest.service.audit import AuditLog
from ringtime_ingest.service.backfill import BackfillParts, Backfills
from ringtime_ingest.service.batches import Batches, Draft, contained
from ringtime_ingest.service.calendars import Calendars
from ringtime_ingest.service.census import Census
from ringtime_ingest.service.changes import ChangeParts, Changes
from ringtime_ingest.service.commit import CommitPath
from ringtime_ingest.service.completions import Completing, CompletingParts
from ringtime_ingest.service.creations import Creations, now_s
from ringtime_ingest.service.dead_letters import DeadLetters
from ringtime_ingest.service.deletions import Deletions
from ringtime_ingest.service.fires import Fires
from ringtime_ingest.service.growth import Growth
from ringtime_ingest.service.imports import ImportParts, Imports
from ringtime_ingest.service.job_actions import JobActions
from ringtime_ingest.service.jobs import Jobs
from ringtime_ingest.service.keyed import Keyed
from ringtime_ingest.service.keys import Keys
from ringtime_ingest.service.listing import Listing, fetch_shown
from ringtime_ingest.service.named import Named, NamedParts
from ringtime_ingest.service.operating import Operating
from ringtime_ingest.service.recurring import Recurring, RecurringParts
from ringtime_ingest.service.replay import Replayer
from ringtime_ingest.service.requests import (
    Cancellation,
    Contents,
    NewApp,
    NewRecurring,
    NewSchedule,
    Offer,
    ScheduleChange,
    check_callback,
    check_change,
    check_new_app,
    check_new_recurring,
    check_new_schedule,
    check_shown,
    encode_details,
)
from ringtime_ingest.service.runs import Runs
from ringtime_ingest.service.signing import SigningSecrets
from ringtime_ingest.service.stored import Stored
from ringtime_ingest.shadow import Forwarding, Receivers, TapCalls, alias_of, check_forwardable, in_shadow
from ringtime_shared.access import KeyStore
from ringtime_shared.api.apps import noted_to_json
from ringtime_shared.api.configuration import TLS_PROFILE
from ringtime_shared.api.ids import check_app_id
from ringtime_shared.apps.deleting import Deleter
from ringtime_shared.apps.feed import AppReading, spread_of
from ringtime_shared.apps.hook_rules import check_hooks, screen_hooks
from ringtime_shared.apps.redaction import Fingerprint, plain_fingerprint
from ringtime_shared.apps.rules import check_configuration, merge
from ringtime_shared.apps.states import activate, configure, deactivate, inactive, new_app
from ringtime_shared.auditing import AuditTrail
from ringtime_shared.buckets import BUCKET_MS
from ringtime_shared.callbacks.grants import TlsProfiles
from ringtime_shared.callbacks.protocol import CallbackRules
from ringtime_shared.clock import Clock, require_trust
from ringtime_shared.encryption.keyring import KeyRing
from ringtime_shared.encryption.records import as_private
from ringtime_shared.encryption.store import encrypted_store
from ringtime_shared.errors import (
    AppExists,
    ClockInDoubt,
    Damaged,
    InvalidRequest,
    LimitReached,
    NotFound,
    RingtimeError,
    StoreUnavailable,
    Violation,
)
from ringtime_shared.ids import IdMint, Kind, app_number_of, home_of, is_ours, random_first
from ringtime_shared.metrics import UNMEASURED, Metrics
from ringtime_shared.metrics.store_calls import measured_store
from ringtime_shared.models.app import App, AppConfiguration
from ringtime_shared.models.hooks import Hooks
from ringtime_shared.models.recurring import Origin
from ringtime_shared.models.schedule import Place, Row, Schedule
from ringtime_shared.models.sending import Priority, Sending
from ringtime_shared.models.shadow import Side, side_of
from ringtime_shared.partition_choice import PartitionChooser
from ringtime_shared.recurring.completing import Completions
from ringtime_shared.schedules.cancelling import cancel_home
from ringtime_shared.schedules.changing import as_shown
from ringtime_shared.settings import (
    AppLimits,
    AuditSettings,
    CallbackSettings,
    IngestSettings,
    ShadowSettings,
)
from ringtime_shared.shadow.moves import CLOCKS_MS, EARLY_MS, is_forwarding
from ringtime_shared.stores.codec.cells import fault_of
from ringtime_shared.stores.codec.rows import check_details
from ringtime_shared.stores.protocol import (
    AliasStore,
    AppFeedStore,
    AppStore,
    AuditStore,
    CalendarStore,
    ClaimStore,
    DeadLetterStore,
    DueStore,
    JobStore,
    MarkStore,
    MetaStore,
    MovedStore,
    NodeStatusStore,
    OperatorStore,
    ReceiptStore,
    RecurringStore,
    ScheduleStore,
    TallyStore,
    TapStore,
)

_DAY_MS = 86_400_000
_ONE_TIME = Kind.ONE_TIME


class IngestStore(
    AppStore,
    AppFeedStore,
    ScheduleStore,
    DueStore,
    ReceiptStore,
    MovedStore,
    MarkStore,
    DeadLetterStore,
    OperatorStore,
    AuditStore,
    NodeStatusStore,
    KeyStore,
    MetaStore,
    CalendarStore,
    RecurringStore,
    ClaimStore,
    AliasStore,
    JobStore,
    TallyStore,
    TapStore,
    Protocol,
):
    """What ingest needs of a store."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestParts:
    """What a service is made of."""

    store: IngestStore
    clock: Clock
    settings: IngestSettings
    limits: AppLimits
    callbacks: Mapping[str, CallbackRules]
    holder: str  #: names this process where it claims its nonce
    completions: Completions | None = None  #: None: nobody can say later that a run is done
    ring: KeyRing | None = None  #: what secrets are stored under; None: they are plain text there
    audit: AuditSettings = field(default_factory=AuditSettings)
    profiles: TlsProfiles = field(default_factory=lambda: TlsProfiles(CallbackSettings()))
    shadow: ShadowSettings = field(default_factory=ShadowSettings)
    receivers: Receivers | None = None  #: what the tap passes calls on by; None: there is no tap here
    metrics: Metrics = UNMEASURED


class IngestService:
    """Create it with `IngestService.start`."""

    def __init__(self, parts: IngestParts, mint: IdMint) -> None:
        measured = measured_store(parts.store, parts.metrics)
        parts = replace(parts, store=encrypted_store(measured, parts.ring))
        self.metrics = parts.metrics
        self._creations = creations = Creations(parts.metrics)
        self._ring = parts.ring
        self._store = parts.store
        self._clock = parts.clock
        self.boot_ms = parts.clock.boot_ms
        self._margin_ms = parts.settings.commit_margin_ms
        self._limits = parts.limits
        self._profiles = parts.profiles
        self._rules = {name: kind.validate for name, kind in parts.callbacks.items()}
        self.offer = Offer(parts.limits, sorted(parts.callbacks))
        self._callbacks = parts.callbacks
        self._holder = parts.holder
        self._has_completions = parts.completions is not None
        self._mint = mint
        self._mint_steps = parts.clock.steps()  # of the clock, when it was made
        self._trail = trail = AuditTrail(parts.store, parts.clock.now_ms, parts.audit)
        self._apps = AppMaps(parts.store, parts.clock, spread=spread_of(parts.holder), noted=self._noted)
        #: an app as this process knows it, by its id; and its id by its number: asked of nobody else
        self.known_app, self.known_app_id = self._apps.known, self._apps.known_id
        self._growth = Growth(self._apps.counts, self._apps.count, parts.limits)
        deleter = Deleter(parts.store, parts.clock, parts.settings, parts.limits, self._noted)
        self._deletions = Deletions(deleter, self._apps, parts.clock)
        self.signing = SigningSecrets(parts.store, parts.clock, self._noted)
        self._chooser = PartitionChooser(parts.settings.chunk_rows)
        self._commit = CommitPath(
            parts.store, self._apps, self._chooser, parts.clock, parts.settings, parts.metrics
        )
        self._forwarding = Forwarding(parts.shadow)
        self.tap = (
            None
            if parts.receivers is None
            else TapCalls(parts.shadow, parts.receivers, parts.store, self._apps, parts.clock)
        )
        self._stored = Stored(parts.store, parts.clock, parts.limits, mint.nonce)
        self.keyed = Keyed(
            parts.store,
            self._apps,
            self._commit,
            parts.clock,
            parts.settings,
            self._draft,
            self._stored,
            creations,
        )
        self.batches = Batches(
            self._apps,
            self._commit,
            parts.clock,
            parts.limits,
            parts.callbacks,
            self._home_rows,
            self.cancel_schedule,
            self.keyed.create,
            self._stored.admit,
            creations,
        )
        self.listing = Listing(parts.store, self._apps, parts.clock, parts.limits)
        replayer = Replayer(parts.store, self._commit, self._chooser, parts.clock, self._margin_ms)
        self.dead_letters = DeadLetters(
            parts.store, self._apps, replayer, parts.clock, self._fetch_shown, trail
        )
        self.fires = Fires(parts.store, self._apps, parts.clock)
        self.audit = AuditLog(parts.store, self._apps, parts.clock)
        self.keys = Keys(parts.store, parts.clock)
        self.operating = Operating(parts.store, self._apps, parts.clock)
        self.calendars = Calendars(parts.store, self._apps, parts.clock, parts.limits, trail)
        self.runs = Runs(parts.store, self._apps, self.calendars, parts.clock, parts.limits)
        self._changes = Changes(
            ChangeParts(
                store=parts.store,
                apps=self._apps,
                commit=self._commit,
                chooser=self._chooser,
                clock=parts.clock,
                margin_ms=self._margin_ms,
                fetch_home=self._fetch_home,
                mint=self._mint_run,
                apply=self._apply,
            )
        )
        self.named = Named(
            NamedParts(
                store=parts.store,
                apps=self._apps,
                commit=self._commit,
                keyed=self.keyed,
                draft=self._draft,
                stored=self._stored,
                changes=self._changes,
                cancel=self.cancel_schedule,
                creations=creations,
            )
        )
        self.recurring = Recurring(
            RecurringParts(
                store=parts.store,
                apps=self._apps,
                commit=self._commit,
                chooser=self._chooser,
                clock=parts.clock,
                limits=parts.limits,
                runs=self.runs,
                calendars=self.calendars,
                census=Census(parts.store, parts.clock, parts.limits),
                margin_ms=self._margin_ms,
                map_age_ms=parts.settings.map_age_ms,
                screen=self._screen_recurring,
                kept=self._kept,
                mint=self._mint_run,
                trail=trail,
            )
        )
        self.imports = Imports(
            ImportParts(
                store=parts.store,
                apps=self._apps,
                commit=self._commit,
                clock=parts.clock,
                batches=self.batches,
                keyed=self.keyed,
                recurring=self.recurring,
                trail=trail,
                near_ms=parts.settings.near_ms,
                limits=parts.limits,
                screen_recurring=self._screen_recurring,
            )
        )
        self.completing = Completing(
            CompletingParts(
                store=parts.store,
                apps=self._apps,
                commit=self._commit,
                clock=parts.clock,
                completions=parts.completions,
            )
        )
        self.backfills = Backfills(
            BackfillParts(
                store=parts.store,
                apps=self._apps,
                commit=self._commit,
                chooser=self._chooser,
                clock=parts.clock,
                runs=self.runs,
                margin_ms=self._margin_ms,
                trail=trail,
                confirm=self.keyed.confirm,
            )
        )
        actions = JobActions(
            self.listing,
            self.dead_letters,
            self.recurring,
            parts.clock,
            self._cancel_for_job,
            self.change_schedule,
        )
        self.jobs = Jobs(parts.store, self._apps, parts.clock, actions, trail)

    @classmethod
    async def start(cls, parts: IngestParts) -> IngestService:
        """Claim a nonce, read the apps, and return a service that is ready. Raises StoreUnavailable."""
        service = cls(parts, IdMint(await parts.store.claim_nonce(parts.holder), random_first()))
        await service._apps.load()
        return service

    async def close(self) -> None:
        """Answer what is under way; the store stays open."""
        await self.jobs.close()
        await self._deletions.close()
        await self.operating.close()
        await self._commit.close()
        await self._stored.close()
        if self.tap is not None:
            await self.tap.close()
        await self._forwarding.close()
        await self._apps.close()

    async def register_app(self, new: NewApp) -> App:
        """Register an app, or change the configuration and state of one that has the same quota.

        Raises InvalidRequest, AppExists when the quota would change (that takes a resize), LimitReached when
        there are as many apps or partitions as the settings allow, and VersionConflict.
        """
        violations = check_new_app(new, self._limits)
        profile = new.configuration.tls_profile
        violations += self._profiles.check(new.app_id, profile, f"configuration.{TLS_PROFILE}")
        if violations:
            raise InvalidRequest(violations)
        await self._screen_hooks(new.configuration.hooks, new.app_id, "configuration.")
        partitions = self._limits.partitions if new.partitions is None else new.partitions

        async def configured(app: App) -> App:
            if new.partitions is not None and new.partitions != app.writable:
                raise AppExists(
                    f"app {new.app_id} has {app.writable:,} partitions; registering it again changes no"
                    f" quota: `ringctl resize {new.app_id} --partitions {partitions} --apply` does; leave"
                    " `partitions` out to change the rest",
                    "partitions",
                )
            return configure(app, new.configuration, active=new.active, now_ms=self._sure_ms())

        refusal: AppExists | LimitReached | ClockInDoubt | None = None
        if self._apps.known(new.app_id) is None:  # most likely it is new, and there is nothing to read
            try:
                return await self._create_app(new, partitions)
            except (AppExists, LimitReached, ClockInDoubt) as error:
                refusal = error  # unless another process has registered it just now
        try:
            return await self._apps.change(new.app_id, configured)
        except NotFound:
            if refusal is not None:
                raise refusal from None
            return await self._create_app(new, partitions)

    async def _create_app(self, new: NewApp, partitions: int) -> App:
        require_trust(self._clock)  # its first marks are counted from now
        begun_ms, now_ms = self._clock.boot_ms(), self._clock.now_ms()
        app = new_app(
            new.app_id,
            partitions=partitions,
            active=new.active,
            configuration=new.configuration,
            now_ms=now_ms,
        )
        async with self._growth.room(partitions):
            async with self._trail.change(app.app_id, app.app_id, None, noted_to_json(app)):
                app = await self._store.create_app(app)
            self._apps.keep(app, begun_ms)
        return app

    def _noted(self, before: App, after: App) -> AbstractAsyncContextManager[None]:
        return self._trail.change(after.app_id, after.app_id, noted_to_json(before), noted_to_json(after))

    async def fetch_apps(self, app_id: str | None, among: Collection[str] | None = None) -> list[App]:
        """Return one app; or all by id, or those of them that are among these. Raises NotFound."""
        if app_id is None and among is not None:
            found = await self._store.fetch_some_apps(list(among))
            return sorted(found, key=lambda app: app.app_id)
        if app_id is None:
            return await self._store.fetch_apps()
        return [(await self._apps.reread(app_id)).app]

    async def find_apps(self, asked: AppsAsked, among: Collection[str] | None = None) -> AppsPage:
        """Return a page of all apps, or of those among these, as they were some seconds ago. Raises
        StoreUnavailable."""
        return await self._apps.page(asked, among)

    async def configure_app(self, app_id: str, given: AppConfiguration, *, merges: bool) -> App:
        """Replace an app's configuration, or with `merges` change what is given and leave the rest.

        Raises InvalidRequest, NotFound, Conflict while it is being deleted, VersionConflict.
        """

        async def configured(app: App) -> App:
            configuration = merge(app.configuration, given) if merges else given
            violations = check_configuration(configuration, self._limits, "")
            if given.tls_profile != app.configuration.tls_profile:
                violations += self._profiles.check(app_id, given.tls_profile, TLS_PROFILE)
            if violations:
                raise InvalidRequest(violations)
            await self._screen_hooks(given.hooks, app_id)
            return configure(app, configuration, active=app.active, now_ms=self._sure_ms())

        return await self._apps.change(app_id, configured)

    async def _screen_hooks(self, hooks: Hooks | None, app_id: str, prefix: str = "") -> None:
        """Raise InvalidRequest for hooks that may not be called; `prefix` stands before their field."""
        if hooks is not None:
            try:
                violations = check_hooks(hooks, app_id, self._rules, prefix)
                violations = violations or await screen_hooks(hooks, app_id, self._callbacks, prefix)
            except Exception:
                raise
            except BaseException as error:
                raise contained("of a hook", error) from error
            if violations:
                raise InvalidRequest(violations)

    async def set_active(self, app_id: str, active: bool) -> App:
        """Activate or deactivate an app. Raises NotFound, AppActive, AppInactive, VersionConflict."""

        async def switched(app: App) -> App:
            return activate(app) if active else deactivate(app, self._sure_ms())

        return await self._apps.change(app_id, switched)

    def _sure_ms(self) -> int | None:
        return self._clock.now_ms() if self._clock.doubt() is None else None

    async def delete_app(self, app_id: str, *, cancel_schedules: bool) -> App:
        """Begin to delete an app, or go on with that; return it as it is: halted, and gone in about
        `ingest.map_age_ms` and `ingest.write_deadline_ms`, when `fetch_apps` finds it no more.

        Raises NotFound, LiveSchedules unless what is to fire yet is cancelled, and Conflict while the app is
        being resized.
        """
        if violations := check_app_id(app_id):
            raise InvalidRequest(violations)
        return await self._deletions.ask(app_id, cancels=cancel_schedules)

    async def create_schedule(self, new: NewSchedule) -> Row:
        """File a one-time schedule; when this returns, it will fire. One that has an idempotency key, and was
        created with it before, is not filed anew: see `keyed`.

        Raises NotFound (app), AppInactive, InvalidRequest, StoreUnavailable (ClockInDoubt among it),
        OutcomeUnknown, and with a key KeyReused and InFlight.
        """
        if new.idempotency_key:
            return (await self.keyed.create(new)).row
        begun_s = now_s()
        row, reading = await self._draft(new)
        app = reading.app
        if (app.configuration.stored_schedules or self._limits.stored_schedules) is not None:
            await self._stored.admit(app, [row.schedule.expires_ms])
        if app.shadow is not None and is_forwarding(app):
            row = await self._file_both(row, reading)
        else:
            row = await self._commit.file(row, reading)
        if self.metrics.is_on:
            self._creations.note(new.app_id, begun_s)
        return row

    async def _file_both(self, row: Row, reading: AppReading) -> Row:
        """File a row of an app in shadow: see `ringtime_shared.shadow`. Raises as `create_schedule`, and
        UpstreamUnavailable."""
        row = await self._forwarding.create(row)
        try:
            if (alias := alias_of(row.schedule)) is not None:
                await self._store.put_aliases([alias])
            return await self._commit.file(row, reading)
        except RingtimeError:
            await self._forwarding.take_back(row)
            raise

    async def _draft(self, new: NewSchedule) -> tuple[Row, AppReading]:
        """Return the home row of a create that keeps every rule."""
        reading = await self._apps.get(new.app_id)
        app = reading.app
        if not app.active:
            raise inactive(app)
        if app.shadow is not None and is_forwarding(app):
            check_forwardable(new, app)
        if (doubt := self._clock.doubt()) is not None:
            raise ClockInDoubt(doubt)
        now_ms = self._clock.now_ms()
        details = await self._screen(
            new, lambda: check_new_schedule(new, app, self._limits, now_ms, self._rules)
        )
        if new.hooks is not None:
            await self._screen_hooks(new.hooks, new.app_id)
        if self._is_mint_over(1):
            await self._refresh_mint()
        return self._home_row(new, details, reading, now_ms), reading

    async def _screen(self, new: Contents, check: Callable[[], list[Violation]]) -> bytes:
        """Return the details of a callback as they will be kept, if rules and screens let them through.

        Args:
            check: the rules, those of callback types among them. Raises InvalidRequest.
        """
        try:
            violations = check()
            if not violations:
                details = encode_details(new.callback_details)
                violations = await self._callbacks[new.callback_type].screen(new.callback_details, new.app_id)
        except Exception:
            raise
        except BaseException as error:
            raise contained(new.callback_type, error) from error
        if violations:
            raise InvalidRequest(violations)
        return details

    async def change_schedule(self, schedule_id: UUID, asked: ScheduleChange) -> Row:
        """Change a one-time schedule that is not sent yet; see `changes`, also for what it raises."""
        row = await self._changes.change(schedule_id, asked)
        if row.schedule.name:
            await self.named.keep(row)
        return row

    async def _apply(self, old: Schedule, asked: ScheduleChange, app: App, now_ms: int) -> Schedule:
        """Return a schedule as it is to be. What stays of it is not judged anew. Raises InvalidRequest, and
        Conflict for one that goscheduler has as well."""
        if old.sending is not None and old.sending.twin and is_forwarding(app):
            raise in_shadow(app, "its schedules cannot be changed there", "scheduleId")
        check_shown(asked.payload, old.sending)
        is_same_payload = asked.payload is None
        sending = _sending_of(old.sending, asked)
        contents = Contents(
            app_id=old.app_id,
            payload=old.payload if asked.payload is None else asked.payload,
            callback_type=asked.callback_type or old.callback_type,
            callback_details=asked.callback_details or {},
            retry=asked.retry,
            sending=sending if is_same_payload else self._kept(sending, app),
        )
        if asked.callback_type is None:
            details = old.callback_details
            if violations := check_change(asked, contents, app, self._limits, now_ms):
                raise InvalidRequest(violations)
        else:
            details = await self._screen(
                contents,
                lambda: (
                    check_change(asked, contents, app, self._limits, now_ms)
                    + check_callback(contents, self._rules)
                    + check_hooks(asked.hooks, app.app_id, self._rules)
                ),
            )
        await self._screen_hooks(asked.hooks, app.app_id)
        fire_ms = old.fire_ms if asked.fire_ms is None else asked.fire_ms
        if asked.delay_ms is not None:
            fire_ms = now_ms + asked.delay_ms
        retention_ms = (app.configuration.retention_days or self._limits.retention_days) * _DAY_MS
        return replace(
            old,
            fire_ms=fire_ms,
            payload=contents.payload,
            callback_type=contents.callback_type,
            callback_details=details,
            expires_ms=max(old.expires_ms, max(fire_ms, now_ms + self._margin_ms) + retention_ms),
            retry=asked.retry if asked.sets("retry") else old.retry,
            labels=(asked.labels or ()) if asked.sets("labels") else old.labels,
            sending=contents.sending,
        )

    async def _screen_recurring(self, new: NewRecurring, app: App) -> bytes:
        details = await self._screen(
            new,
            lambda: check_new_recurring(
                new, app, self._limits, self._rules, has_completions=self._has_completions
            ),
        )
        await self._screen_hooks(new.hooks, new.app_id)
        return details

    async def _mint_run(self, slot_ms: int, partition: int, app_number: int) -> UUID:
        await self._refresh_mint()
        return self._mint.mint(slot_ms=slot_ms, kind=Kind.RUN, partition=partition, app_number=app_number)

    def _is_mint_over(self, count: int) -> bool:
        """Whether `count` more ids need another nonce: the counter is over; or the clock was set, as it is
        where a machine went back to a snapshot of its memory, and would give out what it gave out before."""
        return self._mint.left < count or self._clock.steps() != self._mint_steps

    async def _refresh_mint(self, count: int = 1) -> None:
        if self._is_mint_over(count):
            self._mint_steps = self._clock.steps()
            self._mint = IdMint(await self._store.claim_nonce(self._holder), random_first())

    def _home_row(self, new: NewSchedule, details: bytes, reading: AppReading, now_ms: int) -> Row:
        app = reading.app
        fire_ms = now_ms + (new.delay_ms or 0) if new.fire_ms is None else new.fire_ms
        slot_ms = max(fire_ms, now_ms + self._margin_ms)
        partition = self._chooser.choose(app.number, slot_ms // BUCKET_MS, app.writable)
        retention_days = app.configuration.retention_days or self._limits.retention_days
        schedule = Schedule(
            schedule_id=self._mint.mint(
                slot_ms=slot_ms, kind=_ONE_TIME, partition=partition, app_number=app.number
            ),
            app_id=app.app_id,
            fire_ms=fire_ms,
            payload=new.payload,
            callback_type=new.callback_type,
            callback_details=details,
            created_ms=now_ms,
            expires_ms=slot_ms + retention_days * _DAY_MS,
            retry=new.retry,
            sending=self._kept(new.sending, app),
            name=new.name,
            labels=new.labels,
            trace=new.trace,
        )
        return Row(schedule=schedule, place=Place(app.app_id, partition, slot_ms))

    def _kept(self, sending: Sending | None, app: App) -> Sending | None:
        """Return how a schedule is sent, and its payload stored, if that is given now. Raises
        StoreUnavailable where it is to be encrypted and this process has no key."""
        if not app.configuration.encrypt_payloads:
            return sending
        if self._ring is None:
            raise StoreUnavailable(
                f"app {app.app_id} has its payloads encrypted, and this server has no key ring"
            )
        return as_private(sending)

    async def _home_rows(self, drafts: Sequence[Draft], now_ms: int) -> list[Row]:
        await self._refresh_mint(len(drafts))
        return [self._home_row(each.new, each.details, each.reading, now_ms) for each in drafts]

    def fingerprint_of(self, app_id: str) -> Fingerprint:
        """Return what tells hidden values of an app from each other."""
        return plain_fingerprint if self._ring is None else partial(self._ring.fingerprint, app_id=app_id)

    async def fetch_schedule(self, schedule_id: UUID) -> Row:
        """Return the home row of a schedule, with the attempts of the filing that is pending. Raises
        NotFound."""
        row = await self._fetch_home(schedule_id)
        if row.schedule.run is not None:
            row = await self.runs.shown(row)
        if row.outcome is None and row.moved_to is not None:
            pending = await self._store.fetch_row(row.moved_to, schedule_id)
            if pending is not None:
                return replace(as_shown(row, pending), attempts=pending.attempts, log=pending.log)
        return row if row.shown_in is None else await self._in_force(row)

    async def _in_force(self, home: Row) -> Row:
        """Return a home row with the schedule that is in force."""
        if home.shown_in is None:
            return home
        (shown,) = await fetch_shown(self._store, [home])
        return shown

    async def app_of(self, schedule_id: UUID) -> str | None:
        """Return the app whose schedule has this id, if there is such a schedule; None: nobody's has it. No
        row is read. Raises StoreUnavailable."""
        return await self._apps.app_id_of(app_number_of(schedule_id))

    async def resolve(self, asked: Sequence[UUID]) -> dict[UUID, UUID]:
        """Return what is meant here by ids that are not of our form: those of them that mean something.
        Raises StoreUnavailable."""
        foreign = [each for each in asked if not is_ours(each)]
        return await self._store.fetch_aliases(foreign) if foreign else {}

    async def _fetch_home(self, schedule_id: UUID) -> Row:
        home = home_of(schedule_id)
        if home is None:
            raise NotFound("schedule", str(schedule_id))
        slot_ms, partition, number = home
        app_id = self._apps.sure_id(number) or await self._apps.app_id_of(number)
        row = None
        if app_id is not None:
            row = await self._store.fetch_row(Place(app_id, partition, slot_ms), schedule_id)
        run = None if row is None else row.schedule.run
        if row is None or (run is not None and run.origin is Origin.CHECK):
            raise NotFound("schedule", str(schedule_id))
        try:
            check_details(row.schedule.callback_details)
        except ValueError as error:
            raise Damaged("schedule", str(schedule_id), fault_of(error)) from None
        return row

    async def _fetch_shown(self, schedule_id: UUID) -> Row:
        """Return the home row with what was sent last."""
        return await self._in_force(await self._fetch_home(schedule_id))

    async def cancel_schedule(self, schedule_id: UUID) -> Cancellation:
        """Cancel a schedule; cancelling twice is no error.

        Raises NotFound, AlreadyDone, StoreUnavailable, OutcomeUnknown.
        """
        read_ms = self._clock.boot_ms()
        return await self._cancel(await self._fetch_home(schedule_id), read_ms)

    async def _cancel_for_job(self, row: Row) -> Cancellation:
        """Cancel what was read a while ago: nobody is told whether it is promised."""
        return await self._cancel(row, None)

    async def _cancel(self, row: Row, read_ms: int | None) -> Cancellation:
        run, sending = row.schedule.run, row.schedule.sending
        if sending is not None and sending.twin and row.outcome is None and row.cancelled_ms is None:
            read_ms = await self._cancel_twin(row, read_ms)
        if run is not None and run.origin is Origin.PLAN:
            row, is_promised = await self.recurring.cancel_run(row)
        else:
            row, is_promised = await cancel_home(self._store, self._clock, row, self._limits, read_ms)
        shown = row if row.shown_in is None else await self._in_force(row)
        # Of one that its receiver works on, the result may be on its way.
        return Cancellation(shown, is_promised and shown.schedule.work is None)

    async def _cancel_twin(self, row: Row, read_ms: int | None) -> int | None:
        """Cancel a schedule at goscheduler before it is cancelled here. Return when its row was read, as
        `_cancel` takes it: None where goscheduler may have taken it up already. Raises UpstreamUnavailable,
        OutcomeUnknown."""
        app, schedule = (await self._apps.get(row.place.app_id)).app, row.schedule
        if not is_forwarding(app):
            return read_ms
        await self._forwarding.cancel(schedule)
        if side_of(app.shadow, schedule.fire_ms) is Side.RINGTIME:
            return read_ms
        return read_ms if self._clock.now_ms() < schedule.fire_ms - EARLY_MS - CLOCKS_MS else None


def _sending_of(old: Sending | None, asked: ScheduleChange) -> Sending | None:
    """Return how a changed schedule is sent; another payload is text unless it is said to be base64."""
    before = Sending() if old is None or asked.is_whole else old
    is_kept = asked.payload is None and old is not None and old.is_private
    changed = Sending(
        is_private=is_kept,
        is_encrypted=is_kept and old is not None and old.is_encrypted,
        is_base64=before.is_base64 if asked.payload is None else bool(asked.is_base64),
        timeout_ms=asked.timeout_ms if asked.sets("timeout_ms") else before.timeout_ms,
        priority=(asked.priority or Priority.NORMAL) if asked.sets("priority") else before.priority,
        hooks=asked.hooks if asked.sets("hooks") else before.hooks,
    )
    return None if changed == Sending() else changed
