"""The views that dashboards read: their columns, what they mean, and that filters reach the keys."""

import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import inspect, text

from tuneledger import NOT_EVALUATED, Archive, CheckpointOut, Event, Job, schema

DOCUMENT = (Path(__file__).parents[1] / "docs/dashboards.md").read_text()

OF_JOB = ("job_id", "provider", "model")
SUMMARY = tuple(f"{name}_{what}" for name in ("first", "last", "min", "max") for what in ("step", "value"))
CONTRACT = {
    "points": ("time", *OF_JOB, "step", "metric", "value"),
    "wide_checkpoints": (
        "time", *OF_JOB, "step", "train_loss", "valid_loss", "valid_mean_token_accuracy",
    ),
    "job_summary": (*OF_JOB, "metric", "number_count", *SUMMARY),
    "job_metric_names": (*OF_JOB, "metric", "canonical"),
    "job_overview": (
        "time", *OF_JOB, "status", "finished", "duration_seconds", "trained_tokens", "cost", "cost_currency",
        "fine_tuned_model", "last_step",
    ),
    "job_status_history": ("time", *OF_JOB, "revision", "status"),
    "job_events": ("time", *OF_JOB, "event", "data"),
    "comparison": (*OF_JOB, "metric", "step", "relative_step", "value"),
}  # fmt: skip
"""What users built on. To change a line here is a breaking change: say so in the changelog."""

TYPES = {
    "timestamp with time zone": ("TEXT", ("time", "finished")),
    "double precision": (
        "REAL",
        ("value", "cost", "relative_step", "train_loss", "valid_loss", "valid_mean_token_accuracy"),
    ),
    "bigint": (
        "INTEGER",
        ("step", "number_count", "duration_seconds", "trained_tokens", "last_step", "revision"),
    ),
    "text": ("TEXT", ()),
}


def type_of(column: str) -> str:
    """The PostgreSQL type of a column, the same in every view."""
    if column in SUMMARY:
        return "bigint" if column.endswith("_step") else "double precision"
    return next((kind for kind, (_, names) in TYPES.items() if column in names), "text")


@pytest.fixture
def archive(database_url: str) -> Iterator[Archive]:
    """An empty archive, on each engine."""
    with Archive(database_url) as opened:
        yield opened


def rows(archive: Archive, query: str, **parameters: object) -> list[tuple[Any, ...]]:
    """The rows of a query, with the archive's schema as the search path."""
    with archive.engine.connect() as connection:
        if archive.location.schema:
            connection.execute(text(f"SET LOCAL search_path TO {archive.location.schema}"))
        return [tuple(row) for row in connection.execute(text(query), parameters)]


def checkpoint(step: int, created_at: int = 0, **metrics: float | None) -> CheckpointOut:
    """A checkpoint."""
    return CheckpointOut.model_validate({"metrics": metrics, "step_number": step, "created_at": created_at})


def shown(archive: Archive, seconds: int) -> Any:
    """A time as the views of this engine show it."""
    if archive.location.schema:
        return rows(archive, f"SELECT to_timestamp({seconds})")[0][0]
    return rows(archive, f"SELECT strftime('%Y-%m-%dT%H:%M:%SZ', {seconds}, 'unixepoch')")[0][0]


def documented() -> dict[str, list[tuple[str, str, str]]]:
    """The tables of docs/dashboards.md: name, PostgreSQL's type and SQLite's of each view's columns."""
    found = {}
    for section in re.split(r"^### ", DOCUMENT, flags=re.MULTILINE)[1:]:
        name = section.split("`")[1]
        lines = re.findall(r"^\| (\w+) \| ([\w ]+) \| ([A-Z]+) \|", section, flags=re.MULTILINE)
        found[name] = lines
    return found


def test_contract_is_documented() -> None:
    """docs/dashboards.md lists each view with its columns and their types."""
    expected = {
        view: [(column, type_of(column), TYPES[type_of(column)][0]) for column in columns]
        for view, columns in CONTRACT.items()
    }
    assert documented() == expected


def test_columns_are_the_contracts_on_postgresql(postgres_url: str) -> None:
    """PostgreSQL has these views and no others, with these columns in this order, of these types."""
    with Archive(postgres_url) as archive:
        found: dict[str, list[tuple[str, str]]] = {}
        query = """
            SELECT c.table_name, c.column_name, c.data_type
            FROM information_schema.columns AS c
            JOIN information_schema.views AS v USING (table_schema, table_name)
            WHERE c.table_schema = 'tuneledger' ORDER BY c.table_name, c.ordinal_position
        """
        for view, column, kind in rows(archive, query):
            found.setdefault(view, []).append((column, kind))
    expected = {view: [(column, type_of(column)) for column in columns] for view, columns in CONTRACT.items()}
    assert found == expected


def test_columns_are_the_contracts_on_sqlite(sqlite_url: str) -> None:
    """SQLite has the same views, and what they answer is of the documented storage class."""
    with Archive(sqlite_url) as archive:
        save_everything(archive)
        views = rows(archive, "SELECT name FROM sqlite_master WHERE type = 'view'")
        assert {name for (name,) in views} == set(CONTRACT)
        for view, columns in CONTRACT.items():
            found = rows(archive, f"SELECT name FROM pragma_table_info('{view}')")
            assert tuple(name for (name,) in found) == columns
            for column in columns:
                kinds = {kind for (kind,) in rows(archive, f"SELECT typeof({column}) FROM {view}")}
                assert kinds - {"null"} == {TYPES[type_of(column)][0].lower()}, (view, column)


def save_everything(archive: Archive) -> None:
    """A job with a value in every column of every view."""
    archive.save(
        Job(
            job_id="whole",
            provider="mistral",
            model="open-mistral-7b",
            status="SUCCESS",
            created_at=1_700_000_000,
            revision=1_700_000_600,
            finished_at=1_700_000_600,
            fine_tuned_model="ft:1",
            trained_tokens=9,
            cost=1.5,
            cost_currency="USD",
            events=[Event(name="status-updated", created_at=1_700_000_001, data={"status": "RUNNING"})],
            checkpoints=[
                checkpoint(10, 1_700_000_010, train_loss=0.5, valid_loss=0.75, valid_mean_token_accuracy=1.25)
            ],
        )
    )


def test_every_view_shows_a_job(archive: Archive) -> None:
    """Times, names and numbers of one job come through each view, the same on both engines."""
    save_everything(archive)
    start, at, end = (shown(archive, 1_700_000_000 + more) for more in (0, 10, 600))
    of_job = ("whole", "mistral", "open-mistral-7b")
    assert rows(archive, "SELECT * FROM points WHERE metric = 'valid_loss'") == [
        (at, *of_job, 10, "valid_loss", 0.75)
    ]
    assert rows(archive, "SELECT * FROM wide_checkpoints") == [(at, *of_job, 10, 0.5, 0.75, 1.25)]
    assert rows(archive, "SELECT * FROM job_summary WHERE metric = 'train_loss'") == [
        (*of_job, "train_loss", 1, *(10, 0.5) * 4)
    ]
    assert rows(archive, "SELECT * FROM job_metric_names WHERE metric = 'train_loss'") == [
        (*of_job, "train_loss", "train_loss")
    ]
    assert rows(archive, "SELECT * FROM job_overview") == [
        (start, *of_job, "SUCCESS", end, 600, 9, 1.5, "USD", "ft:1", 10)
    ]
    assert rows(archive, "SELECT * FROM job_status_history") == [(end, *of_job, 1_700_000_600, "SUCCESS")]
    ((event_at, *rest, data),) = rows(archive, "SELECT * FROM job_events")
    assert (event_at, rest) == (shown(archive, 1_700_000_001), [*of_job, "status-updated"])
    assert data == '{"data":{"status":"RUNNING"}}'
    assert rows(archive, "SELECT * FROM comparison WHERE metric = 'train_loss'") == [
        (*of_job, "train_loss", 10, 1.0, 0.5)
    ]


def test_what_is_unknown_is_null(archive: Archive) -> None:
    """No time is no time, not 1970; no end is no duration; a revision that is none is no time."""
    archive.save(
        Job(job_id="bare", provider="p", status="x", revision=7, checkpoints=[checkpoint(0, loss=1.0)])
    )
    archive.save(Job(job_id="running", provider="p", status="x", created_at=9, revision=2**62))
    assert rows(archive, "SELECT time FROM points UNION SELECT time FROM wide_checkpoints") == [(None,)]
    query = "SELECT time, finished, duration_seconds, last_step FROM job_overview ORDER BY job_id"
    assert rows(archive, query) == [(None, None, None, 0), (shown(archive, 9), None, None, None)]
    assert rows(archive, "SELECT time, revision FROM job_status_history ORDER BY job_id") == [
        (None, 7),
        (None, 2**62),
    ]
    # The only step there is, is the end.
    assert rows(archive, "SELECT step, relative_step FROM comparison") == [(0, 1.0)]


def test_status_history_keeps_what_the_overview_forgot(archive: Archive) -> None:
    """Each status a job had is a row, in the order of revisions; the overview shows the newest."""
    for revision, status in ((1_000, "QUEUED"), (1_010, "RUNNING"), (1_020, "SUCCESS")):
        archive.save(Job(job_id="j", provider="p", created_at=1_000, revision=revision, status=status))
    assert rows(archive, "SELECT status FROM job_status_history ORDER BY job_id, revision") == [
        ("QUEUED",),
        ("RUNNING",),
        ("SUCCESS",),
    ]
    assert rows(archive, "SELECT status FROM job_overview") == [("SUCCESS",)]


def test_comparison_lines_up_trainers_and_leaves_out_what_is_no_number(archive: Archive) -> None:
    """One curve a job and metric: the trainer's own name first; steps as a share of the last number's."""
    archive.save(
        Job(
            job_id="a",
            provider="p",
            checkpoints=[
                checkpoint(5, eval_loss=4.0, valid_loss=2.0),
                checkpoint(10, eval_loss=3.0, valid_loss=1.0),
                checkpoint(20, eval_loss=2.0, valid_loss=math.nan),
            ],
        )
    )
    archive.save(
        Job(
            job_id="b",
            provider="q",
            checkpoints=[
                checkpoint(100, val_loss=9.0, eval_loss=8.0),
                checkpoint(300, eval_loss=NOT_EVALUATED),
                checkpoint(400, eval_loss=None),
            ],
        )
    )
    query = "SELECT job_id, metric, step, relative_step, value FROM comparison ORDER BY job_id, step"
    assert rows(archive, query) == [
        ("a", "valid_loss", 5, 0.5, 2.0),
        ("a", "valid_loss", 10, 1.0, 1.0),
        ("b", "valid_loss", 100, 1.0, 8.0),
    ]
    with archive.read() as repository:
        series = repository.series(["a", "b"], "valid_loss")
    assert [series[job_id].metric for job_id in ("a", "b")] == ["valid_loss", "eval_loss"]


def test_comparison_is_right_where_the_summary_is_stale(archive: Archive) -> None:
    """A release that knows no summaries writes on; the share is of the last step there is all the same."""
    archive.save(
        Job(job_id="j", provider="p", checkpoints=[checkpoint(10, loss=1.0), checkpoint(20, loss=1.0)])
    )
    with archive.engine.begin() as connection:
        place = f"{archive.location.schema}." if archive.location.schema else ""
        connection.execute(
            text(f"INSERT INTO {place}metrics SELECT job_key, name_id, 40, 1.0, NULL FROM {place}job_metrics")
        )
        connection.execute(text(f"UPDATE {place}job_digests SET digest = digest + 1"))
    assert rows(archive, "SELECT step, relative_step FROM comparison ORDER BY step") == [
        (10, 0.25),
        (20, 0.5),
        (40, 1.0),
    ]


def test_comparison_is_right_where_a_series_has_no_summary(archive: Archive) -> None:
    """So it is after such a release took a series away and brought it back: the digest is the old one."""
    archive.save(
        Job(job_id="j", provider="p", checkpoints=[checkpoint(10, loss=1.0), checkpoint(20, loss=1.0)])
    )
    with archive.engine.begin() as connection:
        place = f"{archive.location.schema}." if archive.location.schema else ""
        connection.execute(text(f"DELETE FROM {place}job_metrics"))
        again = f"INSERT INTO {place}job_metrics (job_key, name_id) SELECT DISTINCT job_key, name_id"
        connection.execute(text(f"{again} FROM {place}metrics"))
    assert rows(archive, "SELECT step, relative_step FROM comparison ORDER BY step") == [(10, 0.5), (20, 1.0)]


RECIPE = next(
    block for block in re.findall(r"```sql\n(.*?)```", DOCUMENT, flags=re.DOTALL) if block.startswith("WITH")
)
NUMBERS = st.sampled_from([-2.0, -0.0, 0.0, 0.5, 7.0]) | st.sampled_from([None, math.nan, math.inf])


@given(st.lists(st.tuples(st.integers(1, 9), NUMBERS), max_size=700), st.integers(0, 20))
def test_recipe_gives_the_points_of_the_repository(
    archive: Archive, steps: list[tuple[int, float | None]], first: int
) -> None:
    """The documented SQL thins out exactly as `series(points=502)` does, on both engines."""
    checkpoints = []
    step = first
    for gap, value in steps:
        checkpoints.append(checkpoint(step, eval_loss=value))
        step += gap
    archive.save(Job(job_id="j", provider="p", checkpoints=checkpoints), on_conflict="replace")
    found = rows(archive, RECIPE, job_id="j", metric="valid_loss")
    with archive.read() as repository:
        series = repository.series(["j"], "valid_loss", points=502)
    expected = (
        [
            (step, value)
            for step, value in zip(series["j"].steps, series["j"].values, strict=True)
            if value is not None and math.isfinite(value)
        ]
        if series
        else []
    )
    if len(checkpoints) > 502:
        assert [(step, value) for *_, step, _, value in found] == expected
    else:  # nothing is thinned out by the repository; the recipe may leave out what lies between extremes
        assert {(step, value) for *_, step, _, value in found} <= set(expected)
    assert len(found) <= 502


def test_recipe_keeps_spikes_first_and_last(archive: Archive) -> None:
    """Of 5,000 steps 502 at most are left, among them both spikes and both ends."""
    spikes = {0: 1.0, 1_234: 99.0, 4_321: -99.0, 4_999: 1.0}
    checkpoints = [checkpoint(step, loss=spikes.get(step, 0.5 + step % 7 / 100)) for step in range(5_000)]
    archive.save(Job(job_id="j", provider="p", checkpoints=checkpoints))
    found = {step: value for *_, step, _, value in rows(archive, RECIPE, job_id="j", metric="train_loss")}
    assert len(found) <= 502
    assert spikes.items() <= found.items()


def test_recipe_cuts_steps_as_the_repository_does(archive: Archive) -> None:
    """The points are the same where the steps divide evenly into 250 ranges, and up to the highest step."""
    highest = 2**63 - 1
    for first in (0, highest - 2_500):
        checkpoints = [checkpoint(first + step, loss=step * 7 % 13) for step in range(2_501)]
        job_id = f"from-{first}"
        archive.save(Job(job_id=job_id, provider="p", checkpoints=checkpoints))
        found = rows(archive, RECIPE, job_id=job_id, metric="train_loss")
        with archive.read() as repository:
            series = repository.series([job_id], "train_loss", points=502)[job_id]
        assert [step for *_, step, _, _ in found] == series.steps


def test_recipe_takes_a_range_of_steps(archive: Archive) -> None:
    """Steps asked for in the first WHERE are cut into ranges of their own; shares stay those of the whole."""
    checkpoints = [checkpoint(step, loss=step % 97) for step in range(3_000)]
    archive.save(Job(job_id="j", provider="p", checkpoints=checkpoints))
    ranged = RECIPE.replace("IN (:metric)", "IN (:metric) AND step BETWEEN 1000 AND 2499", 1)
    found = rows(archive, ranged, job_id="j", metric="train_loss")
    with archive.read() as repository:
        of_range = {"first_step": 1_000, "last_step": 2_499, "points": 502}
        series = repository.series(["j"], "train_loss", **of_range)["j"]
    assert [step for *_, step, _, _ in found] == series.steps
    assert found[0][3] == 1_000 / 2_999


# What a dashboard asks, and how far into the key of `metrics` or `checkpoints` the question reaches.
ASKED = {
    "SELECT step, value FROM points WHERE job_id = 'j1' AND metric = 'loss' AND step BETWEEN 5 AND 9": (
        "metrics",
        "job_key name_id step_number",
    ),
    "SELECT * FROM comparison WHERE job_id = 'j1' AND metric = 'train_loss' AND step BETWEEN 5 AND 9": (
        "metrics",
        "job_key name_id step_number",
    ),
    "SELECT * FROM wide_checkpoints WHERE job_id = 'j1' AND step BETWEEN 5 AND 9": (
        "checkpoints",
        "job_key step_number",
    ),
    "SELECT train_loss FROM wide_checkpoints WHERE job_id = 'j1'": (
        "metrics",
        "job_key name_id step_number",
    ),
    "SELECT * FROM job_overview WHERE job_id = 'j1'": ("checkpoints", "job_key"),
}


def test_filters_use_the_keys(archive: Archive) -> None:
    """A filter by job, metric and range of steps reaches the key; no table of values is walked."""
    checkpoints = [checkpoint(step, loss=1.0, eval_loss=1.0, lr=1.0) for step in range(300)]
    for number in range(4):
        archive.save(Job(job_id=f"j{number}", provider="p", checkpoints=checkpoints))
    for query, (table, columns) in ASKED.items():
        plan, used = plan_of(archive, query, table)
        assert used, plan
        assert all(column in line for line in used for column in columns.split()), plan


def plan_of(archive: Archive, query: str, table: str) -> tuple[list[str], list[str]]:
    """A query's plan, and of it the lines that say by which columns each key of the table is entered."""
    if not archive.location.schema:
        plan = [row[3] for row in rows(archive, f"EXPLAIN QUERY PLAN {query}")]
        assert not [line for line in plan if line.startswith(f"SCAN {table[0]}")], plan
        return plan, [line for line in plan if line.startswith(f"SEARCH {table[0]} USING")]
    with archive.engine.connect() as connection:
        for setting in (
            "SET LOCAL search_path TO tuneledger",
            "SET LOCAL enable_seqscan = off",  # a table this small is read fastest whole
            "ANALYZE",
        ):
            connection.execute(text(setting))
        plan = [line for (line,) in connection.execute(text(f"EXPLAIN {query}"))]
    at = [number for number, line in enumerate(plan) if f" on {table} {table[0]}" in line]
    assert not [plan[number] for number in at if "Seq Scan" in plan[number]], plan
    return plan, [next(line for line in plan[number:] if "Cond" in line) for number in at]


def test_points_ask_for_no_checkpoint_unless_for_the_time(archive: Archive) -> None:
    """Only who wants the time of a point has its checkpoint looked up."""
    explain = "EXPLAIN" if archive.location.schema else "EXPLAIN QUERY PLAN"
    without, with_time = (
        str(rows(archive, f"{explain} SELECT {columns} FROM points WHERE job_id = 'j' AND metric = 'loss'"))
        for columns in ("step, value", "time, step, value")
    )
    looked_up = "checkpoints" if archive.location.schema else "SEARCH c "
    assert looked_up in with_time
    assert looked_up not in without


def test_old_views_come_back_on_a_downgrade(archive: Archive) -> None:
    """Revision 0002 shows what it showed: its three views, with their rows."""
    save_everything(archive)
    before = [rows(archive, f"SELECT * FROM {view}") for view in ("points", "wide_checkpoints")]
    schema.downgrade(archive.engine, "0002")
    assert [rows(archive, f"SELECT * FROM {view}") for view in ("points", "wide_checkpoints")] == before
    with archive.engine.connect() as connection:
        place = archive.location.schema
        assert set(inspect(connection).get_view_names(schema=place)) == {
            "points",
            "wide_checkpoints",
            "job_summary",
        }
    schema.upgrade(archive.engine)


def test_reading_is_not_compiled(postgres_url: str) -> None:
    """A reader's queries are not compiled: for all summaries of 100 jobs that took 1.3 s of 1.4."""
    with Archive(postgres_url) as archive, archive.read() as repository:
        assert repository._session.execute(text("SHOW jit")).scalar() == "off"
