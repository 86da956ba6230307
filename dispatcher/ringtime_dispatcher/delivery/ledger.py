"""The ledger of the rows a node holds: each enters once, and is let go once.

An item is one filing that this node holds, from the read that returned it until what was to be written of it
is durable, or cannot be written here. Its state says what it holds:

| state | when | room of its app | open at its instance | its schedule is locked |
|---|---|---|---|---|
| NEW | not in the ledger | | | |
| WAITING | for its slot, its turn, or the end of another filing | yes | yes | |
| UNDER_WAY | an attempt is made, or what is to be written is not durable | yes | yes | yes |
| SETTLED | all of it is durable | | | |
| LEFT_OPEN | given up here; the next owner finds the row as it was | | yes | |

    NEW --enter--> WAITING --begin--> UNDER_WAY --settle--> SETTLED
                      |  ^--put_back--'  |
                      '---leave_open-----+--leave_open--> LEFT_OPEN

Invariant. What is held follows from the states alone: an app holds the room of its items that are WAITING or
UNDER_WAY, an instance is quiet when it has none UNDER_WAY, and at most one filing of a schedule has its lock.
So nothing leaks and nothing is freed twice as long as every change of state goes through here; one that the
drawing does not show raises RuntimeError and changes nothing.

How much room an app has: as many rows as are free. One app with a backlog of its own gets half of it all,
two get a third each, and there is always a share left for the next. The rest of a backlog stays in the store.

Source: A. Choudhury and E. Hahne, "Dynamic Queue Length Thresholds for Shared-Memory Packet Switches",
IEEE/ACM Transactions on Networking 6(2), 1998, with alpha = 1.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from enum import Enum
from uuid import UUID

from ringtime_dispatcher.ownership.instance import OwnedInstance
from ringtime_shared.ids import home_slot, unpack_id
from ringtime_shared.models.schedule import Place, Row
from ringtime_shared.stores.protocol import Position


class State(Enum):
    """Where an item is on its way; see the module."""

    NEW = "new"
    WAITING = "waiting"
    UNDER_WAY = "under way"
    SETTLED = "settled"
    LEFT_OPEN = "left open"


class Item:
    """One filing that this node holds. Only the ledger changes its state."""

    __slots__ = ("has_lock", "home", "key", "owned", "place", "schedule_id", "state")

    def __init__(self, owned: OwnedInstance, place: Place, schedule_id: UUID) -> None:
        self.owned = owned
        self.place = place
        self.schedule_id = schedule_id
        self.key = Position(place.slot_ms, schedule_id)  #: what the instance knows it by
        self.home = home_of(place, schedule_id)  #: of the schedule's home row; `place` itself if this is it
        self.state = State.NEW
        self.has_lock = False  #: on its schedule


class RowItem(Item):
    """A filing that could be read, and so may be sent."""

    __slots__ = ("destination", "details", "has_step", "needs_look", "row", "seen_ms", "was_sent")

    def __init__(self, owned: OwnedInstance, row: Row) -> None:
        super().__init__(owned, row.place, row.schedule.schedule_id)
        self.row = row
        self.needs_look = self.home is not row.place  #: at the home row, before this filing is sent
        run = row.schedule.run
        #: a run's step is to be taken first; a replay is nobody's time, but its end may be told, too
        self.has_step = run is not None and (not row.replay or run.work is not None)
        self.seen_ms: int | None = (
            None  #: since when a changed filing was in force at each look, on the boot clock
        )
        self.was_sent = False  #: by this node, and what came of it is not durable yet
        self.details: Mapping[str, object] | None = None  #: known once it is due
        self.destination = ""


def home_of(place: Place, schedule_id: UUID) -> Place:
    """Return where the home row of a schedule is that has a filing at `place`; `place` itself if that is the
    home row, or if the id is none of ours."""
    if place.slot_ms == home_slot(schedule_id):
        return place
    try:
        parts = unpack_id(schedule_id)
    except ValueError:
        return place
    return Place(place.app_id, parts.partition, parts.slot_ms)


class Room:
    """How many rows each app holds in memory, and may."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._held: Counter[str] = Counter()
        self._total = 0
        self._refused: set[str] = set()

    def of(self, app_id: str) -> int:
        """Return how many more rows of this app may be held; an app that gets 0 is refused.

        Each row it gets takes one from its share and one from what is free, hence the half.
        """
        room = (self._most - self._total - self._held.get(app_id, 0) + 1) // 2
        if room <= 0:
            self._refused.add(app_id)
            return 0
        return room

    def add(self, app_id: str) -> None:
        self._held[app_id] += 1
        self._total += 1

    def remove(self, app_id: str) -> bool:
        """Free the room of one row; return whether reading can go on for an app that was refused."""
        self._total -= 1
        self._held[app_id] -= 1
        if not self._held[app_id]:
            del self._held[app_id]
        # Only when a good part of its share is free again: a page a row would be a poor bargain.
        if app_id in self._refused and 2 * self._held.get(app_id, 0) <= self._most - self._total:
            self._refused.clear()
            return True
        return False

    def is_full(self) -> bool:
        """Whether not even an app that holds nothing has room."""
        return self._total >= self._most

    @property
    def held(self) -> Mapping[str, int]:
        """How many rows each app holds; those with none are not in it."""
        return self._held

    @property
    def is_short(self) -> bool:
        """Whether some app was refused and has not been told to go on yet."""
        return bool(self._refused)


class Ledger:
    """The items of one node."""

    def __init__(self, max_loaded: int, on_room: Callable[[], None]) -> None:
        """
        Args:
            max_loaded: rows in memory, of all apps.
            on_room: called when an app that was refused room may have some.
        """
        self._room = Room(max_loaded)
        self._on_room = on_room
        self._locks: dict[UUID, Item] = {}

    def room(self, app_id: str) -> int:
        """Return how many more rows of this app may be held; one that gets 0 is refused, until `on_room`."""
        return self._room.of(app_id)

    def is_full(self) -> bool:
        """Whether no app at all has room."""
        return self._room.is_full()

    @property
    def is_short(self) -> bool:
        """Whether rows of some app stay in the store until there is room for them."""
        return self._room.is_short

    @property
    def held(self) -> Mapping[str, int]:
        """How many rows each app holds in memory."""
        return self._room.held

    def enter(self, item: Item) -> bool:
        """Hold an item whose row was read; False, and nothing is changed, if a read returned it before."""
        if item.state is not State.NEW:
            raise _wrong("enter", item)
        if not item.owned.take(item.key):
            return False
        item.state = State.WAITING
        self._room.add(item.place.app_id)
        return True

    def pass_over(self, owned: OwnedInstance, row: Row) -> bool:
        """Note a row that was read and is nobody's any more, and hold nothing; False if it was known."""
        key = Position(row.place.slot_ms, row.schedule.schedule_id)
        is_new = owned.take(key)
        if is_new:
            owned.close(key)
        return is_new

    def begin(self, item: Item, *, is_sent: bool = True) -> bool:
        """Work on an item; False, and nothing is changed, while another filing of its schedule is under way.

        Args:
            is_sent: it may be sent. What will not be, for it cannot be read, takes no lock: its end need not
                wait for that of another filing.
        """
        if item.state is not State.WAITING:
            raise _wrong("begin", item)
        if is_sent:
            if self._locks.setdefault(item.schedule_id, item) is not item:
                return False
            item.has_lock = True
        item.state = State.UNDER_WAY
        item.owned.begin_work()
        return True

    def put_back(self, item: Item) -> None:
        """Nothing was done about an item: it waits again."""
        self._stop_work("put back", item, State.WAITING)

    def settle(self, item: Item) -> None:
        """Let go of an item: what was to be written of it is durable."""
        self._stop_work("settle", item, State.SETTLED)
        item.owned.close(item.key)
        if self._room.remove(item.place.app_id):
            self._on_room()

    def leave_open(self, item: Item) -> None:
        """Let go of an item of which nothing more is done here: the next owner finds the row as it was."""
        if item.state is State.WAITING:
            item.state = State.LEFT_OPEN
        else:
            self._stop_work("leave open", item, State.LEFT_OPEN)
        if self._room.remove(item.place.app_id):
            self._on_room()

    def _stop_work(self, step: str, item: Item, state: State) -> None:
        if item.state is not State.UNDER_WAY:
            raise _wrong(step, item)
        item.state = state
        if item.has_lock:
            item.has_lock = False
            del self._locks[item.schedule_id]
        item.owned.end_work()


def _wrong(step: str, item: Item) -> RuntimeError:
    return RuntimeError(f"a bug: cannot {step} schedule {item.schedule_id}: it is {item.state.value}")
