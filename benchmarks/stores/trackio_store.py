"""Trackio's SQLite storage, without its dashboard."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from benchmarks.stores.store import Missing, Store
from benchmarks.workload import METRICS, Point

if TYPE_CHECKING:
    from benchmarks.workload import Run

_PROJECT = "benchmark"


class TrackioStore(Store):
    """One run a job, one row of JSON a checkpoint."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        from trackio.sqlite_storage import SQLiteStorage

        self.storage = SQLiteStorage

    @property
    def path(self) -> Path:
        return Path(self.storage.get_project_db_path(_PROJECT))

    def prepared(self, run: Run) -> tuple[str, list[dict[str, float]], list[int], list[str]]:
        return (
            run.job_id,
            [_metrics(point) for point in run.points],
            [point.step for point in run.points],
            [_time(point) for point in run.points],
        )

    def save(self, prepared: tuple[str, list[dict[str, float]], list[int], list[str]]) -> None:
        job_id, metrics, steps, times = prepared
        self.storage.bulk_log(_PROJECT, job_id, metrics, steps=steps, timestamps=times)

    def save_again(self, _prepared: Any) -> None:
        raise Missing("stores everything twice")

    def append(self, job_id: str, point: Point) -> None:
        self.storage.bulk_log(
            _PROJECT, job_id, [_metrics(point)], steps=[point.step], timestamps=[_time(point)]
        )

    def between(self, job_id: str, first: int, last: int) -> Any:
        middle = (first + last) // 2
        return self.storage.get_snapshot(
            _PROJECT, job_id, around_step=middle, window=max(last - middle, middle - first)
        )

    def whole(self, job_id: str) -> Any:
        return self.storage.get_logs(_PROJECT, job_id)

    def plain(self, answer: Any) -> list[Point]:
        if isinstance(answer, dict):
            series = [answer[name] for name in METRICS]
            return [
                Point(
                    train["step"], _seconds(train["timestamp"]), train["value"], valid["value"], last["value"]
                )
                for train, valid, last in zip(*series, strict=True)
            ]
        return [
            Point(row["step"], _seconds(row["timestamp"]), *(row[name] for name in METRICS)) for row in answer
        ]

    def series(self, job_ids: list[str], points: int) -> Any:
        runs = [{"run": job_id, "run_id": job_id} for job_id in job_ids]
        return self.storage.get_logs_batch(_PROJECT, runs, max_points=points)

    def curves(self, answer: Any) -> list[list[tuple[int, float]]]:
        return [[(row["step"], row[METRICS[0]]) for row in run["logs"]] for run in answer]

    def latest(self, job_ids: list[str]) -> list[Any]:
        last = self.storage.get_max_steps_for_runs(_PROJECT)
        return [self.storage.get_snapshot(_PROJECT, job_id, step=last[job_id]) for job_id in job_ids]

    def best(self, job_ids: list[str]) -> list[Any]:
        return [
            min(self.storage.get_metric_values(_PROJECT, job_id, METRICS[1]), key=lambda row: row["value"])
            for job_id in job_ids
        ]


def _metrics(point: Point) -> dict[str, float]:
    return dict(zip(METRICS, point[2:], strict=True))


def _time(point: Point) -> str:
    return datetime.fromtimestamp(point.created_at, UTC).isoformat()


def _seconds(text: Any) -> int:
    time = text if isinstance(text, datetime) else datetime.fromisoformat(text)
    return round(time.timestamp())


def opened(_name: str, url: str) -> Store:
    """Open the storage in the folder of ``url``."""
    folder = Path(urlsplit(url).path.removeprefix("/")).parent
    os.environ["TRACKIO_DIR"] = str(folder)
    os.environ["TRACKIO_SQLITE_SYNCHRONOUS"] = "full"  # its default, NORMAL, loses commits with the power
    return TrackioStore(url)
