"""What every store archives: fine-tuning jobs of three metrics, the same at every run."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Final, NamedTuple

METRICS: Final = ("train_loss", "valid_loss", "valid_mean_token_accuracy")
JOBS: Final = 100
SECONDS_A_STEP: Final = 30
STEPS_APART: Final = 10
LONG: Final = (1_000, 10_000, 100_000)
"""Checkpoints of the jobs that are read whole, as far as the size asked for goes."""


class Point(NamedTuple):
    """One checkpoint."""

    step: int
    created_at: int
    train_loss: float
    valid_loss: float
    accuracy: float


@dataclass(frozen=True, slots=True)
class Run:
    """One job."""

    job_id: str
    created_at: int
    points: list[Point]

    @property
    def spike(self) -> Point:
        """Its one outlier, which a thinned-out curve should still show."""
        return self.points[len(self.points) // 3]

    @property
    def best(self) -> Point:
        """The point of the lowest valid_loss."""
        return min(self.points, key=lambda point: (point.valid_loss, point.step))


def run(job_id: str, checkpoints: int) -> Run:
    """Make a job: falling losses with noise, one spike a third of the way in."""
    noise = random.Random(job_id)  # noqa: S311 - no secret
    began = 1_700_000_000 + noise.randrange(10_000_000)
    points = []
    for index in range(checkpoints):
        trend = 2.0 / (1 + index / checkpoints * 9)
        train, valid = trend + noise.random() / 10, trend + 0.1 + noise.random() / 10
        if index == checkpoints // 3:
            train = 1000.0
        points.append(
            Point((index + 1) * STEPS_APART, began + (index + 1) * SECONDS_A_STEP, train, valid, 2.0**valid)
        )
    return Run(job_id, began, points)


def runs(size: int) -> list[str]:
    """Give the ids of the jobs that ``size`` checkpoints are spread over."""
    return [f"job-{index:03d}-of-{size}" for index in range(JOBS)]


def long_runs(size: int) -> dict[str, int]:
    """Give the jobs that are read whole: id to checkpoints."""
    return {f"long-{length}": length for length in LONG if length <= size}


def changed(original: Run) -> Run:
    """Give the same job with one checkpoint in a hundred changed, as a corrected evaluation would."""
    points = [
        point._replace(valid_loss=point.valid_loss + 1.0) if index % 100 == 50 else point  # noqa: PLR2004 - one in a hundred
        for index, point in enumerate(original.points)
    ]
    return Run(original.job_id, original.created_at, points)


def following(original: Run, count: int) -> list[Point]:
    """Give the checkpoints that come after a job's last, to be appended one by one."""
    last = original.points[-1]
    return [
        Point(
            last.step + (index + 1) * STEPS_APART,
            last.created_at + (index + 1) * SECONDS_A_STEP,
            0.5 + index / 1000,
            0.75 + index / 1000,
            1.5 + index / 1000,
        )
        for index in range(count)
    ]
