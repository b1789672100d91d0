"""Notebooks: results as data frames of three libraries, and as HTML."""

import math
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args
from xml.etree import ElementTree as ET

import pytest

from tuneledger import NOT_EVALUATED, Archive, CheckpointOut, Job, frames
from tuneledger.errors import ExtraMissing, InvalidArgument
from tuneledger.frames import Kind
from tuneledger.repository import JobPage, Series

EVIL = "<script>alert(1)</script>"


def checkpoint(step: int, **metrics: float | None) -> CheckpointOut:
    """A checkpoint."""
    return CheckpointOut.model_validate(
        {"metrics": metrics, "step_number": step, "created_at": 1_000 + step % 9}
    )


@pytest.fixture
def archive(database_url: str) -> Iterator[Archive]:
    """Two jobs with every kind of value, on each engine."""
    with Archive(database_url) as opened:
        opened.save(
            Job(
                job_id="a",
                provider="p",
                model=EVIL,
                checkpoints=[
                    checkpoint(1, loss=1.5, step_number=7.0),
                    checkpoint(2, loss=math.nan, eval_loss=NOT_EVALUATED),
                    checkpoint(3, loss=None, eval_loss=-math.inf),
                ],
            )
        )
        opened.save(Job(job_id="b", provider="p", checkpoints=[checkpoint(2**62, train_loss=0.25)]))
        yield opened


def test_no_column_hides_another(tmp_path: Path) -> None:
    """Also where a metric is called what another is given instead of its own name."""
    metrics = {"step_number": 1.0, "metric step_number": 2.0}
    checkpoint = {"metrics": metrics, "step_number": 7, "created_at": 0}
    with Archive(tmp_path / "a.db") as archive:
        archive.save(Job.model_validate({"job_id": "j", "provider": "p", "checkpoints": [checkpoint]}))
        with archive.read() as repository:
            found = listed(frames.checkpoints(repository, "j", kind="arrow"))
    assert sorted(value for column in found.values() for value in column) == [0, 1.0, 2.0, 7]


def listed(frame: Any) -> dict[str, list[Any]]:
    """The columns of any of the frames."""
    columns = frame.to_dict("list") if hasattr(frame, "iloc") else None
    if columns is None:
        columns = frame.to_pydict() if hasattr(frame, "to_pydict") else frame.to_dict(as_series=False)
    return {str(name): list(values) for name, values in columns.items()}


def same(found: list[Any], expected: list[Any], kind: Kind) -> bool:
    """Whether values are equal; NaN is NaN, and null is NaN in pandas alone."""

    def plain(value: Any) -> Any:
        if value is None and kind == "pandas":
            return "nan"
        return "nan" if isinstance(value, float) and math.isnan(value) else value

    return [plain(value) for value in found] == [plain(value) for value in expected]


@pytest.mark.parametrize("kind", get_args(Kind))
def test_series_as_a_frame(archive: Archive, kind: Kind) -> None:
    """One metric of jobs is one long frame; NaN stays what it is, and null is null."""
    with archive.read() as repository:
        found = listed(frames.series(repository, ["a", "b"], "train_loss", kind=kind))
        cut = listed(frames.series(repository, ["a", "b"], "train_loss", kind=kind, last_step=1))
    assert list(found) == ["job_id", "metric", "step", "value"]
    assert found["job_id"] == ["a", "a", "a", "b"]
    assert found["metric"] == ["loss", "loss", "loss", "train_loss"]
    assert found["step"] == [1, 2, 3, 2**62]
    assert same(found["value"], [1.5, math.nan, None, 0.25], kind)
    assert cut["step"] == [1]


@pytest.mark.parametrize("kind", get_args(Kind))
def test_checkpoints_as_a_frame(archive: Archive, kind: Kind) -> None:
    """A row a checkpoint, a column a metric; a metric called like one of our columns takes another name."""
    with archive.read() as repository:
        found = listed(frames.checkpoints(repository, "a", kind=kind))
        empty = listed(frames.checkpoints(repository, "a", kind=kind, first_step=9))
    assert list(found) == ["step_number", "created_at", "eval_loss", "loss", "metric step_number"]
    assert found["step_number"] == [1, 2, 3]
    assert found["created_at"] == [1_001, 1_002, 1_003]
    assert same(found["eval_loss"], [None, None, -math.inf], kind)
    assert same(found["metric step_number"], [7.0, None, None], kind)
    assert empty["step_number"] == []


@pytest.mark.parametrize("kind", get_args(Kind))
def test_missing_library_is_named(archive: Archive, kind: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the library the error names the extra; another kind is refused."""
    monkeypatch.setitem(sys.modules, "pyarrow" if kind == "arrow" else kind, None)
    with archive.read() as repository:
        with pytest.raises(ExtraMissing, match=re.escape(f"'tuneledger[{kind}]'")):
            frames.series(repository, ["a"], "loss", kind=kind)
        with pytest.raises(InvalidArgument, match="not 'excel'"):
            frames.series(repository, ["a"], "loss", kind="excel")  # type: ignore[arg-type] # what is tested


def html(result: Any) -> str:
    """What a notebook shows of a result, which must be whole HTML with nothing of others' in it."""
    text: str = result._repr_html_()
    ET.fromstring(f"<div>{text}</div>")  # noqa: S314 - our own
    assert EVIL not in text
    return text


def test_results_look_like_themselves_in_a_notebook(archive: Archive) -> None:
    """Pages, summaries, series, checkpoints and jobs are tables, series with a curve; text is escaped."""
    with archive.read() as repository:
        page = repository.jobs()
        assert "&lt;script&gt;" in html(page)
        assert html(page).count("<tr>") == 1 + 2
        assert "last_step" in html(page.jobs[0])
        assert "-inf" not in html(repository.summaries("a")["loss"])
        series = html(repository.series(["a"], "loss")["a"])
        assert "<th>steps</th><td>3</td>" in series
        assert "<polyline" in series
        job = html(repository.job("a"))
        assert "<caption>Job</caption>" in job
        assert "3 entries" in job
        assert "1001" in html(repository.checkpoint("a", 1))
        assert "<td>1.5</td>" in html(repository.checkpoint("a", 1).metrics)
    assert "created" in html(archive.save(Job(job_id="c", provider=EVIL * 9)))
    assert html(JobPage([], None)).count("<tr>") == 1


def test_curve_of_odd_numbers() -> None:
    """A series without a number has no curve; one point, a constant and the widest span have one."""
    assert "<svg" not in html(Series("j", "m", [1], [None]))
    for values in ([1.0], [2.0, 2.0], [-1.7e308, 1.7e308]):
        drawn = html(Series("j", "m", list(range(len(values))), list(values)))
        assert not re.search("nan|inf", drawn.partition("<svg")[2])
    long = html(Series("j", "m", list(range(9_000)), [float(n) for n in range(9_000)]))
    assert 1_000 < long.count(",") < 2_100
    assert "480.0,0.0" in long
