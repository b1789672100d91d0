"""Labels that people put on jobs.

Revision 0004, after 0003. A table of its own: no digest covers it, for it is nothing that a provider said.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

locks = {
    "sqlite": "the file's write lock, for a moment",
    "postgresql": "for a moment SHARE ROW EXCLUSIVE on jobs, which the new foreign key names",
}
touches: tuple[str, ...] = ()
remakes: tuple[str, ...] = ()
beside_previous = "yes: it knows no labels; deleting a job deletes its labels by the foreign key"
loses = {"job_labels": "SELECT count(*) FROM job_labels"}


def upgrade() -> None:
    """Create the table ``job_labels``."""
    text = sa.Text() if op.get_context().dialect.name == "sqlite" else sa.Text(collation="C")
    op.create_table(
        "job_labels",
        sa.Column("job_key", sa.BigInteger(), nullable=False),
        sa.Column("label", text, nullable=False),
        sa.PrimaryKeyConstraint("job_key", "label", name=op.f("pk_job_labels")),
        sa.ForeignKeyConstraint(
            ["job_key"], ["jobs.job_key"], name=op.f("fk_job_labels_jobs"), ondelete="CASCADE"
        ),
        sqlite_with_rowid=False,
    )


def downgrade() -> None:
    """Drop it."""
    op.drop_table("job_labels")
