"""The doctor's checks: what each finds, and that it says what to do."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.contract.builders import BUCKET, NOW_MS, make_row
from tests.harness.recurring import every, new_definition
from tests.unit.ringctl.rig import make_health, make_snapshot, pay

from ringtime_ringctl.deployment.ownership import report_ring
from ringtime_ringctl.deployment.probes import Health, read_time
from ringtime_ringctl.doctor import checks
from ringtime_ringctl.doctor.checks import Finding, State
from ringtime_ringctl.doctor.passed_over import PassedOver
from ringtime_shared.buckets import bucket_of
from ringtime_shared.clock import ManualClock, ServerTime
from ringtime_shared.encryption.keyring import KeyRing
from ringtime_shared.encryption.records import encrypt_app
from ringtime_shared.models.app import Deletion, Instance, Resize, SigningSecret
from ringtime_shared.models.damage import Damage
from ringtime_shared.parts import PartChange, PartMap, Phase
from ringtime_shared.stores.protocol import IndexEntry, Marks

P0, P1 = Instance("pay", 0), Instance("pay", 1)
READY = [make_health(node) for node in ("n1", "n2", "n3")]


def states(findings: list[Finding]) -> set[State]:
    for each in findings:
        assert bool(each.advice) == (each.state is not State.OK)
    return {each.state for each in findings}


def test_a_healthy_deployment_is_all_ok() -> None:
    snapshot = make_snapshot([pay()])
    report = report_ring(snapshot, {})
    findings = [
        checks.check_schema(3, 3),
        *checks.check_nodes(snapshot, READY),
        *checks.check_clocks(READY),
        *checks.check_ownership(report, snapshot.apps),
        *checks.check_marks(report),
        *checks.check_damage([pay()], []),
        *checks.check_buckets({IndexEntry(BUCKET, P0): 10_000}, 0),
        *checks.check_drains(snapshot),
        *checks.check_resizes(snapshot),
        *checks.check_deletions(snapshot),
    ]
    assert states(findings) == {State.OK}


@pytest.mark.parametrize(
    ("sealed_ms", "settled_ms", "state"),
    [
        (10_000, 10_000, State.OK),
        (10_001, -2_000, State.FAILED),
        (3_600_000, 3_600_000, State.FAILED),
    ],
)
def test_marks_that_lie_in_the_future(sealed_ms: int, settled_ms: int, state: State) -> None:
    marks = {P0: Marks(NOW_MS + sealed_ms, NOW_MS + settled_ms)}
    findings = checks.check_marks(report_ring(make_snapshot([pay()], marks=marks), {}))
    assert states(findings) == {state}
    assert state is State.OK or "pay.0" in findings[0].found


def test_a_server_whose_clock_is_off_is_named() -> None:
    clock = ManualClock()
    clock.advance(77)
    offset_ms = clock.now_ms() - clock.boot_ms()
    told = [ServerTime("Cassandra host 10.0.0.1", offset_ms + 3_600_000, 5)]
    findings = checks.check_clocks([*READY, *(read_time(each, clock) for each in told)])
    assert states(findings) == {State.FAILED}
    assert "the clock of Cassandra host 10.0.0.1 is +3,600,000 ms off" in findings[0].found


@pytest.mark.parametrize("is_partial", [False, True])
def test_rows_that_were_passed_over(is_partial: bool) -> None:
    nothing = checks.check_passed_over(PassedOver([], is_partial), 3_600_000)
    assert nothing.state is State.OK
    assert ("not all minutes" in nothing.found) == is_partial
    row = make_row(pay(), NOW_MS)
    some = checks.check_passed_over(PassedOver([row], is_partial), 3_600_000)
    assert states([some]) == {State.FAILED}
    assert str(row.schedule.schedule_id) in some.found


def test_another_schema() -> None:
    older, newer = checks.check_schema(2, 3), checks.check_schema(4, 3)
    assert older.state is State.FAILED
    assert "migrate" in older.advice
    assert (newer.state, newer.advice) == (State.OK, "")
    assert "later release" in newer.found


def test_versions_that_differ() -> None:
    same = checks.check_versions({"n1": "0.2.0", "n2": "0.2.0"})
    assert (same.state, same.found) == (State.OK, "2 run 0.2.0")
    mixed = checks.check_versions({"n1": "0.2.0", "n2": "0.1.0", "n3": ""})
    assert mixed.state is State.WARNING
    assert mixed.found == "1 runs 0.2.0, 1 runs 0.1.0, 1 runs a version it does not tell"
    assert "upgrade.md" in mixed.advice


def test_no_nodes() -> None:
    assert states(checks.check_nodes(make_snapshot([pay()], nodes=[]), [])) == {State.FAILED}


def test_a_node_that_is_not_ready_and_one_that_cannot_be_asked() -> None:
    away = Health(node="n2", is_reached=False, is_ready=False, reason="refused", skew_ms=None, doubt_ms=1)
    ill = make_health("n1", reason="no trusted lease")
    findings = checks.check_nodes(make_snapshot([pay()]), [ill, away])
    assert [(each.state, each.found) for each in findings] == [
        (State.FAILED, "n1 is not ready: no trusted lease"),
        (State.FAILED, "n2 cannot be asked: refused"),
    ]
    assert states(checks.check_nodes(make_snapshot([pay()]), [away])) == {State.WARNING}


@pytest.mark.parametrize(
    ("skew_ms", "doubt_ms", "state"),
    [(200, 1, State.OK), (300, 1, State.WARNING), (300, 100, State.OK), (-2_500, 1, State.FAILED)],
)
def test_a_clock_that_is_off(skew_ms: float, doubt_ms: float, state: State) -> None:
    healths = [make_health("n1"), make_health("n2", skew_ms, doubt_ms=doubt_ms), make_health("n3")]
    findings = checks.check_clocks(healths)
    assert states(findings) == {state}
    assert all(("n2" in each.found) == (state is not State.OK) for each in findings)


def test_it_may_be_this_machine_whose_clock_is_off() -> None:
    (found,) = checks.check_clocks([make_health(node, 900) for node in ("n1", "n2", "n3")])
    assert found.state is State.WARNING
    assert "this machine is -900 ms" in found.found


def test_nobody_tells_the_time() -> None:
    assert states(checks.check_clocks([make_health("n1", None)])) == {State.OK}


def test_unowned_instances_are_named() -> None:
    report = report_ring(make_snapshot([pay()], changes={P0: None, P1: None}), {})
    old = pay(created_ms=NOW_MS - checks.NEW_APP_MS)
    (found,) = checks.check_ownership(report, [old])
    assert found.state is State.FAILED
    assert "2 of 60" in found.found
    assert "pay.0, pay.1" in found.found
    (found,) = checks.check_ownership(report, [pay(created_ms=old.created_ms + 1)])
    assert (found.state, found.advice) == (State.OK, "")
    assert found.found == "2 of 60 have none yet: their apps were registered just now"


def test_a_stuck_seal_names_the_furthest_and_its_owner() -> None:
    late = {P0: Marks(NOW_MS - 200_000, NOW_MS - 200_000), P1: Marks(NOW_MS - 400_000, NOW_MS - 400_000)}
    report = report_ring(make_snapshot([pay()], ["n1"], marks=late), {})
    (found,) = checks.check_marks(report)
    assert found.state is State.FAILED
    assert "2 poller instances" in found.found
    assert "pay.1 by 6 min 40 s" in found.found
    assert "ringctl drain n1 --wait" in found.advice


@pytest.mark.parametrize(("behind_ms", "state"), [(180_000, State.OK), (180_001, State.FAILED)])
def test_an_idle_instance_may_lag_by_what_idle_ones_do(behind_ms: int, state: State) -> None:
    marks = {P0: Marks(NOW_MS - behind_ms, NOW_MS - behind_ms)}
    assert states(checks.check_marks(report_ring(make_snapshot([pay()], marks=marks), {}))) == {state}


@pytest.mark.parametrize(
    ("behind_ms", "rows_ms", "state"),
    [
        (720_000, None, State.OK),
        (720_001, None, State.FAILED),
        (600_000, 170_000, State.OK),  # they are not to be sealed yet
        (600_000, 400_000, State.FAILED),
        (300_000, 420_000, State.OK),  # they are sealed
        (170_000, 100_000, State.OK),
    ],
)
def test_an_idle_instance_is_told_from_one_that_is_stuck(
    behind_ms: int, rows_ms: int | None, state: State
) -> None:
    marks = {P0: Marks(NOW_MS - behind_ms, NOW_MS - behind_ms)}
    report = report_ring(make_snapshot([pay()], marks=marks), {})
    idle_ms = checks.idle_behind_ms(10)
    first, last = checks.minutes_to_tell(report, idle_ms) or (0, -1)
    bucket = -1 if rows_ms is None else bucket_of(NOW_MS - rows_ms)
    entries = [IndexEntry(bucket, P0)] if first <= bucket <= last else []
    assert states(checks.check_marks(report, idle_ms=idle_ms, entries=entries)) == {state}


def test_settled_of_an_idle_instance_may_be_a_turn_further_behind_than_sealed() -> None:
    marks = {P0: Marks(NOW_MS - 600_000, NOW_MS - 1_300_000)}
    report = report_ring(make_snapshot([pay()], marks=marks), {})
    assert states(checks.check_marks(report, idle_ms=checks.idle_behind_ms(10))) == {State.OK}
    assert states(checks.check_marks(report, idle_ms=checks.idle_behind_ms(2))) == {State.FAILED}


def test_a_delivery_that_never_ends_is_a_warning() -> None:
    marks = {P0: Marks(NOW_MS - 2_000, NOW_MS - 1_000_000)}
    assert states(checks.check_marks(report_ring(make_snapshot([pay()], marks=marks), {}))) == {State.WARNING}


def test_marks_of_unowned_instances_are_not_the_marks_fault() -> None:
    snapshot = make_snapshot([pay()], changes={P0: None}, marks={P0: Marks(0, 0)})
    assert states(checks.check_marks(report_ring(snapshot, {}))) == {State.OK}


def test_missing_marks() -> None:
    snapshot = make_snapshot([pay()])
    without = replace(snapshot, marks={key: value for key, value in snapshot.marks.items() if key != P0})
    assert states(checks.check_marks(report_ring(without, {}))) == {State.FAILED}


@pytest.mark.parametrize(
    ("count", "state"), [(10_001, State.WARNING), (50_000, State.WARNING), (50_001, State.FAILED)]
)
def test_large_buckets(count: int, state: State) -> None:
    counted = {IndexEntry(BUCKET, P0): 10, IndexEntry(BUCKET + 1, P1): count}
    (found,) = checks.check_buckets(counted, 7)
    assert found.state is state
    assert "pay.1" in found.found
    assert "7 further ahead" in found.found
    assert "ringctl forecast pay" in found.advice


def test_forgotten_drains() -> None:
    everybody = checks.check_drains(make_snapshot([pay()], ["n1"], drained=["n1"]))
    gone = checks.check_drains(make_snapshot([pay()], ["n1", "n2"], drained=["n9", "n1"]))
    assert states(everybody) == states(gone) == {State.WARNING}
    assert "ringctl undrain n9" in gone[0].advice


def test_a_resize_that_was_left_alone() -> None:
    def check(age_ms: int) -> set[State]:
        resize = Resize(quota=80, before=60, operator="ann", begun_ms=NOW_MS - age_ms)
        return states(checks.check_resizes(make_snapshot([pay(resize=resize)])))

    assert check(60_000) == {State.OK}
    assert check(checks.RESIZE_MS + 1) == {State.WARNING}


def test_a_change_of_the_parts_that_was_left_alone() -> None:
    def check(age_ms: int) -> set[State]:
        change = PartChange(64, Phase.READING, "ann", NOW_MS - age_ms)
        return states(checks.check_parts(PartMap(4, 1, change), NOW_MS))

    assert states(checks.check_parts(PartMap(), NOW_MS)) == check(60_000) == {State.OK}
    assert check(checks.RESIZE_MS + 1) == {State.WARNING}


def test_what_cannot_be_read_is_named() -> None:
    notes = [
        Damage(table="schedules", key=f"pay.0 {n}", app_id=app_id, fault="extras: x", found_ms=NOW_MS)
        for n, app_id in enumerate(("pay", "mail", "pay", "third", "fourth"))
    ]
    [app] = checks.check_damage([replace(pay(), damage="secrets: y")], [])
    assert (app.state, app.found) == (State.FAILED, "app pay cannot be read: secrets: y")
    [records] = checks.check_damage([pay()], notes)
    assert states([app, records]) == {State.FAILED, State.WARNING}
    assert records.found.startswith(
        "5 stored records could not be read in the last 30 days, of pay, mail, third, .."
    )
    assert records.found.endswith("schedules pay.0 0: extras: x")
    many = notes * 200
    assert "1,000 or more stored records" in checks.check_damage([], many)[0].found


def test_secrets_in_plain_text() -> None:
    secret = SigningSecret(secret_id="1", secret="whsec_x", created_ms=0)
    plain = replace(pay(), secrets=(secret,))
    for has_ring, advice in ((False, "key ring"), (True, "secrets rotate")):
        found = checks.check_secrets([plain], has_ring=has_ring)
        assert (found.state, "pay" in found.found, advice in found.advice) == (State.WARNING, True, True)
        assert checks.check_secrets([pay()], has_ring=has_ring).state is State.OK
    encrypted = encrypt_app(KeyRing.new(), plain)
    assert checks.check_secrets([encrypted], has_ring=True).state is State.OK


def test_a_deletion_that_nobody_goes_on_with() -> None:
    def examine(begun_ms: int) -> set[State]:
        note = Deletion(cancels=False, began_at=2, begun_ms=begun_ms, was_active=True)
        return states(checks.check_deletions(make_snapshot([pay(active=False, deletion=note)])))

    assert examine(NOW_MS - 600_000) == {State.OK}
    assert examine(NOW_MS - 600_001) == {State.WARNING}


def test_recurring_schedules_that_make_no_runs_are_named() -> None:
    assert states([checks.check_chains([], 7, is_partial=False)]) == {State.OK}
    broken = [new_definition(NOW_MS, every(60), name=f"n{number}") for number in range(7)]
    finding = checks.check_chains([*broken, replace(broken[0], damage="bad")], 9, is_partial=True)
    assert states([finding]) == {State.FAILED}
    assert finding.found.startswith("8 of 9 make no more runs: app/n0, ")
    assert finding.found.endswith("app/n4 and 3 more; not all were looked at")
    assert "1 cannot be read" in finding.advice
