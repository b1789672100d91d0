"""Optuna's relational storage: intermediate values of trials."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import optuna
from optuna.storages import RDBStorage
from optuna.study import StudyDirection

from benchmarks.stores.store import Missing, Store
from benchmarks.workload import METRICS, Point

if TYPE_CHECKING:
    from benchmarks.workload import Run


class OptunaStore(Store):
    """One study a job, one trial a metric: a trial has one value a step and no time for it."""

    keeps_time = False

    def __init__(self, url: str) -> None:
        super().__init__(url)
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.storage = RDBStorage(url)
        self.trials: dict[str, list[int]] = {}
        for study in self.storage.get_all_studies():
            trials = self.storage.get_all_trials(study._study_id, deepcopy=False)  # noqa: SLF001 - the key its storage takes
            self.trials[study.study_name] = [trial._trial_id for trial in trials]  # noqa: SLF001 - the same

    def save(self, prepared: Run) -> None:
        study = self.storage.create_new_study([StudyDirection.MINIMIZE], prepared.job_id)
        self.trials[prepared.job_id] = [self.storage.create_new_trial(study) for _ in METRICS]
        self.save_again(prepared)

    def save_again(self, prepared: Run) -> None:
        for point in prepared.points:
            self.append(prepared.job_id, point)

    def append(self, job_id: str, point: Point) -> None:
        for trial, value in zip(self.trials[job_id], point[2:], strict=True):
            self.storage.set_trial_intermediate_value(trial, point.step, value)

    def between(self, _job_id: str, _first: int, _last: int) -> Any:
        raise Missing("reads a trial whole")

    def whole(self, job_id: str) -> list[dict[int, float]]:
        return [self.storage.get_trial(trial).intermediate_values for trial in self.trials[job_id]]

    def stream(self, job_ids: list[str]) -> Any:
        for job_id in job_ids:
            train, valid, accuracy = self.whole(job_id)
            for step, value in train.items():
                yield step, value, valid[step], accuracy[step]

    def plain(self, answer: list[dict[int, float]]) -> list[Point]:
        train, valid, accuracy = answer
        return [Point(step, 0, train[step], valid[step], accuracy[step]) for step in sorted(train)]

    def series(self, _job_ids: list[str], _points: int) -> Any:
        raise Missing("thins nothing out")

    def latest(self, job_ids: list[str]) -> list[Any]:
        return [self.whole(job_id) for job_id in job_ids]

    def best(self, job_ids: list[str]) -> list[Any]:
        return [self.whole(job_id) for job_id in job_ids]


def opened(_name: str, url: str) -> Store:
    """Open the storage; it makes its tables."""
    return OptunaStore(url)
