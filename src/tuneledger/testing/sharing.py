"""Many at once: threads that save to one archive."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from tuneledger.testing.records import Conformance, checkpoint, checkpoints, job

if TYPE_CHECKING:
    from tuneledger.repository import SaveReport
    from tuneledger.testing.records import Door

__all__ = ["SharingConformance"]

_THREADS = 4


class SharingConformance(Conformance):
    """What holds when several write at once."""

    def test_one_job_saved_by_all_is_saved_once(self, archive: Door) -> None:
        """Of writers that bring the same job one creates it, the others find it there."""
        saved = job(checkpoints=checkpoints(50))
        with ThreadPoolExecutor(_THREADS) as pool:
            reports = list(pool.map(archive.save, [saved] * 8))
        assert sum(report.created for report in reports) == 1
        assert sum(report.added for report in reports) == 50
        with archive.read() as repository:
            assert repository.job("job-1") == saved

    def test_appends_to_one_job_are_all_kept(self, archive: Door) -> None:
        """Writers that add different steps to one job lose none, and its digest still fits it."""
        archive.save(job())

        def add(first: int) -> SaveReport:
            with archive.write() as repository:
                return repository.append("job-1", [checkpoint(step) for step in range(first, first + 10)])

        with ThreadPoolExecutor(_THREADS) as pool:
            list(pool.map(add, range(0, 80, 10)))
        whole = job(checkpoints=[checkpoint(step) for step in range(80)])
        with archive.read() as repository:
            assert repository.job("job-1") == whole
        # Saving the same again is recognised by the digest alone: nothing is compared, nothing written.
        assert archive.save(whole).unchanged == 80

    def test_new_metric_names_may_race(self, archive: Door) -> None:
        """Writers that bring the same new metric names, in whatever order, all succeed."""
        names = [f"metric {number}" for number in range(20)]

        def save(number: int) -> SaveReport:
            ordered = names[number:] + names[:number]
            return archive.save(
                job(f"job-{number}", checkpoints=[checkpoint(1, dict.fromkeys(ordered, 1.0))])
            )

        with ThreadPoolExecutor(_THREADS) as pool:
            list(pool.map(save, range(8)))
        with archive.read() as repository:
            assert all(len(repository.metric_names(f"job-{number}")) == 20 for number in range(8))
