"""What went in comes out: values, fields, order."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from tuneledger.models import NOT_EVALUATED, Event, Placeholder
from tuneledger.testing.records import Conformance, checkpoint, checkpoints, job

if TYPE_CHECKING:
    from tuneledger.testing.records import Door

__all__ = ["KeepingConformance"]

_DOUBLES = (0.1, 16777217.0, 5e-324, 1.7976931348623157e308, -1.7976931348623157e308, 1 / 3, 0.0)
_TEXTS = (
    "ÄÖÜ e\u0301",
    "日本語",
    "emoji 🙂",
    "quote ' \" ` ;",
    "per % cent %s :name",
    "back\\slash",
    "x" * 512,
)


class KeepingConformance(Conformance):
    """Exactness of what is stored."""

    def test_whole_job_comes_back_equal(self, archive: Door) -> None:
        """Every field, event and checkpoint of a job is what was saved."""
        saved = job(
            model="small-7b",
            status="RUNNING",
            created_at=1_700_000_000,
            revision=3,
            finished_at=1_700_000_900,
            fine_tuned_model="ft:small-7b",
            trained_tokens=2**62,
            cost=12.5,
            cost_currency="EUR",
            document={"nested": {"deep": [1, None, True, "x"]}, "nan": math.nan},
            events=[
                Event(name="started", created_at=1_700_000_001, data={"by": "me"}),
                Event(name="started", created_at=1_700_000_001, data={"by": "me"}),
                Event(name="no data", created_at=0),
                Event(name="null data", created_at=0, data=None),
            ],
            checkpoints=checkpoints(5),
        )
        archive.save(saved)
        with archive.read() as repository:
            found = repository.job(saved.job_id)
            bare = repository.job_without_checkpoints(saved.job_id)
        assert found == saved
        assert found.model_fields_set >= {"document", "events", "checkpoints"}
        assert bare == saved.model_copy(update={"checkpoints": []})

    def test_doubles_are_bit_exact(self, archive: Door) -> None:
        """A double comes back with every bit, the smallest and the largest too."""
        archive.save(
            job(checkpoints=[checkpoint(n, {"train_loss": value}) for n, value in enumerate(_DOUBLES)])
        )
        with archive.read() as repository:
            found = repository.checkpoints("job-1")
        assert [checkpoint.metrics.train_loss for checkpoint in found] == list(_DOUBLES)

    def test_what_is_no_number_comes_back_as_it_was(self, archive: Door) -> None:
        """NaN, the infinities, -0.0, null, absent and a provider's placeholder stay six things."""
        metrics = {
            "a": math.nan,
            "b": math.inf,
            "c": -math.inf,
            "d": -0.0,
            "e": None,
            "valid_loss": NOT_EVALUATED,
        }
        archive.save(job(checkpoints=[checkpoint(1, metrics)]))
        with archive.read() as repository:
            found = repository.checkpoint("job-1", 1).metrics.named_values()
        assert set(found) == set(metrics)
        assert math.isnan(found["a"])
        assert (found["b"], found["c"], found["e"]) == (math.inf, -math.inf, None)
        assert math.copysign(1, found["d"]) == -1
        assert isinstance(found["valid_loss"], Placeholder)

    def test_unknown_fields_and_metrics_are_kept(self, archive: Door) -> None:
        """Fields that no model declares, and metrics that no double holds, come back as they came."""
        metrics: dict[str, Any] = {
            "rewards/chosen": 0.5,
            "huge": 2**63 + 1,
            "text": "n/a",
            "object": {"a": [1]},
        }
        saved = job(checkpoints=[checkpoint(7, metrics, id="ckpt-7", tags=["x"], nothing=None)])
        archive.save(saved)
        with archive.read() as repository:
            assert repository.job("job-1") == saved

    def test_largest_step_and_latest_second(self, archive: Door) -> None:
        """Steps reach 2**63 - 1 and times the year 9999."""
        saved = checkpoint(2**63 - 1, created_at=253_402_300_799)
        archive.save(job(checkpoints=[saved, checkpoint(0, created_at=0)]))
        with archive.read() as repository:
            assert repository.latest_checkpoint("job-1") == saved

    def test_any_printable_text_is_a_name(self, archive: Door) -> None:
        """Ids and metric names are kept character by character."""
        with archive.write() as repository:
            for text in _TEXTS:
                repository.save(job(text, checkpoints=[checkpoint(1, {text: 1.0})]))
        with archive.read() as repository:
            for text in _TEXTS:
                assert repository.job(text).job_id == text
                assert repository.metric_names(text) == [text]

    def test_ids_that_only_look_alike_are_different(self, archive: Door) -> None:
        """Case and the way an accent is composed tell ids apart."""
        for job_id in ("job", "Job", "\u00e9", "e\u0301"):
            archive.save(job(job_id, document={"id": job_id}))
        with archive.read() as repository:
            assert repository.count_jobs() == 4
            assert repository.job("\u00e9").document == {"id": "\u00e9"}

    def test_checkpoints_come_in_step_order(self, archive: Door) -> None:
        """However they were given, they come back by step."""
        given = checkpoints(50)
        archive.save(job(checkpoints=given[::-1]))
        with archive.read() as repository:
            assert repository.checkpoints("job-1") == given
