"""What becomes of a source's jobs in an archive, and on the way out of it."""

from __future__ import annotations

import json
import time
from functools import partial
from itertools import combinations, permutations
from typing import TYPE_CHECKING, Final

import pytest

from tuneledger.archive import Archive
from tuneledger.errors import InvalidPayload
from tuneledger.sources import Document, Hints, Stream, exported, jobs_of_list, recognised
from tuneledger.testing.example import OfSource, jobs_or_refusal, named_place, shown, told
from tuneledger.testing.variants import (
    EMPTY,
    EXACT,
    KEPT,
    beginnings,
    empty_fields,
    empty_values,
    exact_numbers,
    is_text,
    other_kinds,
    with_unknown_fields,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tuneledger.models import Job
    from tuneledger.testing.example import SourceExample

__all__ = ["ArchivingConformance", "ReadingConformance"]

_MANY: Final = 1_000
_ITEM_BYTES: Final = 2**14
_BOUNDS: Final = (2**26, 10**6)
"""The most bytes and values of a job."""


class ReadingConformance(OfSource):
    """What is read of a document: all of it, and nothing beside."""

    def test_all_files_of_a_run_are_of_one_job(self, example: SourceExample) -> None:
        """Whichever of them is read, it is the same job of the same provider."""
        assert example.documents, "there are no records to read"
        jobs = [job for document in example.documents for job in example.jobs(document)]
        for document in example.documents:
            assert example.jobs(document), f"{document.name}: nothing was read"
        assert len({(job.job_id, job.provider) for job in jobs}) == 1
        assert any(job.checkpoints for job in jobs), "no step was read from any of the documents"

    def test_it_depends_on_the_bytes_and_the_id_alone(
        self, example: SourceExample, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Neither the document's name nor its place nor the clock is in the job."""
        first = [example.jobs(document) for document in example.documents]
        monkeypatch.setattr(time, "time", lambda: 1.0)
        monkeypatch.setattr(time, "time_ns", lambda: 10**9)
        elsewhere = [Document("other", document.data, "/else/where") for document in example.documents]
        assert [example.jobs(document) for document in elsewhere] == first

    def test_a_number_keeps_all_of_its_digits(self, example: SourceExample) -> None:
        """Nothing is rounded on the way in and out; a fraction in a wrong place is refused by that place."""
        texts = [document for document in example.documents if is_text(document)]
        exact = [changed for document in texts for changed in exact_numbers(document)]
        assert exact or not texts, "no document has a decimal fraction, by which this could be seen"
        for changed in exact:
            read = jobs_or_refusal(example, changed)
            if isinstance(read, InvalidPayload):
                assert named_place(read, changed), f"{read}\n{changed.text}"
            else:
                assert EXACT in shown(example, read), changed.text

    def test_no_number_is_guessed(self, example: SourceExample) -> None:
        """A fraction, a text or true in the place of a whole number is kept as it came, or refused.

        A step is none of them: 30.5, "30" and true are neither 30 nor 1.
        """
        for document in example.documents:
            before = example.jobs(document)
            for changes in other_kinds(document):
                others = jobs_or_refusal(example, changes.other)
                steps = _steps(before) if isinstance(others, InvalidPayload) else _steps(others)
                for kind, changed in changes.kinds.items():
                    if not told(example, changed):
                        continue
                    read = jobs_or_refusal(example, changed)
                    if isinstance(read, InvalidPayload):
                        assert named_place(read, changed), f"{read}\n{changed.text}"
                    else:
                        where = f"{kind} in place of {changes.number}\n{changed.text}"
                        kept = shown(example, read).count(kind) > shown(example, before).count(kind)
                        assert kept, f"lost is {where}"
                        assert _steps(read) <= steps & _steps(before), f"taken for a step is {where}"

    def test_fields_that_nobody_knows_are_kept(self, example: SourceExample) -> None:
        """What a provider adds to its JSON tomorrow is in the job, wherever it stands."""
        for document in example.documents:
            for changed in with_unknown_fields(document):
                assert KEPT in shown(example, example.jobs(changed)), changed.text

    def test_what_looks_like_nothing_is_kept(self, example: SourceExample) -> None:
        """0, false, null, NaN and "" are told from each other and from what is absent, or refused.

        In a field that nobody knows each of them is kept; NaN alone may be refused, as no JSON.
        """
        for document in example.documents:
            for fields in empty_fields(document):
                refused = _told_apart(example, document, fields)
                assert refused <= {"NaN"}, f"refused: {', '.join(refused)}\n{fields['0'].text}"
            for without, values in empty_values(document):
                _told_apart(example, without, values)

    def test_a_list_of_many_is_read_job_by_job(self, example: SourceExample) -> None:
        """A source with ``is_job`` gives the first job of a long list before the list is read whole."""
        if example.source.is_job is None:
            return
        for document in example.documents:
            if example.source.is_job(document.json_or_none):
                given = _LongList(json.dumps(document.json))
                listed = jobs_of_list(given.stream(), example.hints, [example.source])
                assert listed is not None
                assert [next(listed)[1]] == example.jobs(document)
                assert given.taken < _MANY

    def test_a_stream_gives_what_the_whole_does(self, example: SourceExample) -> None:
        """A source with ``stream`` gives the same jobs by either way."""
        if example.source.stream is None:
            return
        for document in example.documents:
            given = Stream("whole", "/whole", partial(iter, [document.data]), *_BOUNDS)
            streamed = example.source.stream(given, example.hints)
            assert streamed is None or list(streamed) == example.jobs(document)


def _steps(jobs: list[Job]) -> set[int]:
    return {checkpoint.step_number for job in jobs for checkpoint in job.checkpoints}


def _told_apart(example: SourceExample, without: Document | None, values: dict[str, Document]) -> set[str]:
    """Prove that no two of these values are read alike, nor one like none; give those that are refused."""
    refused: set[str] = set()
    meanings: dict[str, str] = {}
    if without is not None:
        nothing = jobs_or_refusal(example, without)
        if not isinstance(nothing, InvalidPayload):
            meanings[shown(example, nothing)] = "what is absent"
    for value, changed in values.items():
        read = jobs_or_refusal(example, changed)
        if isinstance(read, InvalidPayload):
            assert named_place(read, changed), f"{read}\n{changed.text}"
            refused.add(value)
        else:
            same = meanings.setdefault(shown(example, read), EMPTY[value])
            assert same == EMPTY[value], f"{value} is read like {same}\n{changed.text}"
    return refused


class _LongList:
    """A list that repeats one item and is not closed; it counts how much of it was asked for."""

    def __init__(self, item: str) -> None:
        self._item = item
        self.taken = 0

    def stream(self) -> Stream:
        return Stream("many", "/many", self._chunks, *_BOUNDS)

    def _chunks(self) -> Iterator[bytes]:
        return map(self._chunk, range(_MANY))

    def _chunk(self, number: int) -> bytes:
        self.taken = number + 1
        return f"{',' if number else '['}{self._item}".ljust(_ITEM_BYTES).encode()


class ArchivingConformance(OfSource):
    """What an archive makes of the jobs. Override the fixture ``archive`` for another database."""

    @pytest.fixture
    def archive(self) -> Iterator[Archive]:
        """Give an empty archive."""
        with Archive("sqlite://") as archive:
            yield archive

    def test_what_is_exported_is_read_back_equal(self, example: SourceExample, archive: Archive) -> None:
        """Archived, exported and read again, a job is the same: nothing is lost on the way."""
        stored = _stored(archive, example)
        text = json.dumps(exported(stored))
        document = Document("exported", text.encode(), "/exported")
        (back,) = recognised(document).read(document, Hints(job_id=stored.job_id))
        assert back.checkpoints == stored.checkpoints
        assert back.events == stored.events
        assert back.document == stored.document
        assert json.dumps(exported(back), sort_keys=True) == json.dumps(json.loads(text), sort_keys=True)

    def test_archiving_twice_changes_nothing(self, example: SourceExample, archive: Archive) -> None:
        """The second time nothing is written, for an earlier file of a run that has grown neither."""
        _stored(archive, example)
        for document in example.documents:
            for job in example.jobs(document):
                assert not archive.save(job).wrote, document.name

    def test_the_order_of_files_does_not_matter(self, example: SourceExample, archive: Archive) -> None:
        """Whatever order the files of a growing run arrive in, all or any two, the archive ends the same.

        Of JSON lines each beginning is such a file, too.
        """
        shorter = (beginning for document in example.documents for beginning in beginnings(document))
        pairs = combinations((*example.documents, *shorter), 2)
        for documents in (example.documents, *pairs):
            ends = []
            for order in permutations(documents):
                ends.append(_stored(archive, example, order))
                with archive.write() as repository:
                    repository.delete_job(ends[-1].job_id)
            names = ", ".join(document.name for document in documents)
            assert all(end == ends[0] for end in ends), f"it matters which of these comes first: {names}"


def _stored(archive: Archive, example: SourceExample, documents: tuple[Document, ...] | None = None) -> Job:
    """Give the one job that these documents are in the archive."""
    for document in example.documents if documents is None else documents:
        for job in example.jobs(document):
            archive.save(job)
    with archive.read() as repository:
        (summary,) = repository.jobs().jobs
        return repository.job(summary.job_id)
