"""The summary of each series: kept by every write, never shown where it is not of the stored content."""

import math
import re
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import event, text

from tuneledger import NOT_EVALUATED, Archive, CheckpointOut, Job
from tuneledger.errors import JobNotFound
from tuneledger.repository import SeriesSummary

NAMES = ("train_loss", "eval_loss", "grad_norm")
NUMBERS = st.sampled_from([-1.5, -0.0, 0.0, 0.25, 1.0, 1e300])
VALUES = st.one_of(NUMBERS, st.sampled_from([None, math.nan, math.inf, -math.inf, NOT_EVALUATED]))
METRICS = st.dictionaries(st.sampled_from(NAMES), VALUES)
STEPS = st.dictionaries(st.integers(0, 6), METRICS, max_size=5)
WRITES = st.lists(st.tuples(st.sampled_from(["append", "merge", "keep", "replace"]), STEPS), max_size=6)


@pytest.fixture
def archive(database_url: str) -> Iterator[Archive]:
    """An empty archive, on each engine."""
    with Archive(database_url) as opened:
        yield opened


def checkpoints(steps: dict[int, dict[str, float | None]]) -> list[CheckpointOut]:
    """Checkpoints of the given metrics by step."""
    return [
        CheckpointOut.model_validate({"metrics": metrics, "step_number": step, "created_at": 1})
        for step, metrics in steps.items()
    ]


def job(steps: dict[int, dict[str, float | None]], *, revision: int = 0) -> Job:
    """A job with those checkpoints."""
    return Job(job_id="j", provider="p", revision=revision, checkpoints=checkpoints(steps))


def expected(found: list[CheckpointOut]) -> dict[str, SeriesSummary]:
    """What the summaries of these checkpoints are by the plainest way to find out."""
    series: dict[str, list[tuple[int, float]]] = {}
    for checkpoint in found:
        for name, value in checkpoint.metrics.named_values().items():
            numbers = series.setdefault(name, [])
            if value is not None and value is not NOT_EVALUATED and math.isfinite(value):
                numbers.append((checkpoint.step_number, value))
    summaries = {}
    for name, numbers in sorted(series.items()):
        if not numbers:
            summaries[name] = SeriesSummary(name, 0, None, None, None, None, None, None, None, None)
            continue
        lowest = min(numbers, key=lambda number: (number[1], number[0]))
        highest = min(numbers, key=lambda number: (-number[1], number[0]))
        summaries[name] = SeriesSummary(name, len(numbers), *numbers[0], *numbers[-1], *lowest, *highest)
    return summaries


def stored(archive: Archive) -> dict[str, SeriesSummary]:
    """The summaries as the rows of `job_metrics` hold them, stale or not."""
    with archive.engine.connect() as connection:
        prefix = f"{archive.location.schema}." if archive.location.schema else ""
        rows = connection.execute(
            text(
                "SELECT n.name, s.number_count, s.first_step, s.first_value, s.last_step, s.last_value, "
                "s.min_step, s.min_value, s.max_step, s.max_value "
                f"FROM {prefix}job_metrics AS s JOIN {prefix}metric_names AS n ON n.name_id = s.name_id"
            )
        )
        return {row[0]: SeriesSummary(*row) for row in rows}


def write_like_0001(archive: Archive, *statements: str) -> None:
    """Runs statements as another release would: they keep the job's digest in step, and no summary."""
    with archive.engine.begin() as connection:
        if archive.location.schema:
            connection.execute(text(f"SET LOCAL search_path TO {archive.location.schema}"))
        for statement in statements:
            connection.execute(text(statement))


@given(writes=WRITES)
def test_summaries_follow_every_write(
    archive: Archive, writes: list[tuple[str, dict[int, dict[str, float | None]]]]
) -> None:
    """After any saves and appends the stored summaries are those of the stored checkpoints."""
    with archive.write() as repository:
        repository.save(job({}), on_conflict="replace")
        for revision, (how, steps) in enumerate(writes):
            if how == "append":
                repository.append("j", checkpoints(steps))
            else:
                repository.save(job(steps, revision=revision), on_conflict=how)
    with archive.read() as repository:
        wanted = expected(repository.checkpoints("j"))
        assert repository.summaries("j") == wanted
    assert stored(archive) == wanted


def test_ties_go_to_the_lowest_step(archive: Archive) -> None:
    """Of equal values the lowest step stands, in whatever order they were written."""
    with archive.write() as repository:
        repository.save(job({5: {"loss": 1.0}, 7: {"loss": 1.0}}))
        repository.append("j", checkpoints({3: {"loss": 1.0}, 9: {"loss": 1.0}}))
    with archive.read() as repository:
        assert repository.summaries("j")["loss"] == SeriesSummary("loss", 4, 3, 1.0, 9, 1.0, 3, 1.0, 3, 1.0)


def test_an_append_does_not_read_the_series(archive: Archive) -> None:
    """Adding steps touches no stored value, however long the series is."""
    with archive.write() as repository:
        repository.save(job({step: {"loss": float(step)} for step in range(100)}))
    statements: list[str] = []
    event.listen(archive.engine, "before_cursor_execute", lambda *arguments: statements.append(arguments[2]))
    with archive.write() as repository:
        repository.append("j", checkpoints({100: {"loss": -1.0}}))
    assert any("job_metrics" in statement for statement in statements)
    assert not [s for s in statements if re.search(r"(FROM|JOIN)\s+(tuneledger\.)?metrics\b", s)]
    assert stored(archive)["loss"].min_step == 100


def test_a_stale_summary_is_computed_again(archive: Archive) -> None:
    """What release 0001 writes shows at once, in queries and in the view, and the next write stores it."""
    with archive.write() as repository:
        repository.save(job({1: {"loss": 2.0}, 2: {"loss": 3.0}}))
    before = stored(archive)
    write_like_0001(
        archive,
        "UPDATE metrics SET value = 0.5 WHERE step_number = 2",
        "UPDATE job_digests SET digest = digest + 1",
    )
    assert stored(archive) == before
    after = SeriesSummary("loss", 2, 1, 2.0, 2, 0.5, 2, 0.5, 1, 2.0)
    with archive.read() as repository:
        assert repository.summaries("j") == {"loss": after}
        best = repository.best_checkpoint("j", "train_loss")
    assert best is not None
    assert best.step_number == 2
    with archive.write() as repository:
        repository.append("j", checkpoints({3: {"loss": 9.0}}))
    assert stored(archive)["loss"] == SeriesSummary("loss", 3, 1, 2.0, 3, 9.0, 2, 0.5, 3, 9.0)


def test_a_series_that_0001_took_away_and_brought_back(archive: Archive) -> None:
    """The job's digest is the stamped one again, but the row has lost its summary: it is computed."""
    with archive.write() as repository:
        repository.save(job({1: {"loss": 2.0}}))
    write_like_0001(
        archive,
        "DELETE FROM job_metrics",
        "INSERT INTO job_metrics (job_key, name_id) SELECT DISTINCT job_key, name_id FROM metrics",
    )
    wanted = SeriesSummary("loss", 1, 1, 2.0, 1, 2.0, 1, 2.0, 1, 2.0)
    with archive.read() as repository:
        assert repository.summaries("j") == {"loss": wanted}
    with archive.write() as repository:
        repository.append("j", checkpoints({2: {"loss": 4.0}}))
    with archive.read() as repository:
        assert repository.summaries("j")["loss"].number_count == 2


def test_summaries_of_an_unknown_job(archive: Archive) -> None:
    """A job that is not there is an error, one without metrics is not."""
    with archive.write() as repository:
        repository.save(job({1: {}}))
        assert repository.summaries("j") == {}
        with pytest.raises(JobNotFound):
            repository.summaries("nobody")


def test_a_job_of_many_metrics(archive: Archive) -> None:
    """A job may have more metrics than one statement takes rows."""
    metrics: dict[str, float | None] = {f"m{number}": float(number) for number in range(250)}
    with archive.write() as repository:
        repository.save(job({1: metrics, 2: dict.fromkeys(metrics, 0.0)}))
    with archive.read() as repository:
        assert repository.summaries("j") == expected(repository.checkpoints("j"))
