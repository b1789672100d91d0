"""The public suite for sources sees what it is there for: each promise, once broken, fails its test."""

import inspect
import json
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import pytest

from source_records import SERIES, example_of
from tuneledger import Archive
from tuneledger.errors import InvalidArgument, InvalidPayload, TuneledgerError
from tuneledger.models import Job, validated
from tuneledger.sources import (
    OURS,
    Document,
    Hints,
    Source,
    Stream,
    checkpoints_of_rows,
    exported_as_is,
    items_of,
    local_job_id,
)
from tuneledger.testing import SourceConformance, SourceExample
from tuneledger.testing.example import impostors_of

NAME = "theirs"
Read = Callable[[Document, Hints], Iterator[Job]]


def read(document: Document, hints: Hints) -> Iterator[Job]:
    """What reads runs of theirs rightly, one or a list."""
    for position, run in items_of(document.json, document.first_item):
        yield read_run(run, position, document, hints)


def read_whole(document: Document, hints: Hints) -> Iterator[Job]:
    """What reads one run alone."""
    yield read_run(document.json, "", document, hints)


def read_run(run: Any, position: str, document: Document, hints: Hints) -> Job:
    """The job of one run."""
    if not is_job(run):
        raise InvalidPayload(source=document.name, position=position, reason="not theirs")
    if hints.job_id not in {None, run["theirs"]}:
        raise InvalidPayload(source=document.name, position=position, reason="is another")
    given = {
        "job_id": run["theirs"],
        "provider": NAME,
        "revision": len(run["log"]),
        "document": run | {"log": []},
        "checkpoints": [
            {
                "metrics": {name: row[name] for name in row if name != "at"},
                "step_number": row.get("at"),
                "created_at": 0,
            }
            for row in run["log"]
        ],
    }
    return validated(Job, given, source=document.name, position=position)


def is_job(value: object) -> bool:
    """Whether it is a run of theirs."""
    return isinstance(value, dict) and {"theirs", "log"} <= value.keys() and value.get("version") == 2


def changed(change: Callable[[Job], Job]) -> Read:
    """What reads a run, and then does something to it."""

    def reads(document: Document, hints: Hints) -> Iterator[Job]:
        yield from map(change, read(document, hints))

    return reads


def with_checkpoints(job: Job, change: Callable[[dict[str, Any]], dict[str, Any]]) -> Job:
    """The job, with other metrics in each checkpoint."""
    fields = exported_as_is(job)
    for checkpoint in fields["checkpoints"]:
        checkpoint["metrics"] = change(checkpoint["metrics"])
    return Job.model_validate(fields)


def rounded(metrics: dict[str, Any]) -> dict[str, Any]:
    """Numbers as somebody shows them."""
    return {name: round(value, 6) if isinstance(value, float) else value for name, value in metrics.items()}


def numbers_alone(metrics: dict[str, Any]) -> dict[str, Any]:
    """Without what is no number."""
    return {name: value for name, value in metrics.items() if not isinstance(value, str)}


def nameless(document: Document, hints: Hints) -> Iterator[Job]:
    """Names what it does not know."""
    for job in read(document, Hints()):
        yield job.model_copy(update={"job_id": hints.job_id or str(uuid.uuid4())})


def without_place_of(reads: Read) -> Read:
    """What says that something is wrong, but not where."""

    def without_place(document: Document, hints: Hints) -> Iterator[Job]:
        try:
            yield from reads(document, hints)
        except InvalidPayload as error:
            raise InvalidPayload(source=error.source, reason="something is wrong") from None

    return without_place


def anything(document: Document, hints: Hints) -> Iterator[Job]:
    """Takes anything for a run."""
    del document, hints
    yield Job(job_id="run", provider=NAME)


def run_file(*steps: int, whole: bool = False) -> Document:
    """A run of theirs, as far as it is."""
    log = [{"at": step, "loss": step if whole else 1 / step + 0.5} for step in steps]
    return Document(
        "run.json", json.dumps({"version": 2, "theirs": "run", "log": log}).encode(), "/runs/run.json"
    )


RIGHT = Source(
    NAME, "theirs", lambda document: is_job(document.json_or_none), read, exported_as_is, is_job=is_job
)
FILES = (run_file(), run_file(5), run_file(5, 10))


def streamed_shorter(stream: Stream, hints: Hints) -> Iterator[Job]:
    """Loses the last checkpoint of each job on the way."""
    for job in read(stream.opening(), hints):
        yield job.model_copy(update={"checkpoints": job.checkpoints[:-1]})


def read_lines(document: Document, hints: Hints) -> Iterator[Job]:
    """What reads a log of theirs rightly: JSON lines, several a step."""
    steps, rows = [], []
    for place, row in document.placed_json_lines:
        if not isinstance(row, dict) or "theirs" not in row or type(row.get("at")) is not int:
            raise InvalidPayload(source=document.name, position=place, reason="not theirs")
        steps.append(row["at"])
        rows.append({name: value for name, value in row.items() if name not in {"at", "theirs"}})
    if not rows:
        raise InvalidPayload(source=document.name, reason="not theirs")
    given = {
        "job_id": local_job_id(document, hints),
        "provider": NAME,
        "revision": len(rows),
        "checkpoints": checkpoints_of_rows(steps, rows),
    }
    yield validated(Job, given, source=document.name)


def skipping(document: Document, hints: Hints) -> Iterator[Job]:
    """Reads the lines that it understands."""
    lines = [line for line in document.data.splitlines() if line.startswith(b'{"theirs"')]
    yield from read_lines(Document(document.name, b"\n".join(lines)), hints)


def guessing(document: Document, hints: Hints) -> Iterator[Job]:
    """Makes a whole number of what is none, and keeps what it was made of."""
    run = document.json
    rows = [{**row, "raw": row["at"], "at": int(row["at"])} for row in run["log"]]
    yield read_run({**run, "log": rows}, "", document, hints)


def taken_for_int(document: Document, hints: Hints) -> Iterator[Job]:
    """Makes a whole number of what is none."""
    run = document.json
    yield read_run({**run, "log": [{**row, "at": int(row["at"])} for row in run["log"]]}, "", document, hints)


def of_metrics(keeps: Callable[[Any], bool]) -> Read:
    """What reads a run, and of its metrics those alone."""
    return changed(
        lambda job: with_checkpoints(
            job, lambda metrics: {name: value for name, value in metrics.items() if keeps(value)}
        )
    )


def log_file(*rows: dict[str, Any]) -> Document:
    """A log of theirs."""
    lines = [json.dumps({"theirs": "run", **row}) + "\n" for row in rows]
    return Document("log.jsonl", "".join(lines).encode(), "/runs/log.jsonl")


LINES = Source(
    NAME,
    "theirs",
    lambda document: isinstance(document.first_json_line, dict) and "theirs" in document.first_json_line,
    read_lines,
    exported_as_is,
)
NAMED = Hints(job_id="run")
# The rows of one step disagree in what it took.
LOG = (log_file({"at": 5, "loss": 0.5, "took": 1.5}, {"at": 5, "eval_loss": 0.75, "took": 2.5}),)


def at_last_step(job: Job) -> Job:
    """Its revision the last step, which does not grow with each row."""
    return job.model_copy(update={"revision": job.checkpoints[-1].step_number})


def never_newer(job: Job) -> Job:
    """Its revision the same always; the last of three files has a final status."""
    status = "finished" if len(job.checkpoints) == 2 else None
    return job.model_copy(update={"revision": 0, "status": status, "document": {"n": job.revision}})


BROKEN: dict[str, list[Source | SourceExample]] = {
    "it_is_known_by_its_name": [replace(RIGHT, name="unheard-of")],
    "it_alone_recognises_its_documents": [
        replace(RIGHT, recognises=lambda document: document.name.endswith(".json")),
        replace(example_of("tuneledger").source, name=NAME),
    ],
    "it_takes_nothing_else_for_its_own": [
        replace(RIGHT, recognises=lambda document: document.json_or_none is not None),
        replace(RIGHT, read=anything),
    ],
    "what_is_nobodys_breaks_nothing": [
        replace(RIGHT, recognises=lambda document: "theirs" in document.json),
        replace(RIGHT, read=anything),
        replace(RIGHT, read=lambda document, _: iter([Job(job_id=document.json["id"], provider=NAME)])),
    ],
    "an_item_of_a_list_is_a_job_or_not": [
        replace(RIGHT, is_job=lambda value: "theirs" in value),  # type: ignore[operator] # wrong on purpose
        replace(RIGHT, is_job=lambda value: isinstance(value, dict)),
        replace(RIGHT, is_job=lambda _: False),
    ],
    "what_is_cut_short_is_read_or_refused": [
        replace(RIGHT, read=lambda document, _: iter([Job.model_validate(json.loads(document.data))])),
    ],
    "what_is_wrong_is_named": [
        replace(RIGHT, read=without_place_of(read)),
        replace(RIGHT, read=changed(lambda job: with_checkpoints(job, numbers_alone))),
        replace(
            RIGHT, recognises=lambda document: is_job(document.json_or_none) and "spo" not in document.text
        ),
    ],
    "a_broken_line_is_named": [
        SourceExample(replace(LINES, read=skipping), LOG, NAMED),
        SourceExample(replace(LINES, read=without_place_of(read_lines)), LOG, NAMED),
    ],
    "another_job_id_is_taken_or_refused": [
        replace(RIGHT, read=lambda document, _: read(document, Hints())),
    ],
    "no_id_is_made_up": [replace(RIGHT, read=nameless)],
    "all_files_of_a_run_are_of_one_job": [
        replace(RIGHT, read=changed(lambda job: job.model_copy(update={"job_id": f"run-{job.revision}"}))),
        replace(
            RIGHT, read=lambda document, hints: (job for job in read(document, hints) if job.checkpoints)
        ),
        SourceExample(RIGHT, ()),
        SourceExample(RIGHT, (run_file(),)),
    ],
    "it_depends_on_the_bytes_and_the_id_alone": [
        replace(RIGHT, read=changed(lambda job: job.model_copy(update={"revision": int(time.time())}))),
        replace(RIGHT, read=nameless),
    ],
    "a_number_keeps_all_of_its_digits": [
        replace(RIGHT, read=changed(lambda job: with_checkpoints(job, rounded))),
        SourceExample(RIGHT, (run_file(), run_file(2, whole=True))),
    ],
    "no_number_is_guessed": [replace(RIGHT, read=taken_for_int), replace(RIGHT, read=guessing)],
    "what_looks_like_nothing_is_kept": [
        replace(RIGHT, read=of_metrics(bool)),
        replace(RIGHT, read=of_metrics(lambda value: value is not None)),
        replace(RIGHT, read=of_metrics(lambda value: value is not False)),
        replace(RIGHT, read=of_metrics(lambda value: value == value)),  # noqa: PLR0124 - NaN differs from itself
        replace(
            RIGHT,
            read=changed(
                lambda job: with_checkpoints(
                    job, lambda metrics: {name: value or 0.0 for name, value in metrics.items()}
                )
            ),
        ),
    ],
    "fields_that_nobody_knows_are_kept": [
        replace(RIGHT, read=changed(lambda job: with_checkpoints(job, numbers_alone))),
        replace(RIGHT, read=changed(lambda job: job.model_copy(update={"document": {}}))),
    ],
    "a_list_of_many_is_read_job_by_job": [
        replace(RIGHT, read=read_whole),
    ],
    "a_stream_gives_what_the_whole_does": [replace(RIGHT, stream=streamed_shorter)],
    "what_is_exported_is_read_back_equal": [
        replace(RIGHT, export=lambda job: exported_as_is(job) | {"checkpoints": []}),
    ],
    "archiving_twice_changes_nothing": [
        replace(RIGHT, read=changed(lambda job: job.model_copy(update={"revision": time.time_ns()}))),
    ],
    "the_order_of_files_does_not_matter": [
        replace(
            RIGHT,
            read=changed(lambda job: job.model_copy(update={"revision": 0, "document": {"n": job.revision}})),
        ),
        replace(RIGHT, read=changed(never_newer)),
        SourceExample(
            replace(LINES, read=lambda document, hints: map(at_last_step, read_lines(document, hints))),
            LOG,
            NAMED,
        ),
    ],
}

# What the test itself says, and what comes out of a source that raises what it should not.
SEEN_BY = (AssertionError, pytest.fail.Exception, TuneledgerError, TypeError, json.JSONDecodeError)


def demanding(document: Document, hints: Hints) -> Iterator[Job]:
    """What reads a run rightly, and refuses a row without its loss."""
    for job in read(document, hints):
        if any("loss" not in checkpoint.metrics.named_values() for checkpoint in job.checkpoints):
            raise InvalidPayload(source=document.name, field="loss", reason="is required, but absent")
        yield job


SPAN = Document("run.json", FILES[1].data.replace(b'"log"', b'"span": [0.5, 1.5], "log"'), "/runs/run.json")


@pytest.fixture(
    params=[
        SourceExample(RIGHT, FILES),
        SourceExample(LINES, LOG, NAMED),
        SourceExample(replace(RIGHT, read=demanding), (SPAN,)),
    ],
    ids=["files", "lines", "demanding"],
)
def right(request: pytest.FixtureRequest, installed: Callable[[str, object], None]) -> SourceExample:
    """Sources that keep every promise."""
    example: SourceExample = request.param
    installed(NAME, example.source)
    return example


class TestRight(SourceConformance):
    """Such a source passes, with the fixtures as they are."""

    @pytest.fixture
    def example(self, right: SourceExample) -> SourceExample:
        """Theirs."""
        return right


def test_each_promise_is_broken_by_a_source() -> None:
    """And none of the suite's tests is left out here."""
    tests = {name.removeprefix("test_") for name in dir(SourceConformance) if name.startswith("test_")}
    assert tests == set(BROKEN)


@pytest.mark.parametrize(
    ("name", "broken"), [(name, broken) for name, sources in BROKEN.items() for broken in sources]
)
def test_a_broken_promise_is_seen(
    name: str,
    broken: Source | SourceExample,
    installed: Callable[[str, object], None],
    request: pytest.FixtureRequest,
) -> None:
    """The test of a promise fails for a source that does not keep it."""
    example = SourceExample(broken, FILES) if isinstance(broken, Source) else broken
    installed(NAME, example.source if example.source.name == NAME else RIGHT)
    promise = getattr(SourceConformance(), f"test_{name}")
    wanted = set(inspect.signature(promise).parameters)
    with ExitStack() as opened:
        given: dict[str, object] = {"example": example}
        if "impostors" in wanted:
            given["impostors"] = SERIES["mistral"]
        if "archive" in wanted:
            given["archive"] = opened.enter_context(Archive("sqlite://"))
        if "monkeypatch" in wanted:
            given["monkeypatch"] = request.getfixturevalue("monkeypatch")
        with pytest.raises(SEEN_BY):
            promise(**given)


def test_it_is_said_who_else_takes_the_documents(installed: Callable[[str, object], None]) -> None:
    """A package that reads what we read already is told so."""
    state = Document("state.json", b'{"log_history": [{"step": 1, "loss": 0.5}]}')
    source = replace(RIGHT, recognises=lambda document: b"log_history" in document.data)
    installed(NAME, source)
    with pytest.raises(AssertionError, match=r"state\.json is also recognised by: huggingface"):
        SourceConformance().test_it_alone_recognises_its_documents(SourceExample(source, (state,)))


def test_who_is_not_installed_proves_nothing() -> None:
    """Where the name leads to no source, a test that passes over what is not recognised fails."""
    with pytest.raises(InvalidArgument, match=f"no format '{NAME}'"):
        SourceConformance().test_what_is_wrong_is_named(SourceExample(RIGHT, FILES))


def test_impostors_may_be_added(installed: Callable[[str, object], None]) -> None:
    """To those of the other sources, of which a source that takes whatever is JSON keeps none away."""
    installed(NAME, RIGHT)
    mine = Document("mine.json", b'{"theirs": "run"}')
    given = impostors_of(SourceExample(RIGHT, FILES, impostors=(mine,)))
    assert given[-1] is mine
    assert len(given) > len(OURS)
    eager = replace(RIGHT, recognises=lambda document: document.json_or_none is not None)
    installed(NAME, eager)
    example = SourceExample(eager, FILES)
    with pytest.raises(AssertionError):
        SourceConformance().test_it_takes_nothing_else_for_its_own(example, impostors_of(example))
