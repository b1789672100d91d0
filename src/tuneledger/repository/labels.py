"""Labels: what people say of jobs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sqlalchemy import bindparam, delete, select

from tuneledger.errors import InvalidArgument, JobNotFound
from tuneledger.repository.changing import JobChanging
from tuneledger.repository.scope import refuse_flawed, refuse_text
from tuneledger.tables import JobLabelRow

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["PINNED", "LabelWriting"]

PINNED: Final = "pinned"
"""The label that keeps a job whole whatever is pruned."""

_LONGEST: Final = 100
_LABELS = (
    select(JobLabelRow.label).where(JobLabelRow.job_key == bindparam("job_key")).order_by(JobLabelRow.label)
)
_DROP = delete(JobLabelRow).where(
    JobLabelRow.job_key == bindparam("of_job"), JobLabelRow.label == bindparam("of_label")
)


class LabelWriting(JobChanging):
    """Labelling jobs. `JobFilters` finds them by a label."""

    def labels(self, job_id: str) -> list[str]:
        """Give the labels of a job, in alphabetical order."""
        return list(self._execute(_LABELS, {"job_key": self._job_key(job_id)}).scalars())

    def label(self, job_id: str, *, add: Iterable[str] = (), remove: Iterable[str] = ()) -> list[str]:
        """Put labels on a job and take others off; give those that it has then.

        A label that it has already, or has not, is no error. One is 1 to 100 printable characters.
        """
        refuse_text(add, "add")
        refuse_text(remove, "remove")
        job_key = self._job_key(job_id)
        dropped, added = sorted(set(remove)), sorted(set(add))
        for label in (*dropped, *added):
            refuse_flawed(label)
            if not 0 < len(label) <= _LONGEST or not label.isprintable():
                raise InvalidArgument(f"a label is 1 to {_LONGEST} printable characters, not {label!r}")
        if self._lock(job_key) is None:
            raise JobNotFound(job_id)
        if dropped:
            self._execute(_DROP, [{"of_job": job_key, "of_label": label} for label in dropped])
        rows = [(job_key, label) for label in added]
        self._rows(JobLabelRow, ("job_key", "label"), rows, on_conflict="ON CONFLICT DO NOTHING")
        return self.labels(job_id)
