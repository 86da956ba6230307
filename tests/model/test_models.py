"""The models in small: one as it is, and the first fault of each. `make model` checks all of it."""

from __future__ import annotations

import pytest

from tests.model.check import (
    FOLDER,
    MODELS,
    Checked,
    bounds_of,
    check,
    find,
    judge,
    missing,
    plants_of,
    switches_of,
)

BOUNDS = {"SLOTS", "TERMS", "FAILURES", "CHANGES", "OPERATORS", "OTHERS", "RESIZES"}
needs_spin = pytest.mark.skipif(missing() is not None, reason=str(missing()))


@pytest.mark.parametrize("model", MODELS)
def test_what_a_model_can_do_wrong_is_said_in_its_head(model: str) -> None:
    plants = plants_of(model)
    assert {plant.name for plant in plants} == switches_of(model) - BOUNDS
    assert len(plants) > 3


@pytest.mark.parametrize("model", MODELS)
def test_the_page_lists_every_model(model: str) -> None:
    assert f"(../tests/model/{model}.pml)" in (FOLDER.parents[1] / "docs" / "model.md").read_text()


def test_a_head_names_bounds() -> None:
    assert bounds_of("parts") == ["CHANGES=2 OPERATORS=1", "CHANGES=1 OPERATORS=2"]
    assert bounds_of("marks") == [""]


@needs_spin
@pytest.mark.slow
def test_acknowledged_rows_stay_above_settled_in_every_interleaving() -> None:
    whole = check("marks")
    assert not whole.trail
    assert whole.states > 500_000
    assert [sentence for sentence in judge([whole]) if "is reached by no run" not in sentence] == []


@needs_spin
@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS)
def test_a_planted_fault_is_found_and_told(model: str) -> None:
    found = find(model, plants_of(model)[0])
    assert len(found.trail) > 3
    assert judge([found]) == []


def test_verdicts() -> None:
    plant = plants_of("marks")[0]
    line, other = ("marks.pml", 1), ("store.pml", 2)
    first = Checked("marks", None, "", 1, 0.0, lines=frozenset({line, other}), reached=frozenset({line}))
    second = Checked("filing", None, "", 1, 0.0, lines=frozenset({other}), reached=frozenset({other}))
    assert judge([first]) == ["store.pml:2 is reached by no run"]
    assert judge([first, second]) == []
    assert judge([Checked("marks", plant, "", 1, 0.0)]) == [f"marks: {plant.name} is not found"]
    assert judge([Checked("filing", None, "", 1, 0.0, trail=["a step"])]) == [
        "filing: the claim does not hold:\na step"
    ]
