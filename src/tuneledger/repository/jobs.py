"""Jobs: one whole, pages of many, their states and where they came from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypedDict, Unpack

from sqlalchemy import and_, bindparam, func, or_, select

from tuneledger.errors import InvalidArgument, JobNotFound
from tuneledger.mapping import event_from, job_from
from tuneledger.repository.checkpoints import CheckpointQueries
from tuneledger.repository.records import InputRecord, JobPage, JobSummary, StateRecord
from tuneledger.repository.scope import refuse_flawed, within_bigint
from tuneledger.tables import EventRow, InputRow, JobLabelRow, JobRow, JobStateRow

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Select

    from tuneledger.models import Event, Job

__all__ = ["JobFilters", "JobQueries", "has_label", "narrowed"]

_JOB = select(JobRow.__table__).where(JobRow.job_id == bindparam("job_id"))
_PROVIDER = select(JobRow.provider).where(JobRow.job_id == bindparam("job_id"))
_EVENTS = select(EventRow.name, EventRow.created_at, EventRow.data).where(
    EventRow.job_key == bindparam("job_key")
)
_STATES = (
    select(JobStateRow.revision, JobStateRow.status)
    .where(JobStateRow.job_key == bindparam("job_key"))
    .order_by(JobStateRow.revision, JobStateRow.status)
)
_INPUTS = (
    select(
        InputRow.name,
        InputRow.format,
        InputRow.size_bytes,
        InputRow.sha256,
        InputRow.tuneledger_version,
        InputRow.archived_at,
    )
    .where(InputRow.job_key == bindparam("job_key"))
    .order_by(InputRow.archived_at, InputRow.name, InputRow.size_bytes, InputRow.sha256)
)
_SUMMARY = select(
    JobRow.job_key,
    JobRow.job_id,
    JobRow.provider,
    JobRow.model,
    JobRow.status,
    JobRow.created_at,
    JobRow.revision,
    JobRow.finished_at,
    JobRow.fine_tuned_model,
    JobRow.trained_tokens,
    JobRow.cost,
    JobRow.cost_currency,
)


class JobFilters(TypedDict, total=False):
    """Which jobs: filters are exact, all must hold, None is as good as left out."""

    provider: str | None
    model: str | None
    status: str | None
    """As the provider spells it."""
    created_from: int | None
    """UNIX seconds, inclusive."""
    created_to: int | None
    """UNIX seconds, inclusive."""
    input_name: str | None
    """Jobs that an archived input of this name added to."""
    input_sha256: str | None
    label: str | None
    """Jobs that carry this label."""
    without_label: str | None
    """Jobs that do not carry this label."""


class JobQueries(CheckpointQueries):
    """Queries that answer with jobs and what belongs to a job as a whole."""

    def job(self, job_id: str) -> Job:
        """Give a job whole, as it was saved: checkpoints in step order, events in order of time."""
        row = self._job_row(job_id)
        return job_from(row, self._events(row["job_key"]), self.checkpoints(job_id))

    def job_without_checkpoints(self, job_id: str) -> Job:
        """Give a job with its document and events, its list of checkpoints empty."""
        row = self._job_row(job_id)
        return job_from(row, self._events(row["job_key"]))

    def provider(self, job_id: str) -> str:
        """Give the provider of a job. Raises `JobNotFound`."""
        refuse_flawed(job_id)
        found = self._execute(_PROVIDER, {"job_id": job_id}).scalar()
        if found is None:
            raise JobNotFound(job_id)
        return str(found)

    def _job_row(self, job_id: str) -> Any:
        refuse_flawed(job_id)
        row = self._execute(_JOB, {"job_id": job_id}).mappings().first()
        if row is None:
            raise JobNotFound(job_id)
        return row

    def _events(self, job_key: int) -> list[Event]:
        return [event_from(*row) for row in self._execute(_EVENTS, {"job_key": job_key})]

    def jobs(self, *, limit: int = 100, page: str | None = None, **filters: Unpack[JobFilters]) -> JobPage:
        """Give a page of jobs, the newest ``created_at`` first, then as they were archived.

        Filters are exact and all must hold; the UNIX seconds are inclusive. ``input_name`` and
        ``input_sha256`` find the jobs an archived input added to. ``page`` is an earlier answer's
        ``next_page``: pages neither skip nor repeat a job while others are archived.
        """
        if limit < 1:
            raise InvalidArgument(f"limit is at least 1, not {limit}")
        limit = min(limit, _MORE_THAN_THERE_ARE)
        statement = narrowed(_SUMMARY, **filters)
        if page is not None:
            created_at, job_key = _place(page)
            statement = statement.where(
                or_(
                    JobRow.created_at < created_at,
                    and_(JobRow.created_at == created_at, JobRow.job_key > job_key),
                )
            )
        rows = self._execute(
            statement.order_by(JobRow.created_at.desc(), JobRow.job_key).limit(limit + 1)
        ).all()
        shown = rows[:limit]
        following = f"{shown[-1].created_at}-{shown[-1].job_key}" if len(rows) > limit else None
        last_steps = self._last_steps([row.job_key for row in shown])
        summaries = [JobSummary(*(*row[1:], last_steps.get(row.job_key))) for row in shown]
        return JobPage(summaries, following)

    def job_ids(self, **filters: Unpack[JobFilters]) -> list[str]:
        """Give the ids of the jobs that pass every filter, as they were archived."""
        statement = narrowed(select(JobRow.job_id), **filters).order_by(JobRow.job_key)
        return list(self._execute(statement).scalars())

    def count_jobs(self, **filters: Unpack[JobFilters]) -> int:
        """Count the jobs that `jobs` would give over all its pages."""
        statement = narrowed(select(func.count()).select_from(JobRow), **filters)
        count: int = self._execute(statement).scalar_one()
        return count

    def states(self, job_id: str) -> list[StateRecord]:
        """Give the statuses a job is known to have had, by revision, one a (revision, status)."""
        rows = self._execute(_STATES, {"job_key": self._job_key(job_id)})
        return [StateRecord(*row) for row in rows]

    def inputs(self, job_id: str) -> list[InputRecord]:
        """Give the inputs that added something to a job, the earliest archived first.

        Within one second they are in order of their names, and those of one name by size: files grow.
        """
        rows = self._execute(_INPUTS, {"job_key": self._job_key(job_id)})
        return [InputRecord(*row) for row in rows]


_MORE_THAN_THERE_ARE = 2**31
"""Jobs of any archive; a larger number may be more than a database takes for a LIMIT."""


def narrowed(
    statement: Select[*tuple[Any, ...]],
    *,
    provider: str | None = None,
    model: str | None = None,
    status: str | None = None,
    created_from: int | None = None,
    created_to: int | None = None,
    input_name: str | None = None,
    input_sha256: str | None = None,
    label: str | None = None,
    without_label: str | None = None,
) -> Select[*tuple[Any, ...]]:
    """Hold a statement over ``jobs`` to those that pass every filter of `JobFilters`.

    The filters are named here and not taken as they come: a misspelt one must not let every job through.
    """
    refuse_flawed(provider, model, status, input_name, input_sha256, label, without_label)
    for column, value in ((JobRow.provider, provider), (JobRow.model, model), (JobRow.status, status)):
        if value is not None:
            statement = statement.where(column == value)
    if created_from is not None:
        statement = statement.where(JobRow.created_at >= within_bigint(created_from))
    if created_to is not None:
        statement = statement.where(JobRow.created_at <= within_bigint(created_to))
    # By IN and not by EXISTS: Citus answers a subquery first that lies on other nodes than `jobs` does.
    if label is not None:
        statement = statement.where(has_label(label))
    if without_label is not None:
        statement = statement.where(~has_label(without_label))
    columns = ((InputRow.name, input_name), (InputRow.sha256, input_sha256))
    of_input = [column == value for column, value in columns if value is not None]
    if of_input:
        statement = statement.where(JobRow.job_key.in_(select(InputRow.job_key).where(*of_input)))
    return statement


def has_label(label: str) -> ColumnElement[bool]:
    """Give the condition that a job carries a label."""
    return JobRow.job_key.in_(select(JobLabelRow.job_key).where(JobLabelRow.label == label))


def _place(page: str) -> tuple[int, int]:
    created_at, _, job_key = page.partition("-")
    longest = 19  # digits of a 63-bit number
    if created_at.isdecimal() and job_key.isdecimal() and max(len(created_at), len(job_key)) <= longest:
        return within_bigint(int(created_at)), within_bigint(int(job_key))
    raise InvalidArgument("page is what an earlier answer gave as its next_page")
