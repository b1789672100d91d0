"""The views ``job_overview`` and ``job_summary``, made so that a distributed database takes them too.

Revision 0005, after 0004. Views alone, with the columns and rows they had. Citus refuses a subquery of one
job in a query of ``jobs``, which is on every node, and needs each join of two distributed tables said.
"""

from __future__ import annotations

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

locks = {
    "sqlite": "the file's write lock, for a moment",
    "postgresql": "for a moment ACCESS EXCLUSIVE on the views job_overview and job_summary",
}
touches: tuple[str, ...] = ()
remakes = ("job_overview", "job_summary")
beside_previous = "yes: no table changes"
loses: dict[str, str] = {}


def upgrade() -> None:
    """Create the two views anew: every job is found by its row of ``job_digests``."""
    _create_overview("JOIN job_digests AS d ON d.job_key = j.job_key", "d")
    _create_summary("d")


def downgrade() -> None:
    """Make them as revisions 0003 and 0002 did."""
    _create_overview("", "j")
    _create_summary("j")


def _time(seconds: str) -> str:
    # 0 stands for "the source gives no time".
    sqlite = op.get_context().dialect.name == "sqlite"
    shown = (
        f"strftime('%Y-%m-%dT%H:%M:%SZ', {seconds}, 'unixepoch')" if sqlite else f"to_timestamp({seconds})"
    )
    return f"CASE WHEN {seconds} > 0 THEN {shown} END"


def _create_overview(join: str, keyed: str) -> None:
    op.execute("DROP VIEW job_overview")
    op.execute(
        f"""
        CREATE VIEW job_overview AS
        SELECT {_time("j.created_at")} AS time, j.job_id, j.provider, j.model, j.status,
               {_time("j.finished_at")} AS finished,
               CASE WHEN j.created_at > 0 AND j.finished_at >= j.created_at
                    THEN j.finished_at - j.created_at END AS duration_seconds,
               j.trained_tokens, j.cost, j.cost_currency, j.fine_tuned_model,
               (SELECT max(c.step_number) FROM checkpoints AS c WHERE c.job_key = {keyed}.job_key)
                   AS last_step
        FROM jobs AS j
        {join}
        """  # noqa: S608 - built from the constants above
    )


def _create_summary(keyed: str) -> None:
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
    op.execute("DROP VIEW job_summary")
    op.execute(
        f"""
        CREATE VIEW job_summary AS
        SELECT j.job_id, j.provider, j.model, n.name AS metric,
               {", ".join(columns)}
        FROM jobs AS j
        JOIN job_digests AS d ON d.job_key = j.job_key
        JOIN job_metrics AS s ON s.job_key = {keyed}.job_key
        JOIN metric_names AS n ON n.name_id = s.name_id
        """  # noqa: S608 - the same
    )
