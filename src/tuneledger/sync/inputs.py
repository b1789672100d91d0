"""Inputs: which files are meant and what is in them, archives of files included, all within bounds."""

from __future__ import annotations

import glob
import gzip
import io
import os
import re
import sys
import tarfile
import zipfile
import zlib
from contextlib import contextmanager
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Final

from tuneledger.errors import DriverMissing, InvalidArgument, InvalidPayload, LimitExceeded, UnknownFormat
from tuneledger.parquet import table_as_csv
from tuneledger.sources import Document, Stream

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import IO

__all__ = [
    "MAX_BYTES",
    "MAX_VALUES",
    "STDIN",
    "expanded",
    "files_below",
    "found_files",
    "is_url",
    "opened_long",
    "read_document",
    "unpacked",
]

MAX_BYTES: Final = 256 * 2**20
"""The largest input that is read unless told otherwise: parsed JSON takes some five times its bytes."""

MAX_VALUES: Final = 20_000_000
"""The most values in one input unless told otherwise: an empty object of three bytes takes 72 when parsed."""

LONG_BYTES: Final = 4 * 2**20
"""Files larger than this are read job by job where they are lists of jobs."""

MAX_MEMBERS: Final = 100_000
"""Files that one archive may hold."""

STDIN: Final = "-"

_CHUNK: Final = 2**20

_NUMBERED: Final = re.compile(r"([^0-9]*)([0-9]{0,19})")

_PARQUET = b"PAR1"
_GZIP = b"\x1f\x8b"
_ZIP = (b"PK\x03\x04", b"PK\x05\x06")
_TAR = (b"ustar\x0000", b"ustar  \0")
_TAR_AT = 257


def is_url(path: str) -> bool:
    """Tell whether a path is a URL, which is then a database's, whatever it is: its password is in it."""
    return "://" in path


def expanded(paths: Iterable[str]) -> Iterator[str]:
    """Give ``paths``, with the files and folders that it matches in the place of each pattern.

    Raises `InvalidArgument` for a pattern that matches nothing, and for an empty path.
    """
    for path in paths:
        if not path:
            raise InvalidArgument("an empty path names nothing; . is the current folder")
        if is_url(path) or not glob.has_magic(path) or Path(path).exists():
            yield path
            continue
        matching = sorted(glob.glob(path, recursive=True))  # noqa: PTH207 - an absolute pattern is fine here
        if not matching:
            raise InvalidArgument(f"no file matches {path}")
        yield from matching


def found_files(paths: Iterable[str]) -> Iterator[tuple[str, bool]]:
    """Give the files that ``paths`` name, in order, and whether each was named, not found in a folder.

    A folder below that cannot be looked into is given as a file: reading it says why.
    """
    for path in expanded(paths):
        if path != STDIN and Path(path).is_dir():
            closed: list[str] = []
            yield from ((str(file), False) for file in files_below(path, closed))
            yield from ((name, False) for name in closed)
        else:
            yield path, True


def files_below(folder: str | Path, closed: list[str] | None = None) -> list[Path]:
    """Give the files of a folder and of all below it; what vanishes meanwhile is passed over.

    In the order in which people count: checkpoint-50 comes before checkpoint-100. ``closed`` takes the
    folders that cannot be looked into.
    """

    def note(error: OSError) -> None:
        if closed is not None and not isinstance(error, FileNotFoundError):
            closed.append(str(error.filename))

    found = (Path(place, name) for place, _, names in os.walk(folder, onerror=note) for name in names)
    return sorted((file for file in found if file.is_file()), key=_as_counted)


def _as_counted(file: PurePath) -> list[tuple[list[tuple[str, int]], str]]:
    # Text and number by turns, so that like is compared with like; the part itself tells 05 from 5.
    return [
        ([(text, int(number or 0)) for text, number in _NUMBERED.findall(part)], part) for part in file.parts
    ]


def read_document(name: str, *, max_bytes: int = MAX_BYTES) -> Document:
    """Read a file, or standard input for ``-``, of at most ``max_bytes``.

    Raises `LimitExceeded` for a longer one and `InvalidPayload` for one that cannot be read.
    """
    if name == STDIN:
        return Document("<stdin>", _bounded(sys.stdin.buffer, "<stdin>", max_bytes))
    if "\0" in name:
        raise InvalidPayload(source=name, reason="cannot be read: a path has no NUL character")
    try:
        with Path(name).open("rb") as file:
            return Document(name, _bounded(file, name, max_bytes), os.path.abspath(name))  # noqa: PTH100 - links stay
    except OSError as error:
        raise InvalidPayload(source=name, reason=f"cannot be read: {error.strerror}") from None


@contextmanager
def opened_long(name: str, *, max_bytes: int, max_values: int) -> Iterator[Stream | None]:
    """Give a long file as a stream, as long as it is now; None for a short one and for what is no file."""
    file = _long_file(name)
    if file is None:
        yield None
        return
    with file:
        size_bytes = os.fstat(file.fileno()).st_size

        def chunks() -> Iterator[bytes]:
            at = 0
            while at < size_bytes:  # what is appended meanwhile is left for the next time
                file.seek(at)
                chunk = file.read(min(_CHUNK, size_bytes - at))
                if not chunk:
                    return
                at += len(chunk)
                yield chunk

        yield Stream(name, os.path.abspath(name), chunks, max_bytes, max_values)  # noqa: PTH100 - links stay


def _long_file(name: str) -> IO[bytes] | None:
    if name == STDIN or "\0" in name:
        return None
    path = Path(name)
    try:
        if path.is_file() and path.stat().st_size > LONG_BYTES:
            return path.open("rb", buffering=0)
    except OSError:
        pass  # reading it says why
    return None


def _bounded(file: IO[bytes] | gzip.GzipFile, name: str, max_bytes: int) -> bytes:
    data = file.read(max_bytes + 1)
    if len(data) > max_bytes:
        raise LimitExceeded(
            source=name, reason=f"larger than {max_bytes} bytes; --max-bytes raises the limit"
        )
    return data


def unpacked(document: Document, *, max_bytes: int = MAX_BYTES) -> Iterator[Document] | None:
    """Give the files inside a zip, tar or gzip file, told by its content; None where it is none.

    A Parquet file is the table in it, as CSV.

    Together they may have ``max_bytes``. An archive inside an archive is not opened, a gzip file inside one
    is. Raises `InvalidPayload` where it is damaged or encrypted, `UnknownFormat` where it holds no file and
    `LimitExceeded` past the bound.
    """
    data = document.data
    if data.startswith(_PARQUET):
        try:
            table = table_as_csv(data, source=document.name, max_bytes=max_bytes)
        except DriverMissing as error:  # no matter of the archive's database, and the other files go on
            raise InvalidPayload(source=document.name, reason=str(error)) from None
        return iter([Document(document.name, table, document.path)])
    if data.startswith(_GZIP):
        inner = _gunzipped(document, max_bytes)
        return _members(inner, max_bytes) or iter([inner])
    return _members(document, max_bytes)


def _gunzipped(document: Document, max_bytes: int) -> Document:
    try:
        with gzip.open(io.BytesIO(document.data)) as file:
            data = _bounded(file, document.name, max_bytes)
    except (OSError, EOFError, zlib.error) as error:
        raise InvalidPayload(source=document.name, reason=f"a damaged gzip file: {error}") from None
    path = None if document.path is None else document.path.removesuffix(".gz")
    return Document(document.name, data, path)


def _members(document: Document, max_bytes: int) -> Iterator[Document] | None:
    if document.data.startswith(_ZIP):
        return _within(document, _zip_members(document), max_bytes)
    if document.data[_TAR_AT : _TAR_AT + 8] in _TAR:
        return _within(document, _tar_members(document), max_bytes)
    return None


def _within(
    document: Document, members: Iterator[tuple[str, IO[bytes]]], max_bytes: int
) -> Iterator[Document]:
    left, count = max_bytes, 0
    try:
        for name, file in members:
            count += 1
            if count > MAX_MEMBERS:
                raise LimitExceeded(
                    source=document.name,
                    reason=f"more than {MAX_MEMBERS} files in one archive; unpack it and name the folder",
                )
            full_name = f"{document.name}/{name}"
            path = None if document.path is None else f"{document.path}/{name}"
            with file:
                member = Document(full_name, _bounded(file, full_name, left), path)
            left -= len(member.data)
            if member.data.startswith(_GZIP):
                member = _gunzipped(member, left)
                left -= len(member.data)
            yield member
    except (
        zipfile.BadZipFile,
        tarfile.TarError,
        zlib.error,
        EOFError,
        OSError,
        RuntimeError,  # zipfile's word for encrypted
        NotImplementedError,  # zipfile's word for a compression it does not know
    ) as error:
        raise InvalidPayload(source=document.name, reason=f"a damaged archive: {error}") from None
    if not count:
        raise UnknownFormat(source=document.name, reason="an archive with no file in it")


def _zip_members(document: Document) -> Iterator[tuple[str, IO[bytes]]]:
    with zipfile.ZipFile(io.BytesIO(document.data)) as archive:
        for info in sorted(archive.infolist(), key=lambda info: _as_counted(PurePath(info.filename))):
            if not info.is_dir():
                yield info.filename, archive.open(info)


def _tar_members(document: Document) -> Iterator[tuple[str, IO[bytes]]]:
    with tarfile.open(fileobj=io.BytesIO(document.data), mode="r:") as archive:
        for info in archive:
            file = archive.extractfile(info) if info.isreg() else None  # links and devices are no records
            if file is not None:
                yield info.name, file
        if document.data[archive.offset :].strip(b"\0"):  # tarfile takes half a header for the end
            raise tarfile.ReadError("it ends in the middle of a file")
