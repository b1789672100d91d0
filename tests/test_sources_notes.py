import json
import math
from typing import Any

import pytest

from source_records import document, log_rows, openai_event, openai_job, trainer_state
from tuneledger import NOT_EVALUATED, Archive, CheckpointOut, Job
from tuneledger.cli import run, showing
from tuneledger.sources import Hints, Note, named, notes


def checkpoints(*rows: dict[str, Any], start: int = 1, apart: int = 10) -> list[CheckpointOut]:
    """A checkpoint for each row of metrics, evenly apart."""
    return [
        CheckpointOut.model_validate(
            {"metrics": row, "step_number": start + apart * index, "created_at": 1}, strict=True
        )
        for index, row in enumerate(rows)
    ]


def kinds(found: list[Note]) -> list[str]:
    """The kinds of notes."""
    return [note.kind for note in found]


def test_an_ordinary_run_has_no_note() -> None:
    """Two zero losses, an uneven end and a single step are nothing odd."""
    rows = [{"train_loss": value} for value in (1.0, 0.5, 0.0, 0.0)]
    assert notes("mistral", checkpoints(*rows)) == []
    assert notes("nobody", checkpoints()) == []
    uneven = [*checkpoints(*rows[:2]), *checkpoints(*rows[2:], start=500, apart=7)]
    assert notes("mistral", uneven) == []


def test_what_is_odd_is_noted() -> None:
    """Gaps, placeholders, zeros and what is not finite, each with its count and where it begins."""
    rows: list[dict[str, Any]] = [
        {"loss": 0.0, "valid_loss": NOT_EVALUATED, "grad_norm": math.nan} for _ in range(8)
    ]
    rows[0]["grad_norm"] = 1.0
    rows[1]["left"] = "0:01"
    found = notes("mistral", [*checkpoints(*rows), *checkpoints({"loss": 0.5}, start=500)])
    assert kinds(found) == ["gaps", "not_finite", "zero_losses", "placeholders"]
    gaps, not_finite, zeros, placeholders = found
    assert "usually are 10 apart" in gaps.text
    assert "the widest gap is 429 after step 71" in gaps.text
    assert (not_finite.metric, not_finite.first_step) == ("grad_norm", 11)
    assert "7 of 8 values" in not_finite.text
    assert zeros.text.startswith("8 of 9 values of loss are exactly 0.0")
    assert placeholders.metric == "valid_loss"


def test_one_is_told_as_one() -> None:
    """A count of one reads as a sentence, in every note that counts."""
    rows: list[dict[str, Any]] = [{"valid_loss": 1.0} for _ in range(6)]
    rows[0] |= {"other_loss": math.nan}
    rows[1]["valid_loss"] = NOT_EVALUATED
    late = checkpoints({"valid_loss": 0.5}, start=500)[0].model_copy(update={"created_at": 0})
    gaps, timeless, alone, one_of_several = notes("mistral", [*checkpoints(*rows), late])
    assert gaps.text == "steps usually are 10 apart, but more once; the widest gap is 449 after step 51"
    assert timeless.text == "1 checkpoint has no time: the source gives none"
    assert alone.text == "the only value of other_loss is NaN or infinite, first at step 1"
    assert one_of_several.text == "1 of 7 values of valid_loss is 0.0 for not evaluated"
    rows = [*log_rows(3), {"step": 2, "loss": 9.0}]
    (job,) = named("huggingface").read(document("x", trainer_state(rows)), Hints())
    assert notes(job.provider, job.checkpoints)[0].text.startswith("several rows of step 2 tell different")


def test_a_run_that_went_back_is_noted() -> None:
    """Steps that a resumed run reported again, otherwise than before."""
    rows = [*log_rows(3), *[{**row, "loss": 9.0} for row in log_rows(3) if "loss" in row][1:]]
    (job,) = named("huggingface").read(document("x", trainer_state(rows)), Hints())
    went_back, timeless = notes(job.provider, job.checkpoints)
    assert (went_back.kind, went_back.first_step) == ("went_back", 2)
    assert timeless.kind == "no_time"


def test_rows_of_one_step_that_disagree_are_not_called_a_run_that_went_back() -> None:
    """The losses and the evaluation of a step each tell the time that they took: no run was resumed."""
    rows = [{"loss": 0.5, "elapsed": 1, "step": 10}, {"eval_loss": 0.6, "elapsed": 2, "step": 10}]
    (job,) = named("huggingface").read(document("x", trainer_state(rows)), Hints())
    told, _ = notes(job.provider, job.checkpoints)
    assert told.text.startswith("several rows of step 10 tell different values: ")
    assert "or each row has a time or a rate of its own" in told.text


def test_a_best_step_that_is_gone_is_noted() -> None:
    """The service kept checkpoints of other steps than the best; where all or none are known, no note."""
    events = [openai_event(step, step, valid_loss=step / 10, train_loss=1.0) for step in (3, 4, 5)]
    (job,) = named("openai").read(document("x", openai_job() | {"events": events}), Hints())
    (note,) = notes(job.provider, job.checkpoints)
    assert (note.kind, note.metric, note.first_step) == ("best_not_kept", "valid_loss", 3)
    kept = [step.model_copy(update={"id": "x"}) for step in job.checkpoints]
    assert all(step.__pydantic_extra__ is not None for step in kept)


def test_show_and_verify_tell_the_notes(
    database_url: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """For people and as JSON; `show` not of a job so long that looking through it would keep them waiting."""
    rows = [{"loss": 0.0} for _ in range(5)]
    with Archive(database_url) as archive:
        archive.save(Job(job_id="run", provider="huggingface", checkpoints=checkpoints(*rows)))
    assert run(["show", "run", "--db", database_url]) == 0
    assert "5 of 5 values of loss are exactly 0.0" in capsys.readouterr().out
    assert run(["show", "run", "--db", database_url, "--json"]) == 0
    assert '"zero_losses"' in capsys.readouterr().out
    assert run(["verify", "--data", "--db", database_url]) == 0
    assert "job run: 5 of 5 values of loss are exactly 0.0" in capsys.readouterr().out
    assert run(["verify", "--data", "--json", "--db", database_url]) == 0
    (note,) = json.loads(capsys.readouterr().out)["notes"]
    assert (note["job_id"], note["kind"]) == ("run", "zero_losses")
    monkeypatch.setattr(showing, "_MOST_LOOKED_THROUGH", 4)
    assert run(["show", "run", "--db", database_url]) == 0
    assert "notes are not looked for in jobs of more than 4 checkpoints" in capsys.readouterr().out
    assert run(["show", "run", "--db", database_url, "--json"]) == 0
    assert '"notes": null' in capsys.readouterr().out


def test_the_notes_of_many_jobs(sqlite_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    """`verify --data` looks through every job, also where they fill more than one page."""
    rows = [{"loss": 0.0} for _ in range(5)]
    with Archive(sqlite_url, durable=False) as archive:
        for number in range(101):
            archive.save(Job(job_id=f"run {number}", provider="p", checkpoints=checkpoints(*rows)))
    assert run(["verify", "--data", "--db", sqlite_url]) == 0
    assert capsys.readouterr().out.count("5 of 5 values of loss are exactly 0.0") == 101
