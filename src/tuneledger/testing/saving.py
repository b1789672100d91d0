"""Saving: idempotent, merging, all or nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tuneledger.errors import CheckpointNotFound, Conflict, JobNotFound
from tuneledger.repository import Input, OnConflict, StateRecord
from tuneledger.testing.records import Conformance, checkpoint, checkpoints, job

if TYPE_CHECKING:
    from tuneledger.testing.records import Door

__all__ = ["SavingConformance"]


class SavingConformance(Conformance):
    """What a save does to what is stored."""

    def test_saving_again_changes_nothing(self, archive: Door) -> None:
        """The second save of the same job reports every checkpoint as unchanged."""
        saved = job(status="SUCCESS", checkpoints=checkpoints(20))
        assert archive.save(saved).created
        again = archive.save(saved)
        assert not again.wrote
        assert again.unchanged == 20

    def test_later_payload_adds(self, archive: Door) -> None:
        """Steps that are new are added, a shorter payload removes nothing."""
        given = checkpoints(30)
        archive.save(job(checkpoints=given[:20]))
        assert archive.save(job(checkpoints=given[15:])).added == 10
        archive.save(job(checkpoints=given[:1]))
        with archive.read() as repository:
            assert repository.checkpoints("job-1") == given

    def test_newer_revision_wins_an_older_does_not(self, archive: Door) -> None:
        """Where two payloads differ, that of the higher revision stands, in whichever order they come."""
        archive.save(job(revision=2, checkpoints=[checkpoint(1, {"train_loss": 0.2})]))
        late = archive.save(job(revision=1, checkpoints=[checkpoint(1, {"train_loss": 0.1})]))
        assert [change.field for change in late.kept] == ["metrics.train_loss"]
        newer = archive.save(job(revision=3, checkpoints=[checkpoint(1, {"train_loss": 0.3})]))
        values = [change.new for change in newer.changed if change.step_number is not None]
        assert values == [0.3]
        with archive.read() as repository:
            assert repository.checkpoint("job-1", 1).metrics.train_loss == 0.3

    def test_keep_and_error_leave_what_is_stored(self, archive: Door) -> None:
        """``keep`` adds without changing, ``error`` refuses the whole payload."""
        archive.save(job(checkpoints=[checkpoint(1, {"train_loss": 0.5})]))
        other = job(revision=1, checkpoints=[checkpoint(1, {"train_loss": 0.6}), checkpoint(2)])
        with pytest.raises(Conflict):
            archive.save(other, on_conflict=OnConflict.ERROR)
        with archive.read() as repository:
            assert repository.count_checkpoints("job-1") == 1
        assert archive.save(other, on_conflict="keep").added == 1
        with archive.read() as repository:
            assert repository.checkpoint("job-1", 1).metrics.train_loss == 0.5

    def test_replace_makes_the_job_the_payload(self, archive: Door) -> None:
        """``replace`` removes steps, metrics, events and states that the payload lacks."""
        archive.save(
            job(status="RUNNING", events=[{"name": "e", "created_at": 1}], checkpoints=checkpoints(5))
        )
        wanted = job(checkpoints=[checkpoint(10, {"other": 1.0}), checkpoint(11)])
        assert archive.save(wanted, on_conflict="replace").removed == 4
        with archive.read() as repository:
            assert repository.job("job-1") == wanted
            assert repository.states("job-1") == []
            assert repository.metric_names("job-1") == ["other", "train_loss"]

    def test_append(self, archive: Door) -> None:
        """Appending adds steps and changes those that are there; no job, no append."""
        archive.save(job(checkpoints=checkpoints(3)))
        with archive.write() as repository:
            report = repository.append("job-1", [checkpoint(30, {"train_loss": 9.0}), checkpoint(40)])
        assert (report.added, len(report.changed)) == (1, 2)
        with archive.read() as repository:
            assert repository.checkpoint("job-1", 30).metrics.train_loss == 9.0
            assert (
                repository.checkpoint("job-1", 30).metrics.valid_loss == checkpoints(3)[2].metrics.valid_loss
            )
        with pytest.raises(JobNotFound), archive.write() as repository:
            repository.append("nobody", [checkpoint(1)])

    def test_jobs_of_two_providers_do_not_mix(self, archive: Door) -> None:
        """An id that belongs to another provider's job is refused."""
        archive.save(job())
        with pytest.raises(Conflict):
            archive.save(job().model_copy(update={"provider": "another"}))

    def test_what_raises_leaves_nothing(self, archive: Door) -> None:
        """A transaction that ends in an error writes nothing of what came before the error."""
        with pytest.raises(JobNotFound), archive.write() as repository:  # noqa: PT012 - what is undone comes first
            repository.save(job(checkpoints=checkpoints(200)))
            repository.delete_job("nobody")
        with archive.read() as repository:
            assert repository.count_jobs() == repository.count_checkpoints() == 0

    def test_transaction_sees_its_own_writes(self, archive: Door) -> None:
        """What a transaction saved it can read, and it commits as one."""
        with archive.write() as repository:
            repository.save(job("a", checkpoints=checkpoints(3)))
            repository.save(job("b"))
            assert repository.count_jobs() == 2
            assert repository.latest_checkpoint("a") == checkpoints(3)[-1]
            assert repository.delete_job("a") == 3
        with archive.read() as repository:
            assert [found.job_id for found in repository.jobs().jobs] == ["b"]

    def test_delete(self, archive: Door) -> None:
        """A deleted job is gone with everything, others stay, and its id is free again."""
        for job_id in ("a", "b"):
            archive.save(job(job_id, checkpoints=checkpoints(100)))
        with archive.write() as repository:
            assert repository.delete_job("a") == 100
        with archive.read() as repository:
            assert repository.count_checkpoints() == 100
            with pytest.raises(JobNotFound):
                repository.job("a")
            with pytest.raises(CheckpointNotFound):
                repository.checkpoint("b", 5)
        assert archive.save(job("a", checkpoints=[checkpoint(1)])).created

    def test_states_and_inputs(self, archive: Door) -> None:
        """Each status of each revision is kept once, and where a job came from."""
        given = Input("file.json", "conformance", 10, "00ff")
        archive.save(job(status="QUEUED", revision=1), inputs=[given])
        archive.save(job(status="RUNNING", revision=1))
        archive.save(job(status="SUCCESS", revision=2), inputs=[given])
        with archive.read() as repository:
            assert repository.states("job-1") == [
                StateRecord(1, "QUEUED"),
                StateRecord(1, "RUNNING"),
                StateRecord(2, "SUCCESS"),
            ]
            (record,) = repository.inputs("job-1")
        assert (record.name, record.format, record.size_bytes, record.sha256) == (
            "file.json",
            "conformance",
            10,
            "00ff",
        )
