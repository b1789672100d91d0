"""From files to the archive."""

from __future__ import annotations

import gc
import hashlib
import logging
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Self

from tuneledger import sources
from tuneledger.errors import (
    DatabaseError,
    InvalidArgument,
    InvalidPayload,
    LimitExceeded,
    SchemaError,
    TuneledgerError,
    UnknownFormat,
)
from tuneledger.parquet import archive_parquet, is_parquet
from tuneledger.repository import Input, OnConflict
from tuneledger.sources import Hints, Stream
from tuneledger.sync.databases import archive_database, is_database
from tuneledger.sync.inputs import (
    MAX_BYTES,
    MAX_VALUES,
    STDIN,
    expanded,
    found_files,
    is_url,
    opened_long,
    read_document,
    unpacked,
)
from tuneledger.sync.mlruns import archive_runs
from tuneledger.sync.outcome import Outcome

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from tuneledger.archive import Archive
    from tuneledger.models import Job
    from tuneledger.repository import SaveReport
    from tuneledger.sources import Document, Source

__all__ = ["Way", "archive_document", "archive_paths", "archived"]


_log = logging.getLogger("tuneledger")


@dataclass(frozen=True, slots=True)
class Way:
    """How inputs go into an archive."""

    archive: Archive
    hints: Hints
    format_name: str | None
    on_conflict: OnConflict
    max_bytes: int
    max_values: int
    runs: dict[str, str] = field(default_factory=dict)
    """The folder of the run that each source gave, where the hints name the job."""

    @classmethod
    def of(
        cls,
        archive: Archive,
        *,
        format_name: str | None = None,
        job_id: str | None = None,
        columns: Mapping[str, str] | None = None,
        on_conflict: OnConflict | str = OnConflict.MERGE,
        max_bytes: int = MAX_BYTES,
        max_values: int = MAX_VALUES,
    ) -> Self:
        """Take the options of `archive_paths`. Raises for a format or a mode that there is not."""
        if format_name is not None:
            sources.named(format_name)
        hints = Hints(job_id=job_id, columns=columns or {})
        return cls(archive, hints, format_name, OnConflict(on_conflict), max_bytes, max_values)

    def source_of(self, document: Document, *, named: bool = True) -> Source:
        if self.format_name is None:
            return sources.recognised(document, self.hints)
        source = sources.named(self.format_name)
        return source if named else sources.recognised(document, among=[source])

    def refuse_other_runs(self, document: Document, source: Source) -> None:
        """Refuse a second run where one job was named: nothing could tell the steps of the two apart."""
        folder = source.run_folder(document)
        if self.hints.job_id is None or folder is None:
            return
        first = self.runs.setdefault(source.name, folder)
        if folder != first:
            raise InvalidPayload(
                source=document.name,
                reason=f"is of another run than what lies in {first}, and --job-id names one job; archive "
                f"each run by a command of its own, or all of them without --job-id",
            )

    def jobs_of_list(self, given: Stream) -> Iterator[tuple[Source, Job]] | None:
        """Give the jobs of a JSON list one by one; None for one that is of one source as a whole."""
        asked = sources.known() if self.format_name is None else [sources.named(self.format_name)]
        # Of what was said to be of a source that knows no lists the whole is read, however long it is.
        if self.hints.columns or all(source.is_job is None for source in asked):
            return None
        return sources.jobs_of_list(given, self.hints, asked)

    def save(self, job: Job, source: Source, documents: Iterable[Document]) -> SaveReport:
        inputs = [
            _input(document.name, source, len(document.data), document.sha256) for document in documents
        ]
        return self.archive.save(job, on_conflict=self.on_conflict, inputs=inputs)


def _input(name: str, source: Source, size_bytes: int, sha256: str) -> Input:
    # A file's name is bytes that need not be text, and databases store text.
    return Input(name.encode(errors="backslashreplace").decode(), source.name, size_bytes, sha256)


def archive_paths(
    archive: Archive,
    paths: Iterable[str],
    *,
    format_name: str | None = None,
    job_id: str | None = None,
    columns: Mapping[str, str] | None = None,
    on_conflict: OnConflict | str = OnConflict.MERGE,
    max_bytes: int = MAX_BYTES,
    max_values: int = MAX_VALUES,
) -> Iterator[Outcome]:
    """Archive files, folders (with all below them), patterns and ``-`` (standard input), folder by folder.

    Gives an outcome for each input as it is done, for a zip or tar file one for each file in it; a refused
    one does not keep the others from being archived. A file of unknown format is an error where it was
    named, and skipped where it lay in a folder or an archive. Files of one folder that tell of one job are
    joined, where their source says so. ``columns`` is what `tuneledger.sources.columns_from` gives. Errors
    of the database are raised: they would meet the next input too.
    """
    way = Way.of(
        archive,
        format_name=format_name,
        job_id=job_id,
        columns=columns,
        on_conflict=on_conflict,
        max_bytes=max_bytes,
        max_values=max_values,
    )
    yield from archived(way, paths)


def archived(way: Way, paths: Iterable[str]) -> Iterator[Outcome]:
    """Archive as `archive_paths` does, knowing what went that way before."""
    archive, job_id = way.archive, way.hints.job_id
    folders: dict[str, list[tuple[str, bool]]] = {}
    given = list(expanded(paths))
    for path in filter(is_parquet, given):
        yield _folder_archived(way, path)
    for path in filter(is_url, given):
        yield archive_database(archive, path, job_id=job_id, on_conflict=way.on_conflict)
    for path in given:
        if path != STDIN and Path(path).is_dir():
            yield from archive_runs(
                archive, path, job_id=job_id, on_conflict=way.on_conflict, max_bytes=way.max_bytes
            )
    for name, was_named in found_files(path for path in given if not (is_parquet(path) or is_url(path))):
        if is_database(name):
            outcome = archive_database(archive, name, job_id=job_id, on_conflict=way.on_conflict)
            outcome.skipped = isinstance(outcome.error, UnknownFormat) and not was_named
            yield outcome
            continue
        folder = name if name == STDIN else str(PurePath(name).parent)
        folders.setdefault(folder, []).append((name, was_named))
    for files in folders.values():
        held = _Held(way)
        for name, was_named in files:
            yield from _archived(way, name, held, named=was_named)
        yield from held.archived()


def _folder_archived(way: Way, folder: str) -> Outcome:
    outcome = Outcome(folder, "parquet")
    try:
        outcome.copied = archive_parquet(folder, way.archive, on_conflict=way.on_conflict)
        if outcome.copied.refused:
            outcome.error = outcome.copied.refused[0]
    except InvalidPayload as error:
        outcome.error = error
    return outcome


def archive_document(
    archive: Archive,
    document: Document,
    *,
    format_name: str | None = None,
    job_id: str | None = None,
    columns: Mapping[str, str] | None = None,
    on_conflict: OnConflict | str = OnConflict.MERGE,
    max_values: int = MAX_VALUES,
) -> Outcome:
    """Archive one document by itself. What is wrong with it stands in the outcome."""
    way = Way.of(
        archive,
        format_name=format_name,
        job_id=job_id,
        columns=columns,
        on_conflict=on_conflict,
        max_bytes=len(document.data),
        max_values=max_values,
    )
    held = _Held(way)
    return _taken(held.way, document, held, named=True) or next(held.archived())


def _archived(way: Way, name: str, held: _Held, *, named: bool) -> Iterator[Outcome]:
    """Archive a file and, if it is an archive of files, each in it; what may be joined is held."""
    with opened_long(name, max_bytes=way.max_bytes, max_values=way.max_values) as stream:
        streamed = None if stream is None else _streamed(way, stream)
    if streamed is not None:
        yield streamed
        return
    outcome = Outcome("<stdin>" if name == STDIN else name)
    try:
        document = read_document(name, max_bytes=way.max_bytes)
        inside = unpacked(document, max_bytes=way.max_bytes)
        if inside is None:
            inside = iter([document])
        packed: dict[str, _Held] = {}
        for member in inside:
            whole = member.name == document.name
            beside = held if whole else packed.setdefault(str(PurePath(member.name).parent), _Held(way))
            found = _taken(way, member, beside, named=named and whole)
            if found is not None:
                yield _skipped_unless(found, named=named and whole)
        for beside in packed.values():
            yield from beside.archived()
    except InvalidPayload as error:
        outcome.error = error
        yield _skipped_unless(outcome, named=named)


def _skipped_unless(outcome: Outcome, *, named: bool) -> Outcome:
    """Let pass an input of unknown format that nobody named: it lay beside others."""
    outcome.skipped = isinstance(outcome.error, UnknownFormat) and not named
    if outcome.skipped:
        _log.info("skipped: %s", outcome.error)
    return outcome


def _streamed(way: Way, stream: Stream) -> Outcome | None:
    """Archive a long file job by job; None where it has to be read whole."""
    outcome = Outcome(stream.name)
    try:
        source = way.source_of(stream.opening())
        outcome.format = source.name
    except UnknownFormat:
        source = None
    try:
        if source is not None and source.stream is not None:
            jobs = _of(source, source.stream(stream, way.hints))
        else:
            jobs = way.jobs_of_list(stream)
        if jobs is None:
            return None
        digest = hashlib.sha256()
        size_bytes = 0
        for chunk in stream.chunks():
            digest.update(chunk)
            size_bytes += len(chunk)
        _save_in_turn(way, jobs, outcome, size_bytes, digest.hexdigest())
    except (DatabaseError, SchemaError):
        raise
    except TuneledgerError as error:
        outcome.error = error
    return outcome


def _of(source: Source, jobs: Iterator[Job] | None) -> Iterator[tuple[Source, Job]] | None:
    return None if jobs is None else ((source, job) for job in jobs)


def _save_in_turn(
    way: Way, jobs: Iterator[tuple[Source, Job]], outcome: Outcome, size_bytes: int, sha256: str
) -> None:
    """Save the jobs of one input as they come. The outcome tells of each source that they are of."""
    formats: dict[str, None] = {}
    while True:
        with _without_cyclic_collection():
            found = next(jobs, None)
        if found is None:
            return
        source, job = found
        formats[source.name] = None
        outcome.format = ", ".join(formats)
        given = _input(outcome.name, source, size_bytes, sha256)
        outcome.reports.append(way.archive.save(job, on_conflict=way.on_conflict, inputs=[given]))


def _taken(way: Way, document: Document, held: _Held, *, named: bool) -> Outcome | None:
    """Archive a document, or hold it for the end of its folder and give None."""
    outcome = Outcome(document.name)
    with _without_cyclic_collection():
        try:
            sources.refuse_many_values(document, way.max_values)
            try:
                source = way.source_of(document, named=named)
            except UnknownFormat:
                listed = _listed(way, document)
                if listed is None:
                    raise
                _save_in_turn(way, listed, outcome, len(document.data), document.sha256)
                return outcome
            outcome.format = source.name
            way.refuse_other_runs(document, source)
            if source.joined is not None:
                held.add(source, document)
                return None
            # Through a function of its own, so that the models are gone before the collector is back.
            _save_each(way, source, document, outcome)
        except (DatabaseError, SchemaError):
            raise
        except TuneledgerError as error:
            outcome.error = error
    return outcome


def _listed(way: Way, document: Document) -> Iterator[tuple[Source, Job]] | None:
    """Give the jobs of a JSON list that is of no one source; None for what is no whole list of jobs."""
    if document.json_or_none is None:
        return None
    size_bytes = len(document.data)
    return way.jobs_of_list(
        Stream(document.name, document.path, lambda: iter([document.data]), size_bytes, way.max_values)
    )


def _save_each(way: Way, source: Source, document: Document, outcome: Outcome) -> None:
    for job in source.read(document, way.hints):
        outcome.reports.append(way.save(job, source, [document]))


@contextmanager
def _without_cyclic_collection() -> Iterator[None]:
    """Keep the cyclic collector from going over a payload again and again while it becomes models.

    Nothing there has cycles, and the memory is bounded by the input: a trainer state of 24,000 rows is
    read in a third of the time.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


@dataclass(slots=True)
class _Held:
    """The documents of one folder that may tell of one job together."""

    way: Way
    by_source: dict[str, tuple[Source, list[Document]]] = field(default_factory=dict)
    size_bytes: int = 0

    def add(self, source: Source, document: Document) -> None:
        self.size_bytes += len(document.data)
        if self.size_bytes > self.way.max_bytes:
            raise LimitExceeded(
                source=document.name,
                reason=f"the files of its folder that may belong together exceed {self.way.max_bytes} bytes; "
                "--max-bytes raises the limit",
            )
        self.by_source.setdefault(source.name, (source, []))[1].append(document)

    def archived(self) -> Iterator[Outcome]:
        """Archive them, and give an outcome for each, in order."""
        for source, documents in self.by_source.values():
            yield from self._joined(source, documents)

    def _joined(self, source: Source, documents: Sequence[Document]) -> Iterator[Outcome]:
        outcomes = {document.name: Outcome(document.name, source.name) for document in documents}
        jobs, refused = _readable(source, documents, self.way.hints)
        for name, error in refused.items():
            outcomes[name].error = error
        for job, of in jobs:
            first = outcomes[of[0].name]
            try:
                first.reports.append(self.way.save(job, source, of))
            except (DatabaseError, SchemaError):
                raise
            except TuneledgerError as error:
                first.error = error
            for document in of[1:]:
                outcomes[document.name].joined_to = first.name
        yield from outcomes.values()


def _readable(
    source: Source, documents: Sequence[Document], hints: Hints
) -> tuple[list[tuple[Job, list[Document]]], dict[str, InvalidPayload]]:
    """Read documents together, leaving out those that are refused; each of them with its error."""
    if source.joined is None:
        raise InvalidArgument(f"{source.name} does not join files")  # pragma: no cover - only such are held
    left = list(documents)
    refused: dict[str, InvalidPayload] = {}
    while left:
        try:
            with _without_cyclic_collection():
                return list(source.joined(left, hints)), refused
        except InvalidPayload as error:
            at_fault = next((document for document in left if document.name == error.source), left[0])
            refused[at_fault.name] = error
            left.remove(at_fault)
    return [], refused
