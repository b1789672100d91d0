"""Archives as Parquet: a folder with a file a table, for tools that read columns, and back without loss.

``metrics.parquet`` has a row a value (job_id, metric, step_number, value, kind), ``checkpoints.parquet`` a
row a checkpoint; docs/formats.md describes them all. Written and read in memory that does not grow with the
checkpoints, by the extra ``parquet``; of each job it holds the id.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Unpack

from sqlalchemy import BigInteger, Double, Integer, SmallInteger

from tuneledger import json_text
from tuneledger.archive import Archive
from tuneledger.copying import batches, copy_jobs, pages
from tuneledger.errors import (
    DatabaseDamaged,
    DriverMissing,
    InvalidArgument,
    InvalidPayload,
    LimitExceeded,
    shortened,
)
from tuneledger.repository import OnConflict
from tuneledger.repository.copying import TABLES_OF_A_JOB
from tuneledger.tables import JobRow

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import pyarrow as pa
    from sqlalchemy import Table

    from tuneledger.copying import CopyReport
    from tuneledger.repository import JobFilters
    from tuneledger.repository.copying import Columns

__all__ = ["archive_parquet", "is_parquet", "table_as_csv", "write_parquet"]

_ROWS_A_BATCH: Final = 10_000
_TABLE_ROWS_A_BATCH: Final = 1_000
"""Of any other table, which may have thousands of columns."""
_TABLES: Final[dict[str, Table]] = {"jobs": JobRow.metadata.tables["jobs"], **TABLES_OF_A_JOB}


def is_parquet(folder: str) -> bool:
    """Tell whether a folder is one that `write_parquet` wrote."""
    return (Path(folder) / "jobs.parquet").is_file() and (Path(folder) / "metrics.parquet").is_file()


def write_parquet(
    archive: Archive, folder: str, *, job_ids: Sequence[str] | None = None, **filters: Unpack[JobFilters]
) -> int:
    """Write the jobs that pass all filters, or those of ``job_ids`` among them; give their number.

    The folder must not exist; it appears when it is complete.
    """
    arrow, parquet = _pyarrow()
    target = Path(folder)
    if target.exists():
        raise InvalidArgument(f"{folder} is there already; name a folder that is not")
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}."))
    count = 0
    writers: dict[str, Any] = {}
    try:
        schemas = {name: _schema(arrow, table) for name, table in _TABLES.items()}
        for name, schema in schemas.items():
            writers[name] = parquet.ParquetWriter(unfinished / f"{name}.parquet", schema, compression="zstd")
        for page, row_counts in pages(archive, job_ids, filters):
            for batch in batches(page, row_counts):
                with archive.read() as repository:
                    for name, columns in repository.rows_of([job.job_key for job in batch]):
                        writers[name].write_table(arrow.table(columns, schema=schemas[name]))
                count += len(batch)
        for writer in writers.values():
            writer.close()
        unfinished.rename(target)
    except BaseException:
        for writer in writers.values():
            writer.close()
        shutil.rmtree(unfinished)
        raise
    return count


def archive_parquet(
    folder: str,
    archive: Archive,
    *,
    on_conflict: OnConflict | str = OnConflict.MERGE,
    progress: Callable[[CopyReport], None] = lambda _report: None,
) -> CopyReport:
    """Take back what `write_parquet` wrote, as a copy between archives does, every digest proved.

    Raises `InvalidPayload` for a folder that is none of ours.
    """
    _, parquet = _pyarrow()
    with (
        tempfile.TemporaryDirectory(prefix="tuneledger-") as scratch,
        # A copy asks for jobs one by one and columns come file by file: an archive stands between.
        Archive(Path(scratch) / "between.db", durable=False) as between,
    ):
        try:
            with between.write() as repository:
                repository.add_rows(_windows(parquet, folder))
        except (DatabaseDamaged, KeyError, TypeError):
            raise InvalidPayload(
                source=folder, reason="holds rows that no archive ever held, or lacks a column of theirs"
            ) from None
        return copy_jobs(between, archive, on_conflict=on_conflict, progress=progress)


def _windows(parquet: Any, folder: str) -> Iterator[tuple[str, Columns]]:
    for name, table in _TABLES.items():
        path = Path(folder) / f"{name}.parquet"
        if not path.exists():
            continue  # written by a release that had no such table yet
        try:
            # Buffered ahead it would be held whole, compressed.
            with parquet.ParquetFile(path, pre_buffer=False) as file:
                unknown = set(file.schema_arrow.names) - set(_columns(table))
                if unknown:
                    raise InvalidPayload(
                        source=str(path),
                        field=min(unknown),
                        reason="is no column that this release knows; `pip install --upgrade tuneledger`",
                    )
                for batch in file.iter_batches(_ROWS_A_BATCH):
                    yield name, batch.to_pydict()
        except (OSError, ValueError) as error:
            if isinstance(error, InvalidPayload):
                raise
            raise InvalidPayload(source=str(path), reason="is no whole Parquet file") from None


def _columns(table: Table) -> dict[str, Any]:
    """Give the columns of a table's file with their types: ids and names where the table has keys."""
    named = {"job_key": "job_id", "name_id": "metric"}
    return {
        named.get(column.name, column.name): column.type
        for column in table.c
        if column.name != "job_key" or table.name != "jobs"
    }


def _schema(arrow: Any, table: Table) -> pa.Schema:
    def type_of(name: str, kind: object) -> Any:
        if name in {"job_id", "metric"}:
            return arrow.string()
        # SmallInteger and BigInteger are kinds of Integer.
        known = ((SmallInteger, "int16"), (BigInteger, "int64"), (Integer, "int32"), (Double, "float64"))
        return getattr(arrow, next((found for cls, found in known if isinstance(kind, cls)), "string"))()

    return arrow.schema([(name, type_of(name, kind)) for name, kind in _columns(table).items()])


def table_as_csv(data: bytes, *, source: str, max_bytes: int) -> bytes:
    """Give any Parquet table as CSV: numbers with all their digits, lists and objects as JSON, null empty.

    Raises `InvalidPayload` where it is damaged or holds what no JSON can, `LimitExceeded` where it unpacks
    to more than ``max_bytes``.
    """
    arrow, parquet = _pyarrow()
    from pyarrow import csv

    written = arrow.BufferOutputStream()
    try:
        file = parquet.ParquetFile(arrow.BufferReader(data))
        nested = [index for index, kind in enumerate(file.schema_arrow.types) if arrow.types.is_nested(kind)]
        flat = file.schema_arrow
        for index in nested:
            flat = flat.set(index, arrow.field(flat.names[index], arrow.string()))
        with csv.CSVWriter(written, flat) as writer:
            for batch in file.iter_batches(batch_size=_TABLE_ROWS_A_BATCH):
                columns = batch.columns
                for index in nested:
                    columns[index] = arrow.array(map(_as_json, columns[index].to_pylist()), arrow.string())
                writer.write_batch(arrow.record_batch(columns, schema=flat))
                if written.tell() > max_bytes:  # what the file says of its size is said before decoding
                    raise LimitExceeded(
                        source=source,
                        reason=f"unpacks to more than {max_bytes} bytes; --max-bytes raises the limit",
                    )
    except (arrow.ArrowException, OSError, TypeError) as error:  # the last is JSON's
        raise InvalidPayload(
            source=source, reason=f"not a Parquet table that can be read: {shortened(error)}"
        ) from None
    return bytes(written.getvalue().to_pybytes())


def _as_json(value: object) -> str | None:
    return None if value is None else json_text.canonical(value)


def _pyarrow() -> tuple[Any, Any]:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ModuleNotFoundError:
        raise DriverMissing("Parquet needs pyarrow; `pip install 'tuneledger[parquet]'` brings it") from None
    return pa, pq
