"""What one app may have under way, beside others."""

from __future__ import annotations

from contextlib import ExitStack

from ringtime_ingest.shadow.places import Places


def test_an_app_that_holds_all_it_may_leaves_places_to_others() -> None:
    places = Places(8)
    with ExitStack() as held:
        for _ in range(4):
            assert not places.are_full("slow")
            held.enter_context(places.one("slow"))
        assert places.are_full("slow")
        for _ in range(2):
            assert not places.are_full("pay")
            held.enter_context(places.one("pay"))
        assert places.are_full("pay")
        assert not places.are_full("mail")
    assert not places.are_full("slow")


def test_one_place_is_for_one() -> None:
    places = Places(1)
    with places.one("pay"):
        assert places.are_full("pay")
        assert places.are_full("mail")
    assert not places.are_full("mail")
