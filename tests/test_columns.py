import math
import sys
from collections.abc import Iterator

import numpy as np
import pytest

from tuneledger import NOT_EVALUATED, Archive, CheckpointOut
from tuneledger.errors import ExtraMissing, InvalidArgument, JobNotFound
from tuneledger.testing.records import checkpoint, job

GIVEN: list[CheckpointOut] = [
    checkpoint(1, {"train_loss": 0.5, "eval_loss": math.inf}, created_at=10),
    checkpoint(2, {"train_loss": math.nan, "eval_loss": -math.inf}, created_at=20),
    checkpoint(5, {"train_loss": None}, created_at=50),
    checkpoint(7, {"train_loss": 0.25, "eval_loss": NOT_EVALUATED}, created_at=70),
    checkpoint(9, {"eval_loss": -0.0}, created_at=90),
]


@pytest.fixture
def archive(database_url: str) -> Iterator[Archive]:
    """An archive of one job, and one without checkpoints."""
    with Archive(database_url) as opened:
        opened.save(job(checkpoints=GIVEN))
        opened.save(job(job_id="empty"))
        yield opened


def test_columns_are_arrays_of_one_length(archive: Archive) -> None:
    """Numbers and infinities come as they are, in step order; whatever is no number is NaN."""
    with archive.read() as repository:
        columns = repository.columns("job-1")
    np.testing.assert_array_equal(columns.steps, [1, 2, 5, 7, 9])
    np.testing.assert_array_equal(columns.created_at, [10, 20, 50, 70, 90])
    assert list(columns.values) == ["eval_loss", "train_loss"]
    nan = math.nan
    np.testing.assert_array_equal(columns.values["train_loss"], [0.5, nan, nan, 0.25, nan])
    np.testing.assert_array_equal(columns.values["eval_loss"], [math.inf, -math.inf, nan, nan, 0.0])
    assert {array.dtype for array in columns.values.values()} == {np.dtype(np.float64)}
    assert columns.steps.dtype == columns.created_at.dtype == np.dtype(np.int64)


def test_columns_of_a_part(archive: Archive) -> None:
    """The steps are inclusive; a metric is found by what it stands for, and one nobody reports left out."""
    with archive.read() as repository:
        columns = repository.columns(
            "job-1", metrics=["valid_loss", "no_such_metric"], first_step=2, last_step=7
        )
        with pytest.raises(InvalidArgument):
            repository.columns("job-1", metrics="train_loss")
    np.testing.assert_array_equal(columns.steps, [2, 5, 7])
    assert list(columns.values) == ["eval_loss"]


def test_columns_of_a_metric_at_every_step(archive: Archive) -> None:
    """Without gaps a column is what was stored."""
    archive.save(job(job_id="whole", checkpoints=[checkpoint(step, {"loss": step / 8}) for step in range(5)]))
    with archive.read() as repository:
        assert repository.columns("whole").values["loss"].tolist() == [0.0, 0.125, 0.25, 0.375, 0.5]


def test_columns_of_nothing(archive: Archive) -> None:
    """A job without checkpoints has empty columns; a job that is not there is an error."""
    with archive.read() as repository:
        columns = repository.columns("empty")
        assert (len(columns.steps), len(columns.created_at), columns.values) == (0, 0, {})
        with pytest.raises(JobNotFound):
            repository.columns("nobody")


def test_columns_without_numpy(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where NumPy is missing, the error names the extra that brings it."""
    monkeypatch.setitem(sys.modules, "numpy", None)
    with archive.read() as repository, pytest.raises(ExtraMissing, match=r"tuneledger\[numpy\]"):
        repository.columns("job-1")
