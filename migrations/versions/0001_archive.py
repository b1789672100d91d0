"""The archive: jobs, checkpoints, metrics, events, states, provenance, and the first two views.

Revision 0001, after nothing.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

locks = {
    "sqlite": "the file's write lock, for a moment",
    "postgresql": "none that anybody waits for: every table is new",
}
touches: tuple[str, ...] = ()
remakes: tuple[str, ...] = ()
beside_previous = "there is none before it"
loses = {
    table: f"SELECT count(*) FROM {table}"  # noqa: S608 - the names beside it
    for table in ("jobs", "job_states", "checkpoints", "metrics", "events", "inputs")
}

_LARGEST_DOUBLE = "1.7976931348623157e308"


def upgrade() -> None:
    """Create the tables and the views ``points`` and ``wide_checkpoints``."""
    sqlite = op.get_context().dialect.name == "sqlite"
    text = sa.Text() if sqlite else sa.Text(collation="C")
    surrogate = sa.Integer() if sqlite else sa.BigInteger()

    def whole(table: str, column: str) -> sa.CheckConstraint:
        typed = f"typeof({column}) = 'integer' AND " if sqlite else ""
        return sa.CheckConstraint(f"{typed}{column} >= 0", name=op.f(f"ck_{table}_{column}"))

    def of_job(table: str) -> sa.ForeignKeyConstraint:
        return sa.ForeignKeyConstraint(
            ["job_key"], ["jobs.job_key"], name=op.f(f"fk_{table}_jobs"), ondelete="CASCADE"
        )

    op.create_table(
        "jobs",
        sa.Column("job_key", surrogate, sa.Identity(), nullable=False),
        sa.Column("job_id", text, nullable=False),
        sa.Column("provider", text, nullable=False),
        sa.Column("model", text),
        sa.Column("status", text),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("finished_at", sa.BigInteger()),
        sa.Column("fine_tuned_model", text),
        sa.Column("trained_tokens", sa.BigInteger()),
        sa.Column("cost", sa.Double()),
        sa.Column("cost_currency", text),
        sa.Column("document", text, nullable=False),
        sa.Column("older_fields", text),
        sa.Column("archived_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("job_key", name=op.f("pk_jobs")),
        whole("jobs", "created_at"),
        whole("jobs", "revision"),
    )
    op.create_index("uq_jobs_job_id", "jobs", ["job_id"], unique=True)
    op.create_index("ix_jobs_created_at", "jobs", [sa.text("created_at DESC"), "job_key"])

    op.create_table(
        "job_digests",
        sa.Column("job_key", surrogate, nullable=False, autoincrement=False),
        sa.Column("digest", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("job_key", name=op.f("pk_job_digests")),
        of_job("job_digests"),
    )
    op.create_table(
        "job_states",
        sa.Column("job_key", sa.BigInteger(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("status", text, nullable=False),
        sa.PrimaryKeyConstraint("job_key", "revision", "status", name=op.f("pk_job_states")),
        of_job("job_states"),
        whole("job_states", "revision"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "checkpoints",
        sa.Column("job_key", sa.BigInteger(), nullable=False),
        sa.Column("step_number", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("extra", text),
        sa.Column("digest", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("job_key", "step_number", name=op.f("pk_checkpoints")),
        of_job("checkpoints"),
        whole("checkpoints", "step_number"),
        whole("checkpoints", "created_at"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "metric_names",
        sa.Column("name_id", sa.Integer(), sa.Identity(), nullable=False),
        sa.Column("name", text, nullable=False),
        sa.Column("canonical", text, nullable=False),
        sa.PrimaryKeyConstraint("name_id", name=op.f("pk_metric_names")),
    )
    op.create_index("uq_metric_names_name", "metric_names", ["name"], unique=True)
    op.create_index("ix_metric_names_canonical", "metric_names", ["canonical"])
    op.create_table(
        "job_metrics",
        sa.Column("job_key", sa.BigInteger(), nullable=False),
        sa.Column("name_id", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("job_key", "name_id", name=op.f("pk_job_metrics")),
        of_job("job_metrics"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "metrics",
        sa.Column("job_key", sa.BigInteger(), nullable=False),
        sa.Column("name_id", sa.Integer(), nullable=False),
        sa.Column("step_number", sa.BigInteger(), nullable=False),
        sa.Column("value", sa.Double()),
        sa.Column("kind", sa.SmallInteger()),
        sa.PrimaryKeyConstraint("job_key", "name_id", "step_number", name=op.f("pk_metrics")),
        whole("metrics", "step_number"),
        sa.CheckConstraint(
            f"(kind IS NULL AND value IS NOT NULL AND value BETWEEN -{_LARGEST_DOUBLE} AND {_LARGEST_DOUBLE})"
            " OR (kind = 5 AND value IS NOT NULL AND value = 0)"
            " OR (kind IS NOT NULL AND kind IN (1, 2, 3, 4, 6) AND value IS NULL)",
            name=op.f("ck_metrics_kind"),
        ),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "events",
        sa.Column("job_key", sa.BigInteger(), nullable=False),
        sa.Column("digest", sa.BigInteger(), nullable=False),
        sa.Column("occurrence", sa.Integer(), nullable=False),
        sa.Column("name", text, nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("data", text),
        sa.PrimaryKeyConstraint("job_key", "digest", "occurrence", name=op.f("pk_events")),
        of_job("events"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "inputs",
        sa.Column("job_key", sa.BigInteger(), nullable=False),
        sa.Column("sha256", text, nullable=False),
        sa.Column("name", text, nullable=False),
        sa.Column("format", text, nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("tuneledger_version", text, nullable=False),
        sa.Column("archived_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("job_key", "sha256", "name", name=op.f("pk_inputs")),
        of_job("inputs"),
        sqlite_with_rowid=False,
    )
    _create_views(sqlite=sqlite)


def _create_views(*, sqlite: bool) -> None:
    # 0 stands for "the source gives no time".
    shown = "strftime('%Y-%m-%dT%H:%M:%SZ', {0}, 'unixepoch')" if sqlite else "to_timestamp({0})"
    time = f"CASE WHEN c.created_at > 0 THEN {shown.format('c.created_at')} END"
    op.execute(
        f"""
        CREATE VIEW points AS
        SELECT {time} AS time, j.job_id, j.provider, j.model,
               m.step_number AS step, n.name AS metric, m.value
        FROM jobs AS j
        JOIN metrics AS m ON m.job_key = j.job_key
        JOIN metric_names AS n ON n.name_id = m.name_id
        JOIN checkpoints AS c ON c.job_key = m.job_key AND c.step_number = m.step_number
        """  # noqa: S608 - built from the constants above
    )

    def metric(canonical: str) -> str:
        # The trainer's own name goes before the ones that stand for it.
        return f"""(
            SELECT m.value
            FROM metric_names AS n
            JOIN metrics AS m
              ON m.job_key = c.job_key AND m.name_id = n.name_id AND m.step_number = c.step_number
            WHERE n.canonical = '{canonical}'
            ORDER BY CASE WHEN n.name = n.canonical THEN 0 ELSE 1 END, n.name
            LIMIT 1
        ) AS {canonical}"""  # noqa: S608 - built from the names below

    op.execute(
        f"""
        CREATE VIEW wide_checkpoints AS
        SELECT {time} AS time, j.job_id, j.provider, j.model, c.step_number AS step,
               {metric("train_loss")},
               {metric("valid_loss")},
               {metric("valid_mean_token_accuracy")}
        FROM jobs AS j
        JOIN checkpoints AS c ON c.job_key = j.job_key
        """  # noqa: S608 - built from the constants above
    )


def downgrade() -> None:
    """Drop the views and the tables, children first."""
    op.execute("DROP VIEW wide_checkpoints")
    op.execute("DROP VIEW points")
    for table in (
        "inputs",
        "events",
        "metrics",
        "job_metrics",
        "metric_names",
        "checkpoints",
        "job_states",
        "job_digests",
        "jobs",
    ):
        op.drop_table(table)
