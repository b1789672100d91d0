"""From files to the archive, each job in a transaction of its own, with a report of what changed."""

from __future__ import annotations

import glob
import hashlib
import logging
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

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
from tuneledger.repository import Input, OnConflict
from tuneledger.sources import Document, Hints

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import BinaryIO

    from tuneledger.archive import Archive
    from tuneledger.repository import SaveReport

__all__ = ["MAX_BYTES", "Outcome", "archive_document", "archive_paths", "found_files", "read_document"]

_log = logging.getLogger("tuneledger")

MAX_BYTES: Final = 256 * 2**20
"""The largest input that is read unless told otherwise: parsed JSON takes some five times its bytes."""

STDIN: Final = "-"


@dataclass(slots=True)
class Outcome:
    """What became of one input."""

    name: str
    format: str | None = None
    """What it was taken for; None where nothing recognised it."""
    reports: list[SaveReport] = field(default_factory=list)
    """One a job, in the order of the input. Jobs before a refused one are archived."""
    error: TuneledgerError | None = None
    skipped: bool = False
    """It lay in a folder beside others and is of no known format."""


def archive_paths(
    archive: Archive,
    paths: Iterable[str],
    *,
    format_name: str | None = None,
    job_id: str | None = None,
    on_conflict: OnConflict | str = OnConflict.MERGE,
    max_bytes: int = MAX_BYTES,
) -> Iterator[Outcome]:
    """Archive files, folders (with all below them), patterns and ``-`` (standard input), in order.

    Gives an outcome for each input as it is done; a refused one does not keep the others from being
    archived. A file of unknown format is an error where it was named, and skipped where it lay in a folder.
    Errors of the database are raised: they would meet the next input too.
    """
    if format_name is not None:
        sources.named(format_name)
    for name, named in found_files(paths):
        outcome = archive_document(
            archive,
            name,
            format_name=format_name,
            job_id=job_id,
            on_conflict=on_conflict,
            max_bytes=max_bytes,
        )
        outcome.skipped = isinstance(outcome.error, UnknownFormat) and not named
        if outcome.skipped:
            _log.info("skipped: %s", outcome.error)
        yield outcome


def archive_document(
    archive: Archive,
    name: str,
    *,
    format_name: str | None = None,
    job_id: str | None = None,
    on_conflict: OnConflict | str = OnConflict.MERGE,
    max_bytes: int = MAX_BYTES,
) -> Outcome:
    """Archive one file, or standard input for ``-``. What is wrong with it stands in the outcome."""
    outcome = Outcome("<stdin>" if name == STDIN else name)
    try:
        document = read_document(name, max_bytes=max_bytes)
        source = sources.named(format_name) if format_name else sources.recognised(document)
        outcome.format = source.name
        given = Input(
            # A file's name is bytes that need not be text, and databases store text.
            document.name.encode(errors="backslashreplace").decode(),
            source.name,
            len(document.data),
            hashlib.sha256(document.data).hexdigest(),
        )
        for job in source.read(document, Hints(job_id=job_id)):
            outcome.reports.append(archive.save(job, on_conflict=on_conflict, inputs=[given]))
    except (DatabaseError, SchemaError):
        raise
    except TuneledgerError as error:
        outcome.error = error
    return outcome


def read_document(name: str, *, max_bytes: int = MAX_BYTES) -> Document:
    """Read a file, or standard input for ``-``, of at most ``max_bytes``.

    Raises `LimitExceeded` for a longer one and `InvalidPayload` for one that cannot be read.
    """
    if name == STDIN:
        return Document("<stdin>", _bounded(sys.stdin.buffer, "<stdin>", max_bytes))
    try:
        with Path(name).open("rb") as file:
            return Document(name, _bounded(file, name, max_bytes))
    except OSError as error:
        raise InvalidPayload(source=name, reason=f"cannot be read: {error.strerror}") from None


def _bounded(file: BinaryIO, name: str, max_bytes: int) -> bytes:
    data = file.read(max_bytes + 1)
    if len(data) > max_bytes:
        raise LimitExceeded(
            source=name, reason=f"larger than {max_bytes} bytes; --max-bytes raises the limit"
        )
    return data


def found_files(paths: Iterable[str]) -> Iterator[tuple[str, bool]]:
    """Give the files that ``paths`` name, in order; the flag: named, not found in a folder."""
    for path in paths:
        if path == STDIN:
            yield path, True
        elif not path:
            raise InvalidArgument("an empty path names nothing; . is the current folder")
        elif Path(path).is_dir():
            below = (str(file) for file in sorted(Path(path).rglob("*")) if file.is_file())
            yield from ((file, False) for file in below)
        elif Path(path).exists() or not glob.has_magic(path):
            yield path, True
        else:
            matching = sorted(glob.glob(path, recursive=True))  # noqa: PTH207 - an absolute pattern is fine here
            if not matching:
                raise InvalidArgument(f"no file matches {path}")
            yield from found_files(matching)
