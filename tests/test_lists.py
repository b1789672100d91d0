"""Lists of jobs of several sources, as `export --all` writes them, and what people put together."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from source_records import (
    SERIES,
    hints_for,
    log_rows,
    mistral_job,
    openai_checkpoint,
    openai_event,
    openai_job,
    own_job,
    together_job,
    trainer_state,
)
from tuneledger import Archive, Job
from tuneledger.cli import exit_codes
from tuneledger.errors import InvalidPayload
from tuneledger.sources import Document, Hints, named
from tuneledger.sources.openai import joined_job
from tuneledger.sync import inputs as sync_inputs

Run = Callable[..., Any]
AZURE_ID = f"ftjob-{'0123456789abcdef' * 2}"


@pytest.fixture(params=["short", "long"])
def length(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Whether files are read whole, or item by item as those of more than 4 MiB are."""
    monkeypatch.setattr(sync_inputs, "LONG_BYTES", {"short": 2**30, "long": 1}[request.param])
    return str(request.param)


@pytest.fixture
def one(tmp_path: Path) -> Iterator[Archive]:
    """An archive, `tmp_path / "one.db"`, of jobs of every source, Azure's too, and of parts of jobs alone."""
    with Archive(tmp_path / "one.db") as archive:
        for name, documents in SERIES.items():
            for document in documents:
                for job in jobs_of(name, document):
                    archive.save(job)
        state = trainer_state(log_rows(3))
        for job in (
            *jobs_of("huggingface", written(state), "/runs/another"),
            *jobs_of("openai", written(openai_job() | {"id": AZURE_ID})),
            # Read again it would be OpenAI's, for only its service said whose it is.
            joined_job(openai_job() | {"id": "ftjob-of-azure"}, provider="azure", source="<service>"),
            *jobs_of("openai", written([openai_event(4, 7, train_loss=0.5)]), "events alone"),
            *jobs_of("openai", written(openai_checkpoint(8, a=1.0) | {"fine_tuning_job_id": "ftjob-part"})),
            *jobs_of("mistral", written(mistral_job("SUCCESS", 9, [5])["checkpoints"]), "checkpoints alone"),
        ):
            archive.save(job)
        yield archive


def written(value: object) -> Document:
    """A document of JSON."""
    return Document("<test>", json.dumps(value).encode())


def jobs_of(name: str, document: Document, job_id: str | None = None) -> list[Job]:
    """The jobs of a document; one that does not name its job is of a job of this id, or of its source's."""
    source = named(name)
    nameless = Document(document.name, document.data)
    try:
        return list(source.read(nameless, hints_for(name, job_id)))
    except InvalidPayload:
        return list(source.read(nameless, hints_for(name, f"/runs/{name}")))


def content(archive: Archive) -> dict[str, Job]:
    """Every job by its id."""
    with archive.read() as repository:
        return {job_id: repository.job(job_id) for job_id in repository.job_ids()}


def formats(archive: Archive, job_id: str) -> list[str]:
    """What the inputs of a job were taken for."""
    with archive.read() as repository:
        return [given.format for given in repository.inputs(job_id)]


def test_what_export_all_wrote_is_taken_back(
    one: Archive, length: str, database_url: str, tmp_path: Path, command: Run
) -> None:
    """Jobs of all sources in one array come back as they were, under their ids; again, nothing changes."""
    assert length
    file = tmp_path / "all.json"
    assert command("export", "--all", "-o", file, "--db", tmp_path / "one.db").code == 0
    taken = command("archive", file, "--db", database_url)
    assert (taken.code, taken.err.count("error")) == (0, 0)
    count = len(content(one))
    assert taken.out.startswith(f"{file}: mistral, tuneledger, openai, together: {count} jobs, {count} new")
    with Archive(database_url) as back:
        assert content(back) == content(one)
        assert formats(back, AZURE_ID) == ["openai"]
        assert formats(back, "/runs/another") == ["tuneledger"]
    again = command("archive", file, "--db", database_url)
    assert again.out == (f"{file}: mistral, tuneledger, openai, together: {count} jobs, {count} unchanged\n")


@pytest.mark.usefixtures("one")
def test_each_record_is_its_provider_s_where_that_names_the_job(tmp_path: Path, command: Run) -> None:
    """In an array a job of Mistral's is what Mistral said; a trainer's run has its id beside its steps."""
    source = tmp_path / "one.db"
    ids = ["1111", "/runs/another"]
    came, run = json.loads(command("export", *ids, "--db", source).out)
    assert came == json.loads(SERIES["mistral"][-1].data) | {"events": came["events"]}
    assert (run["job_id"], run["provider"]) == ("/runs/another", "huggingface")
    assert json.loads(command("export", "/runs/another", "--db", source).out).keys() >= {"log_history"}


@pytest.mark.parametrize(("count", "text"), [(0, "[]\n"), (1, "[\n{")])
def test_all_is_an_array_however_many(sqlite_url: str, command: Run, count: int, text: str) -> None:
    """A script need not ask first how many jobs there are."""
    with Archive(sqlite_url) as archive:
        for job in jobs_of("mistral", SERIES["mistral"][0])[:count]:
            archive.save(job)
    out = command("export", "--all", "--db", sqlite_url).out
    assert len(json.loads(out)) == count
    assert out.startswith(text)


def test_lists_grow_and_overlap(length: str, database_url: str, tmp_path: Path, command: Run) -> None:
    """A job that stands twice, and older lists after newer ones, end as the newest word on each."""
    assert length
    early = [mistral_job("RUNNING", 1_700_000_010, [10]), own_job([1]), together_job("running", 10)]
    late = [
        together_job("completed", 20),
        own_job([1, 2]),
        mistral_job("SUCCESS", 1_700_000_020, [10, 20]),
        mistral_job("RUNNING", 1_700_000_010, [10]),
    ]
    ends = []
    for index, order in enumerate([[early, late, early], [late, early]]):
        location = database_url if index == 0 else "sqlite:///" + str(tmp_path / "other.db")
        for items in order:
            (tmp_path / "list.json").write_text(json.dumps({"data": items}))
            assert command("archive", tmp_path / "list.json", "--db", location).code == 0
        with Archive(location) as archive:
            ends.append(content(archive))
    assert ends[0] == ends[1]
    assert [len(job.checkpoints) for job in ends[0].values()] == [2, 2, 0]
    assert {job.status for job in ends[0].values()} == {"SUCCESS", "completed", None}


def test_a_list_ends_at_what_is_no_job(length: str, database_url: str, tmp_path: Path, command: Run) -> None:
    """The jobs before it are archived, and the message names the place; it is never passed over."""
    assert length
    file = tmp_path / "list.json"
    jobs = [own_job([1]), mistral_job("RUNNING", 1_700_000_010, [10])]
    for item, told in (
        ({"a": 1}, "[2]: is no job of a format that is known here; those before it are"),
        (openai_event(1), "[2]: it names no job and has no path; say which job with --job-id"),
        ({"log_history": [{"step": "x"}]}, "[2] log_history[0], field 'step': must be an integer"),
        (openai_job() | {"created_at": "?"}, "[2], field 'created_at': must be an integer"),
    ):
        file.write_text(json.dumps([*jobs, item, openai_job()]))
        ended = command("archive", tmp_path, "--db", database_url)
        assert ended.code == exit_codes.REFUSED
        assert f"{file}: tuneledger, mistral: 2 jobs" in ended.out
        assert f"{file}: {told}" in ended.err
    with Archive(database_url) as archive:
        assert len(content(archive)) == 2


def test_a_list_of_runs_without_names(length: str, sqlite_url: str, tmp_path: Path, command: Run) -> None:
    """Two trainer states in one list are not taken for one run unless that is said."""
    assert length
    file = tmp_path / "states.json"
    file.write_text(json.dumps([trainer_state(log_rows(2)), trainer_state(log_rows(3))]))
    ended = command("archive", file, "--db", sqlite_url)
    assert (ended.code, ended.out) == (exit_codes.REFUSED, "")
    assert f"{file}: [0]: it names no job and has no path; say which job with --job-id" in ended.err
    assert command("archive", file, "--job-id", "run", "--db", sqlite_url).code == 0
    with Archive(sqlite_url) as archive:
        assert [len(job.checkpoints) for job in content(archive).values()] == [3]


def test_lists_that_hold_no_job_at_their_beginning_are_not_taken_apart(
    length: str, sqlite_url: str, tmp_path: Path, command: Run
) -> None:
    """They are unknown, as they were; of a damaged list nothing is archived while it is short."""
    file = tmp_path / "list.json"
    for text in ("[]", '[{"a": 1}]', json.dumps([{"a": 1}, own_job([1])]), '{"data": 5}'):
        file.write_text(text)
        ended = command("archive", file, "--db", sqlite_url)
        assert (ended.code, ended.out) == (exit_codes.REFUSED, "")
        assert "not a format that is known here" in ended.err
    file.write_text(json.dumps([own_job([1]), mistral_job("RUNNING", 9, [1])])[:-5])
    ended = command("archive", file, "--db", sqlite_url)
    assert ended.code == exit_codes.REFUSED
    assert "not valid JSON" in ended.err
    with Archive(sqlite_url) as archive:
        assert len(content(archive)) == (1 if length == "long" else 0)


def test_one_format_takes_no_other_s_jobs(length: str, sqlite_url: str, tmp_path: Path, command: Run) -> None:
    """With --format a list is of that source alone, and with --map a table."""
    assert length
    file = tmp_path / "list.json"
    jobs = [mistral_job("RUNNING", 1_700_000_010, [10]), own_job([1])]
    file.write_text(json.dumps(jobs))
    ended = command("archive", file, "--format", "mistral", "--db", sqlite_url)
    assert ended.code == exit_codes.REFUSED
    assert f"{file}: [1]" in ended.err
    ended = command("archive", file, "--map", "step=id", "--db", sqlite_url)
    assert "[0], field 'id': the step must be a whole number" in ended.err


def test_standard_input_may_be_a_list(one: Archive, tmp_path: Path, command: Run, sqlite_url: str) -> None:
    """One command's export is another's input."""
    out = command("export", "--all", "--db", tmp_path / "one.db").out
    assert command("archive", "-", "--db", sqlite_url, stdin=out.encode()).code == 0
    with Archive(sqlite_url) as back:
        assert content(back) == content(one)


def test_the_place_is_said_once() -> None:
    """An item that is read from a list of one knows its place in the whole."""
    job = openai_job() | {"checkpoints": 5}
    document = Document("x", json.dumps([job]).encode(), first_item=7)
    with pytest.raises(InvalidPayload) as refused:
        list(named("openai").read(document, Hints()))
    assert refused.value.position == "[7]"
