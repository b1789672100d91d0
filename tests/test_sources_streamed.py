import json
import re
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sample_files import FOLDER
from source_records import (
    SERIES,
    log_rows,
    mistral_job,
    openai_checkpoint,
    openai_event,
    openai_job,
    own_job,
    page,
    together_job,
    trainer_state,
)
from strategies import JSON
from tuneledger import Archive, Job, json_text
from tuneledger.cli import exit_codes, run
from tuneledger.errors import DatabaseReadOnly, InvalidPayload, LimitExceeded
from tuneledger.sources import VALUE_HEADER, Document, Hints, Stream, jobs_of_list, named, streamed
from tuneledger.sync import Outcome, archive_paths
from tuneledger.sync import inputs as sync_inputs

NO_HINTS = Hints()


def stream(data: bytes, portion: int = 7, **limits: int) -> Stream:
    """These bytes as a long input that comes in small portions."""

    def chunks() -> Iterator[bytes]:
        yield from (data[at : at + portion] for at in range(0, len(data), portion))

    bounds = {"max_bytes": 2**20, "max_values": 2**20} | limits
    return Stream("long", "/long", chunks, **bounds)


@pytest.fixture
def window(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Sets how many bytes are looked at at once."""
    return lambda size: monkeypatch.setattr(streamed, "_WINDOW", size)


@given(
    st.lists(JSON, min_size=1, max_size=4),
    st.sampled_from([None, "", " ", "\n  "]),
    st.sampled_from(
        ["%s", "\ufeff \n%s\n", '{"data":%s}', '{"a": [1, {"data": "]"}], "data" : %s, "b":null }']
    ),
    st.tuples(st.integers(1, 40), st.integers(1, 40)),
    st.sampled_from(["ascii", "utf-8"]),
)
def test_items_are_what_the_whole_would_give(
    items: list[Any], indent: str | None, around: str, sizes: tuple[int, int], encoding: str
) -> None:
    """However a list is written and wherever it is cut, its items are those of the whole, bit by bit."""
    more, portion = sizes
    size = len(around.partition("%s")[0].encode()) + more  # nothing says before that it is a list
    text = around % json.dumps(items, indent=indent, ensure_ascii=encoding == "ascii")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(streamed, "_WINDOW", size)
        found = list(stream(text.encode(), portion).items())
    assert [json_text.canonical(item.value) for item in found] == [*map(json_text.canonical, items)]
    assert [item.document.first_item for item in found] == list(range(len(items)))


LIST = page([{"a": [1.5, -0.0, {"b": '\\"é😀'}], "n": 10**30}, [], "x", -1e-7, None])


@pytest.mark.parametrize("value", [LIST, LIST["data"]], ids=["page", "bare"])
@pytest.mark.parametrize("size", [1, 13, 2**20])
def test_damage_is_refused_where_the_whole_would_be(
    value: object, size: int, window: Callable[[int], None]
) -> None:
    """A list that is cut or altered anywhere is refused at the place, and for the reason, that the whole is.

    Items before that place are given; they are what they were.
    """
    window(size)
    text = json.dumps(value, indent=1, ensure_ascii=False).encode()
    whole = [json_text.canonical(item) for item in LIST["data"]]
    changes = [text[:at] for at in range(len(text))]
    changes += [
        text[:at] + other + text[at + 1 :] for at in range(len(text)) for other in (b"]", b'"', b"\xff")
    ]
    for changed in changes:
        items, refusal = taken(stream(changed, 5).items())
        given = [json_text.canonical(item.value) for item in items]
        if refusal is None and given:
            assert json_text.parse(changed, source="long")
        elif refusal is not None:
            with pytest.raises(InvalidPayload) as refused:
                json_text.parse(changed, source="long")
            assert str(refusal) == str(refused.value)
            assert given == whole[: len(given)]


@pytest.mark.parametrize("size", [1, 2, 2**20])
def test_a_comma_behind_the_last_item(size: int, window: Callable[[int], None]) -> None:
    """It is refused after the items before it, in the words and at the place that this Python has for it."""
    window(size)
    text = b'["a", "b",\n \n ]'
    items, refusal = taken(stream(text, 1).items())
    with pytest.raises(InvalidPayload) as refused:
        json_text.parse(text, source="long")
    assert [item.value for item in items] == ["a", "b"]
    assert str(refusal) == str(refused.value)


@pytest.mark.parametrize("size", range(2, 14))
def test_a_number_that_is_cut_is_read_on(size: int, window: Callable[[int], None]) -> None:
    """Wherever a window ends, in 1.5 or 1e+5, no number ends before its last digit."""
    window(size)
    found = [item.value for item in stream(b"[10.25, 1e+5, -0.5e-10, 7]", 1).items()]
    assert found == [10.25, 1e5, -0.5e-10, 7]


def test_damage_ends_the_reading() -> None:
    """What is no JSON is refused where it is met; the rest of a long file is not read to say so."""
    asked: list[int] = []

    def endless() -> Iterator[bytes]:
        yield b'[{"a": 1}, {"a": ?}, '
        while True:
            asked.append(1)
            yield b'{"a": 1}, ' * 10_000

    items = Stream("long", None, endless, 2**30, 2**30).items()
    assert next(items).value == {"a": 1}
    with pytest.raises(InvalidPayload, match="line 1 column 18: not valid JSON"):
        next(items)
    assert len(asked) < 20


def taken(given: Iterator[Any]) -> tuple[list[Any], InvalidPayload | None]:
    """All that comes before a refusal, and that."""
    found = []
    try:
        for item in given:
            found.append(item)  # noqa: PERF402 - what came before the refusal is wanted
    except InvalidPayload as error:
        return found, error
    return found, None


@pytest.mark.parametrize(
    ("flawed", "reason"),
    [
        (b'{"a": 1e400}', "beyond what a double holds"),
        (b'{"a": 1, "a": 2}', "stands twice"),
        (b"9" * 5000, "thousands of digits"),
        (b"[" * 200_000 + b"]" * 200_000, "nested too deeply"),
    ],
)
def test_what_the_whole_refuses_is_refused_in_an_item(flawed: bytes, reason: str) -> None:
    """With its place, after the items before it."""
    found = stream(b"[1, " + flawed + b", 3]", 100).items()
    assert next(found).value == 1
    with pytest.raises(InvalidPayload, match=reason) as refused:
        next(found)
    assert refused.value.position == "[1]"


@pytest.mark.parametrize(
    "text",
    [
        "", "[", "[]", "{", "5", '{"data": 5}', '{"data": {}}', '{"data" 5}', '{"a": 1}',
        '{"a": [1, {"data": [2]}]}',
        "{5: 1}", '{"a": 1} [5]', "[x", "a,b\n1,2\n", "[" * 100_000, '{"a":' + "[" * 100_000, "\xff",
    ],
)  # fmt: skip
def test_what_is_no_list_has_no_items(text: str) -> None:
    """It is then read whole, which says what is wrong with it."""
    data = text.encode("latin-1")
    assert stream(data).opening() == Document("long", data[:7], "/long")


def test_an_item_has_limits() -> None:
    """What is larger than a job may be is refused at its place, before all of it is read or parsed."""
    asked: list[int] = []

    def endless() -> Iterator[bytes]:
        yield b'[1, "'
        while True:
            asked.append(1)
            yield b"x" * 2**18

    items = Stream("long", None, endless, 2**20, 2**20).items()
    assert next(items).value == 1
    with pytest.raises(LimitExceeded, match=r"\[1\]: a job larger than 1048576 bytes; --max-bytes"):
        next(items)
    assert len(asked) < 2**4
    with pytest.raises(LimitExceeded, match=r"\[0\]: more than 9 values"):
        next(stream(b"[[1,2,3,4,5,6,7,8,9,10]]", max_values=9).items())
    many = stream(b"[[" + b"[]," * 2**19, 2**16, max_bytes=2**23, max_values=2**18).items()
    with pytest.raises(LimitExceeded, match=r"\[0\]: more than 262144 values"):
        next(many)
    with pytest.raises(LimitExceeded, match="line 2: a job larger than 20 bytes"):
        list(stream(b"short\n" + b"x" * 100, max_bytes=20).lines())


# By source: jobs that a long input may hold, whole as the source reads them.
def _ids(name: str, job: dict[str, Any]) -> list[dict[str, Any]]:
    return [job | {name: f"{job[name]}{number}"} for number in range(3)]


JOBS = {
    "mistral": _ids("id", mistral_job("SUCCESS", 1_700_000_020, [10, 20])),
    "openai": _ids("id", openai_job()),
    "together": _ids("id", together_job("running", 10, metrics=[{"global_step": 5.0, "train/loss": 0.5}])),
    "tuneledger": _ids("job_id", own_job([1, 2])),
}
ROWS = "\n".join(
    [",".join(VALUE_HEADER), *(f'"run,{n}",elsewhere,{step},5,loss,0.5' for n in range(3) for step in (1, 2))]
)
INPUTS: dict[str, list[bytes]] = {
    **{
        name: [json.dumps(jobs).encode(), json.dumps({"object": "list", "data": jobs}, indent=1).encode()]
        for name, jobs in JOBS.items()
    },
    "tuneledger-jsonl": [
        "\n\n".join(json.dumps({"tuneledger": 1, **job}) for job in JOBS["tuneledger"]).encode(),
        SERIES["tuneledger-jsonl"][0].data.replace(b"\n", b"\r\n"),
    ],
    "tuneledger-csv": [ROWS.encode(), ROWS.replace("\n", "\r\n").encode() + b"\r\n"],
}
del INPUTS["tuneledger"][1]  # ours has no pages


def test_every_source_that_can_stream_is_tested() -> None:
    """And there is no other."""
    of_many = [name for name in SERIES if named(name).stream is not None or named(name).is_job is not None]
    assert sorted(INPUTS) == sorted(of_many)


CASES = [(name, data) for name, inputs in INPUTS.items() for data in inputs]


def streamed_jobs(name: str, given: Stream, hints: Hints = NO_HINTS) -> Iterator[Job]:
    """The jobs of a stream."""
    jobs = jobs_in(name, given, hints)
    assert jobs is not None
    return jobs


def jobs_in(name: str, given: Stream, hints: Hints = NO_HINTS) -> Iterator[Job] | None:
    """The jobs of a stream, None where it has to be read whole."""
    source = named(name)
    if source.stream is not None:
        return source.stream(given, hints)
    listed = jobs_of_list(given, hints, [source])
    return None if listed is None else (job for _, job in listed)


@pytest.mark.parametrize(("name", "data"), CASES)
def test_jobs_of_a_stream_are_those_of_the_whole(name: str, data: bytes) -> None:
    """Equal, and a stream is recognised by how it begins."""
    source = named(name)
    whole = list(source.read(Document("long", data, "/long"), NO_HINTS))
    assert source.recognises(stream(data, 2**16).opening())
    assert list(streamed_jobs(name, stream(data, 2**16))) == whole
    assert len(whole) in {1, 3}


@pytest.mark.parametrize(("name", "data"), CASES)
def test_a_refused_job_is_refused_alike(name: str, data: bytes) -> None:
    """With source, place, field and reason as in the whole, after the jobs before it; so is another id."""
    source = named(name)
    document = Document("long", data, "/long")
    first, _, last = data.rpartition({"tuneledger-csv": b"5", "together": b"status"}.get(name, b"created_at"))
    flawed = first + b"?" + last
    for changed, hints in ((flawed, NO_HINTS), (data, Hints(job_id="another"))):
        with pytest.raises(InvalidPayload) as whole:
            list(source.read(Document("long", changed, "/long"), hints))
        before = list(source.read(document, NO_HINTS)) if changed is flawed else []
        found, refusal = taken(streamed_jobs(name, stream(changed, 2**16), hints))
        assert found == before[:-1]
        if "is no job of" not in str(refusal):
            assert str(refusal) == str(whole.value)


@pytest.mark.parametrize("name", INPUTS)
def test_other_inputs_are_not_streamed(name: str) -> None:
    """A job by itself, or a list of something else, has to be read whole."""
    for data in (b"[5]", b"\xff", json.dumps(page([openai_event(1), openai_checkpoint(5)])).encode(), b""):
        assert jobs_in(name, stream(data, 2**16)) is None


@pytest.mark.parametrize(
    ("item", "reason"),
    [
        (openai_event(1), r"long: \[1\]: it names no job"),
        (own_job([1]), r"long: \[1\]: is no job of a format that is known here; those before it are"),
    ],
)
def test_a_list_of_jobs_ends_at_something_else(item: object, reason: str) -> None:
    """What stands among jobs and is none is refused, not taken for a part of the job before it."""
    jobs = streamed_jobs("openai", stream(json.dumps([openai_job(), item]).encode(), 99))
    assert next(jobs).job_id == openai_job()["id"]
    with pytest.raises(InvalidPayload, match=reason):
        next(jobs)


def test_a_job_of_value_rows_is_bounded() -> None:
    """Its rows, and not those of all jobs, count against the limit."""
    assert len(list(streamed_jobs("tuneledger-csv", stream(ROWS.encode(), 2**16, max_values=12)))) == 3
    with pytest.raises(LimitExceeded, match="line 3: more than 6 values of one job"):
        list(streamed_jobs("tuneledger-csv", stream(ROWS.encode(), 2**16, max_values=6)))
    wide = f'{ROWS}\n"{"x" * 200_000}",'
    with pytest.raises(InvalidPayload, match="line 8: not valid CSV: field larger"):
        list(named("tuneledger-csv").read(Document("long", wide.encode()), NO_HINTS))
    with pytest.raises(InvalidPayload, match="line 3: not UTF-8"):
        list(streamed_jobs("tuneledger-csv", stream(ROWS.encode()[:95] + b"\xff", 2**16)))
    line = INPUTS["tuneledger-jsonl"][0]
    with pytest.raises(LimitExceeded, match="line 1: more than 6 values"):
        list(streamed_jobs("tuneledger-jsonl", stream(line, 2**16, max_values=6)))


# -- from files ---------------------------------------------------------------------------------


@pytest.fixture
def long_from(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Sets how many bytes a file must have to be long."""
    return lambda size: monkeypatch.setattr(sync_inputs, "LONG_BYTES", size)


def archived(location: str, path: Path, **options: Any) -> list[Outcome]:
    """The outcomes of archiving a path."""
    with Archive(location) as archive:
        return list(archive_paths(archive, [str(path)], **options))


def content(location: str) -> list[Any]:
    """Every job of an archive, and what it was made from."""
    with Archive(location) as archive, archive.read() as repository:
        return [
            (
                repository.job(name),
                sorted((i.name, i.format, i.size_bytes, i.sha256) for i in repository.inputs(name)),
            )
            for name in repository.job_ids()
        ]


@pytest.mark.parametrize(("name", "data"), CASES)
def test_a_long_file_is_archived_as_a_short_one(
    name: str, data: bytes, tmp_path: Path, database_url: str, long_from: Callable[[int], None]
) -> None:
    """Even one larger than what is read whole: the same jobs, the same provenance, and then nothing new."""
    path = tmp_path / "jobs"
    path.write_bytes(data)
    archived("sqlite:///" + str(tmp_path / "short.db"), path)
    long_from(10)
    limit = len(data) - 1 if name in JOBS else len(data)
    (outcome,) = archived(database_url, path, max_bytes=limit)
    assert (outcome.format, outcome.error) == (name, None)
    assert all(report.created for report in outcome.reports)
    assert content(database_url) == content("sqlite:///" + str(tmp_path / "short.db"))
    (again,) = archived(database_url, path, max_bytes=limit, format_name=name)
    assert not any(report.wrote for report in again.reports)


def test_a_damaged_tail_keeps_the_jobs_before_it(
    tmp_path: Path, database_url: str, long_from: Callable[[int], None], capsys: pytest.CaptureFixture[str]
) -> None:
    """The command tells of them, and then of the place; archived again whole, the rest is added."""
    long_from(10)
    path = tmp_path / "jobs.json"
    text = json.dumps({"data": JOBS["mistral"]}, indent=1)
    path.write_text(text[:-50])
    assert run(["archive", str(path), "--db", database_url]) == exit_codes.REFUSED
    told = capsys.readouterr()
    lines = text[:-50].count("\n") + 1
    assert told.out == f"{path}: mistral: 2 jobs, 2 new, 4 checkpoints added, 2 events added\n"
    assert re.search(rf"jobs.json: line {lines} column \d+: not valid JSON", told.err)
    path.write_text(text)
    (outcome,) = archived(database_url, path)
    assert [report.wrote for report in outcome.reports] == [False, False, True]
    first, _, last = text.rpartition("1700000010")
    path.write_text(f"{first}1e400{last}")
    (outcome,) = archived(database_url, path)
    assert str(outcome.error) == f"{path}: data[2]: the number 1e400 is beyond what a double holds"
    assert not any(report.wrote for report in outcome.reports)
    assert len(content(database_url)) == 3


def test_other_long_files_are_read_whole(
    tmp_path: Path, sqlite_url: str, long_from: Callable[[int], None]
) -> None:
    """A trainer state, pages of one job, which join, a table, and what nobody knows."""
    long_from(1)
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "trainer_state.json").write_text(json.dumps(trainer_state(log_rows(3))))
    (folder / "job.json").write_text(json.dumps(openai_job()))
    (folder / "events.json").write_text(json.dumps(page([openai_event(5, 9, train_loss=0.1)])))
    (folder / "metrics.csv").write_text("epoch,step,loss\n0,1,0.5\n")
    (folder / "notes.json").write_text('[{"a": 1}]')
    outcomes = {Path(outcome.name).name: outcome for outcome in archived(sqlite_url, folder)}
    assert {name: outcome.format for name, outcome in outcomes.items()} == {
        "trainer_state.json": "huggingface",
        "job.json": "openai",
        "events.json": "openai",
        "metrics.csv": "lightning",
        "notes.json": None,
    }
    assert outcomes["events.json"].joined_to == outcomes["job.json"].name
    assert outcomes["notes.json"].skipped


def test_a_format_without_lists_gives_a_long_list_the_verdict_of_a_short_one(
    tmp_path: Path, sqlite_url: str, long_from: Callable[[int], None]
) -> None:
    """Word by word: the list is none of that format, whatever its items are."""
    file = tmp_path / "states.json"
    file.write_text(json.dumps([trainer_state(log_rows(3))] * 2))
    (short,) = archived(sqlite_url, file, format_name="huggingface")
    long_from(1)
    (long,) = archived(sqlite_url, file, format_name="huggingface")
    assert "not a trainer's record" in str(short.error)
    assert str(long.error) == str(short.error)


def test_a_file_that_grows_while_it_is_read(
    tmp_path: Path, sqlite_url: str, long_from: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is appended meanwhile waits for the next time; what vanishes is missed at its place."""
    long_from(1)
    monkeypatch.setattr(sync_inputs, "_CHUNK", 100)
    path = tmp_path / "jobs.jsonl"
    lines = INPUTS["tuneledger-jsonl"][0].split(b"\n\n")
    path.write_bytes(b"\n".join(lines[:2]) + b"\n")
    with sync_inputs.opened_long(str(path), max_bytes=2**20, max_values=2**20) as given:
        assert given is not None
        with path.open("ab") as file:
            file.write(lines[2])
        assert list(given.lines()) == [line + b"\n" for line in lines[:2]]
        path.write_bytes(lines[0])
        assert list(given.lines()) == [lines[0]]
    (outcome,) = archived(sqlite_url, path)
    assert len(outcome.reports) == 1


def test_lines_end_where_a_portion_ends() -> None:
    """A line that a portion ends with is a line, also where no line end follows."""
    for data in (b"a\nb", b"a\n\nb\n", b"aa\r\nb\r\nc", b"\n"):
        for portion in range(1, len(data) + 1):
            assert list(stream(data, portion).lines()) == data.splitlines(keepends=True)


@pytest.mark.parametrize(
    ("member", "reason"),
    [(b"[" * 100_000 + b"]" * 100_000, "nested too deeply"), (b"9" * 5_000, "thousands of digits")],
)
def test_what_stands_around_a_list_is_refused_alike(member: bytes, reason: str) -> None:
    """What no reader can take is refused behind a list; before one, the input is read whole and refused."""
    with pytest.raises(InvalidPayload, match=reason):
        list(stream(b'{"data": [1, 2], "x": %s}' % member, 2**20).items())
    before = b'{"x": %s, "data": [1, 2]}' % member
    assert list(stream(before, 2**20).items()) == []
    with pytest.raises(InvalidPayload, match=reason):
        json_text.parse(before, source="x")


def test_a_member_that_stands_twice_behind_a_list() -> None:
    """It is refused after the items, as one around them is."""
    items = stream(b'{"data": [1, 2], "x": 1, "x": 2}', 2**20).items()
    assert next(items).value == 1
    with pytest.raises(InvalidPayload, match="field 'x': this key stands twice"):
        next(items)


def test_nothing_has_no_lines() -> None:
    """An empty input has none, not an empty one."""
    assert list(stream(b"").lines()) == []


def test_what_cannot_be_looked_at_is_no_long_file(long_from: Callable[[int], None]) -> None:
    """Reading it says why it cannot be read."""
    long_from(-1)
    with sync_inputs.opened_long("/dev/../" + "x" * 5000, max_bytes=9, max_values=9) as given:
        assert given is None


def test_an_error_while_a_file_is_open_is_its_own(tmp_path: Path, long_from: Callable[[int], None]) -> None:
    """It is not taken for a file that could not be opened, be that one short or long."""
    path = tmp_path / "jobs"
    path.write_bytes(b"12345")
    for size in (4, 5):
        long_from(size)
        with (
            pytest.raises(OSError, match="of the reader's"),
            sync_inputs.opened_long(str(path), max_bytes=9, max_values=9),
        ):
            raise OSError("of the reader's")


def test_an_archive_that_cannot_be_written_ends_a_long_file(
    tmp_path: Path, sqlite_url: str, long_from: Callable[[int], None]
) -> None:
    """It is no fault of the file, and so no outcome of it: the rest would fail alike."""
    long_from(10)
    path = tmp_path / "jobs"
    path.write_bytes(INPUTS["tuneledger-jsonl"][0])
    with Archive(sqlite_url, read_only=True) as archive, pytest.raises(DatabaseReadOnly):
        list(archive_paths(archive, [str(path)]))


def test_memory_does_not_grow_with_the_file(
    tmp_path: Path,
    long_from: Callable[[int], None],
    window: Callable[[int], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Ten times the jobs take no more memory to read."""
    long_from(1)
    window(2**14)
    monkeypatch.setattr(sync_inputs, "_CHUNK", 2**14)
    job = mistral_job("SUCCESS", 1_700_000_020, list(range(1, 20)))
    peaks = []
    for count in (30, 30, 300):  # the first fills caches
        path = tmp_path / f"{count}.json"
        path.write_text(json.dumps({"data": [job | {"id": f"job-{n}"} for n in range(count)]}))
        with sync_inputs.opened_long(str(path), max_bytes=2**20, max_values=2**20) as given:
            assert given is not None
            tracemalloc.start()
            try:
                assert sum(1 for _ in streamed_jobs("mistral", given)) == count
                peaks.append(tracemalloc.get_traced_memory()[1])
            finally:
                tracemalloc.stop()
    assert path.stat().st_size > 2 * peaks[2]
    assert peaks[2] < 1.3 * peaks[1]


@pytest.mark.samples
def test_the_samples_read_as_long_files(tmp_path: Path, long_from: Callable[[int], None]) -> None:
    """Every record is archived or refused as it is when it is read whole."""
    ways = []
    for size in (2**30, 1):
        long_from(size)
        location = f"sqlite:///{tmp_path / str(size)}.db"
        outcomes = archived(location, FOLDER)
        ways.append(
            [(o.name, o.format, str(o.error), o.joined_to, o.reports) for o in outcomes] + content(location)
        )
    assert ways[0] == ways[1]
