"""A data folder as it lies there, also one that no server starts on."""

from __future__ import annotations

from pathlib import Path

from ringtime_ringctl.doctor.checks import Finding, State
from ringtime_shared.errors import StartupError
from ringtime_shared.stores.sqlite import find_server
from ringtime_shared.stores.sqlite.examine import FolderReport, examine_folder, find_loss

CHECK_S = 600.0  #: for all pages; some 0.5 s a GiB that is in memory


def check_folder(folder: Path) -> list[Finding]:
    """Look for lost transactions and damaged pages. Changes nothing."""
    if not folder.is_dir():
        return []  # the store's own finding says so
    is_served = find_server(folder) is not None
    try:
        report = examine_folder(folder, check_s=CHECK_S, is_served=is_served)
    except (OSError, StartupError) as error:
        advice = "run it as the user that the server runs as, on a disk with some room"
        return [Finding("folder", State.FAILED, f"cannot read {folder}: {error}", advice)]
    loss = find_loss(report)
    if loss is None:
        return [Finding("folder", State.OK, _describe(report))]
    return [Finding("folder", State.FAILED, loss, _advise(report))]


def _describe(report: FolderReport) -> str:
    if not report.has_database:
        return "it holds no database yet"
    count = f"{report.held.commits:,} transactions, as many as were acknowledged" if report.held else "whole"
    return f"{count}; {'all' if report.is_checked else 'not all'} pages of the database were checked"


def _advise(report: FolderReport) -> str:
    backup = "stop the server, restore the folder from a backup"
    if report.has_database and report.fault:
        return (
            f"{backup}; or start without the check of pages (embedded.check_ms = 0), knowing that what was on"
            " the damaged ones is gone"
        )
    return f"{backup}; or `ringctl --data {report.folder} accept-loss` goes on with what is there"
