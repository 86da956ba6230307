"""Room in memory: an app may hold as many rows as are free."""

from __future__ import annotations

import pytest

from ringtime_dispatcher.delivery.ledger import Room


def fill(room: Room, *app_ids: str) -> dict[str, int]:
    """Let the apps take room in turn, one at a time, until none gets another; return what each took."""
    took = dict.fromkeys(app_ids, 0)
    while any(room.of(app_id) for app_id in app_ids):
        for app_id in app_ids:
            if room.of(app_id):
                room.add(app_id)
                took[app_id] += 1
    return took


@pytest.mark.parametrize(("most", "half"), [(1, 1), (2, 1), (9, 5), (10, 5), (5_000, 2_500)])
def test_one_app_gets_half(most: int, half: int) -> None:
    assert fill(Room(most), "hog") == {"hog": half}


@pytest.mark.parametrize("most", [9, 10, 5_000])
def test_what_is_offered_at_once_is_what_it_gets_one_by_one(most: int) -> None:
    room = Room(most)
    for _ in range(room.of("hog")):
        room.add("hog")
    assert room.of("hog") == 0
    assert fill(Room(most), "hog") == {"hog": room.held["hog"]}


@pytest.mark.parametrize(("apps", "share"), [("ab", 1_000), ("abc", 750), ("abcde", 500)])
def test_several_share_evenly_and_leave_one_share(apps: str, share: int) -> None:
    assert fill(Room(3_000), *apps) == dict.fromkeys(apps, share)


def test_a_newcomer_gets_half_of_what_is_free_and_then_as_much_as_the_hog() -> None:
    room = Room(1_200)
    fill(room, "hog")
    assert fill(room, "new") == {"new": 300}
    for _ in range(600):  # the hog's rows end, and each lets whoever may have it take a place
        room.remove("hog")
        fill(room, "new", "hog")
    assert abs(room.held["hog"] - room.held["new"]) <= 1
    assert abs(room.held["hog"] - 400) <= 1


def test_ten_hogs_leave_room_for_a_newcomer() -> None:
    room = Room(5_000)
    for number in range(10):
        fill(room, str(number))
    assert room.of("new") > 0


def test_an_app_is_told_to_go_on_when_half_of_its_share_is_free() -> None:
    room = Room(12)
    fill(room, "hog")
    assert room.is_short
    told = [room.remove("hog") for _ in range(6)]
    assert told == [False, True, False, False, False, False], "4 held, 8 free; once only"
    assert not room.is_short


def test_an_app_that_was_not_refused_is_not_told() -> None:
    room = Room(10)
    for _ in range(5):
        room.add("a")
    assert not any(room.remove("a") for _ in range(5))
    assert not room.is_short


def test_the_last_row_tells_it_to_go_on_whatever_others_hold() -> None:
    room = Room(4)
    room.add("a")
    for _ in range(9):  # found late, held all the same
        room.add("b")
    assert room.of("a") == 0
    assert room.is_short
    assert not room.remove("a"), "more are held than there are room"
    assert room.of("a") == 0
    for _ in range(4):
        assert not room.remove("b")
    assert room.of("b") == 0
    assert [room.remove("b") for _ in range(5)] == [False, False, False, True, False]


def test_nothing_is_kept_of_apps_without_rows() -> None:
    room = Room(10_000)
    for number in range(100):
        room.of(str(number))
        room.add(str(number))
        room.remove(str(number))
        room.of(str(number))
    assert not room.held
    assert not room.is_short
