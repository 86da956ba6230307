"""Sizes on paper: what `benchmarks/capacity.py` makes of costs."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest
from benchmarks.capacity import COSTS, EXAMPLES, Cost, Costs, Load, plan, show
from benchmarks.table import Result, Sample


def test_more_of_a_load_takes_more_of_everything() -> None:
    costs = Costs(
        **{name: Cost(100, 100) for name in ("create", "batch", "get", "cancel", "fire_http", "fire_kafka")}
    )
    found = plan(Load(creates=10_000, gets=5_000, stored=1e9), costs, cores=10)
    # 1 s of creates and 0.5 s of gets at 60 % of a core; 1 s of callbacks.
    assert (found.ingest, found.dispatchers) == (3, 2)
    # Three copies of 20,000 writes and two of 5,000 reads: 7 cores, at half of each.
    assert found.database_cores == pytest.approx(14)
    assert found.database_nodes == 3  # a quorum needs that many, whatever the load
    assert found.disk_tb == pytest.approx(1.8)
    assert found.partitions == 1_000  # one of each app at least
    assert plan(Load(creates=1), costs).ingest == 2  # so that one may die
    many = plan(Load(creates=1_000_000, apps=5_000_000), costs)
    assert many.partitions == 5_000_000
    assert many.cells == 5


def test_costs_come_from_a_results_file(tmp_path: Path) -> None:
    samples = [Sample(figures={}, cpu={"ingest": n, "dispatcher": 1, "cassandra": 50}) for n in (10, 30, 20)]
    result = Result(step="get by id, 64 connections", unit="cpu us", samples={"a": samples})
    (tmp_path / "results.json").write_text(json.dumps([asdict(result)]))
    costs = Costs.read(tmp_path / "results.json", COSTS)
    assert costs.get == Cost(21, 50)
    assert costs.create == COSTS.create


def test_the_table_has_a_row_for_each_load() -> None:
    assert len(show(EXAMPLES, COSTS, 16).splitlines()) == 2 + len(EXAMPLES)
