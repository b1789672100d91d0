import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from source_records import (
    RESULT_HEADER,
    SUMMARY,
    document,
    log_rows,
    openai_checkpoint,
    openai_event,
    openai_job,
    own_job,
    page,
    together_job,
    trainer_state,
)
from tuneledger import cli
from tuneledger.cli import exit_codes
from tuneledger.errors import InvalidArgument, InvalidPayload, UnknownFormat
from tuneledger.models import Job
from tuneledger.sources import MAPPED, OURS, Document, Hints, exported, kept, known, named, recognised

AZURE_JOB = "ftjob-0123456789abcdef0123456789abcdef"


def read(name: str, *documents: Document, job_id: str | None = None) -> list[Job]:
    """The jobs of documents, joined where their source joins."""
    source = named(name)
    if source.joined is not None:
        return [job for job, _ in source.joined(documents, Hints(job_id=job_id))]
    return [job for one in documents for job in source.read(one, Hints(job_id=job_id))]


# -- trainer states -----------------------------------------------------------------------------


def test_the_summary_of_a_run_is_no_measurement() -> None:
    """The closing row's train_loss is a mean: it stays in the document and says that the run is over."""
    (job,) = read("huggingface", document("trainer_state.json", trainer_state([*log_rows(6), SUMMARY])))
    assert job.status == "finished"
    assert job.document["log_history"] == [SUMMARY]
    assert job.document["epoch"] == 1.0
    assert "train_loss" not in job.checkpoints[-1].metrics.named_values()
    assert "log_history" not in read("huggingface", document("x", trainer_state(log_rows(6))))[0].document


def test_rows_without_a_step_are_kept() -> None:
    """Predictions have no step; every row comes back from the export."""
    rows = [*log_rows(1), {"predict_loss": 0.5, "epoch": 1.0}]
    (job,) = read("huggingface", document("x", trainer_state(rows)))
    assert job.document["log_history"] == [rows[-1]]
    assert job.status is None
    assert exported(job) == trainer_state(rows)


def test_text_and_bare_nan_of_a_trainer_are_kept() -> None:
    """A NaN loss is a NaN, a remaining time is its text, a NaN best metric stays in the document."""
    state = '{"best_metric": NaN, "log_history": [{"loss": NaN, "left": "0:01", "step": 3}]}'
    (job,) = read("huggingface", document("x", state))
    metrics = job.checkpoints[0].metrics.named_values()
    assert math.isnan(metrics["loss"])
    assert metrics["left"] == "0:01"
    assert math.isnan(job.document["best_metric"])
    assert job.revision == 3


@pytest.mark.parametrize("step", [None, 2.5, "3", True])
def test_a_step_must_be_an_integer(step: object) -> None:
    """A row whose step is none is refused with its place."""
    with pytest.raises(InvalidPayload) as refused:
        read(
            "huggingface",
            document(
                "x",
                trainer_state([{"loss": 1.0, "step": 1}])
                | {"log_history": [{"loss": 1.0, "step": 1}, {"loss": 1.0, "step": step}]},
            ),
        )
    assert refused.value.position == "log_history[1]"
    with pytest.raises(InvalidPayload, match="line 2, field 'current_steps'"):
        read("huggingface", document("x.jsonl", '{"current_steps": 1, "total_steps": 2}\n[]\n'))


def test_an_impostor_is_told() -> None:
    """A file of that name that is no trainer's is refused with the reason."""
    contents: list[object] = [{"log_history": {}}, {"log_history": [1]}, [], {"train_runtime": 1, "x": []}]
    for content in contents:
        impostor = document("trainer_state.json", content)
        with pytest.raises(UnknownFormat):
            recognised(impostor)
        with pytest.raises(InvalidPayload, match="not a trainer's record"):
            read("huggingface", impostor)


def test_results_alone_come_back_as_they_were() -> None:
    """The results of a run without its state are a job without checkpoints."""
    results = {"epoch": 1.0, "eval_runtime": 2.0, "note": "x"}
    (job,) = read("huggingface", document("eval_results.json", results))
    assert not job.checkpoints
    assert exported(job) == results


@pytest.mark.parametrize(
    ("path", "job_id"),
    [
        ("/runs/a/trainer_state.json", "/runs/a"),
        ("/runs/a/checkpoint-500/trainer_state.json", "/runs/a"),
        ("/runs/a/all_results.json", "/runs/a"),
        ("/runs/a/checkpoint-500/mine.json", "/runs/a/mine.json"),
        ("/runs/checkpoint-x/mine.json", "/runs/checkpoint-x/mine.json"),
    ],
)
def test_a_run_is_named_by_its_place(path: str, job_id: str) -> None:
    """Without the folder of a single checkpoint, so that a later file of the run finds the same job."""
    state = document("x", trainer_state(log_rows(2)))
    (job,) = read("huggingface", Document("x", state.data, path))
    assert job.job_id == job_id
    (job,) = read("huggingface", Document("x", state.data, path), job_id="mine")
    assert job.job_id == "mine"


def test_a_run_without_a_place_needs_a_name() -> None:
    """Standard input has no path to name a run by."""
    state = document("x", trainer_state(log_rows(2)))
    with pytest.raises(InvalidPayload, match="--job-id"):
        read("huggingface", Document("<stdin>", state.data))


# -- OpenAI and Azure ---------------------------------------------------------------------------


def test_the_files_of_a_run_are_joined() -> None:
    """Job, events, checkpoints and result file of a folder are one job; metrics events are steps too."""
    (job,) = read(
        "openai",
        document("step_metrics.csv", RESULT_HEADER + "1,0.9,0.5,,\n2,0.81234,0.5,,\n"),
        document("events.json", page([openai_event(9, 2, train_loss=0.8), openai_event(1)])),
        document("events-again.json", [openai_event(1)]),
        document("checkpoints.json", page([openai_checkpoint(3, train_loss=0.7)])),
        document("job.json", openai_job()),
    )
    assert (job.job_id, job.provider, job.status) == (openai_job()["id"], "openai", "succeeded")
    assert job.finished_at == job.revision == 1_700_000_900
    assert [checkpoint.step_number for checkpoint in job.checkpoints] == [1, 2, 3]
    first, second, third = job.checkpoints
    assert (first.created_at, second.created_at, third.created_at) == (0, 1_700_000_002, 1_700_000_003)
    assert second.metrics.named_values()["train_loss"] == 0.8
    assert second.__pydantic_extra__ == {"earlier_values": {"train_loss": [0.81234]}}
    assert [kept(job.provider, checkpoint) for checkpoint in job.checkpoints] == [False, False, True]
    assert len(job.events) == 2
    (again,) = read("openai", document("exported.json", exported(job)))
    assert again == job
    assert again.document == openai_job()


def test_a_kept_checkpoint_says_more_than_its_event() -> None:
    """Where both tell of a step, the checkpoint's own time stands."""
    events = [openai_event(2, 6, a=1), openai_event(1, 5, a=2.0)]
    (job,) = read(
        "openai",
        document("checkpoints.json", [openai_checkpoint(5, a=2.0) | {"created_at": 7}]),
        document("events.json", events),
    )
    assert [checkpoint.created_at for checkpoint in job.checkpoints] == [7, 1_700_000_006]


@pytest.mark.parametrize(
    "data",
    [None, "text", {"train_loss": 1.0}, {"step": "5", "a": 1}, {"step": 5.5, "a": 1}, {"step": 5, "a": "x"}],
)
def test_an_event_without_metrics_of_a_step_is_just_an_event(data: object) -> None:
    """It is kept as it came, and makes no checkpoint."""
    event = openai_event(1) | {"data": data}
    (job,) = read("openai", document("event.json", event), job_id="mine")
    assert not job.checkpoints
    assert exported(job) == {"object": "list", "data": [event], "has_more": False}


def test_a_step_may_be_a_float_in_an_event() -> None:
    """Azure sends 5.0; what is derived from an event is not exported beside it."""
    whole = openai_event(1) | {"data": {"step": 5.0, "a": 1}, "type": None}
    (job,) = read("openai", document("event.json", whole), job_id="mine")
    assert [checkpoint.step_number for checkpoint in job.checkpoints] == [5]
    assert exported(job) == {"object": "list", "data": [whole], "has_more": False}


def test_a_run_whose_job_is_not_known_comes_back_whole() -> None:
    """Events and a result file without their job are exported together, and read again."""
    (job,) = read(
        "openai",
        document("step_metrics.csv", RESULT_HEADER + "1,0.9,0.5,,\n"),
        document("events.json", [openai_event(1)]),
        job_id="mine",
    )
    again = document("exported.json", exported(job))
    assert recognised(again) is named("openai")
    assert read("openai", again, job_id="mine") == [job]
    result_file = document("step_metrics.csv", RESULT_HEADER + "1,0.9,0.5,,\n")
    assert recognised(result_file) is named("openai")
    (table,) = read("openai", result_file, job_id="mine")
    assert read("openai", document("exported.json", exported(table)), job_id="mine") == [table]


def test_azure_is_told_by_its_ids() -> None:
    """Ids of 32 hexadecimal digits are Azure's, of the job or of its events."""
    (job,) = read("azure", document("job.json", openai_job() | {"id": AZURE_JOB}))
    assert job.provider == "azure"
    event = openai_event(1) | {"id": "ftevent-0123456789abcdef0123456789abcdef"}
    assert read("openai", document("event.json", event))[0].provider == "azure"
    assert read("openai", document("event.json", openai_event(1)))[0].provider == "openai"


def test_loose_files_beside_several_jobs_are_jobs_of_their_own() -> None:
    """Events say not of which job they are: among several, or none, their path names it."""
    other = openai_job() | {"id": AZURE_JOB}
    jobs = read(
        "openai",
        document("jobs.json", page([openai_job(), other])),
        document("events.json", [openai_event(1)]),
    )
    assert [job.job_id for job in jobs] == [openai_job()["id"], AZURE_JOB, "/runs/one/events.json"]


def test_earlier_answers_of_a_job_keep_their_states() -> None:
    """Polls of a job in one folder are archived oldest first, each that says something else."""
    jobs = read(
        "openai",
        document("b.json", openai_job()),
        document("a.json", openai_job("running", None)),
        document("c.json", openai_job()),
    )
    assert [job.status for job in jobs] == ["running", "succeeded"]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ({"data": [1]}, "neither a fine-tuning job of OpenAI's nor"),
        ({"hello": 1}, "neither a fine-tuning job of OpenAI's nor"),
        (openai_job() | {"id": 5}, "must be text"),
        (openai_job() | {"events": [{}]}, "is not a page of these"),
        (openai_job() | {"events": 5}, "is not a page of these"),
        (openai_job() | {"created_at": "now"}, "must be an integer"),
        ([openai_checkpoint(1) | {"metrics": 5}], "must be an object"),
        (RESULT_HEADER + ",1,1,1,1\n", "is required, but absent"),
    ],
)
def test_what_is_not_openai_s_is_refused(content: object, reason: str) -> None:
    """With the document's name, also where others are joined with it."""
    good = document("good.json", openai_job())
    with pytest.raises(InvalidPayload, match=reason) as refused:
        read("openai", good, document("bad.json", content))
    assert refused.value.source == "bad.json"


def without(item: dict[str, Any], name: str) -> dict[str, Any]:
    """An object that lacks a member."""
    return {key: value for key, value in item.items() if key != name}


@pytest.mark.parametrize(
    "content",
    [
        *(without(openai_job(), name) for name in ("id", "training_file", "status", "created_at")),
        *(without(openai_checkpoint(5), name) for name in ("fine_tuning_job_id", "step_number", "metrics")),
        # A line of some program's log has most of an event's members.
        *(without(openai_event(1), name) for name in ("id", "level", "message", "created_at")),
        [openai_event(1), {"level": "info"}],
        page([{"level": "info"}]),
        page([]),
        {"data": {"events": []}},
        {},
        {"events": 5},
        {"checkpoints": {"a": 1}},
        {"events": [], "epoch": 1},
        "step,train_loss,train_accuracy,valid_loss\n1,0.5,0.5,0.5\n",
    ],
)
def test_an_impostor_of_openai_s_is_told(content: object) -> None:
    """What lacks a member of a job, a checkpoint or an event is none, by itself or on a page."""
    impostor = document("job.json", content)
    with pytest.raises(UnknownFormat):
        recognised(impostor)
    if content not in (page([]), {}):  # nothing in them is wrong, where they are said to be OpenAI's
        with pytest.raises(InvalidPayload):
            read("openai", impostor)


def test_a_page_may_say_what_it_will_of_itself() -> None:
    """It is told by its items: a field that a service adds to its pages hides no job."""
    pages = page([openai_job(), openai_checkpoint(5, a=1.0)]) | {"total": 2, "next": None}
    given = document("page.json", pages)
    assert recognised(given).name == "openai"
    (job,) = read("openai", given)
    assert [checkpoint.step_number for checkpoint in job.checkpoints] == [5]


def test_another_job_than_the_one_asked_for_is_refused() -> None:
    """`--job-id` names the job of what does not name it, and checks what does."""
    with pytest.raises(InvalidPayload, match="not the job id that was asked for"):
        read("openai", document("job.json", openai_job()), job_id="mine")
    with pytest.raises(InvalidPayload, match="not the job id that was asked for"):
        read("tuneledger", document("job.json", own_job([1])), job_id="mine")


def test_null_lists_of_a_job_are_empty() -> None:
    """A job whose lists are null has none."""
    (job,) = read("openai", document("job.json", openai_job() | {"events": None}))
    assert job.events == []


@pytest.mark.parametrize("name", ["tuneledger", "tuneledger-jsonl"])
def test_a_provider_may_be_named_like_our_own_formats(name: str) -> None:
    """Then a job of it is exported in that format, and read again."""
    job = Job.model_validate(own_job([1]) | {"provider": name})
    assert read(name, document("x", exported(job))) == [job]


def test_several_jobs_of_ours() -> None:
    """Several exported jobs make a list, and each is read; what else stands there is refused by its place."""
    other = own_job([1]) | {"job_id": "second"}
    content = [own_job([1]), other]
    assert recognised(document("x", content)) is named("tuneledger")
    assert len(read("tuneledger", document("x", content))) == 2
    with pytest.raises(InvalidPayload, match=r"\[1\]: not a job as tuneledger writes it"):
        read("tuneledger", document("x", [own_job([1]), {}]))


def test_a_job_of_openai_s_is_none_of_mistral_s() -> None:
    """Another provider's job is not archived as Mistral's, though it has all that a lean one of these has."""
    with pytest.raises(InvalidPayload, match="is a record of OpenAI's kind"):
        read("mistral", document("x", openai_job()))


@pytest.mark.parametrize(
    ("given", "job_id", "reason"),
    [
        ({"metrics": 5}, None, "'metrics': must be a list of objects"),
        ({"checkpoints": ["x"]}, None, "'checkpoints': must be a list of objects"),
        ({"metrics": [{"global_step": 1.5}]}, None, "'global_step': must be a whole number"),
        ({"metrics": [{"loss": 1.0}]}, None, "'global_step': must be a whole number"),
        ({"updated_at": "yesterday"}, None, "updated_at"),
        ({}, "ft-other", "not the job id that was asked for"),
    ],
)
def test_what_is_not_together_s_is_refused(given: dict[str, Any], job_id: str | None, reason: str) -> None:
    """With the place: the list, the step, the time, the id."""
    with pytest.raises(InvalidPayload, match=reason):
        read("together", document("x", together_job("running", 10) | given), job_id=job_id)


def test_lists_that_a_job_of_together_s_came_with_come_back() -> None:
    """An absent list stays absent, an empty one empty and a null one null."""
    cases: list[dict[str, Any]] = [{}, {"metrics": [], "checkpoints": []}, {"metrics": None}]
    for lists in cases:
        given = together_job("running", 10, **lists)
        (job,) = read("together", document("x", {"data": [given]}))
        assert exported(job) == given


# -- sources of other packages ------------------------------------------------------------------


THEIRS = replace(OURS[-1], name="theirs", recognises=lambda document: document.text == "theirs")


def test_an_entry_point_adds_a_source(installed: Callable[[str, object], None]) -> None:
    """It is asked after ours, and is there by its name."""
    installed("theirs", THEIRS)
    assert known() == (*OURS, THEIRS)
    assert named("theirs") is THEIRS
    assert recognised(document("x", "theirs")) is THEIRS


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (object(), "is no tuneledger Source"),
        (OURS[0], "takes the name of another source"),
        (None, "cannot be loaded: ModuleNotFoundError: No module named 'broken_module'"),
    ],
)
def test_an_entry_point_that_gives_no_source_of_its_own_is_left_out(
    value: object, reason: str, installed: Callable[[str, object], None], caplog: pytest.LogCaptureFixture
) -> None:
    """It is told once, by its package, and keeps nobody from the others; who names it gets the reason."""
    installed("broken", value)
    installed("theirs", THEIRS)
    assert recognised(document("x", '{"log_history": []}')).name == "huggingface"
    assert named("csv") in MAPPED
    assert not caplog.messages  # nothing that was needed is missing
    assert known() == (*OURS, THEIRS)
    assert recognised(document("x", "theirs")) is THEIRS
    told = f"the entry point 'broken' (broken_module:SOURCE) of broken 1.0 {reason}"
    assert caplog.messages == [f"{told}; it is left out"]
    with pytest.raises(InvalidArgument) as refused:
        named("broken")
    assert str(refused.value).endswith(f", jsonl ({MAPPED[1].title}); {told}")


def test_a_package_that_is_broken_is_told_once_a_command(
    installed: Callable[[str, object], None], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The files of others are archived, whatever lies beside them; by its name it is a typed error."""
    installed("broken", None)
    folder = tmp_path / "runs"
    folder.mkdir()
    (folder / "trainer_state.json").write_text(json.dumps(trainer_state(log_rows(1))))
    for name in ("a.txt", "b.txt"):
        (folder / name).write_text("nobody's")
    database = ("--db", str(tmp_path / "runs.db"))
    assert cli.run(["archive", str(folder), *database, "--format", "huggingface"]) == exit_codes.OK
    assert "cannot be loaded" not in capfd.readouterr().err
    assert cli.run(["archive", str(folder), *database]) == exit_codes.OK
    assert capfd.readouterr().err.count("cannot be loaded: ModuleNotFoundError") == 1
    assert cli.run(["archive", str(folder), *database, "--format", "broken"]) == exit_codes.USAGE
    assert "the entry point 'broken' (broken_module:SOURCE) of broken 1.0" in capfd.readouterr().err


def test_values_that_a_later_row_replaced_come_back() -> None:
    """A metric twice at one step: the last value counts, and the export has both rows."""
    rows = [{"a": 1.0, "b": 2.0, "step": 1}, {"a": 3.0, "step": 1}]
    (job,) = read("huggingface", document("x", trainer_state(rows)))
    (again,) = read("huggingface", document("x", exported(job)))
    assert again == job
    assert job.checkpoints[0].metrics.named_values() == {"a": 3.0, "b": 2.0}


def test_an_unknown_format_lists_those_there_are() -> None:
    """A name nobody has is answered with the names there are."""
    with pytest.raises(InvalidArgument, match=r"mistral \(Mistral's .*\), openai \(.*\), together \("):
        named("nobody")


def test_broken_json_is_told_by_its_place() -> None:
    """What begins like JSON and is none says where it breaks; JSON nobody knows is just unknown."""
    with pytest.raises(UnknownFormat) as refused:
        recognised(document("x.txt", '{"id": 1,\n [...]'))
    assert refused.value.position.startswith("line 2")
    for content in ('{"a": 1}', '{"a": 1}\n{"a": 2}\n', "plain text", "[1,\n2]"):
        with pytest.raises(UnknownFormat) as refused:
            recognised(document("x.txt", content))
        assert not refused.value.position
