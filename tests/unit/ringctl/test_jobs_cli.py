"""`schedules bulk` and `schedules jobs` as a shell runs them, on an SQLite folder."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
from tests.unit.ringctl.test_cli import Folder, failed

from ringtime_ringctl.deployment.context import Deployment
from ringtime_ringctl.deployment.ownership import fetch_app
from ringtime_ringctl.output import Output
from ringtime_ringctl.schedules import jobs
from ringtime_shared.models.job import Job, JobState
from ringtime_shared.schedules import bulk


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(("RINGTIME_", "RINGCTL_")):
            monkeypatch.delenv(name)


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path / "data")


def only_job(folder: Folder) -> Job:
    (job,) = folder.on_store(lambda store: store.fetch_open_jobs(9))
    return job


def test_without_apply_it_only_counts_and_nobody_is_audited(folder: Folder) -> None:
    shown = folder.json("schedules", "bulk", "delete", "pay", "--from", "now", "--to", "+1h", "--no-wait")
    assert (shown["dryRun"], shown["state"], shown["action"]) == (True, "WAITING", "delete")
    assert only_job(folder).is_plan
    assert folder.audit() == []


def test_a_range_may_be_as_long_as_it_says(folder: Folder) -> None:
    shown = folder.json("schedules", "bulk", "delete", "pay", "--from", "-31d", "--no-wait")
    assert shown["state"] == "WAITING"


def test_what_a_server_did_is_told(folder: Folder) -> None:
    words = ["schedules", "bulk", "pause", "pay", "--reason", "x", "--until", "+1h", "--apply", "--no-wait"]
    job_id = folder.json(*words)["jobId"]
    assert [action for _, action in folder.audit()] == ["schedules bulk pause"]
    job = only_job(folder)
    assert (job.reason, job.is_plan) == ("x", False)
    expired = folder.run("schedules", "jobs", "get", "pay", job_id, "--wait", "--timeout", "0")
    assert (expired.exit_code, "does a server run?" in expired.output) == (3, True)
    done = replace(job, revision=2, state=JobState.DONE, looked=3, done=2, failed=1, problems=("n: why",))
    folder.on_store(lambda store: store.replace_job(done))
    shown = folder.run("schedules", "jobs", "get", "pay", job_id, "--wait")
    assert (shown.exit_code, "n: why" in shown.output) == (1, True)
    assert [each["jobId"] for each in folder.json("schedules", "jobs", "list", "pay")["jobs"]] == [job_id]
    failed(folder.run("schedules", "jobs", "cancel", "pay", job_id), "is DONE already")


def test_a_job_is_cancelled(folder: Folder) -> None:
    job_id = folder.json("schedules", "bulk", "retry", "pay", "--apply", "--no-wait")["jobId"]
    assert folder.json("schedules", "jobs", "cancel", "pay", job_id)["state"] == "CANCELLED"


def test_whoever_waits_for_a_job_that_somebody_cancels_is_told(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def wait(deployment: Deployment, output: Output, job: Job, timeout_s: float) -> Job:
        return await bulk.cancel(deployment.store, job.key, await fetch_app(deployment, "pay"), lambda: 1)

    monkeypatch.setattr(jobs, "_wait", wait)
    result = folder.run("schedules", "bulk", "retry", "pay", "--apply")
    assert (result.exit_code, "was cancelled by somebody" in result.stderr) == (1, True)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["remove", "pay"], "Invalid value"),
        (["delete", "pay", "--status", "SCHEDULE"], "Invalid value"),
        (["pause", "pay", "--from", "-1h"], "--from: has no meaning"),
        (["delete", "pay", "--reason", "x"], "--reason: has a meaning for pause alone"),
        (["delete", "nobody"], "nobody"),
    ],
)
def test_what_would_choose_wrongly_is_refused(folder: Folder, words: list[str], told: str) -> None:
    result = folder.run("schedules", "bulk", *words)
    assert (result.exit_code != 0, told in result.output) == (True, True)
    assert folder.on_store(lambda store: store.fetch_open_jobs(9)) == []
