"""The drivers themselves, writing rows made beforehand into tuneledger's own tables.

What they leave out is what tuneledger is for: validation, digests, summaries, conflicts. They are the limit.
An append alone writes them, too, and all that tuneledger's writes, in one round trip; but what they hold is
made up, and that the step is new is taken for granted.
"""

from __future__ import annotations

import sqlite3
from abc import abstractmethod
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple

from benchmarks.stores.store import Missing, Store, libpq
from benchmarks.workload import METRICS, Point
from tuneledger import schema as schemas
from tuneledger.engine import open_engine
from tuneledger.repository.summaries import MERGING
from tuneledger.tables import SUMMARY_COLUMNS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.workload import Run

_CHECKPOINTS = ("job_key", "step_number", "created_at", "digest")
_METRICS = ("job_key", "name_id", "step_number", "value")
_SUMMARIES = ("job_key", "name_id", *SUMMARY_COLUMNS)
_POSTGRESQL_TYPES = {
    "checkpoints": ["int8", "int8", "int8", "int8"],
    "metrics": ["int8", "int4", "int8", "float8"],
}
_ROWS_A_STATEMENT = 100

_JOB = (
    "INSERT INTO {0}jobs (job_id, provider, created_at, revision, document, archived_at) "
    "VALUES ({1}, 'raw', 0, 0, '{{}}', 0)"
)
_VALUES = (
    "SELECT name_id, step_number, value, kind FROM {0}metrics WHERE job_key = {1} AND name_id IN (1, 2, 3) "
    "AND step_number BETWEEN {1} AND {1} ORDER BY name_id, step_number"
)
_TIMES = (
    "SELECT step_number, created_at FROM {0}checkpoints WHERE job_key = {1} "
    "AND step_number BETWEEN {1} AND {1} ORDER BY step_number"
)
_LATEST = (
    "SELECT name_id, step_number, value FROM {0}metrics WHERE job_key = {1} AND name_id IN (1, 2, 3) "
    "AND step_number = (SELECT max(step_number) FROM {0}checkpoints WHERE job_key = {1})"
)
_BEST = (
    "SELECT step_number, value FROM {0}metrics WHERE job_key = {1} AND name_id = 2 "
    "ORDER BY value, step_number LIMIT 1"
)
_BY_KEY = "SELECT created_at, extra FROM {0}checkpoints WHERE job_key = {1} AND step_number = {1}"
_NAME = "INSERT INTO {0}metric_names (name, canonical) VALUES ({1}, {1})"
_DIGEST = (
    "INSERT INTO {0}job_digests (job_key, digest, summary_digest) VALUES ({1}, {1}, {1}) "
    "ON CONFLICT (job_key) DO UPDATE SET digest = excluded.digest, summary_digest = excluded.summary_digest"
)
_MERGE = "INSERT INTO {0} ({1}) SELECT {1} FROM new_{0} ON CONFLICT DO NOTHING"
_END = 2**63 - 1


class Rows(NamedTuple):
    """A job as rows, still without its key."""

    job_id: str
    points: list[Point]
    job_key: int

    def checkpoints(self) -> list[tuple[Any, ...]]:
        """Give the rows of ``checkpoints``."""
        return [(self.job_key, point.step, point.created_at, hash(point) >> 1) for point in self.points]

    def metrics(self) -> list[tuple[Any, ...]]:
        """Give the rows of ``metrics``, series by series: the order of the key."""
        return [
            (self.job_key, index + 1, point.step, point[2 + index])
            for index in range(len(METRICS))
            for point in self.points
        ]

    def summaries(self) -> list[tuple[Any, ...]]:
        """Give the rows of ``job_metrics`` of a job of one checkpoint."""
        return [
            (self.job_key, index + 1, 1, *(point.step, point[2 + index]) * 4)
            for point in self.points
            for index in range(len(METRICS))
        ]


class RawStore(Store):
    """What both drivers have in common; ``_schema`` and ``_mark`` are how each spells a statement."""

    best_reads_whole_jobs = False

    _schema = ""
    _mark = "?"

    def __init__(self, url: str) -> None:
        super().__init__(url)
        engine = open_engine(url)
        schemas.upgrade(engine)
        engine.dispose()
        self.connect()
        self.keys: dict[str, int] = dict(self.rows(f"SELECT job_id, job_key FROM {self._schema}jobs", ()))  # noqa: S608 - no input
        if not self.rows(f"SELECT 1 FROM {self._schema}metric_names", ()):  # noqa: S608 - no input
            with self.transaction():
                for name in METRICS:
                    self.run(_NAME.format(self._schema, self._mark), (name, name))

    @abstractmethod
    def connect(self) -> None: ...

    @abstractmethod
    def transaction(self) -> Any: ...

    @abstractmethod
    def together(self, statements: Sequence[tuple[str, Sequence[Any]]]) -> None: ...

    @abstractmethod
    def run(self, text: str, parameters: Sequence[Any]) -> Any: ...

    @abstractmethod
    def rows(self, text: str, parameters: Sequence[Any]) -> list[Any]: ...

    @abstractmethod
    def many(self, table: str, columns: Sequence[str], rows: list[tuple[Any, ...]]) -> None: ...

    def prepared(self, run: Run) -> tuple[str, list[tuple[Any, ...]], list[tuple[Any, ...]]]:
        job_key = self.keys.setdefault(run.job_id, len(self.keys) + 1)
        rows = Rows(run.job_id, run.points, job_key)
        return run.job_id, rows.checkpoints(), rows.metrics()

    def save(self, prepared: tuple[str, list[tuple[Any, ...]], list[tuple[Any, ...]]]) -> None:
        job_id, checkpoints, metrics = prepared
        with self.transaction():
            self.run(_JOB.format(self._schema, self._mark), (job_id,))
            self.many("checkpoints", _CHECKPOINTS, checkpoints)
            self.many("metrics", _METRICS, metrics)

    def save_again(self, _prepared: Any) -> None:
        raise Missing("would have to ask what is stored")

    def append(self, job_id: str, point: Point) -> None:
        rows = Rows(job_id, [point], self.keys[job_id])
        (_, _, _, digest), *_ = checkpoints = rows.checkpoints()
        self.together(
            [
                self._insert("checkpoints", _CHECKPOINTS, checkpoints),
                self._insert("metrics", _METRICS, rows.metrics()),
                self._insert("job_metrics", _SUMMARIES, rows.summaries(), MERGING),
                (_DIGEST.format(self._schema, self._mark), (rows.job_key, digest, digest)),
            ]
        )

    def _insert(
        self, table: str, columns: Sequence[str], rows: list[tuple[Any, ...]], on_conflict: str = ""
    ) -> tuple[str, Sequence[Any]]:
        text = f"{self.insert_text(table, columns, len(rows))} {on_conflict}"
        return text, tuple(chain.from_iterable(rows))

    def insert_text(self, table: str, columns: Sequence[str], rows: int) -> str:
        row = f"({', '.join([self._mark] * len(columns))})"
        return f"INSERT INTO {self._schema}{table} ({', '.join(columns)}) VALUES {', '.join([row] * rows)}"  # noqa: S608 - no input

    def between(self, job_id: str, first: int, last: int) -> tuple[list[Any], list[Any]]:
        bounds = (self.keys[job_id], first, last)
        return (
            self.rows(_TIMES.format(self._schema, self._mark), bounds),
            self.rows(_VALUES.format(self._schema, self._mark), bounds),
        )

    def whole(self, job_id: str) -> tuple[list[Any], list[Any]]:
        return self.between(job_id, 0, _END)

    def stream(self, job_ids: list[str]) -> Any:
        for job_id in job_ids:
            yield from self.whole(job_id)[0]

    def plain(self, answer: tuple[list[Any], list[Any]]) -> list[Point]:
        times, values = answer
        count = len(times)
        columns = [[row[2] for row in values[index * count : (index + 1) * count]] for index in range(3)]
        return [Point(*row) for row in zip(*zip(*times, strict=True), *columns, strict=True)] if count else []

    def series(self, _job_ids: list[str], _points: int) -> Any:
        raise Missing("thins nothing out")

    def latest(self, job_ids: list[str]) -> list[Any]:
        text = _LATEST.format(self._schema, self._mark)
        return [self.rows(text, (self.keys[job_id],) * 2) for job_id in job_ids]

    def best(self, job_ids: list[str]) -> list[Any]:
        text = _BEST.format(self._schema, self._mark)
        return [self.rows(text, (self.keys[job_id],)) for job_id in job_ids]

    def by_key(self, job_ids: list[str], step: int) -> list[Any]:
        text = _BY_KEY.format(self._schema, self._mark)
        return [self.rows(text, (self.keys[job_id], step)) for job_id in job_ids]


class RawSqlite(RawStore):
    """sqlite3: executemany and tuples."""

    def connect(self) -> None:
        self.connection = sqlite3.connect(self.path, isolation_level=None)
        self.connection.execute("PRAGMA synchronous = FULL")

    def transaction(self) -> Any:
        self.connection.execute("BEGIN IMMEDIATE")
        return self.connection

    def together(self, statements: Sequence[tuple[str, Sequence[Any]]]) -> None:
        with self.transaction():
            for text, parameters in statements:
                self.run(text, parameters)

    def run(self, text: str, parameters: Sequence[Any]) -> Any:
        return self.connection.execute(text, parameters)

    def rows(self, text: str, parameters: Sequence[Any]) -> list[Any]:
        return self.connection.execute(text, parameters).fetchall()

    def many(self, table: str, columns: Sequence[str], rows: list[tuple[Any, ...]]) -> None:
        self.connection.executemany(self.insert_text(table, columns, 1), rows)

    def close(self) -> None:
        self.connection.close()


class RawValues(RawSqlite):
    """sqlite3: a hundred rows a statement."""

    def many(self, table: str, columns: Sequence[str], rows: list[tuple[Any, ...]]) -> None:
        whole = len(rows) - len(rows) % _ROWS_A_STATEMENT
        self.connection.executemany(
            self.insert_text(table, columns, _ROWS_A_STATEMENT),
            (
                tuple(chain.from_iterable(rows[first : first + _ROWS_A_STATEMENT]))
                for first in range(0, whole, _ROWS_A_STATEMENT)
            ),
        )
        self.connection.executemany(self.insert_text(table, columns, 1), rows[whole:])


class RawPostgresql(RawStore):
    """psycopg: COPY into a temporary table and merge; results in binary, statements prepared."""

    _schema = "tuneledger."
    _mark = "%s"

    def connect(self) -> None:
        import psycopg

        self.connection = psycopg.connect(libpq(self.url), autocommit=True, prepare_threshold=1)
        self.cursor = self.connection.cursor(binary=True)

    def transaction(self) -> Any:
        return self.connection.transaction()

    def together(self, statements: Sequence[tuple[str, Sequence[Any]]]) -> None:
        with self.connection.pipeline():  # what one of them sends is one transaction, and one round trip
            for text, parameters in statements:
                self.run(text, parameters)

    def run(self, text: str, parameters: Sequence[Any]) -> Any:
        return self.cursor.execute(text, parameters)

    def rows(self, text: str, parameters: Sequence[Any]) -> list[Any]:
        return self.cursor.execute(text, parameters).fetchall()

    def many(self, table: str, columns: Sequence[str], rows: list[tuple[Any, ...]]) -> None:
        names = ", ".join(columns)
        self.run(f"CREATE TEMP TABLE new_{table} (LIKE tuneledger.{table}) ON COMMIT DROP", ())
        if table == "metrics":
            names = "job_key, name_id, step_number, value"
        with self.cursor.copy(f"COPY new_{table} ({names}) FROM STDIN (FORMAT BINARY)") as copy:
            copy.set_types(_POSTGRESQL_TYPES[table])
            for row in rows:
                copy.write_row(row)
        self.run(_MERGE.format(f"tuneledger.{table}", names).replace("new_tuneledger.", "new_"), ())

    def close(self) -> None:
        self.connection.close()


def opened(name: str, url: str) -> Store:
    """Open the driver on tables that tuneledger's migrations make."""
    if not url.startswith("sqlite"):
        return RawPostgresql(url)
    return RawValues(url) if name == "raw VALUES" else RawSqlite(url)
