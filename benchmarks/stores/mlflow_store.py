"""MLflow's tracking store, without its HTTP server in between."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mlflow.entities import Metric, ViewType
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

from benchmarks.stores.store import Store
from benchmarks.workload import METRICS, Point

if TYPE_CHECKING:
    from benchmarks.workload import Run

_BATCH = 999  # log_batch takes 1,000 metrics


class MlflowStore(Store):
    """One run a job; three metrics a checkpoint."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.store = SqlAlchemyStore(url, "file:///nowhere")
        self.experiment = "0"
        self.run_ids: dict[str, str] = {}
        for found in self.store.search_runs(["0"], "", ViewType.ALL, max_results=1000):
            self.run_ids[found.info.run_name] = found.info.run_id

    def prepared(self, run: Run) -> tuple[str, int, list[Metric]]:
        metrics = [metric for point in run.points for metric in _metrics(point)]
        return run.job_id, run.created_at * 1000, metrics

    def save(self, prepared: tuple[str, int, list[Metric]]) -> None:
        job_id, start_time, _ = prepared
        made = self.store.create_run(self.experiment, "someone", start_time, [], job_id)
        self.run_ids[job_id] = made.info.run_id
        self.save_again(prepared)

    def save_again(self, prepared: tuple[str, int, list[Metric]]) -> None:
        job_id, _, metrics = prepared
        for first in range(0, len(metrics), _BATCH):
            self.store.log_batch(self.run_ids[job_id], metrics[first : first + _BATCH], [], [])

    def append(self, job_id: str, point: Point) -> None:
        self.store.log_batch(self.run_ids[job_id], _metrics(point), [], [])

    def between(self, job_id: str, first: int, last: int) -> list[Any]:
        run_id, most = self.run_ids[job_id], last - first + 1
        return [
            self.store.get_metric_history_bulk_interval([run_id], name, most, first, last) for name in METRICS
        ]

    def whole(self, job_id: str) -> list[Any]:
        return [self.store.get_metric_history(self.run_ids[job_id], name) for name in METRICS]

    def stream(self, job_ids: list[str]) -> Any:
        for job_id in job_ids:
            yield from zip(*self.whole(job_id), strict=True)

    def plain(self, answer: list[Any]) -> list[Point]:
        return [
            Point(train.step, train.timestamp // 1000, train.value, valid.value, accuracy.value)
            for train, valid, accuracy in zip(*answer, strict=True)
        ]

    def series(self, job_ids: list[str], points: int) -> Any:
        run_ids = [self.run_ids[job_id] for job_id in job_ids]
        return self.store.get_metric_history_bulk_interval(run_ids, METRICS[0], points, None, None)

    def curves(self, answer: Any) -> list[list[tuple[int, float]]]:
        by_run: dict[str, list[tuple[int, float]]] = {}
        for found in answer:
            by_run.setdefault(found.run_id, []).append((found.step, found.value))
        return list(by_run.values())

    def latest(self, job_ids: list[str]) -> list[Any]:
        found = self.store.search_runs([self.experiment], "", ViewType.ALL, max_results=1000)
        by_name = {run.info.run_name: run.data.metrics for run in found}
        return [by_name[job_id] for job_id in job_ids]

    def best(self, job_ids: list[str]) -> list[Any]:
        return [
            min(self.store.get_metric_history(self.run_ids[job_id], METRICS[1]), key=lambda m: m.value)
            for job_id in job_ids
        ]


def _metrics(point: Point) -> list[Metric]:
    return [
        Metric(name, value, point.created_at * 1000, point.step)
        for name, value in zip(METRICS, point[2:], strict=True)
    ]


def opened(_name: str, url: str) -> Store:
    """Open the store; it makes its tables."""
    return MlflowStore(url)
