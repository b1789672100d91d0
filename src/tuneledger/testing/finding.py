"""Questions: by job, by step, by value, by page."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest

from tuneledger.errors import AmbiguousJob, InvalidArgument, JobNotFound
from tuneledger.models import NOT_EVALUATED
from tuneledger.testing.records import Conformance, checkpoint, checkpoints, job

if TYPE_CHECKING:
    from tuneledger.testing.records import Door

__all__ = ["FindingConformance"]


class FindingConformance(Conformance):
    """What the queries answer."""

    def test_step_range_is_inclusive(self, archive: Door) -> None:
        """Both bounds belong to the range, an open one means the end."""
        given = checkpoints(100)
        archive.save(job(checkpoints=given))
        with archive.read() as repository:
            assert repository.checkpoints("job-1", first_step=100, last_step=200) == given[9:20]
            assert repository.checkpoints("job-1", first_step=991) == given[99:]
            assert repository.checkpoints("job-1", last_step=9) == []
            assert repository.checkpoints("job-1", newest_first=True, last_step=30) == given[2::-1]
            assert repository.count_checkpoints("job-1", first_step=100, last_step=200) == 11

    def test_stream_gives_what_the_list_gives(self, archive: Door) -> None:
        """A stream over several windows neither skips nor repeats a checkpoint."""
        # Many names make the windows short.
        given = [checkpoint(step, {f"metric {step % 200}": 1.0}) for step in range(2_000)]
        archive.save(job(checkpoints=given))
        with archive.read() as repository:
            streamed = [found.step_number for found in repository.stream_checkpoints("job-1")]
            back = [found.step_number for found in repository.stream_checkpoints("job-1", newest_first=True)]
        assert streamed == list(range(2_000))
        assert back == streamed[::-1]

    def test_selected_metrics(self, archive: Door) -> None:
        """Asked-for metrics come alone, by their own name or the one they stand for."""
        archive.save(job(checkpoints=[checkpoint(1, {"eval_loss": 0.5, "loss": 1.0, "x": 2.0})]))
        with archive.read() as repository:
            (found,) = repository.checkpoints("job-1", metrics=["valid_loss"])
            assert found.metrics.named_values() == {"eval_loss": 0.5}
            (found,) = repository.checkpoints("job-1", metrics=["nothing"])
            assert found.metrics.named_values() == {}

    def test_filters_by_time_and_value(self, archive: Door) -> None:
        """Times and values are inclusive bounds; what is no number is in no bounds."""
        values = [0.1, 0.2, math.nan, None, NOT_EVALUATED, 0.3]
        given = [checkpoint(n, {"valid_loss": value}, created_at=n) for n, value in enumerate(values)]
        archive.save(job(checkpoints=given))
        with archive.read() as repository:
            assert repository.checkpoints("job-1", created_from=1, created_to=2) == given[1:3]
            assert repository.checkpoints("job-1", within={"valid_loss": (0.2, None)}) == [given[1], given[5]]
            assert repository.checkpoints("job-1", within={"valid_loss": (None, None)}) == [
                given[0],
                given[1],
                given[5],
            ]
            assert repository.checkpoints("job-1", within={"unknown": (0.0, None)}) == []

    def test_latest_and_best(self, archive: Door) -> None:
        """The latest is the highest step; the best the lowest number, of equals the lowest step."""
        archive.save(
            job(
                checkpoints=[
                    checkpoint(1, {"valid_loss": math.nan}),
                    checkpoint(2, {"valid_loss": 0.5}),
                    checkpoint(3, {"valid_loss": 0.5}),
                    checkpoint(4, {"valid_loss": 0.9}),
                    checkpoint(5, {"valid_loss": -math.inf}),
                ]
            )
        )
        archive.save(job("empty"))
        archive.save(job("other", checkpoints=[checkpoint(1, {"eval_loss": 0.4})]))
        with archive.read() as repository:
            latest, best, worst = (
                repository.latest_checkpoint("job-1"),
                repository.best_checkpoint("job-1", "valid_loss"),
                repository.best_checkpoint("job-1", "valid_loss", "max"),
            )
            assert latest
            assert best
            assert worst
            assert (latest.step_number, best.step_number, worst.step_number) == (5, 2, 4)
            assert repository.latest_checkpoint("empty") is None
            assert repository.best_checkpoint("empty", "valid_loss") is None
            assert list(repository.latest_checkpoints()) == ["job-1", "other"]
            assert list(repository.best_checkpoints("valid_loss")) == ["other", "job-1"]
            with pytest.raises(InvalidArgument):
                repository.best_checkpoint("job-1", "valid_loss", "least")  # type: ignore[arg-type] # wrong on purpose

    def test_pages_of_jobs(self, archive: Door) -> None:
        """Pages give every job once, the newest first, each with its last step."""
        for number in range(7):
            archive.save(job(f"job-{number}", created_at=number // 2, checkpoints=checkpoints(number)))
        found, page = [], None
        with archive.read() as repository:
            while True:
                answer = repository.jobs(limit=3, page=page)
                found += answer.jobs
                page = answer.next_page
                if page is None:
                    break
        assert [summary.job_id for summary in found] == [f"job-{n}" for n in (6, 4, 5, 2, 3, 0, 1)]
        assert found[0].last_step == 60
        assert found[-2].last_step is None

    def test_filters_of_jobs(self, archive: Door) -> None:
        """Filters are exact, all must hold, and counting agrees with listing."""
        archive.save(job("a", model="m", status="RUNNING", created_at=10))
        archive.save(job("b", model="m", status="SUCCESS", created_at=20))
        archive.save(job("c", model="n", status="SUCCESS", created_at=30))
        with archive.read() as repository:
            found = repository.jobs(model="m", status="SUCCESS")
            assert [summary.job_id for summary in found.jobs] == ["b"]
            assert repository.count_jobs(created_from=20, created_to=30) == 2
            assert repository.jobs(provider="another").jobs == []

    def test_ids_are_completed(self, archive: Door) -> None:
        """A beginning stands for the one id it begins; a whole id for itself."""
        for job_id in ("run", "run-1", "run-2", "walk"):
            archive.save(job(job_id))
        with archive.read() as repository:
            assert repository.job_id("wa") == "walk"
            assert repository.job_id("run") == "run"
            with pytest.raises(AmbiguousJob):
                repository.job_id("run-")
            with pytest.raises(JobNotFound):
                repository.job_id("x")

    def test_series(self, archive: Door) -> None:
        """One metric comes as columns, with what is no number where it stood."""
        archive.save(job("a", checkpoints=[checkpoint(1, {"loss": 1.0}), checkpoint(2, {"loss": None})]))
        archive.save(job("b", checkpoints=[checkpoint(5, {"other": 1.0})]))
        with archive.read() as repository:
            found = repository.series(["a", "b"], "train_loss")
        assert list(found) == ["a"]
        assert (found["a"].metric, found["a"].steps, found["a"].values) == ("loss", [1, 2], [1.0, None])

    def test_thinned_series_keeps_the_spikes(self, archive: Door) -> None:
        """Of a long series the ends, and the highest and lowest values, stay."""
        values = [1.0] * 5_000
        values[1_234], values[4_321] = 99.0, -99.0
        archive.save(job(checkpoints=[checkpoint(n, {"loss": value}) for n, value in enumerate(values)]))
        with archive.read() as repository:
            found = repository.series(["job-1"], "loss", points=100)["job-1"]
        assert len(found.steps) <= 100
        assert (found.steps[0], found.steps[-1]) == (0, 4_999)
        assert {99.0, -99.0} <= set(found.values)

    def test_nobody_is_found_in_an_empty_archive(self, archive: Door) -> None:
        """An empty archive answers with nothing, and an unknown job is an error of its own."""
        with archive.read() as repository:
            assert repository.jobs().jobs == []
            assert repository.count_checkpoints() == 0
            assert repository.latest_checkpoints() == {}
            with pytest.raises(JobNotFound) as caught:
                repository.checkpoints("nobody")
        assert isinstance(caught.value, LookupError)
