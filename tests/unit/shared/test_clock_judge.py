"""When a wall clock is relied on."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from ringtime_shared.clock import ServerTime
from ringtime_shared.clock.judge import LATEST_MS, ClockJudge
from ringtime_shared.errors import SettingsError
from ringtime_shared.ids import EPOCH_2020_MS, IdMint, Kind
from ringtime_shared.settings import load_settings

NOW_MS = 1_800_000_000_000  #: the offset of a clock that is right: its machine was booted then
SKEW_MS, HOLD_MS, HOUR_MS = 5_000, 60_000, 3_600_000
NO_ANSWER, NO_SERVER = None, ()


def servers(*offs_ms: int, doubt_ms: int = 0) -> list[ServerTime]:
    """Servers whose clocks are that much ahead."""
    return [ServerTime(f"host {n}", NOW_MS + off_ms, doubt_ms) for n, off_ms in enumerate(offs_ms)]


class Case:
    """A judge and its machine: `off_ms` is how far the wall clock is ahead of the right one."""

    def __init__(self, *, off_ms: int = 0, answer: Sequence[ServerTime] | None = NO_SERVER) -> None:
        self.judge = ClockJudge(max_skew_ms=SKEW_MS, hold_ms=HOLD_MS)
        self.off_ms = off_ms
        self.boot_ms = 0
        self.look(answer)

    def look(self, answer: Sequence[ServerTime] | None = NO_SERVER, *, after_ms: int = 1_000) -> None:
        self.boot_ms += after_ms
        self.judge.look(NOW_MS + self.off_ms, self.boot_ms, answer)

    @property
    def is_relied_on(self) -> bool:
        return self.judge.doubt(NOW_MS + self.off_ms, self.boot_ms) is None

    @property
    def goes_by_ms(self) -> int:
        """How far ahead of the right time the node is."""
        return self.judge.steady_offset_ms(NOW_MS + self.off_ms) - NOW_MS


def test_nothing_is_relied_on_before_the_first_look() -> None:
    assert "not compared" in (ClockJudge(max_skew_ms=1, hold_ms=1).doubt(NOW_MS, 0) or "")


class TestWithoutServers:
    """One process on a folder."""

    def test_the_clock_is_believed_at_first(self) -> None:
        case = Case(off_ms=HOUR_MS)
        assert case.is_relied_on
        assert case.goes_by_ms == HOUR_MS

    @pytest.mark.parametrize("jump_ms", [HOUR_MS, -HOUR_MS, SKEW_MS + 1, -SKEW_MS - 1])
    def test_a_jump_is_in_doubt_at_once_and_not_followed(self, jump_ms: int) -> None:
        case = Case()
        case.off_ms = jump_ms
        assert not case.is_relied_on
        assert case.goes_by_ms == 0
        case.look()
        assert not case.is_relied_on

    @pytest.mark.parametrize("jump_ms", [HOUR_MS, -HOUR_MS])
    def test_a_clock_that_comes_back_is_relied_on_at_once(self, jump_ms: int) -> None:
        case = Case()
        case.off_ms = jump_ms
        case.look()
        case.off_ms = 0
        assert case.is_relied_on
        case.look()
        assert (case.goes_by_ms, case.judge.steps) == (0, 0)

    def test_a_jump_that_stays_is_believed_after_the_hold(self) -> None:
        case = Case()
        case.off_ms = HOUR_MS
        case.look()
        case.look(after_ms=HOLD_MS - 1)
        assert not case.is_relied_on
        case.look(after_ms=1)
        assert case.is_relied_on
        assert (case.goes_by_ms, case.judge.steps) == (HOUR_MS, 1)

    def test_the_hold_begins_anew_when_it_jumps_again(self) -> None:
        case = Case()
        for off_ms in (HOUR_MS, 2 * HOUR_MS, HOUR_MS):
            case.off_ms = off_ms
            case.look(after_ms=HOLD_MS - 1)
        case.look(after_ms=HOLD_MS - 1)
        assert not case.is_relied_on

    def test_the_hold_begins_anew_when_it_was_back_in_between(self) -> None:
        case = Case()
        for off_ms in (HOUR_MS, 0, HOUR_MS):
            case.off_ms = off_ms
            case.look(after_ms=HOLD_MS - 1)
        case.look(after_ms=HOLD_MS - 1)
        assert not case.is_relied_on

    def test_a_slewed_clock_is_relied_on_all_the_time(self) -> None:
        case = Case()
        for off_ms in range(0, 60_000, 500):  # 500 ms a second, the most a kernel can do
            case.off_ms = off_ms
            assert case.is_relied_on
            assert case.goes_by_ms == off_ms
            case.look()
        assert case.judge.steps == 0

    def test_a_suspended_machine_is_relied_on_at_once(self) -> None:
        case = Case()
        case.look(after_ms=8 * HOUR_MS)  # the boot clock counts suspension, so the offset stays
        assert case.is_relied_on

    def test_a_year_no_id_can_carry_is_never_relied_on_but_the_right_one_after_it_is(self) -> None:
        case = Case(off_ms=-NOW_MS)
        for _ in range(3):
            case.look(after_ms=HOLD_MS)
            assert not case.is_relied_on
        case.off_ms = 0
        case.look()
        assert case.is_relied_on, "nothing was believed before, so there is nothing to hold it against"

    @pytest.mark.parametrize(
        ("now_ms", "is_plausible"),
        [
            (0, False),
            (EPOCH_2020_MS - 1, False),
            (EPOCH_2020_MS, True),
            (LATEST_MS, True),
            (LATEST_MS + 1, False),
        ],
    )
    def test_the_years_that_are_plausible(self, now_ms: int, is_plausible: bool) -> None:
        judge = ClockJudge(max_skew_ms=SKEW_MS, hold_ms=HOLD_MS)
        judge.look(now_ms, 0, NO_SERVER)
        assert (judge.doubt(now_ms, 0) is None) == is_plausible


def test_whatever_is_created_by_a_plausible_clock_fits_its_id() -> None:
    with pytest.raises(SettingsError):
        load_settings(None, {"RINGTIME_LIMITS_MAX_FUTURE_PERIOD_DAYS": "36601"})
    IdMint(0).mint(slot_ms=LATEST_MS + 36_600 * 86_400_000, kind=Kind.ONE_TIME, partition=0, app_number=0)


class TestWithServers:
    """A split deployment: the hosts of Cassandra are asked."""

    @pytest.mark.parametrize(
        ("offs_ms", "is_relied_on"),
        [
            ((0,), True),
            ((SKEW_MS,), True),
            ((SKEW_MS + 1,), False),
            ((-HOUR_MS,), False),
            ((0, HOUR_MS), True),
            ((HOUR_MS, HOUR_MS), False),
            ((HOUR_MS, -HOUR_MS), False),
            ((0, 0, HOUR_MS), True),
            ((0, HOUR_MS, HOUR_MS), False),
            ((0, HOUR_MS, -HOUR_MS), False),
        ],
    )
    def test_at_least_half_of_them_must_agree(self, offs_ms: tuple[int, ...], is_relied_on: bool) -> None:
        assert Case(answer=servers(*offs_ms)).is_relied_on == is_relied_on

    def test_what_the_way_there_leaves_open_is_not_held_against_it(self) -> None:
        assert Case(answer=servers(SKEW_MS + 400, doubt_ms=400)).is_relied_on
        assert not Case(answer=servers(SKEW_MS + 401, doubt_ms=400)).is_relied_on

    def test_answers_that_took_too_long_count_for_nothing(self) -> None:
        case = Case(answer=servers(0))
        case.off_ms = SKEW_MS + 1_000
        case.look(servers(0, 0, doubt_ms=SKEW_MS // 2 + 1))
        assert not case.is_relied_on
        case.look([*servers(0), *servers(SKEW_MS, SKEW_MS, doubt_ms=SKEW_MS // 2 + 1)])
        assert not case.is_relied_on

    def test_a_clock_that_is_off_from_the_start_is_not_relied_on_until_it_is_right(self) -> None:
        case = Case(off_ms=HOUR_MS, answer=servers(0))
        for _ in range(3):
            case.look(servers(0), after_ms=HOLD_MS)
            assert not case.is_relied_on
        case.off_ms = 0
        case.look(servers(0))
        assert case.is_relied_on

    def test_a_jump_is_in_doubt_at_once_and_relied_on_when_they_agree(self) -> None:
        case = Case(answer=servers(0))
        case.off_ms = -HOUR_MS
        assert not case.is_relied_on
        case.look(servers(0), after_ms=2 * HOLD_MS)
        assert not case.is_relied_on, "no hold makes it right"
        case.look(servers(-HOUR_MS))
        assert case.is_relied_on
        assert (case.goes_by_ms, case.judge.steps) == (-HOUR_MS, 1)

    def test_a_drifting_clock_falls_in_doubt_at_the_bound(self) -> None:
        case = Case(answer=servers(0))
        for off_ms in range(0, SKEW_MS + 1, 500):
            case.off_ms = off_ms
            case.look(servers(0))
            assert case.is_relied_on
        case.off_ms = SKEW_MS + 500
        case.look(servers(0))
        assert not case.is_relied_on

    def test_servers_that_do_not_answer_change_nothing(self) -> None:
        case = Case(answer=NO_ANSWER)
        assert not case.is_relied_on
        case.look(servers(0))
        case.look(NO_ANSWER, after_ms=2 * HOLD_MS)
        assert case.is_relied_on
        case.off_ms = HOUR_MS
        case.look(NO_ANSWER, after_ms=2 * HOLD_MS)
        case.look(NO_ANSWER, after_ms=2 * HOLD_MS)
        assert not case.is_relied_on
        case.look(servers(0))
        case.off_ms = 0
        case.look(NO_ANSWER)
        assert not case.is_relied_on, "the last that was heard is that it disagrees"
        case.look(servers(0))
        assert case.is_relied_on

    def test_the_doubt_names_a_server_and_the_distance(self) -> None:
        case = Case(off_ms=HOUR_MS, answer=servers(0, 7_000, 0))
        doubt = case.judge.doubt(NOW_MS + HOUR_MS, 0) or ""
        assert "+3,593.0 s off the clock of host 1" in doubt
        assert "3 of the 3 servers" in doubt
