import csv
import math

import pytest

from source_records import document, hints_for
from tuneledger.errors import InvalidArgument, InvalidPayload, UnknownFormat
from tuneledger.models import Job
from tuneledger.sources import Hints, columns_from, named, recognised


def lightning(text: str | bytes, job_id: str | None = "run") -> Job:
    """The job of a metrics.csv."""
    (job,) = named("lightning").read(document("metrics.csv", text), Hints(job_id=job_id))
    return job


def mapped(text: object, columns: str, *, name: str = "table.csv", job_id: str | None = "run") -> list[Job]:
    """The jobs of a table that is described by a map."""
    source = named("csv" if name.endswith(".csv") else "jsonl")
    return list(source.read(document(name, text), Hints(job_id=job_id, columns=columns_from(columns))))


def values(job: Job) -> list[dict[str, object]]:
    """The metrics of each checkpoint."""
    return [checkpoint.metrics.named_values() for checkpoint in job.checkpoints]


def test_cells_are_what_they_say() -> None:
    """Numbers become doubles, empty cells are absent, text is kept, integers beyond a double stay exact."""
    job = lightning(
        "\ufeffepoch,step,a,b\r\n0,1,0.5,\r\n1,2,nan,-inf\r\n2,3,9007199254740993,one\r\n3,4,1e999x,1_0\r\n"
    )
    first, second, third, fourth = values(job)
    assert first == {"epoch": 0.0, "a": 0.5}
    assert math.isnan(float(str(second["a"])))
    assert second["b"] == -math.inf
    assert third == {"epoch": 2.0, "a": 9007199254740993, "b": "one"}
    assert fourth == {"epoch": 3.0, "a": "1e999x", "b": "1_0"}


def test_numbers_of_other_scripts_stay_text() -> None:
    """What Python alone would take for a number is kept as the text it is."""
    (only,) = values(lightning("epoch,step,a\n0,1,1_000\n"))
    assert only["a"] == "1_000"


@pytest.mark.parametrize(
    ("text", "position", "reason"),
    [
        ("epoch,step,a\n0,1\n", "line 2", "has 2 cells where the header has 3"),
        ("epoch,step,a\n0,1,2\n0,2,1e400\n", "line 3", "beyond what a double holds"),
        ("epoch,step,a\n0,1.5,2\n", "line 2", "must be a whole number"),
        (f"epoch,step,a\n0,{'9' * 5_000},2\n", "line 2", "must be a whole number"),
        ("epoch,step,step\n0,1,2\n", "line 1", "two columns named 'step'"),
        ("epoch,step,\n0,1,2\n", "line 1", "a column without a name"),
        ('epoch,step,a\n0,1,"2\n', "line 2", "not valid CSV"),
        (b"epoch,step,a\n0,1,\xff\n", "byte 17", "not UTF-8"),
    ],
)
def test_a_table_that_does_not_hold_together_is_refused(text: str, position: str, reason: str) -> None:
    """The refusal names the line and what is wrong with it."""
    with pytest.raises(InvalidPayload) as refused:
        lightning(text)
    assert refused.value.position == position
    assert reason in refused.value.reason


def test_steps_as_spreadsheets_write_them() -> None:
    """``50.0`` is step 50; a row without a step is kept in the document."""
    job = lightning("epoch,step,hp\n0,50.0,1\n\n,,2\n")
    assert [checkpoint.step_number for checkpoint in job.checkpoints] == [50]
    assert job.document == {"rows_without_step": [{"hp": 2.0}]}
    assert job.revision == 50


@pytest.mark.parametrize(
    "header",
    [" epoch,step", "epoch,step ", 'epoch,"step\n"', "epoch," + "a," * (2**19 - 5) + "step_rate"],
    ids=["space before", "space behind", "more lines", "cut"],
)
def test_a_column_is_recognised_by_its_whole_name(header: str) -> None:
    """What only looks like a known column, with space around it or cut, is none, and nothing fails for it."""
    with pytest.raises(UnknownFormat):
        recognised(document("x", f"{header}\n1,2\n"))


def test_a_long_text_in_a_cell_and_very_many_columns() -> None:
    """Tables of W&B's and Neptune's hold texts of megabytes, and thousands of metrics."""
    before = csv.field_size_limit()
    (found,) = values(lightning(f"epoch,step,config\n0,1,{'x' * 200_000}\n"))
    assert len(str(found["config"])) == 200_000
    assert csv.field_size_limit() == before  # it is the whole process's
    names = [f"gradients/layers.{number}.weight" for number in range(5_000)]
    wide = document("x", ",".join([*names, "epoch", "step"]) + "\n" + "1," * 5_001 + "1\n")
    assert recognised(wide).name == "lightning"


def test_digits_without_an_end_are_text() -> None:
    """To see that a cell is no number after all takes no longer than to read it; it took hours."""
    text = "9" * 1_000_000 + "x"
    (found,) = values(lightning(f"epoch,step,a\n0,1,{text}\n"))
    assert found["a"] == text


def test_only_the_step_and_the_epoch() -> None:
    """A table with a header alone is a job without checkpoints."""
    assert lightning("epoch,step\n").checkpoints == []


def test_rows_of_one_step_become_one_checkpoint() -> None:
    """The last of several values of a metric stands, the ones before it are kept beside it, in order."""
    job = lightning("epoch,step,a,b\n0,1,1,\n0,1,2,nan\n0,1,3,nan\n1,2,4,\n")
    assert values(job)[0]["a"] == 3.0
    assert job.checkpoints[0].__pydantic_extra__ == {"earlier_values": {"a": [1.0, 2.0]}}
    assert values(job)[1] == {"epoch": 1.0, "a": 4.0}


def test_a_map_names_the_columns() -> None:
    """Mapped columns get their names, others keep theirs; provider and model are what the map says."""
    (job,) = mapped(
        "iteration,seconds,loss,note\n1,1700000001,0.5,a\n2,,0.25,\n",
        "step=iteration,created_at=seconds,metric.train_loss=loss,provider=bedrock,model=titan",
    )
    assert (job.provider, job.model, job.created_at, job.revision) == ("bedrock", "titan", 1_700_000_001, 2)
    assert values(job) == [{"train_loss": 0.5, "note": "a"}, {"train_loss": 0.25}]
    assert [checkpoint.created_at for checkpoint in job.checkpoints] == [1_700_000_001, 0]


def test_a_column_may_name_the_job() -> None:
    """A table of several runs becomes several jobs; rows may come mixed."""
    jobs = mapped("run,step,a\nx,1,1\ny,1,2\nx,2,3\n", "step=step,job_id=run", job_id=None)
    assert {job.job_id: len(job.checkpoints) for job in jobs} == {"x": 2, "y": 1}
    (one,) = mapped("run,step,a\nx,1,1\n", "step=step,job_id=run", job_id="mine")
    assert one.job_id == "mine"
    with pytest.raises(InvalidPayload, match="it holds several jobs; --job-id names one"):
        mapped("run,step,a\nx,1,1\ny,1,2\n", "step=step,job_id=run", job_id="mine")


def test_a_map_reaches_into_json() -> None:
    """Rows may lie inside of a document and metrics inside of a row; what nobody mentions is kept."""
    payload = {
        "page": {
            "items": [
                {"step_number": 5, "metrics": {"train_loss": 0.5}, "created_at": "2024-01-01T00:00:00"},
                {"step_number": 6, "metrics": {"train_loss": 0.25}, "created_at": None, "path": "x"},
            ]
        }
    }
    (job,) = mapped(
        payload,
        "rows=page.items,step=step_number,created_at=created_at,metrics=metrics",
        name="page.json",
    )
    assert values(job) == [{"train_loss": 0.5}, {"train_loss": 0.25, "path": "x"}]
    assert job.checkpoints[0].created_at == 1_704_067_200
    (nested,) = mapped(
        [{"at": {"step": 1}, "m": {"loss": 0.5, "deep": {"x": 1}}}, {"at": {"step": 2}, "m": 1}],
        "step=at.step,metric.train_loss=m.loss,metric.x=m.deep.x",
        name="list.json",
    )
    assert values(nested) == [{"train_loss": 0.5, "x": 1.0}, {"m": 1.0}]
    (lines,) = mapped('{"s": 1.0, "m": {"a": 1}}\n', "step=s,metric.a=m.a,metric.b=m.b", name="x.jsonl")
    assert values(lines) == [{"a": 1.0}]


@pytest.mark.parametrize("before", ["", "\n", "\ufeff\r\n  "])
def test_a_described_table_is_told_from_json(before: str) -> None:
    """By its first character, whatever blank lines stand before it."""
    hints = Hints(columns={"step": "s"})
    assert recognised(document("x", before + '{"s": 1}\n'), hints).name == "jsonl"
    assert recognised(document("x", before + "s,a\n1,2\n"), hints).name == "csv"


@pytest.mark.parametrize(
    ("payload", "columns", "reason"),
    [
        ([1], "step=s", "a row must be an object"),
        ([{"s": "1"}], "step=s", "the step must be a whole number"),
        ([{"s": True}], "step=s", "the step must be a whole number"),
        ([{"s": 1.5}], "step=s", "the step must be a whole number"),
        ([{"s": 1, "t": "noon"}], "step=s,created_at=t", "must be UNIX seconds or an ISO 8601 time"),
        ([{"s": 1, "t": [1]}], "step=s,created_at=t", "must be UNIX seconds or an ISO 8601 time"),
        ([{"s": 1, "t": "1e999"}], "step=s,created_at=t", "must be UNIX seconds or an ISO 8601 time"),
        ([{"s": 1, "m": 2}], "step=s,metrics=m", "must be an object of metrics"),
        ([{"s": 1, "t": True}], "step=s,created_at=t", "must be UNIX seconds or an ISO 8601 time"),
        ([{"s": 1, "t": "1_700"}], "step=s,created_at=t", "must be UNIX seconds or an ISO 8601 time"),
        ([{"s": 1, "a": 1, "b": 2}], "step=s,metric.b=a", "two columns would be this metric"),
        (
            [{"s": 1, "m": {"b": 1}, "a": 2}],
            "step=s,metrics=m,metric.b=a",
            "two columns would be this metric",
        ),
        ([{"s": 1, "j": 2}], "step=s,job_id=j", "must be text"),
        ({"rows": 1}, "step=s,rows=rows", "is not there, or no list of rows"),
        ([1], "step=s,rows=rows", "is not there, or no list of rows"),
    ],
)
def test_rows_that_do_not_fit_the_map_are_refused(payload: object, columns: str, reason: str) -> None:
    """The refusal says which row and which column, and why."""
    with pytest.raises(InvalidPayload) as refused:
        mapped(payload, columns, name="x.json", job_id=None)
    assert reason in refused.value.reason


def test_a_column_that_is_not_there_is_refused() -> None:
    """The refusal lists the columns there are."""
    with pytest.raises(InvalidPayload, match="there is no column 'b'; there are: a, c"):
        mapped("a,c\n1,2\n", "step=a,metric.x=b")


def test_a_table_of_steps_alone() -> None:
    """Steps without any metric are steps."""
    (job,) = mapped("a\n1\n2\n", "step=a")
    assert values(job) == [{}, {}]
    with pytest.raises(UnknownFormat):
        recognised(document("x", b"step,\repoch"))


def test_a_csv_without_a_step_in_a_row_is_refused() -> None:
    """Unlike a trainer's own table, a described one has a step in every row."""
    with pytest.raises(InvalidPayload, match="line 2, field 'a': the step must be a whole number"):
        mapped("a,c\n,2\n", "step=a")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("step", "does not understand 'step'"),
        ("step=", "does not understand"),
        ("loss=a,step=b", "does not understand 'loss=a'"),
        ("metric.=a,step=b", "does not understand"),
        ("step=a,step=b", "says 'step' twice"),
        ("step=s,metric.a=x,metric.b=x", "two things of the column 'x': metric.a and metric.b"),
        ("metric.loss=a", "does not say which column is the step"),
    ],
)
def test_a_map_that_makes_no_sense_is_refused(text: str, reason: str) -> None:
    """Before anything is read."""
    with pytest.raises(InvalidArgument, match=reason):
        columns_from(text)


def test_a_table_without_a_map_asks_for_one() -> None:
    """`--format csv` alone does not say what the columns are."""
    with pytest.raises(InvalidPayload, match="--map"):
        list(named("csv").read(document("a.csv", "step,a\n1,2\n"), Hints()))


def test_a_history_of_w_and_b() -> None:
    """Steps and times are W&B's own columns; the index that pandas writes is none."""
    source, hints = named("wandb"), Hints(job_id="run")
    (job,) = source.read(document("x", ",_step,_runtime,loss\n0,1,1.5,0.5\n"), hints)
    assert (job.created_at, values(job)) == (0, [{"_runtime": 1.5, "loss": 0.5}])
    (job,) = source.read(document("x", "_step,_timestamp,loss\n1,1700000000.5,0.5\n"), hints)
    assert (job.created_at, job.checkpoints[0].created_at) == (1_700_000_000, 1_700_000_000)
    assert values(job) == [{"_timestamp": 1_700_000_000.5, "loss": 0.5}]
    (job,) = source.read(document("x", ",_step,_timestamp\n"), hints)
    assert job.checkpoints == []
    assert recognised(document("x", "_step,_timestamp,epoch,step\n")).name == "wandb"  # not Lightning's
    for text, reason in (
        ("_step,_timestamp,a\n,1,2\n", "is required, but absent"),
        ("_step,_timestamp,a\n1,noon,2\n", "must be UNIX seconds"),
        ("_step,_timestamp,a\n1,nan,2\n", "must be UNIX seconds"),
    ):
        with pytest.raises(InvalidPayload, match=reason):
            list(source.read(document("x", text), hints))


def test_json_lines_name_the_line_that_is_broken() -> None:
    """A line that is no JSON is refused by its number; a last one that was cut while written is left out."""
    source, hints = named("jsonl"), hints_for("jsonl", "run")
    good = '{"iteration": 1, "loss": 0.5}\n'
    with pytest.raises(InvalidPayload, match="line 3"):
        list(source.read(document("x", good + "\n{oops}\n" + good), hints))
    (job,) = source.read(document("x", good + '{"iteration": 2, "lo'), hints)
    assert len(job.checkpoints) == 1
    (job,) = source.read(document("x", good + '{"iteration": 2, "loss": 1}'), hints)
    assert len(job.checkpoints) == 2
    with pytest.raises(InvalidPayload, match="line 1"):
        list(source.read(document("x", '{"iteration": 2, "lo'), hints))


def test_a_fraction_of_a_second_is_kept() -> None:
    """A checkpoint's time has whole seconds: where the table's has more, it stays a metric."""
    for name, text in (
        ("csv", "iteration,seconds,loss\n1,1700000001.5,0.5\n2,1700000002,0.25\n"),
        ("jsonl", '{"iteration": 1, "seconds": 1700000001.5, "loss": 0.5}\n'),
    ):
        (job,) = named(name).read(document("x", text), hints_for(name, "run"))
        assert job.checkpoints[0].created_at == 1_700_000_001
        assert values(job)[0] == {"seconds": 1_700_000_001.5, "train_loss": 0.5}
        assert all("seconds" not in metrics for metrics in values(job)[1:])


def test_json_lines_are_told_by_the_first_that_is_not_blank() -> None:
    """None where that is no JSON, or a megabyte of a longer one; the places count blank lines."""
    given = document("x", '\ufeff\n \n{"a": 1}\n\n{"a": 2}\n')
    assert given.first_json_line == {"a": 1}
    assert given.placed_json_lines == [("line 3", {"a": 1}), ("line 5", {"a": 2})]
    assert given.json_lines == [{"a": 1}, {"a": 2}]
    whole = document("x", '{"a": 1}')
    assert whole.first_json_line == {"a": 1}
    for text in ("", "step,loss\n", '{"a":\n1}', f'{{"a": "{"x" * 2**20}"}}\n'):
        assert document("x", text).first_json_line is None
