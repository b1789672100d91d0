"""One suite for every source: what it must hold to whatever it reads.

A new source adds its records to `source_records.SERIES`; nothing else here changes.
"""

import json
import time
from itertools import permutations
from pathlib import Path

import pytest

from source_records import SERIES, hints_for
from tuneledger import Archive, Job
from tuneledger.errors import InvalidPayload, TuneledgerError, UnknownFormat
from tuneledger.sources import MAPPED, Document, Hints, Source, exported, known, named, recognised

SOURCES = [*known(), *MAPPED]
NAMES = [source.name for source in SOURCES]


def read(source: Source, document: Document, job_id: str | None = "run") -> list[Job]:
    """The jobs of a document, under one id where it names none."""
    if source.name in {
        "mistral", "openai", "together", "neptune", "tuneledger", "tuneledger-jsonl", "tuneledger-csv",
    }:  # fmt: skip
        job_id = None
        if source.name == "openai" and "id" not in json.loads(document.data):
            job_id = "ftjob-abcdefghijklmnopqrstuvwx"
    return list(source.read(document, hints_for(source.name, job_id)))


def test_every_source_has_records() -> None:
    """A source is only held to these promises where there are records of it."""
    assert sorted(SERIES) == sorted(NAMES)
    assert all(SERIES.values())


@pytest.mark.parametrize("name", NAMES)
def test_a_source_knows_its_own_and_no_other_does(name: str) -> None:
    """A document is recognised by one source, whatever its name; `--map` asks for tables only."""
    for document in SERIES[name]:
        renamed = Document("x", document.data, "/x")
        assert recognised(renamed, hints_for(name)) is named(name)
        assert [source.name for source in known() if source.recognises(renamed)] == (
            [] if named(name) in MAPPED else [name]
        )


@pytest.mark.parametrize("wrong", NAMES)
@pytest.mark.parametrize("name", NAMES)
def test_a_source_refuses_the_others_formats(name: str, wrong: str) -> None:
    """Read as what it is not, a document is refused with the reason, and nothing else is raised."""
    if name == wrong:
        return
    for document in SERIES[name]:
        with pytest.raises(InvalidPayload) as refused:
            list(named(wrong).read(document, Hints()))
        assert refused.value.source == document.name
        assert refused.value.reason


@pytest.mark.parametrize("name", NAMES)
def test_what_is_exported_is_read_back_equal(name: str, database_url: str) -> None:
    """Archived, exported and read again, a job is the same: nothing is lost on the way."""
    with Archive(database_url) as archive:
        for document in SERIES[name]:
            for job in read(named(name), document):
                archive.save(job)
        with archive.read() as repository:
            (summary,) = repository.jobs().jobs
            stored = repository.job(summary.job_id)
    text = json.dumps(exported(stored))
    document = Document("exported", text.encode(), "/exported")
    again = recognised(document).read(document, Hints(job_id=stored.job_id))
    (back,) = again
    assert back.checkpoints == stored.checkpoints
    assert back.events == stored.events
    assert back.document == stored.document
    assert json.dumps(exported(back), sort_keys=True) == json.dumps(json.loads(text), sort_keys=True)


@pytest.mark.parametrize("name", NAMES)
def test_archiving_twice_changes_nothing(name: str, sqlite_url: str) -> None:
    """The second time every document reports nothing new, also an earlier one of a run that has grown."""
    with Archive(sqlite_url) as archive:
        for document in SERIES[name]:
            for job in read(named(name), document):
                archive.save(job)
        for document in SERIES[name]:
            for job in read(named(name), document):
                assert not archive.save(job).wrote


@pytest.mark.parametrize("name", NAMES)
def test_the_order_of_partial_files_does_not_matter(name: str) -> None:
    """Whatever order the files of a run arrive in, the archive ends the same."""
    ends = []
    with Archive("sqlite://") as archive:
        for order in permutations(SERIES[name]):
            for document in order:
                for job in read(named(name), document):
                    archive.save(job)
            with archive.write() as repository:
                (summary,) = repository.jobs().jobs
                ends.append(repository.job(summary.job_id))
                repository.delete_job(summary.job_id)
    assert all(end == ends[0] for end in ends)


@pytest.mark.parametrize("name", NAMES)
def test_what_is_stored_depends_on_the_bytes_and_the_id_alone(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the document's name nor its place nor the clock is in the job."""
    first = [read(named(name), document) for document in SERIES[name]]
    monkeypatch.setattr(time, "time", lambda: 1.0)
    monkeypatch.setattr(time, "time_ns", lambda: 10**9)
    elsewhere = [Document("other", document.data, str(tmp_path)) for document in SERIES[name]]
    assert [read(named(name), document) for document in elsewhere] == first


@pytest.mark.parametrize("name", NAMES)
def test_what_is_cut_short_is_read_or_refused(name: str) -> None:
    """A document broken off anywhere gives jobs or one of our errors, never anything else."""
    for document in SERIES[name]:
        for end in range(0, len(document.data), 7):
            cut = Document("cut", document.data[:end], "/cut")
            try:
                read_as = recognised(cut, hints_for(name))
            except UnknownFormat:
                read_as = named(name)
            try:
                list(read_as.read(cut, hints_for(name, "run")))
            except TuneledgerError:
                continue
