"""What every group of queries needs: the session's connection, the schema, a job's key."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar, cast

from sqlalchemy import bindparam, select
from sqlalchemy.engine import Connection

from tuneledger.engine import BINARY_RESULTS, check_suitable, schema_options, translated
from tuneledger.engine.opening import DEFAULT_SCHEMA, identifier, schema_of
from tuneledger.errors import AmbiguousJob, InvalidArgument, JobNotFound, shortened
from tuneledger.json_text import text_flaw
from tuneledger.models import CANONICAL_METRIC_NAMES, LONGEST_NAME
from tuneledger.tables import JobMetricRow, JobRow, MetricNameRow

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from sqlalchemy import Executable
    from sqlalchemy.engine import CursorResult
    from sqlalchemy.orm import Session

__all__ = ["JOB_KEYS", "Scope", "portions", "refuse_flawed", "refuse_text", "within_bigint"]

T = TypeVar("T")

_MOST_PARAMETERS = 10_000
"""SQLite takes 32,766 parameters a statement by default, PostgreSQL 65,535."""

_JOB_KEY = select(JobRow.job_key).where(JobRow.job_id == bindparam("job_id"))
_WITH_PREFIX = (
    select(JobRow.job_id)
    .where(JobRow.job_id >= bindparam("first"), JobRow.job_id < bindparam("last"))
    .order_by(JobRow.job_id)
    .limit(6)
)
JOB_KEYS = select(JobRow.job_id, JobRow.job_key).where(
    JobRow.job_id.in_(bindparam("job_ids", expanding=True))
)
_ALL_JOB_KEYS = select(JobRow.job_id, JobRow.job_key).order_by(JobRow.job_key)
_NAMES_OF_JOB = (
    select(MetricNameRow.name_id, MetricNameRow.name)
    .join(JobMetricRow, JobMetricRow.name_id == MetricNameRow.name_id)
    .where(JobMetricRow.job_key == bindparam("job_key"))
)
_JOB_AND_NAMES = (
    select(JobRow.job_key, MetricNameRow.name_id, MetricNameRow.name)
    .outerjoin(JobMetricRow, JobMetricRow.job_key == JobRow.job_key)
    .outerjoin(MetricNameRow, MetricNameRow.name_id == JobMetricRow.name_id)
    .where(JobRow.job_id == bindparam("job_id"))
)
_SERIES_OF_JOBS = (
    select(JobMetricRow.job_key, MetricNameRow.name_id, MetricNameRow.name)
    .join(MetricNameRow, JobMetricRow.name_id == MetricNameRow.name_id)
    .where(
        JobMetricRow.job_key.in_(bindparam("job_keys", expanding=True)),
        MetricNameRow.canonical == bindparam("canonical"),
    )
)


class Scope:
    """A session, or a connection, and the PostgreSQL schema it reads and writes in.

    It never commits, never rolls back, repeats nothing and changes no setting: the transaction is whose
    session it is. ``schema`` is the one that the session's engine names, else ``tuneledger``; it has no
    meaning on SQLite. The first use of a caller's own raises `UnsuitableConnection` where it lacks what the
    archive rests on: foreign keys and a transaction that begins at once on SQLite; on PostgreSQL psycopg, a
    transaction, and READ COMMITTED to write.
    """

    def __init__(
        self, session: Session | Connection, *, schema: str | None = None, checked: bool = False
    ) -> None:
        """Work in ``session``; ``checked`` says that `tuneledger.Archive` made it: it is not looked at."""
        self._session = session
        self._is_ours = checked
        self._checked_to_read = self._checked_to_write = checked
        self._asked_schema = None if schema is None else identifier(schema)

    @property
    def _connection(self) -> Connection:
        session = self._session
        connection = session if isinstance(session, Connection) else session.connection()
        if not self._checked_to_read:
            check_suitable(connection, write=False)
            self._checked_to_read = True
        return connection

    def _require_writing(self) -> None:
        """Refuse a caller's connection that is good to read, but not to write."""
        with translated():
            connection = self._connection
            if not self._checked_to_write:
                check_suitable(connection, write=True)
                self._checked_to_write = True

    @property
    def _schema(self) -> str | None:
        connection = self._connection
        if connection.dialect.name == "sqlite":
            return None
        if self._asked_schema is None:
            named = schema_of(connection.get_execution_options())
            self._asked_schema = DEFAULT_SCHEMA if named is None else identifier(named)
        return self._asked_schema

    def _execute(self, statement: Executable, parameters: Any = None) -> CursorResult[*tuple[Any, ...]]:
        with translated():  # a caller's engine raises the driver's errors
            options = schema_options(self._schema)
            result = self._connection.execute(statement, parameters, execution_options=options)
            if self._is_ours or not result.returns_rows:
                return result
            # While rows are fetched, too: SQLite comes to a damaged page only then.
            return cast("CursorResult[*tuple[Any, ...]]", result.freeze()())

    def _fetched(self, statement: Executable, parameters: Any = None) -> Sequence[tuple[Any, ...]]:
        """Give all rows as the driver's own tuples: for many, at half the price of SQLAlchemy's.

        Both drivers give what our columns hold as it is; nothing is converted on the way. PostgreSQL sends
        numbers in binary, which takes half as long to read as text.
        """
        with translated():
            options = schema_options(self._schema) | BINARY_RESULTS
            with self._connection.execute(statement, parameters, execution_options=options) as result:
                rows: Sequence[tuple[Any, ...]] = result.cursor.fetchall()
        return rows

    def _pairs(self, statement: Executable, parameters: Any = None) -> dict[Any, Any]:
        """Give the rows of a statement of two columns as a dict."""
        return dict(iter(self._execute(statement, parameters)))

    # -- jobs by name -----------------------------------------------------------------------

    def _job_key(self, job_id: str) -> int:
        refuse_flawed(job_id)
        key: int | None = self._execute(_JOB_KEY, {"job_id": job_id}).scalar()
        if key is None:
            raise JobNotFound(job_id)
        return key

    def _job_keys(self, job_ids: Iterable[str] | None) -> dict[str, int]:
        """Give the keys of jobs in the order asked for; of every job, oldest archived first, for None."""
        if job_ids is None:
            return self._pairs(_ALL_JOB_KEYS)
        refuse_text(job_ids, "job_ids")
        asked = list(dict.fromkeys(job_ids))
        refuse_flawed(*asked)
        found: dict[str, int] = {}
        for some in portions(asked):
            found.update(self._pairs(JOB_KEYS, {"job_ids": some}))
        for job_id in asked:
            if job_id not in found:
                raise JobNotFound(job_id)
        return {job_id: found[job_id] for job_id in asked}

    def job_id(self, prefix: str) -> str:
        """Complete a job's id from its beginning; a whole id stands for itself, also where others go on.

        Raises `JobNotFound` when none begins so, `AmbiguousJob` when several do.
        """
        refuse_flawed(prefix)
        if not prefix:
            raise JobNotFound(prefix)
        # Ids sort by code point on both engines: what begins so lies between here and the last such id.
        last = prefix + chr(0x10FFFF) * LONGEST_NAME
        found: tuple[str, ...] = tuple(self._execute(_WITH_PREFIX, {"first": prefix, "last": last}).scalars())
        if not found:
            raise JobNotFound(prefix)
        if found[0] == prefix or len(found) == 1:
            return found[0]
        raise AmbiguousJob(prefix, found)

    def _job_and_names(self, job_id: str) -> tuple[int, dict[int, str]]:
        """Give the key of a job and the names of its metrics by name_id. Raises `JobNotFound`."""
        refuse_flawed(job_id)
        rows = self._fetched(_JOB_AND_NAMES, {"job_id": job_id})
        if not rows:
            raise JobNotFound(job_id)
        return rows[0][0], {name_id: name for _, name_id, name in rows if name_id is not None}

    # -- metrics by name --------------------------------------------------------------------

    def _names_of(self, job_key: int) -> dict[int, str]:
        return self._pairs(_NAMES_OF_JOB, {"job_key": job_key})

    def _series_of(self, job_keys: Iterable[int], metric: str) -> dict[int, tuple[int, str]]:
        """Find the series that answers to ``metric`` in each job: job_key to (name_id, name).

        The name itself goes before what it stands for, that before the alphabet. Jobs without are left out.
        """
        refuse_flawed(metric)
        canonical = CANONICAL_METRIC_NAMES.get(metric, metric)
        found: dict[int, tuple[int, str]] = {}
        ranks: dict[int, tuple[bool, bool, str]] = {}
        for some in portions(list(job_keys)):
            rows = self._execute(_SERIES_OF_JOBS, {"job_keys": some, "canonical": canonical})
            for job_key, name_id, name in rows:
                rank = (name != metric, name != canonical, name)
                if job_key not in ranks or rank < ranks[job_key]:
                    ranks[job_key] = rank
                    found[job_key] = (name_id, name)
        return found


def refuse_flawed(*texts: str | None) -> None:
    """Raise `InvalidArgument` for text that no archive holds: each driver would refuse it its own way."""
    for text in texts:
        flaw = text_flaw(text) if text else None
        if flaw:
            raise InvalidArgument(
                f"{shortened(text)!r} is not text that an archive can hold: it contains {flaw}"
            )


def within_bigint(number: int) -> int:
    """Give the nearest number that a column can be compared with; one beyond all is as good."""
    return max(-(2**63), min(number, 2**63 - 1))


def portions(items: Sequence[T]) -> Iterator[Sequence[T]]:
    for first in range(0, len(items), _MOST_PARAMETERS):
        yield items[first : first + _MOST_PARAMETERS]


def refuse_text(names: Iterable[str], argument: str) -> None:
    """Refuse one text where several are wanted: it would be taken letter by letter."""
    if isinstance(names, str):
        raise InvalidArgument(f"{argument} is several names, [{shortened(names)!r}] for one")
