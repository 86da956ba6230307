"""Places in memory: an app may hold as many rows as are free."""

from __future__ import annotations

import pytest

from ringtime_dispatcher.delivery.memory import Places


def fill(places: Places, *app_ids: str) -> dict[str, int]:
    """Let the apps take places in turn, one at a time, until none gets another; return what each took."""
    took = dict.fromkeys(app_ids, 0)
    while any(places.room(app_id) for app_id in app_ids):
        for app_id in app_ids:
            if places.room(app_id):
                places.add(app_id)
                took[app_id] += 1
    return took


@pytest.mark.parametrize(("most", "half"), [(1, 1), (2, 1), (9, 5), (10, 5), (5_000, 2_500)])
def test_one_app_gets_half(most: int, half: int) -> None:
    assert fill(Places(most), "hog") == {"hog": half}


@pytest.mark.parametrize("most", [9, 10, 5_000])
def test_what_is_offered_at_once_is_what_it_gets_one_by_one(most: int) -> None:
    places = Places(most)
    for _ in range(places.room("hog")):
        places.add("hog")
    assert places.room("hog") == 0
    assert fill(Places(most), "hog") == {"hog": places._held["hog"]}


@pytest.mark.parametrize(("apps", "share"), [("ab", 1_000), ("abc", 750), ("abcde", 500)])
def test_several_share_evenly_and_leave_one_share(apps: str, share: int) -> None:
    assert fill(Places(3_000), *apps) == dict.fromkeys(apps, share)


def test_a_newcomer_gets_half_of_what_is_free_and_then_as_much_as_the_hog() -> None:
    places = Places(1_200)
    fill(places, "hog")
    assert fill(places, "new") == {"new": 300}
    for _ in range(600):  # the hog's rows end, and each lets whoever may have it take a place
        places.remove("hog")
        fill(places, "new", "hog")
    assert abs(places._held["hog"] - places._held["new"]) <= 1
    assert abs(places._held["hog"] - 400) <= 1


def test_ten_hogs_leave_room_for_a_newcomer() -> None:
    places = Places(5_000)
    for number in range(10):
        fill(places, str(number))
    assert places.room("new") > 0


def test_an_app_is_told_to_go_on_when_half_of_its_share_is_free() -> None:
    places = Places(12)
    fill(places, "hog")
    assert places.is_short
    told = [places.remove("hog") for _ in range(6)]
    assert told == [False, True, False, False, False, False], "4 held, 8 free; once only"
    assert not places.is_short


def test_an_app_that_was_not_refused_is_not_told() -> None:
    places = Places(10)
    for _ in range(5):
        places.add("a")
    assert not any(places.remove("a") for _ in range(5))
    assert not places.is_short


def test_the_last_row_tells_it_to_go_on_whatever_others_hold() -> None:
    places = Places(4)
    places.add("a")
    for _ in range(9):  # found late, held all the same
        places.add("b")
    assert places.room("a") == 0
    assert places.is_short
    assert not places.remove("a"), "more are held than there are places"
    assert places.room("a") == 0
    for _ in range(4):
        assert not places.remove("b")
    assert places.room("b") == 0
    assert [places.remove("b") for _ in range(5)] == [False, False, False, True, False]


def test_nothing_is_kept_of_apps_without_rows() -> None:
    places = Places(10_000)
    for number in range(100):
        places.room(str(number))
        places.add(str(number))
        places.remove(str(number))
        places.room(str(number))
    assert not places._held
    assert not places.is_short
