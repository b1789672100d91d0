"""Records for the tests, and what the tests use of an archive."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import pytest

from tuneledger.models import CheckpointOut, Job

if TYPE_CHECKING:
    from collections.abc import Iterable
    from contextlib import AbstractContextManager

    from tuneledger.repository import CheckpointRepository, Input, OnConflict, SaveReport

__all__ = ["Conformance", "Door", "checkpoint", "checkpoints", "job"]


class Door(Protocol):
    """What is asked of an archive; `tuneledger.Archive` has it."""

    def read(self) -> AbstractContextManager[CheckpointRepository]: ...

    def write(self) -> AbstractContextManager[CheckpointRepository]: ...

    def save(
        self, job: Job, *, on_conflict: OnConflict | str = ..., inputs: Iterable[Input] = ...
    ) -> SaveReport: ...


class Conformance:
    """What the groups of tests have in common."""

    @pytest.fixture
    def archive(self) -> Door:
        """Give the archive that is to prove itself: open, writable, empty."""
        raise NotImplementedError("override the fixture `archive`")


def checkpoint(
    step_number: int, metrics: dict[str, Any] | None = None, *, created_at: int = 1_700_000_000, **fields: Any
) -> CheckpointOut:
    """Make a checkpoint; without metrics it carries one ``train_loss`` that falls with the steps."""
    given = {"train_loss": 1 / (1 + step_number)} if metrics is None else metrics
    return CheckpointOut.model_validate(
        {"metrics": given, "step_number": step_number, "created_at": created_at, **fields}
    )


def checkpoints(count: int, *, every: int = 10) -> list[CheckpointOut]:
    """Make ``count`` checkpoints at steps ``every`` apart, with three metrics each."""
    return [
        checkpoint(
            step,
            {
                "train_loss": 2.0 - step / (count * every),
                "valid_loss": 2.5 - step / (count * every),
                "valid_mean_token_accuracy": step / (count * every),
            },
            created_at=1_700_000_000 + step,
        )
        for step in range(every, (count + 1) * every, every)
    ]


def job(job_id: str = "job-1", **fields: Any) -> Job:
    """Make a job of a made-up provider."""
    return Job.model_validate({"job_id": job_id, "provider": "conformance", **fields})
