"""The tables, as SQLAlchemy's ORM describes them. The migrations are the schema of record.

A test compares both by the engines' own catalogs. Everything is keyed by the job first, then by
what the queries ask for: a series of one metric lies in one piece, in step order. The reasons for
the shape, with the measurements, stand in ``docs/schema.md``.

Annotations are objects here: of text, SQLAlchemy would evaluate each at every start.
"""

from typing import Final

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Double,
    ForeignKey,
    Identity,
    Index,
    Integer,
    MetaData,
    SmallInteger,
    Table,
    Text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

__all__ = [
    "JOB_SUMMARY",
    "SUMMARY_COLUMNS",
    "VERSION_TABLE",
    "VIEWS",
    "Base",
    "CheckpointRow",
    "EventRow",
    "InputRow",
    "JobDigestRow",
    "JobLabelRow",
    "JobMetricRow",
    "JobRow",
    "JobStateRow",
    "MetricNameRow",
    "MetricRow",
]

VERSION_TABLE: Final = "tuneledger_version"
"""Where Alembic keeps our revision: a name of our own, so that other applications' migrations do not
meet ours in one database."""

NAMING: Final = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}

VIEWS: Final = (
    "comparison",
    "job_events",
    "job_metric_names",
    "job_overview",
    "job_status_history",
    "job_summary",
    "points",
    "wide_checkpoints",
)
"""The views, which the migrations alone make."""

# PostgreSQL sorts text by the database's locale unless told otherwise, SQLite by code point.
_TEXT = Text(collation="C").with_variant(Text(), "sqlite")
# SQLite gives a key of its own only to a column declared exactly INTEGER PRIMARY KEY.
_SURROGATE = BigInteger().with_variant(Integer(), "sqlite")

_LARGEST_DOUBLE = "1.7976931348623157e308"


class Base(DeclarativeBase):
    """The declarative base of all tables."""

    metadata = MetaData(naming_convention=NAMING)


def _integer(column: str) -> tuple[CheckConstraint, ...]:
    """Hold ``column`` to whole numbers from 0, on both engines.

    SQLite stores 1.5 and 'abc' in an INTEGER column and sorts text above every number, so it is
    told the type; STRICT tables would say it shorter, but need SQLite 3.37.
    """
    return (
        CheckConstraint(f"{column} >= 0", name=column).ddl_if(dialect="postgresql"),
        CheckConstraint(f"typeof({column}) = 'integer' AND {column} >= 0", name=column).ddl_if(
            dialect="sqlite"
        ),
    )


class JobRow(Base):
    """One job: what the provider said of it, as text, and the columns drawn out of that for queries."""

    __tablename__ = "jobs"

    job_key: Mapped[int] = mapped_column(_SURROGATE, Identity(), primary_key=True)
    job_id: Mapped[str] = mapped_column(_TEXT)
    provider: Mapped[str] = mapped_column(_TEXT)
    model: Mapped[str | None] = mapped_column(_TEXT)
    status: Mapped[str | None] = mapped_column(_TEXT)
    created_at: Mapped[int] = mapped_column(BigInteger)
    revision: Mapped[int] = mapped_column(BigInteger)
    finished_at: Mapped[int | None] = mapped_column(BigInteger)
    fine_tuned_model: Mapped[str | None] = mapped_column(_TEXT)
    trained_tokens: Mapped[int | None] = mapped_column(BigInteger)
    cost: Mapped[float | None] = mapped_column(Double)
    cost_currency: Mapped[str | None] = mapped_column(_TEXT)
    document: Mapped[str] = mapped_column(_TEXT)
    older_fields: Mapped[str | None] = mapped_column(_TEXT)
    """The fields that the newest payload lacked, with the revision each is of, as canonical JSON."""
    archived_at: Mapped[int] = mapped_column(BigInteger)
    """UNIX seconds of the first save. Not content: no digest covers it."""

    __table_args__ = (
        Index("uq_jobs_job_id", "job_id", unique=True),
        *_integer("created_at"),
        *_integer("revision"),
    )


Index("ix_jobs_created_at", JobRow.created_at.desc(), JobRow.job_key)


class JobDigestRow(Base):
    """The digest of a job's whole content; its row is also the lock that every writer takes."""

    __tablename__ = "job_digests"

    job_key: Mapped[int] = mapped_column(
        _SURROGATE, ForeignKey("jobs.job_key", ondelete="CASCADE"), primary_key=True, autoincrement=False
    )
    digest: Mapped[int] = mapped_column(BigInteger)
    summary_digest: Mapped[int | None] = mapped_column(BigInteger)
    """The digest of the content that the job's summaries in `JobMetricRow` are of; they count while it is
    ``digest``. Release 0001 changes the one and does not know the other."""


class JobStateRow(Base):
    """A status that a job had at a revision: one row each, however often it was polled."""

    __tablename__ = "job_states"

    job_key: Mapped[int] = mapped_column(
        BigInteger, ForeignKey("jobs.job_key", ondelete="CASCADE"), primary_key=True
    )
    revision: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    status: Mapped[str] = mapped_column(_TEXT, primary_key=True)

    __table_args__ = (*_integer("revision"), {"sqlite_with_rowid": False})


class CheckpointRow(Base):
    """One checkpoint: a step that a job reported. Its metrics stand in `MetricRow`."""

    __tablename__ = "checkpoints"

    job_key: Mapped[int] = mapped_column(
        BigInteger, ForeignKey("jobs.job_key", ondelete="CASCADE"), primary_key=True
    )
    step_number: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    created_at: Mapped[int] = mapped_column(BigInteger)
    extra: Mapped[str | None] = mapped_column(_TEXT)
    digest: Mapped[int] = mapped_column(BigInteger)

    __table_args__ = (
        *_integer("step_number"),
        *_integer("created_at"),
        {"sqlite_with_rowid": False},
    )


class MetricNameRow(Base):
    """The dictionary of metric names, so that a value carries four bytes of name."""

    __tablename__ = "metric_names"

    name_id: Mapped[int] = mapped_column(Integer, Identity(), primary_key=True)
    name: Mapped[str] = mapped_column(_TEXT)
    canonical: Mapped[str] = mapped_column(_TEXT)
    """What it stands for where trainers differ (eval_loss: valid_loss), else the name itself."""

    __table_args__ = (
        Index("uq_metric_names_name", "name", unique=True),
        Index("ix_metric_names_canonical", "canonical"),
    )


class JobMetricRow(Base):
    """Which series a job has, one row a metric name, and the summary of each.

    The summary counts while the job's ``summary_digest`` is its ``digest`` and ``number_count`` is set; the
    view ``job_summary`` computes it where it does not. It is of numbers alone: NaN, infinities, nulls and
    placeholders have no part in it, and of equal values the lowest step stands.
    """

    __tablename__ = "job_metrics"

    job_key: Mapped[int] = mapped_column(
        BigInteger, ForeignKey("jobs.job_key", ondelete="CASCADE"), primary_key=True
    )
    name_id: Mapped[int] = mapped_column(Integer, primary_key=True)
    number_count: Mapped[int | None] = mapped_column(BigInteger)
    first_step: Mapped[int | None] = mapped_column(BigInteger)
    first_value: Mapped[float | None] = mapped_column(Double)
    last_step: Mapped[int | None] = mapped_column(BigInteger)
    last_value: Mapped[float | None] = mapped_column(Double)
    min_step: Mapped[int | None] = mapped_column(BigInteger)
    min_value: Mapped[float | None] = mapped_column(Double)
    max_step: Mapped[int | None] = mapped_column(BigInteger)
    max_value: Mapped[float | None] = mapped_column(Double)

    __table_args__ = ({"sqlite_with_rowid": False},)


SUMMARY_COLUMNS: Final = tuple(column.name for column in JobMetricRow.__table__.c if not column.primary_key)


class MetricRow(Base):
    """One value of one metric at one step. Absent is no row.

    ``value`` is finite or NULL; ``kind`` is NULL for a plain number and else tells what came, see
    `tuneledger.mapping.Kind`. No foreign key here: it costs 16 to 44 % of every write; the one path
    that writes keeps it whole, and ``tuneledger verify`` audits it.
    """

    __tablename__ = "metrics"

    job_key: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    name_id: Mapped[int] = mapped_column(Integer, primary_key=True)
    step_number: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    value: Mapped[float | None] = mapped_column(Double)
    kind: Mapped[int | None] = mapped_column(SmallInteger)

    __table_args__ = (
        *_integer("step_number"),
        CheckConstraint(
            f"(kind IS NULL AND value IS NOT NULL AND value BETWEEN -{_LARGEST_DOUBLE} AND {_LARGEST_DOUBLE})"
            " OR (kind = 5 AND value IS NOT NULL AND value = 0)"
            " OR (kind IS NOT NULL AND kind IN (1, 2, 3, 4, 6) AND value IS NULL)",
            name="kind",
        ),
        {"sqlite_with_rowid": False},
    )


class EventRow(Base):
    """One event of a job; equal events are told apart by their occurrence, counted from 0."""

    __tablename__ = "events"

    job_key: Mapped[int] = mapped_column(
        BigInteger, ForeignKey("jobs.job_key", ondelete="CASCADE"), primary_key=True
    )
    digest: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    occurrence: Mapped[int] = mapped_column(Integer, primary_key=True)
    name: Mapped[str] = mapped_column(_TEXT)
    created_at: Mapped[int] = mapped_column(BigInteger)
    data: Mapped[str | None] = mapped_column(_TEXT)
    """Every field but name and time, as canonical JSON; null when there is none."""

    __table_args__ = ({"sqlite_with_rowid": False},)


class JobLabelRow(Base):
    """A label that people put on a job. Not content: no digest covers it."""

    __tablename__ = "job_labels"

    job_key: Mapped[int] = mapped_column(
        BigInteger, ForeignKey("jobs.job_key", ondelete="CASCADE"), primary_key=True
    )
    label: Mapped[str] = mapped_column(_TEXT, primary_key=True)

    __table_args__ = ({"sqlite_with_rowid": False},)


class InputRow(Base):
    """Provenance: an input that added something to a job. Not content: no digest covers it."""

    __tablename__ = "inputs"

    job_key: Mapped[int] = mapped_column(
        BigInteger, ForeignKey("jobs.job_key", ondelete="CASCADE"), primary_key=True
    )
    sha256: Mapped[str] = mapped_column(_TEXT, primary_key=True)
    name: Mapped[str] = mapped_column(_TEXT, primary_key=True)
    format: Mapped[str] = mapped_column(_TEXT)
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    tuneledger_version: Mapped[str] = mapped_column(_TEXT)
    archived_at: Mapped[int] = mapped_column(BigInteger)

    __table_args__ = ({"sqlite_with_rowid": False},)


JOB_SUMMARY: Final = Table(
    "job_summary",
    MetaData(),  # of its own: it is a view, made by the migrations alone
    Column("job_id", _TEXT),
    Column("metric", _TEXT),
    *(Column(name, JobMetricRow.__table__.c[name].type) for name in SUMMARY_COLUMNS),
)
"""The summary of each series by the names of job and metric, right also where the stored one is stale."""
