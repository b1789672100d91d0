"""tuneledger itself, through its public door."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from benchmarks.stores.store import Store
from benchmarks.workload import METRICS, Point
from tuneledger import Archive, CheckpointOut, Job
from tuneledger import schema as schemas
from tuneledger.engine import open_engine

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.workload import Run


class TuneledgerStore(Store):
    """Validated models in, validated models out."""

    best_reads_whole_jobs = False

    def __init__(self, url: str) -> None:
        super().__init__(url)
        engine = open_engine(url)
        schemas.upgrade(engine)
        engine.dispose()
        self.archive = Archive(url)

    def prepared(self, run: Run) -> Job:
        return Job.model_validate(_payload(run))

    def save(self, prepared: Job) -> None:
        self.archive.save(prepared)

    def append(self, job_id: str, point: Point) -> None:
        self.archive.append(job_id, [CheckpointOut.model_validate(_checkpoint(point))])

    def between(self, job_id: str, first: int, last: int) -> list[CheckpointOut]:
        with self.archive.read() as repository:
            return repository.checkpoints(job_id, first_step=first, last_step=last)

    def whole(self, job_id: str) -> list[CheckpointOut]:
        with self.archive.read() as repository:
            return repository.checkpoints(job_id)

    def columns(self, job_id: str) -> Any:
        with self.archive.read() as repository:
            return repository.columns(job_id)

    def stream(self, job_ids: list[str]) -> Iterator[CheckpointOut]:
        with self.archive.read() as repository:
            for job_id in job_ids:
                yield from repository.stream_checkpoints(job_id)

    def plain(self, answer: list[CheckpointOut]) -> list[Point]:
        return [
            Point(
                checkpoint.step_number,
                checkpoint.created_at,
                *(checkpoint.metrics.named_values()[name] for name in METRICS),
            )
            for checkpoint in answer
        ]

    def series(self, job_ids: list[str], points: int) -> Any:
        with self.archive.read() as repository:
            return repository.series(job_ids, "train_loss", points=points)

    def curves(self, answer: Any) -> list[list[tuple[int, float]]]:
        return [list(zip(series.steps, series.values, strict=True)) for series in answer.values()]

    def latest(self, job_ids: list[str]) -> list[CheckpointOut]:
        with self.archive.read() as repository:
            return list(repository.latest_checkpoints(job_ids).values())

    def best(self, job_ids: list[str]) -> list[CheckpointOut]:
        with self.archive.read() as repository:
            found = repository.best_checkpoints("valid_loss", job_ids=job_ids)
        return [found[job_id] for job_id in job_ids]

    def validate(self, run: Run) -> None:
        self.prepared(run)

    def close(self) -> None:
        self.archive.close()


def _checkpoint(point: Point) -> dict[str, Any]:
    return {
        "metrics": dict(zip(METRICS, point[2:], strict=True)),
        "step_number": point.step,
        "created_at": point.created_at,
    }


def _payload(run: Run) -> dict[str, Any]:
    return {
        "job_id": run.job_id,
        "provider": "benchmark",
        "model": "a-model",
        "status": "RUNNING",
        "created_at": run.created_at,
        "checkpoints": [_checkpoint(point) for point in run.points],
    }


def opened(_name: str, url: str) -> Store:
    """Open the archive."""
    return TuneledgerStore(url)
