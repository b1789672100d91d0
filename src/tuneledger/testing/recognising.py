"""What a source takes for its own, and what it refuses."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import pytest

from tuneledger.errors import InvalidPayload, TuneledgerError
from tuneledger.sources import Document, Hints, named
from tuneledger.testing.example import (
    OfSource,
    impostors_of,
    jobs_or_refusal,
    named_place,
    shown,
    takers,
    told,
)
from tuneledger.testing.variants import spoiled_numbers, with_broken_lines

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tuneledger.testing.example import SourceExample

__all__ = ["RecognisingConformance"]

_NO_RECORDS: Final = (
    b"", b"\n", b"\xff\xfe\x00", b"\x00" * 64, b"null", b"0", b'""', b"[]", b"{}", b"[[]]", b"[{}]",
    b"[null]",
    b'{"data": []}', b'{"data": [1]}', b"{}\n{}\n", b"[" * 5_000, b"a,b\n1,2\n", b"step,loss\n", b"step: 1\n",
    b'{"', b"'", b'"a\n', b"1" * 5_000,
)  # fmt: skip
"""What is nobody's, and has broken many a reader."""

_NO_JOBS: Final[tuple[object, ...]] = (None, True, 0, "", "id", [], [[]], {}, {"id": 1}, {"data": []})


class RecognisingConformance(OfSource):
    """How a source tells its documents, and says what is wrong with the others."""

    @pytest.fixture
    def impostors(self, example: SourceExample) -> Sequence[Document]:
        """Give documents of other formats: those of the sources that are known, and the example's own."""
        return impostors_of(example)

    def test_it_is_known_by_its_name(self, example: SourceExample) -> None:
        """``--format`` finds it: its package is installed, and the entry point leads to it."""
        assert named(example.source.name) is example.source

    def test_it_alone_recognises_its_documents(self, example: SourceExample) -> None:
        """By the content alone, so that a file may have any name."""
        for document in example.documents:
            renamed = Document("x", document.data, "/x")
            assert example.source.recognises(renamed), f"{document.name} is not recognised by its content"
            others = ", ".join(sorted({*takers(renamed)} - {example.source.name}))
            assert not others, f"{document.name} is also recognised by: {others}"
            assert told(example, renamed), document.name

    def test_it_takes_nothing_else_for_its_own(
        self, example: SourceExample, impostors: Sequence[Document]
    ) -> None:
        """To recognise never raises; what is read all the same is refused with the reason."""
        for document in impostors:
            assert example.source.name not in takers(document), document.data[:200]
            with pytest.raises(InvalidPayload) as refused:
                list(example.source.read(document, Hints()))
            assert refused.value.source == document.name
            assert refused.value.reason

    def test_what_is_nobodys_breaks_nothing(self, example: SourceExample) -> None:
        """Of nothing, bytes, empty lists and endless brackets it makes no job, and no error but ours."""
        for data in _NO_RECORDS:
            document = Document("nobody's", data, "/nobody's")
            assert example.source.name not in takers(document), data[:200]
            with suppress(InvalidPayload):
                assert list(example.source.read(document, Hints())) == [], data[:200]

    def test_an_item_of_a_list_is_a_job_or_not(self, example: SourceExample) -> None:
        """Asked about any JSON value ``is_job`` answers, and takes none but jobs for one."""
        if example.source.is_job is not None:
            for value in _NO_JOBS:
                assert not example.source.is_job(value), value
            assert any(example.source.is_job(document.json_or_none) for document in example.documents)

    def test_what_is_cut_short_is_read_or_refused(self, example: SourceExample) -> None:
        """A document broken off anywhere gives jobs or an error of ours: a trainer may be writing it."""
        for document in example.documents:
            for end in range(0, len(document.data), 7):
                cut = Document("cut", document.data[:end], "/cut")
                example.source.recognises(cut)
                try:
                    example.jobs(cut)
                except TuneledgerError:
                    continue

    def test_what_is_wrong_is_named(self, example: SourceExample) -> None:
        """Text in the place of a number is kept, or refused with the document and the place or the field."""
        spoilt = [spoiled for document in example.documents for spoiled in spoiled_numbers(document)]
        taken = [spoiled for spoiled in spoilt if told(example, spoiled)]
        assert taken or not spoilt, (
            "no document is still recognised with a text in place of one of its numbers"
        )
        for spoiled in taken:
            read = jobs_or_refusal(example, spoiled)
            if isinstance(read, InvalidPayload):
                assert named_place(read, spoiled), f"{read}\n{spoiled.text}"
            else:
                assert "spoiled" in shown(example, read), spoiled.text

    def test_a_broken_line_is_named(self, example: SourceExample) -> None:
        """Between two JSON lines one that is no JSON, or no object, is refused by its place, not skipped."""
        for document in example.documents:
            for broken in with_broken_lines(document):
                read = jobs_or_refusal(example, broken)
                assert isinstance(read, InvalidPayload), f"a line was skipped:\n{broken.text}"
                assert named_place(read, broken), f"{read}\n{broken.text}"

    def test_another_job_id_is_taken_or_refused(self, example: SourceExample) -> None:
        """``--job-id`` is never overheard: a record that names another job is refused."""
        asked = replace(example.hints, job_id="another-job")
        for document in example.documents:
            read = jobs_or_refusal(example, document, asked)
            if isinstance(read, InvalidPayload):
                assert read.source == document.name
            else:
                assert {job.job_id for job in read} == {"another-job"}, document.name

    def test_no_id_is_made_up(self, example: SourceExample) -> None:
        """Without a path and ``--job-id`` a run has the id that its record names, or is refused."""
        asked = replace(example.hints, job_id=None)
        for document in example.documents:
            nowhere = Document("nowhere", document.data)
            read = jobs_or_refusal(example, nowhere, asked)
            if isinstance(read, InvalidPayload):
                assert read.source == "nowhere"
            else:
                ids = {job.job_id for job in example.jobs(document)}
                assert {job.job_id for job in read} == ids, document.name
