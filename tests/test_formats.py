import csv
import io
import json
import math
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import duckdb
import polars as pl
import pyarrow.parquet
import pytest

from tuneledger import NOT_EVALUATED, Archive, Event, Input, Job
from tuneledger.cli import run
from tuneledger.copying import copy_jobs
from tuneledger.errors import DriverMissing, InvalidArgument, InvalidPayload
from tuneledger.parquet import archive_parquet, is_parquet, write_parquet
from tuneledger.sources import Hints, Stream, named
from tuneledger.testing import checkpoint, checkpoints, job

VALUES = {"a": math.nan, "b": -0.0, "c": None, "valid_loss": NOT_EVALUATED, "d": -math.inf, "e": 5e-324}


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[Archive]:
    """An archive of jobs that carry every kind of value, `tmp_path / "from.db"`."""
    with Archive(tmp_path / "from.db") as archive:
        events = [Event(name="twice", created_at=5, data={"a": [1]})] * 2
        archive.save(
            job("rich", status="QUEUED", document={"old": 1}, events=events),
            inputs=[Input("f", "x", 1, "aa")],
        )
        archive.save(
            job(
                "rich",
                status="DONE",
                revision=2,
                checkpoints=[*checkpoints(20), checkpoint(900, VALUES, more="x"), checkpoint(901, {})],
            )
        )
        archive.save(job("=1+1", checkpoints=[checkpoint(3, {"@x": 1.5, "'y": 2.0})]))
        archive.save(job("bare"))
        yield archive


def jobs_of(archive: Archive) -> list[Job]:
    """Every job, as it was archived."""
    with archive.read() as repository:
        return [repository.job(job_id) for job_id in repository.job_ids()]


def digests_of(archive: Archive) -> dict[str, int]:
    """Every job's digest, proved."""
    with archive.read() as repository:
        proofs = {job_id: repository.proof(job_id) for job_id in repository.job_ids()}
    assert all(proof.holds for proof in proofs.values())
    return {job_id: proof.stored for job_id, proof in proofs.items()}


def test_there_and_back_by_parquet(archive: Archive, database_url: str, tmp_path: Path) -> None:
    """SQLite to another database to Parquet to SQLite: every digest is what it was."""
    folder = str(tmp_path / "parquet")
    with Archive(database_url) as between, Archive(tmp_path / "back.db") as back:
        copy_jobs(archive, between)
        assert write_parquet(between, folder) == 3
        assert is_parquet(folder)
        report = archive_parquet(folder, back)
        assert (report.copied, report.proved) == (3, 3)
        assert digests_of(back) == digests_of(archive)
        with back.read() as repository:
            assert [found.name for found in repository.inputs("rich")] == ["f"]
        assert archive_parquet(folder, back).unchanged == 3


# In a process of its own, for Arrow tells the most that it ever had. The bounds are lower here, so that
# little input passes them.
PEAKS = """
import json, sys, tracemalloc
import pyarrow
from tuneledger import Archive, copying, parquet
from tuneledger.repository import copying as rows, digests
from tuneledger.testing import checkpoints, job

copying._JOBS_A_PAGE = 2
copying._ROWS_A_BATCH = 1000
rows._ROWS_A_WINDOW = parquet._ROWS_A_BATCH = 500
digests._VALUES_A_WINDOW = 1500
peaks = []

def measured(work, *arguments):
    tracemalloc.start()
    work(*arguments)
    peaks.append((tracemalloc.get_traced_memory()[1], pyarrow.default_memory_pool().max_memory()))
    tracemalloc.stop()

for name, (jobs, steps) in enumerate(json.loads(sys.argv[1])):
    with Archive(f"{name}.db", durable=False) as one, Archive(f"{name}.back.db", durable=False) as back:
        for number in range(jobs):
            one.save(job(f"job-{number}", checkpoints=checkpoints(steps)))
        measured(parquet.write_parquet, one, str(name))
        measured(parquet.archive_parquet, str(name), back)
print(json.dumps(peaks))
"""


@pytest.mark.parametrize("sizes", [[(4, 250), (4, 250), (40, 250)], [(1, 1_000), (1, 1_000), (1, 10_000)]])
def test_parquet_takes_memory_that_does_not_grow(tmp_path: Path, sizes: list[tuple[int, int]]) -> None:
    """Ten times the checkpoints, in as many jobs or in one, take no more, Arrow's own memory counted in."""
    ended = subprocess.run(
        [sys.executable, "-c", PEAKS, json.dumps(sizes)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    _, _, writing, reading, writing_more, reading_more = json.loads(ended.stdout)  # the first filled caches
    for less, more in ((writing, writing_more), (reading, reading_more)):
        assert more[0] < 1.5 * less[0]
        assert more[1] < 1.5 * less[1]


def test_duckdb_and_polars_read_both(archive: Archive, tmp_path: Path) -> None:
    """The same numbers come from the Parquet files and from the database, by DuckDB and by polars."""
    folder = tmp_path / "parquet"
    write_parquet(archive, str(folder))
    wanted = "SELECT sum(value) FROM {} WHERE metric = 'train_loss'"
    file = folder / "metrics.parquet"
    ((by_duckdb,),) = duckdb.execute(wanted.format(f"'{file}'")).fetchall()
    by_polars = pl.read_parquet(file).filter(pl.col("metric") == "train_loss")["value"].sum()
    points = pl.read_database("SELECT metric, value FROM points", connection=archive.engine)
    ((from_database,),) = duckdb.execute(wanted.format("points")).fetchall()
    expected = sum(found.metrics.train_loss or 0 for found in checkpoints(20))
    assert by_duckdb == pytest.approx(expected)
    assert by_polars == pytest.approx(expected)
    assert from_database == pytest.approx(expected)
    assert len(points) == 20 * 3 + len(VALUES) + 2
    assert pl.read_parquet(file)["kind"].drop_nulls().sort().to_list() == [1, 2, 4, 5, 6]


def test_parquet_is_written_whole_or_not_at_all(archive: Archive, tmp_path: Path) -> None:
    """A folder that is there is left alone, and one that cannot be finished leaves nothing behind."""
    (tmp_path / "there").mkdir()
    with pytest.raises(InvalidArgument):
        write_parquet(archive, str(tmp_path / "there"))
    with archive.engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM job_metrics")
    before = sorted(tmp_path.iterdir())
    with pytest.raises(Exception, match="verify"):
        write_parquet(archive, str(tmp_path / "new"))
    assert sorted(tmp_path.iterdir()) == before


def test_broken_parquet_is_refused(archive: Archive, tmp_path: Path) -> None:
    """A cut file, and a column of a later release, are refused by name; a missing table is none."""
    folder = tmp_path / "parquet"
    write_parquet(archive, str(folder))
    (folder / "inputs.parquet").unlink()
    with Archive(tmp_path / "to.db") as target:
        assert archive_parquet(str(folder), target).copied == 3
        events = folder / "events.parquet"
        table = pyarrow.parquet.read_table(events)
        pyarrow.parquet.write_table(table.rename_columns([*table.column_names[:-1], "later"]), events)
        with pytest.raises(InvalidPayload, match=r"events\.parquet.*later"):
            archive_parquet(str(folder), target)
        events.write_bytes(events.read_bytes()[:-9])
        with pytest.raises(InvalidPayload, match="no whole Parquet"):
            archive_parquet(str(folder), target)


@pytest.mark.parametrize(
    ("file", "column", "values"),
    [
        ("jobs", "created_at", [-1, -1, -1]),
        ("jobs", "revision", None),
        ("checkpoints", "job_id", None),
    ],
)
def test_parquet_that_no_archive_wrote_is_refused(
    archive: Archive, tmp_path: Path, file: str, column: str, values: list[int] | None
) -> None:
    """Values that no table takes and columns that are missing are the folder's fault, not the database's."""
    folder = tmp_path / "parquet"
    write_parquet(archive, str(folder))
    path = folder / f"{file}.parquet"
    table = pyarrow.parquet.read_table(path)
    place = table.column_names.index(column)
    rest = table.drop_columns([column])
    changed = rest if values is None else rest.add_column(place, column, [values])
    pyarrow.parquet.write_table(changed, path)
    with Archive(tmp_path / "to.db") as target:
        with pytest.raises(InvalidPayload, match="rows that no archive ever held"):
            archive_parquet(str(folder), target)
        with target.read() as repository:
            assert repository.count_jobs() == 0


def test_missing_pyarrow_names_the_extra(
    archive: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without pyarrow the error says what to install."""
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(DriverMissing, match=r"tuneledger\[parquet\]"):
        write_parquet(archive, str(tmp_path / "parquet"))


@pytest.mark.parametrize("shape", ["provider", "jsonl", "parquet", "csv"])
def test_archive_takes_back_what_export_wrote(archive: Archive, tmp_path: Path, shape: str) -> None:
    """`export --format` and `archive` are inverses, as far as the format carries."""
    output, back = str(tmp_path / "out"), str(tmp_path / "back.db")
    source = str(tmp_path / "from.db")
    assert run(["export", "--all", "--format", shape, "-o", output, "--db", source]) == 0
    assert run(["archive", output, "--db", back]) == 0
    with Archive(back) as other:
        if shape == "csv":
            for given in jobs_of(archive):
                metrics = [found.metrics for found in given.checkpoints]
                with other.read() as repository:
                    count = repository.count_checkpoints(given.job_id) if metrics else 0
                    found = repository.checkpoints(given.job_id) if count else []
                assert [one.metrics for one in found] == metrics
        else:
            assert sorted(jobs_of(other), key=lambda found: found.job_id) == sorted(
                jobs_of(archive), key=lambda found: found.job_id
            )
        if shape == "parquet":
            assert digests_of(other) == digests_of(archive)
    assert run(["archive", output, "--db", back]) == 0


@pytest.mark.usefixtures("archive")
def test_csv_runs_no_formula(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """No cell begins as a formula does; a job alone may be exported to standard output."""
    assert run(["export", "=1", "--format", "csv", "--db", str(tmp_path / "from.db")]) == 0
    rows = list(csv.reader(io.StringIO(capsys.readouterr().out)))
    assert sorted(rows[1:]) == [
        ["'=1+1", "conformance", "3", "1700000000", "''y", "2.0"],
        ["'=1+1", "conformance", "3", "1700000000", "'@x", "1.5"],
    ]


@pytest.mark.usefixtures("archive")
def test_export_asks_for_jobs_or_all(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Neither, both, or Parquet without a folder, are complaints about the command line."""
    db = ["--db", str(tmp_path / "from.db")]
    assert run(["export", *db]) == 2
    assert run(["export", "rich", "--all", *db]) == 2
    assert run(["export", "--all", "--format", "parquet", *db]) == 2
    assert "--output says which" in capsys.readouterr().err
    assert run(["export", "--all", *db]) == 0
    assert len(json.loads(capsys.readouterr().out)) == 3


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (
            '{"job_id": 0, "provider": 0, "document": 0, "events": 0, "checkpoints": [], "not_evaluated": 0}',
            "not_evaluated",
        ),
        ('{"tuneledger": 1, "job_id": "a", "provider": "p"}\n{"tuneledger": 2}\n', "line 2"),
        ('{"tuneledger": 1, "job_id": "a", "provider": "p"}\n5\n', "line 2: is no job line"),
        ('{"tuneledger": 2, "job_id": "a", "provider": "p"}\n', "line 1: is no job line of this release"),
        ('{"tuneledger": 1, "not_evaluated": [], "job_id": "a", "provider": "p"}\n', "not_evaluated"),
        ('{"tuneledger": 1, "job_id": 5}\n', "job_id"),
        ("job_id,provider,step_number,created_at,metric,value\na,p,1\n", "line 2"),
        ("job_id,provider,step_number,created_at,metric,value\na,p,1,0,m,word\n", "line 2"),
        ("job_id,provider,step_number,created_at,metric,value\na,p,1,0,m,1e999\n", "line 2"),
        ("job_id,provider,step_number,created_at,metric,value\na,p,1,0,m,1.0\na\n", "line 3"),
        (
            "job_id,provider,step_number,created_at,metric,value\na,p,1,0,m,1.0\na,p,01,0,m,2.0\n",
            "line 3, field 'm': the rows of step 1 give it two times, or a metric twice",
        ),
        (
            "job_id,provider,step_number,created_at,metric,value\na,p,1,0,m,1.0\na,p,1,5,n,2.0\n",
            "line 3, field 'n': the rows of step 1 give it two times, or a metric twice",
        ),
    ],
)
def test_damaged_lines_are_refused_with_their_place(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, reason: str
) -> None:
    """What `export` did not write is refused, and the message says where."""
    (tmp_path / "in").write_text(text)
    assert run(["archive", str(tmp_path / "in"), "--db", str(tmp_path / "x.db")]) == 1
    assert reason in capsys.readouterr().err


@pytest.mark.parametrize("shape", ["jsonl", "csv"])
@pytest.mark.usefixtures("archive")
def test_a_job_id_must_be_the_file_s_own(tmp_path: Path, shape: str) -> None:
    """A file that names its job is refused under another id, blank lines or not."""
    output = tmp_path / "out"
    source = ["--db", str(tmp_path / "from.db")]
    assert run(["export", "rich", "--format", shape, "-o", str(output), *source]) == 0
    if shape == "jsonl":
        output.write_text(output.read_text() + "\n\n")
    back = ["archive", str(output), "--db", str(tmp_path / "x.db"), "--job-id"]
    assert run([*back, "rich"]) == 0
    assert run([*back, "another"]) == 1


@pytest.mark.parametrize("shape", ["jsonl", "csv"])
def test_a_byte_order_mark_and_blank_lines_are_no_matter(
    archive: Archive, tmp_path: Path, shape: str
) -> None:
    """Editors and shells put them there; the jobs are the same, from a file and from a stream."""
    output, back = tmp_path / "out", str(tmp_path / "back.db")
    arguments = ["rich", "--format", shape, "-o", str(output), "--db", str(tmp_path / "from.db")]
    assert run(["export", *arguments]) == 0
    data = "\ufeff".encode() + output.read_bytes().replace(b"\n", b"\r\n\r\n")
    output.write_bytes(data)
    assert run(["archive", str(output), "--db", back]) == 0
    with Archive(back) as other, other.read() as there, archive.read() as here:
        assert there.checkpoints("rich") == here.checkpoints("rich") or shape == "csv"
        assert there.count_checkpoints("rich") == here.count_checkpoints("rich")
    source = named({"jsonl": "tuneledger-jsonl", "csv": "tuneledger-csv"}[shape])
    assert source.stream
    streamed = source.stream(Stream("x", None, lambda: iter([data]), 2**20, 2**20), Hints())
    assert streamed
    assert [found.job_id for found in streamed] == ["rich"]


def test_job_lines_may_be_written_anew_by_other_tools(archive: Archive, tmp_path: Path) -> None:
    """As by `jq --compact-output`, without spaces."""
    output, back = tmp_path / "out", str(tmp_path / "back.db")
    arguments = ["--format", "jsonl", "-o", str(output), "--db", str(tmp_path / "from.db")]
    assert run(["export", "--all", *arguments]) == 0
    lines = [json.dumps(json.loads(line), separators=(",", ":")) for line in output.read_text().splitlines()]
    output.write_text("\n".join(lines))
    assert run(["archive", str(output), "--db", back]) == 0
    with Archive(back) as other:
        assert sorted(jobs_of(other), key=lambda found: found.job_id) == sorted(
            jobs_of(archive), key=lambda found: found.job_id
        )


def test_refused_conflicts_of_a_folder(
    archive: Archive, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A job of Parquet that conflicts is refused like one of any input, and so is a broken folder."""
    folder, other = tmp_path / "parquet", str(tmp_path / "to.db")
    archive.save(job("bare", model="newer", revision=3))
    write_parquet(archive, str(folder))
    with Archive(other) as target:
        target.save(job("bare", model="older"))
    arguments = ["archive", str(folder), "--db", other, "--on-conflict", "error", "--json"]
    assert run(arguments) == 1
    assert "newer" in capsys.readouterr().out
    (folder / "metrics.parquet").write_bytes(b"")
    assert run(arguments) == 1
    assert "no whole Parquet" in capsys.readouterr().out
