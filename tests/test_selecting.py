"""What the queries answer, against the plainest Python that says the same."""

import math
import secrets
import tracemalloc
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tuneledger.repository.checkpoints
from strategies import STEPS, checkpoint_payloads
from tuneledger import NOT_EVALUATED, Archive, CheckpointOut, Job, MetricOut
from tuneledger.errors import AmbiguousJob, CheckpointNotFound, InvalidArgument, JobNotFound
from tuneledger.models import CANONICAL_METRIC_NAMES, Placeholder, validated

LARGEST = 2**63 - 1


@pytest.fixture
def archive(database_url: str) -> Iterator[Archive]:
    """An archive, empty at first; examples of a property take ids of their own."""
    with Archive(database_url, durable=False) as opened:
        yield opened


def saved(archive: Archive, checkpoints: list[Any], job_id: str = "j", **fields: Any) -> Job:
    """A job of these checkpoints, stored."""
    job = validated(Job, {"job_id": job_id, "provider": "p", "checkpoints": checkpoints, **fields})
    archive.save(job)
    return job


def step(number: int, created_at: int = 5, **metrics: Any) -> CheckpointOut:
    """A checkpoint."""
    return CheckpointOut.model_validate({"metrics": metrics, "step_number": number, "created_at": created_at})


# -- a plain model of the queries -----------------------------------------------------------------


def numbers_of(job: Job, name: str) -> dict[int, float]:
    """The plain numbers of one metric of a job, by step."""
    found = {}
    for checkpoint in job.checkpoints:
        value = checkpoint.metrics.named_values().get(name)
        if isinstance(value, float) and math.isfinite(value) and not isinstance(value, Placeholder):
            found[checkpoint.step_number] = value
    return found


def answering(job: Job, metric: str) -> str | None:
    """The name under which a job's series answers to ``metric``."""
    canonical = CANONICAL_METRIC_NAMES.get(metric, metric)
    names = {
        name
        for checkpoint in job.checkpoints
        for name, value in checkpoint.metrics.named_values().items()
        if (value is None or isinstance(value, float)) and CANONICAL_METRIC_NAMES.get(name, name) == canonical
    }
    return min(names, key=lambda name: (name != metric, name != canonical, name)) if names else None


def selected(job: Job, selection: dict[str, Any]) -> list[CheckpointOut]:
    """The checkpoints of a selection."""
    found = []
    for checkpoint in job.checkpoints:
        first, last = selection.get("first_step"), selection.get("last_step")
        begin, end = selection.get("created_from"), selection.get("created_to")
        inside = (first is None or checkpoint.step_number >= first) and (
            last is None or checkpoint.step_number <= last
        )
        inside &= (begin is None or checkpoint.created_at >= begin) and (
            end is None or checkpoint.created_at <= end
        )
        for metric, (least, greatest) in (selection.get("within") or {}).items():
            name = answering(job, metric)
            value = numbers_of(job, name).get(checkpoint.step_number) if name else None
            inside &= (
                value is not None
                and (least is None or value >= least)
                and (greatest is None or value <= greatest)
            )
        if inside:
            found.append(checkpoint)
    if selection.get("metrics") is not None:
        wanted = {answering(job, metric) for metric in selection["metrics"]} | set(selection["metrics"])
        found = [
            checkpoint.model_copy(
                update={
                    "metrics": MetricOut.model_validate(
                        {
                            name: value
                            for name, value in checkpoint.metrics.named_values().items()
                            if name in wanted
                            and (_is_series(value) is False or name in _series(job, selection))
                        }
                    )
                }
            )
            for checkpoint in found
        ]
    return found[::-1] if selection.get("newest_first") else found


def _is_series(value: Any) -> bool:
    return value is None or isinstance(value, float)


def _series(job: Job, selection: dict[str, Any]) -> set[str | None]:
    return {answering(job, metric) for metric in selection["metrics"]}


BOUND = st.none() | st.integers(-2, 14) | st.sampled_from([-(2**80), LARGEST - 1, LARGEST, 2**63, 2**80])
VALUE_BOUND = st.none() | st.sampled_from(
    [-math.inf, -1.0, 0.0, -0.0, 0.1, 1.0, math.inf, 2**70, -(10**400), 10**400]
)
METRICS = ["train_loss", "loss", "eval_loss", "valid_loss", "val_loss", "other"]
SELECTIONS = st.fixed_dictionaries(
    {},
    optional={
        "first_step": BOUND,
        "last_step": BOUND,
        "metrics": st.none() | st.lists(st.sampled_from(METRICS), max_size=3),
        "created_from": BOUND,
        "created_to": BOUND,
        "within": st.none()
        | st.dictionaries(st.sampled_from(METRICS), st.tuples(VALUE_BOUND, VALUE_BOUND), max_size=2),
        "newest_first": st.booleans(),
    },
)
JOBS = st.lists(checkpoint_payloads(), max_size=6, unique_by=lambda payload: payload["step_number"])


FEWER = settings(max_examples=settings().max_examples // 2)


@FEWER
@given(payloads=JOBS, selection=SELECTIONS, window=st.sampled_from([1, 3, 24_000]))
def test_any_selection(
    archive: Archive, payloads: list[dict[str, Any]], selection: dict[str, Any], window: int
) -> None:
    """Bounds inclusive, open or beyond 63 bits, times, values, names and their stand-ins, either order."""
    job = saved(archive, payloads, secrets.token_hex(8))
    with pytest.MonkeyPatch.context() as patch, archive.read() as repository:
        # Windows of one value let eight checkpoints show what thousands would.
        patch.setattr(tuneledger.repository.checkpoints, "_VALUES_A_WINDOW", window)
        patch.setattr(tuneledger.repository.checkpoints, "_FEWEST_ROWS", 1)
        wanted = selected(job, selection)
        assert repository.checkpoints(job.job_id, **selection) == wanted
        assert list(repository.stream_checkpoints(job.job_id, **selection)) == wanted


@FEWER
@given(payloads=JOBS, first=BOUND, last=BOUND, at=STEPS)
def test_counts_single_steps_latest_and_best(
    archive: Archive, payloads: list[dict[str, Any]], first: int | None, last: int | None, at: int
) -> None:
    """The other answers about one job are those of its list of checkpoints."""
    job = saved(archive, payloads, secrets.token_hex(8))
    inside = selected(job, {"first_step": first, "last_step": last})
    by_step = {checkpoint.step_number: checkpoint for checkpoint in job.checkpoints}
    with archive.read() as repository:
        assert repository.count_checkpoints(job.job_id, first_step=first, last_step=last) == len(inside)
        for number in (at, *by_step):
            if number in by_step:
                assert repository.checkpoint(job.job_id, number) == by_step[number]
            else:
                with pytest.raises(CheckpointNotFound):
                    repository.checkpoint(job.job_id, number)
        latest = by_step[max(by_step)] if by_step else None
        assert repository.latest_checkpoint(job.job_id) == latest
        assert repository.latest_checkpoints([job.job_id]) == ({job.job_id: latest} if latest else {})
        for metric in METRICS:
            name = answering(job, metric)
            numbers = numbers_of(job, name) if name else {}
            for goal, sign in (("min", 1), ("max", -1)):
                best = min(numbers, key=lambda number: (sign * numbers[number], number), default=None)
                found = repository.best_checkpoint(job.job_id, metric, goal)  # type: ignore[arg-type] # both goals
                assert found == (None if best is None else by_step[best])
            series = repository.series([job.job_id], metric, first_step=first, last_step=last)
            if name is None:
                assert series == {}
                continue
            column = {
                checkpoint.step_number: checkpoint.metrics.named_values()[name]
                for checkpoint in inside
                if _is_series(checkpoint.metrics.named_values().get(name, ""))
            }
            assert series[job.job_id].metric == name
            assert series[job.job_id].steps == list(column)
            assert repr(series[job.job_id].values) == repr(list(column.values()))
        assert repository.metric_names(job.job_id) == sorted(
            {
                name
                for checkpoint in job.checkpoints
                for name, value in checkpoint.metrics.named_values().items()
                if _is_series(value)
            }
        )


@given(
    numbers=st.dictionaries(
        st.integers(0, 60) | STEPS, st.sampled_from([0.0, -1.0, 1.0, 7.5]) | st.floats(), max_size=40
    ),
    points=st.integers(2, 12),
)
def test_a_thinned_series(archive: Archive, numbers: dict[int, float], points: int) -> None:
    """At most N points, all of them stored ones in step order: both ends, and from 4 on every spike."""
    job = saved(
        archive, [step(number, 5, loss=value) for number, value in numbers.items()], secrets.token_hex(8)
    )
    finite = numbers_of(job, "loss")
    with archive.read() as repository:
        found = repository.series([job.job_id], "loss", points=points).get(job.job_id)
        again = repository.series([job.job_id], "loss", points=points).get(job.job_id)
    if not numbers:
        assert found is None
        return
    assert found is not None
    assert repr(found) == repr(again)
    assert len(found.steps) == len(found.values) <= points
    assert found.steps == sorted(set(found.steps))
    if len(numbers) <= points:
        assert found.steps == sorted(numbers)
        return
    shown = dict(zip(found.steps, found.values, strict=True))
    assert shown.items() <= finite.items()
    if finite:
        assert {min(finite), max(finite)} <= shown.keys()
    if finite and points >= 4:
        assert {min(finite.values()), max(finite.values())} <= set(shown.values())


# -- by example -----------------------------------------------------------------------------------


def test_series_reach_from_the_first_to_the_last_possible_step(archive: Archive) -> None:
    """Buckets as wide as 63 bits overflow nothing on either engine."""
    saved(
        archive, [step(number, 5, loss=float(number % 7)) for number in (0, 1, 2**62, LARGEST - 1, LARGEST)]
    )
    with archive.read() as repository:
        for points in (2, 3, 4):
            series = repository.series(["j"], "loss", points=points)["j"]
            assert {0, LARGEST} <= set(series.steps)
            assert len(series.steps) <= points
        assert repository.series(["j"], "loss", first_step=LARGEST, last_step=2**70)["j"].steps == [LARGEST]


@pytest.mark.parametrize("bounds", [(math.nan, None), (None, math.nan)])
def test_nan_is_no_bound(archive: Archive, bounds: tuple[float | None, float | None]) -> None:
    """Engines sort NaN differently, so a filter by it is refused."""
    saved(archive, [step(1, loss=0.5)])
    with archive.read() as repository, pytest.raises(InvalidArgument):
        repository.checkpoints("j", within={"loss": bounds})


def test_what_is_no_number_is_in_no_bounds(archive: Archive) -> None:
    """NaN, null, infinities and placeholders are never inside, also where no bound is given."""
    values = [0.5, None, math.nan, math.inf, -math.inf, NOT_EVALUATED, -0.0]
    saved(archive, [step(number, 5, loss=value) for number, value in enumerate(values)])
    with archive.read() as repository:
        for bounds in ((None, None), (-math.inf, math.inf), (-(10**400), 10**400)):
            found = repository.checkpoints("j", within={"loss": bounds})
            assert [checkpoint.step_number for checkpoint in found] == [0, 6]


def test_a_leaderboard(archive: Archive) -> None:
    """Best job first, ties by id, stand-in names count, jobs without a number are left out."""
    saved(archive, [step(1, loss=0.5), step(2, loss=0.3)], "b")
    saved(archive, [step(1, train_loss=0.3)], "a")
    saved(archive, [step(1, training_loss=0.1), step(2, train_loss=0.9)], "c")
    saved(archive, [step(1, loss=math.nan)], "d")
    saved(archive, [step(1, other=0.0)], "e")
    saved(archive, [], "f")
    with archive.read() as repository:
        lowest = repository.best_checkpoints("train_loss")
        assert [(job_id, best.step_number) for job_id, best in lowest.items()] == [
            ("a", 1),
            ("b", 2),
            ("c", 2),
        ]
        highest = repository.best_checkpoints("loss", "max", job_ids=["a", "b"])
        assert list(highest) == ["b", "a"]
        assert list(repository.latest_checkpoints(["e", "a"])) == ["e", "a"]
        assert set(repository.latest_checkpoints()) == {"a", "b", "c", "d", "e"}
        with pytest.raises(JobNotFound):
            repository.best_checkpoints("loss", job_ids=["a", "nobody"])
        with pytest.raises(InvalidArgument, match="min or max, not 'best'"):
            repository.best_checkpoints("loss", "best")  # type: ignore[arg-type] # the very thing that must not work
        with pytest.raises(InvalidArgument, match="at least 2"):
            repository.series(["a"], "loss", points=1)


def test_one_name_is_no_list_of_names(archive: Archive) -> None:
    """A text where names are wanted would be taken letter by letter, so it is refused."""
    saved(archive, [step(1, loss=0.5)])
    with archive.read() as repository:
        with pytest.raises(InvalidArgument, match="several"):
            repository.checkpoints("j", metrics="loss")
        for query in (repository.latest_checkpoints, lambda ids: repository.series(ids, "loss")):
            with pytest.raises(InvalidArgument, match="several"):
                query("j")


def test_pages_neither_skip_nor_repeat_while_jobs_arrive(archive: Archive) -> None:
    """Jobs of one second and jobs archived between two pages: each of the old ones comes exactly once."""
    old = [f"old-{number}" for number in range(25)]
    for number, job_id in enumerate(old):
        saved(archive, [step(number, loss=1.0)] if number % 2 else [], job_id, created_at=100 + number // 10)
    seen: list[str] = []
    page = None
    arrivals = 0
    while True:
        with archive.read() as repository:
            answer = repository.jobs(limit=4, page=page)
        seen += [job.job_id for job in answer.jobs]
        for job in answer.jobs:
            if job.job_id in old:
                number = old.index(job.job_id)
                assert job.last_step == (number if number % 2 else None)
        if answer.next_page is None:
            break
        page = answer.next_page
        arrivals += 1
        for created_at in (0, 100, 101, 102, 999):
            saved(archive, [], f"new-{arrivals}-{created_at}", created_at=created_at)
    assert sorted(job_id for job_id in seen if job_id in old) == sorted(old)
    assert len(seen) == len(set(seen))
    order = [job_id for job_id in seen if job_id in old]
    assert order == sorted(old, key=lambda job_id: (-(100 + old.index(job_id) // 10), old.index(job_id)))


@pytest.mark.parametrize("page", ["", "5", "5-", "-5", "a-b", "5-5-5", "99999999999999999999-1"])
def test_a_page_that_nobody_gave_is_refused(archive: Archive, page: str) -> None:
    """A page is an earlier answer's; anything else is an error of ours, on both engines."""
    with archive.read() as repository:
        assert repository.jobs(page="9999999999999999999-9999999999999999999").jobs == []
        with pytest.raises(InvalidArgument, match="next_page"):
            repository.jobs(page=page)


def test_limits(archive: Archive) -> None:
    """A page holds at least one job, and any number more."""
    saved(archive, [])
    with archive.read() as repository:
        with pytest.raises(InvalidArgument, match="at least 1"):
            repository.jobs(limit=0)
        assert len(repository.jobs(limit=2**70).jobs) == 1


def test_a_prefix_may_end_in_the_last_character_there_is(archive: Archive) -> None:
    """Ids are compared code point by code point, to the very end of the range."""
    last = chr(0x10FFFF)
    for job_id in (f"a{last * 3}", "b", "bb", "bc", "da", "db"):
        saved(archive, [], job_id)
    with archive.read() as repository:
        assert repository.job_id("a") == repository.job_id(f"a{last}") == f"a{last * 3}"
        assert repository.job_id("b") == "b"
        assert repository.job_id("bb") == "bb"
        with pytest.raises(JobNotFound):
            repository.job_id("c")
        with pytest.raises(JobNotFound):
            repository.job_id("")
        with pytest.raises(AmbiguousJob) as caught:
            repository.job_id("d")
    assert caught.value.candidates == ("da", "db")
    assert "(da, db);" in str(caught.value)
    assert "(a, b, c, d, e, …);" in str(AmbiguousJob("", tuple("abcdef")))


def test_deleting_a_job_leaves_nothing_of_it(archive: Archive) -> None:
    """Every table is empty of it, other jobs are whole, and it can be archived anew."""
    event = {"name": "e", "created_at": 1}
    gone = saved(archive, [step(1, loss=0.5), step(2, loss=0.4)], "gone", status="RUNNING", events=[event])
    kept = saved(archive, [step(1, loss=0.7)], "kept")
    with archive.write() as repository:
        assert repository.delete_job("gone") == 2
        with pytest.raises(JobNotFound):
            repository.delete_job("gone")
    place = "tuneledger." if archive.location.schema else ""
    with archive.engine.connect() as connection:
        for table in ("jobs", "job_digests", "checkpoints", "metrics", "job_metrics"):
            count = connection.exec_driver_sql(f"SELECT count(*) FROM {place}{table}").scalar()
            assert count == 1, table
        for table in ("events", "job_states", "inputs"):
            assert connection.exec_driver_sql(f"SELECT count(*) FROM {place}{table}").scalar() == 0
    archive.save(gone)
    with archive.read() as repository:
        assert (repository.job("gone"), repository.job("kept")) == (gone, kept)
        assert (repository.count_jobs(), repository.count_checkpoints()) == (2, 3)


@pytest.mark.parametrize("within", [None, {"loss": (0.999, None)}])
def test_a_stream_takes_constant_memory(
    archive: Archive,
    within: dict[str, tuple[float | None, float | None]] | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Ten times the checkpoints, and matches at both ends of a long job, take no more memory."""
    peaks = []
    monkeypatch.setattr(tuneledger.repository.checkpoints, "_VALUES_A_WINDOW", 4_000)
    for length in (2_000, 20_000):
        job_id = f"long-{length}"
        numbers = [1.0 if number in (0, length - 1) else 0.5 for number in range(length)]
        saved(archive, [step(number, 5, loss=value) for number, value in enumerate(numbers)], job_id)
        with archive.read() as repository:
            count = 0
            tracemalloc.start()
            for _ in repository.stream_checkpoints(job_id, within=within, metrics=["loss"]):
                count += 1
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
        assert count == (length if within is None else 2)
    assert peaks[1] < 1.5 * peaks[0]


def test_the_provider_of_a_job(archive: Archive) -> None:
    """It is told without reading the job; a job that is not there has none."""
    job = saved(archive, [], secrets.token_hex(8))
    with archive.read() as repository:
        assert repository.provider(job.job_id) == job.provider
        with pytest.raises(JobNotFound):
            repository.provider("nobody")


def test_a_long_curve_without_a_number_is_thinned_out_to_nothing(archive: Archive) -> None:
    """A metric that is NaN at every step has no point to keep."""
    steps = [{"step_number": step, "created_at": 1, "metrics": {"loss": math.nan}} for step in range(20)]
    job_id = secrets.token_hex(8)
    archive.save(Job.model_validate({"job_id": job_id, "provider": "p", "checkpoints": steps}))
    with archive.read() as repository:
        (series,) = repository.series([job_id], "loss", points=5).values()
        assert (series.steps, series.values) == ([], [])
        (series,) = repository.series([job_id], "loss", points=20).values()
        assert series.steps == list(range(20))
