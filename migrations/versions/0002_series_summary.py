"""The summary of each series: how many numbers, the first, last, lowest and highest, and their steps.

Revision 0002, after 0001.

Release 0001's code writes on beside it and knows no summary. So what stands here counts only while
``job_digests.summary_digest``, the digest of the content the job's summaries were computed from, is
the job's digest, and only where ``number_count`` is set; the view computes the rest anew. The stamp
is one a job, not one a row: every append changes the job's digest and would have to stamp each row
again, also those of metrics it does not carry; here it rides on an UPDATE that is made anyway.
That release can delete a series and bring it back, which ends in the old digest and a row without
a summary: hence the second condition.

The values are read into a table of our own first, each job with its digest in one statement, and
only then do the tables change: others wait for the short second part alone, and what they wrote
during the first shows by its digest.
"""

from __future__ import annotations

import time
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

locks = {
    "sqlite": "the file's write lock while every value is read once; readers go on",
    "postgresql": "while every value is read none that others wait for; then for a moment "
    "ACCESS EXCLUSIVE on job_digests and job_metrics",
}
touches = ("metrics", "job_digests", "job_metrics")
remakes: tuple[str, ...] = ()
beside_previous = "yes: it knows no summary, and what it writes shows by the digest and is computed again"
loses: dict[str, str] = {}

_COLUMNS: dict[str, sa.types.TypeEngine[Any]] = {
    "number_count": sa.BigInteger(),
    "first_step": sa.BigInteger(),
    "first_value": sa.Double(),
    "last_step": sa.BigInteger(),
    "last_value": sa.Double(),
    "min_step": sa.BigInteger(),
    "min_value": sa.Double(),
    "max_step": sa.BigInteger(),
    "max_value": sa.Double(),
}

# Seeks, not joins: where a table was never analysed, PostgreSQL would read all of it for each batch.
_READ = """
INSERT INTO summary_fill (job_key, name_id, digest, number_count, first_step, first_value,
                          last_step, last_value, min_step, min_value, max_step, max_value)
SELECT s.job_key, s.name_id, d.digest, s.number_count,
       s.first_step,
       (SELECT m.value FROM metrics AS m
        WHERE m.job_key = s.job_key AND m.name_id = s.name_id AND m.step_number = s.first_step),
       s.last_step,
       (SELECT m.value FROM metrics AS m
        WHERE m.job_key = s.job_key AND m.name_id = s.name_id AND m.step_number = s.last_step),
       (SELECT min(m.step_number) FROM metrics AS m
        WHERE m.job_key = s.job_key AND m.name_id = s.name_id AND m.value = s.min_value),
       s.min_value,
       (SELECT min(m.step_number) FROM metrics AS m
        WHERE m.job_key = s.job_key AND m.name_id = s.name_id AND m.value = s.max_value),
       s.max_value
FROM (
    SELECT job_key, name_id, count(value) AS number_count,
           min(step_number) FILTER (WHERE value IS NOT NULL) AS first_step,
           max(step_number) FILTER (WHERE value IS NOT NULL) AS last_step,
           min(value) AS min_value, max(value) AS max_value
    FROM metrics
    WHERE job_key > {after} AND job_key <= {until}
    GROUP BY job_key, name_id
) AS s
JOIN job_digests AS d ON d.job_key = s.job_key
"""

_LAST_KEY = 2**63 - 1
_BATCH_SECONDS = 0.5


def upgrade() -> None:
    """Add the summaries, filled for the series there are, and the view ``job_summary``."""
    op.create_table(
        "summary_fill",
        sa.Column("job_key", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("name_id", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("digest", sa.BigInteger(), nullable=False),
        *(sa.Column(name, kind) for name, kind in _COLUMNS.items()),
    )
    if op.get_context().as_sql:
        op.execute(_READ.format(after=-1, until=_LAST_KEY))
    else:
        _read_in_batches()
    op.add_column("job_digests", sa.Column("summary_digest", sa.BigInteger()))
    for name, kind in _COLUMNS.items():
        op.add_column("job_metrics", sa.Column(name, kind))
    op.execute(
        """
        UPDATE job_digests SET summary_digest = f.digest
        FROM (SELECT DISTINCT job_key, digest FROM summary_fill) AS f WHERE f.job_key = job_digests.job_key
        """
    )
    copied = ", ".join(f"{name} = f.{name}" for name in _COLUMNS)
    op.execute(
        f"""
        UPDATE job_metrics SET {copied} FROM summary_fill AS f
        WHERE f.job_key = job_metrics.job_key AND f.name_id = job_metrics.name_id
        """  # noqa: S608 - built from the constants above
    )
    op.drop_table("summary_fill")
    _create_view()


def _read_in_batches() -> None:
    """Read job by job, as many at once as half a second takes, and tell how far it is."""
    connection = op.get_bind()
    config = op.get_context().config
    progress = config.attributes.get("progress") if config else None
    total = connection.scalar(sa.text("SELECT count(*) FROM job_digests")) or 0
    upto = sa.text(
        "SELECT job_key FROM job_digests WHERE job_key > :after ORDER BY job_key LIMIT 1 OFFSET :others"
    )
    after, done, size = -1, 0, 1
    while done < total:
        started = time.monotonic()
        until = connection.scalar(upto, {"after": after, "others": size - 1})
        connection.exec_driver_sql(_READ.format(after=after, until=_LAST_KEY if until is None else until))
        done = total if until is None else done + size
        after = until
        if progress:
            progress(done, total)
        size = size * 2 if time.monotonic() - started < _BATCH_SECONDS else max(1, size // 2)


def _create_view() -> None:
    def shown(name: str, computed: str, order: str = "") -> str:
        ordered = f"AND m.value IS NOT NULL ORDER BY {order} LIMIT 1" if order else ""
        return f"""CASE WHEN d.summary_digest = d.digest AND s.number_count IS NOT NULL THEN s.{name} ELSE (
            SELECT {computed} FROM metrics AS m
            WHERE m.job_key = s.job_key AND m.name_id = s.name_id {ordered}
        ) END AS {name}"""  # noqa: S608 - built from the constants below

    columns = [shown("number_count", "count(m.value)")]
    for name, order in {
        "first": "m.step_number",
        "last": "m.step_number DESC",
        "min": "m.value, m.step_number",
        "max": "m.value DESC, m.step_number",
    }.items():
        columns += [shown(f"{name}_step", "m.step_number", order), shown(f"{name}_value", "m.value", order)]
    op.execute(
        f"""
        CREATE VIEW job_summary AS
        SELECT j.job_id, j.provider, j.model, n.name AS metric,
               {", ".join(columns)}
        FROM jobs AS j
        JOIN job_digests AS d ON d.job_key = j.job_key
        JOIN job_metrics AS s ON s.job_key = j.job_key
        JOIN metric_names AS n ON n.name_id = s.name_id
        """  # noqa: S608 - built from the constants above
    )


def downgrade() -> None:
    """Take the summaries away; nothing is lost that the next upgrade does not compute again."""
    op.execute("DROP VIEW job_summary")
    for name in reversed(_COLUMNS):
        op.drop_column("job_metrics", name)
    op.drop_column("job_digests", "summary_digest")
