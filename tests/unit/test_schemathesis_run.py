"""What counts as good in the long run against the OpenAPI document."""

from __future__ import annotations

import pytest
from tests.harness.schemathesis.run import judge

GOOD = "Test cases:\n  2002 generated, 2002 passed, 2 skipped\n\nNo issues found\n\nfuzzed: 2000\n"


def test_a_route_is_good_when_all_its_requests_were_made() -> None:
    outcome = judge(GOOD, 0, is_in_time=True)
    assert outcome.is_good
    assert outcome.told == "2000 at random, 2002 generated, 2002 passed, 2 skipped"
    assert not outcome.shown


def test_a_route_that_is_out_of_time_has_failed_and_says_how_far_it_came() -> None:
    cut = GOOD.replace("fuzzed: 2000", "fuzzed: 714")
    outcome = judge(cut, 0, is_in_time=False)
    assert not outcome.is_good
    assert outcome.told.startswith("714 at random, ")
    assert outcome.told.endswith(", OUT OF TIME")


@pytest.mark.parametrize(
    ("said", "code"),
    [("= FAILURES =\n" + GOOD, 1), ("= ERRORS =\n" + GOOD, 1), (GOOD, 2), ("", 0), ("fuzzed: 2000\n", 0)],
)
def test_a_route_with_findings_or_without_counts_has_failed_and_shows_all(said: str, code: int) -> None:
    outcome = judge(said, code, is_in_time=True)
    assert not outcome.is_good
    assert outcome.shown == said


def test_findings_are_shown_also_of_a_route_that_is_out_of_time() -> None:
    said = "= FAILURES =\n" + GOOD
    assert judge(said, 1, is_in_time=False).shown == said
