"""Pictures without a server: in the terminal, as files, and as a page that opens offline."""

import math
import re
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

import shown_archive
from browsing import Browser, browser
from tuneledger import Archive, CheckpointOut, Job, pictures
from tuneledger.cli import drawing
from tuneledger.errors import ExtraMissing, InvalidArgument
from tuneledger.repository import Series

__all__ = ["browser"]  # a fixture

Command = Callable[..., Any]


@pytest.fixture
def filled(database_url: str) -> str:
    """The URL of a filled archive, on each engine."""
    with Archive(database_url) as archive:
        shown_archive.fill(archive)
    return database_url


def lines(out: str) -> list[str]:
    """The lines of a drawing that hold dots."""
    return [line for line in out.splitlines() if "┤" in line]


def test_plot_in_the_terminal(filled: str, command: Command) -> None:
    """A job's curve falls from the upper left to the lower right, with its scales beside it."""
    ended = command("plot", "ftjob-01", "-m", "train_loss", "--db", filled)
    assert ended.code == 0
    drawn = lines(ended.out)
    assert len(drawn) == 16
    first, last = (line.partition("┤")[2] for line in (drawn[0], drawn[-1]))
    assert first[0] != chr(0x2800)
    assert first.rstrip(chr(0x2800)) == first[: len(first.rstrip(chr(0x2800)))]
    assert len(first.rstrip(chr(0x2800))) < 10
    assert len(last.lstrip(chr(0x2800))) < len(last) / 2
    with Archive(filled, read_only=True) as archive, archive.read() as repository:
        summary = repository.summaries("ftjob-01")["train_loss"]
    assert f"{summary.max_value:.4g}" in drawn[0]
    assert f"{summary.min_value:.4g}" in drawn[-1]
    assert ended.out.splitlines()[-2].split() == ["10", "490"]
    assert ended.out.splitlines()[-1].strip() == "━━ ftjob-01"


def test_plot_of_a_range(filled: str, command: Command) -> None:
    """Only the steps asked for are drawn; both ends count."""
    ended = command("plot", "ftjob-01", "-m", "loss", "--from", "100", "--to", "200", "--db", filled)
    assert ended.out.splitlines()[-2].split() == ["100", "200"]


def test_plot_keeps_a_spike(filled: str, command: Command) -> None:
    """One step of 6,000 reaches up to 50: so does the scale."""
    assert "50 ┤" in command("plot", "ftjob-long", "-m", "train_loss", "--db", filled).out


def test_plot_relative_and_log(filled: str, command: Command) -> None:
    """Jobs of different lengths all end at 100%; a logarithmic scale has the geometric mean in the middle."""
    out = command(
        "plot", "ftjob-01", "ftjob-08", "-m", "train_loss", "--relative", "--log", "--db", filled
    ).out
    assert out.splitlines()[-3].split()[-1] == "100%"
    labels = [float(line.partition("┤")[0]) for line in lines(out) if line.partition("┤")[0].strip()]
    assert labels[1] / labels[0] == pytest.approx(labels[2] / labels[1], rel=0.01)


def test_plot_refuses_a_metric_that_is_not_there(filled: str, command: Command, tmp_path: Path) -> None:
    """Whoever asks for a metric a job has not is told, and for a format that is none."""
    ended = command("plot", "ftjob-01", "-m", "speed", "--db", filled)
    assert (ended.code, ended.out) == (1, "")
    assert "train_loss" in ended.err
    ended = command("plot", "ftjob-01", "-m", "loss", "-o", tmp_path / "x.gif", "--db", filled)
    assert ended.code == 2
    assert "png, svg, html" in ended.err
    assert not list(tmp_path.glob("*.gif"))


@pytest.mark.parametrize("kind", pictures.FORMATS)
def test_plot_as_a_file(sqlite_url: str, command: Command, tmp_path: Path, kind: str) -> None:
    """`-o` writes what the file's ending says, with a curve a job."""
    with Archive(sqlite_url) as archive:
        shown_archive.fill(archive)
    target = tmp_path / f"p.{kind.upper()}"
    ended = command("plot", "ftjob-01", "ftjob-02", "-m", "valid_loss", "-o", target, "--db", sqlite_url)
    assert (ended.code, ended.out) == (0, "")
    data = target.read_bytes()
    if kind == "png":
        assert data.startswith(b"\x89PNG")
        width, height = struct.unpack(">II", data[16:24])
        assert width > 1_600
        assert height > 800
    elif kind == "svg":
        paths = ET.fromstring(data).iter("{http://www.w3.org/2000/svg}path")  # noqa: S314 - our own
        drawn = [path for path in paths if path.get("aria-roledescription") == "line mark"]
        assert len(drawn) == 2
        assert b"ftjob-01" in data
    else:
        assert b"default-src 'none'" in data


@pytest.mark.xdist_group("browser")
def test_page_opens_offline_and_obeys_nobody(tmp_path: Path, browser: Browser) -> None:
    """The page draws by itself, asks the network for nothing, and takes a job's name for text."""
    evil = "</script><script>document.title='taken'</script><img src=http://127.0.0.1:9/x>"
    page = tmp_path / "page.html"
    curves = {evil: Series(evil, "loss", [1, 2, 3], [3.0, 2.0, 1.0])}
    page.write_bytes(pictures.rendered(pictures.specification(curves, title=evil), "html"))
    browser.open(page.as_uri())
    browser.wait("document.querySelector('svg.marks')")
    assert browser.driver.title == evil
    assert browser.driver.execute_script("return performance.getEntriesByType('resource').length") == 0
    assert browser.complaints() == []
    assert not browser.driver.execute_script("return document.querySelector('img')")
    assert len(browser.picture("page")) > 5_000


def test_specification_marks_the_best_and_drops_what_is_no_number() -> None:
    """NaN, infinities, nulls and placeholders are not drawn; the lowest or the highest is marked."""
    series = Series("j", "loss", [0, 1, 2, 3, 4], [2.0, math.nan, None, 1.0, math.inf])
    for goal, step in (("min", 3), ("max", 0)):
        made = pictures.specification({"j": series}, title="t", goal=goal)
        line, mark = made["layer"]
        assert [point["step"] for point in line["data"]["values"]] == [0, 3]
        assert [point["step"] for point in mark["data"]["values"]] == [step]
    assert (
        pictures.specification({"j": Series("j", "loss", [1], [None])}, title="t")["layer"][1]["data"][
            "values"
        ]
        == []
    )


@pytest.mark.parametrize(("lowest", "kind"), [(0.5, "log"), (0.0, "symlog")])
def test_log_scale_survives_zero(lowest: float, kind: str) -> None:
    """Where a value is not above 0 the scale is linear around it, so nothing falls out."""
    series = Series("j", "loss", [1, 2], [1.0, lowest])
    made = pictures.specification({"j": series}, title="t", log=True)
    assert made["layer"][0]["encoding"]["y"]["scale"]["type"] == kind


def test_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the extra a file cannot be drawn, and the error says what to install."""
    monkeypatch.setitem(sys.modules, "vl_convert", None)
    with pytest.raises(ExtraMissing, match=re.escape("'tuneledger[plot]'")):
        pictures.rendered({"title": "t"}, "png")
    with pytest.raises(InvalidArgument):
        pictures.rendered({"title": "t"}, "")


@given(
    st.dictionaries(
        st.text(max_size=5),
        st.dictionaries(
            st.integers(0, 2**63 - 1), st.floats(allow_nan=False, allow_infinity=False), max_size=9
        ),
        max_size=4,
    ),
    st.booleans(),
    st.booleans(),
    st.booleans(),
)
def test_any_numbers_can_be_drawn(
    curves: dict[str, dict[int, float]],
    relative: bool,  # noqa: FBT001 - drawn by Hypothesis
    log: bool,  # noqa: FBT001 - the same
    color: bool,  # noqa: FBT001 - the same
) -> None:
    """Whatever the numbers, all lines have the same width, and each curve stands in the legend."""
    points = {name: (sorted(values), [values[s] for s in sorted(values)]) for name, values in curves.items()}
    drawn = list(drawing.chart(points, relative=relative, log=log, color=color, width=40))
    plain = [re.sub(r"\x1b\[\d+m", "", line) for line in drawn]
    assert {len(line.partition("┤")[2]) for line in plain if "┤" in line} <= {40}
    assert len(drawn) == len(curves) + (17 if any(curves.values()) else 0)
    assert all(line.isprintable() for line in plain)


def test_one_point_is_seen_at_its_step() -> None:
    """A whole character stands for it, and its step below it, once."""
    drawn = list(drawing.chart({"a": ([5], [1.5])}, width=21))
    assert "".join(drawn[:16]).count("\u28ff") == 1
    assert drawn[16].split() == ["5"]
    assert list(drawing.chart({"a": ([5], [1.5])}, width=21, relative=True))[16].split() == ["100%"]


@pytest.mark.parametrize(("color", "count"), [(False, 2), (True, 7)])
def test_letters_tell_curves_apart_where_colors_do_not(*, color: bool, count: int) -> None:
    """Without colors, or with more curves than colors, each begins with its letter, also from one place."""
    curves = {f"job-{n}": ([1, 9, 20], [1.0, 2.0 + n, 3.0 + n]) for n in range(count)}
    *canvas, _ = drawn = list(drawing.chart({**curves, "none": ([], [])}, color=color, width=40))
    for number in range(count):
        letter = "abcdefg"[number]
        assert any(letter in re.sub(r"\x1b\[\d*m", "", line).partition("┤")[2] for line in canvas[:16])
        assert f"━{letter}" in drawn[17 + number]
    assert drawn[-1].endswith("━━ none (no numbers)")
    few = dict(list(curves.items())[: count - 1])
    assert not any("━a" in line for line in drawing.chart(few, color=color))


@pytest.mark.parametrize("kind", pictures.FORMATS)
def test_a_picture_of_no_numbers_says_so(kind: str) -> None:
    """Where nothing can be drawn, there is a picture all the same, that says it."""
    series = {"n": Series("n", "loss", [1], [math.nan])}
    for log in (False, True):
        specification = pictures.specification(series, title="loss", log=log)
        assert specification["layer"][-1]["mark"]["text"] == "no numbers"
        assert len(pictures.rendered(specification, kind)) > 1_000


def test_twenty_jobs_fit_a_picture() -> None:
    """Each has a color of its own and its name below, and the picture is no wider; huge numbers are short."""
    series = {f"job-{n:02}": Series(f"job-{n:02}", "loss", [1, 2], [1e19, 1.0]) for n in range(20)}
    specification = pictures.specification(series, title="loss")
    color = specification["layer"][0]["encoding"]["color"]
    assert len(set(color["scale"]["range"])) == 20
    root = ET.fromstring(pictures.rendered(specification, "svg"))  # noqa: S314 - our own picture
    assert float(root.attrib["width"]) < 900
    written = {text.text for text in root.iter("{http://www.w3.org/2000/svg}text")}
    assert written >= set(series) | {"1e+19"}


@pytest.mark.parametrize("value", [0.0, 1e300])
def test_one_value_lies_in_the_middle(value: float) -> None:
    """A curve of one value is drawn half way up, also where adding 1 would change nothing."""
    drawn = list(drawing.chart({"j": ([1, 2], [value, value])}, width=20))
    lines_with_dots = [at for at, line in enumerate(drawn[:16]) if line.partition("┤")[2].strip(chr(0x2800))]
    assert lines_with_dots in ([7], [8])


def test_compare_as_a_table_and_a_picture(filled: str, command: Command) -> None:
    """The best job stands first, with its extremes and with what every job had at their last common step."""
    arguments = ("compare", "ftjob-01", "ftjob-long", "ftjob-running", "-m", "train_loss", "--db", filled)
    found = command(*arguments, "--json").json["jobs"]
    assert [job["job_id"] for job in found] == ["ftjob-long", "ftjob-running", "ftjob-01"]
    assert {job["common_step"] for job in found} == {50}
    long, running, first = found
    assert (long["max_value"], long["max_step"]) == (50.0, shown_archive.SPIKE)
    assert long["common_value"] == 3 / math.sqrt(51) + 0.02 * math.sin(50)
    assert running["common_value"] == running["last_value"] == 0.4
    assert first["cost"] == 1.25
    assert (first["duration_seconds"], running["duration_seconds"], long["duration_seconds"]) == (
        600,
        None,
        None,
    )
    best_last = command(*arguments, "--json", "--goal", "max").json["jobs"]
    assert [job["job_id"] for job in best_last] == ["ftjob-long", "ftjob-01", "ftjob-running"]
    out = command(*arguments).out
    assert out.index("ftjob-long") < out.index("ftjob-running")
    assert len(lines(out)) == 16
    rows = command(*arguments, "--csv").out.splitlines()
    assert rows[0].startswith("job_id,metric,first_step")
    assert len(rows) == 4


def test_compare_counts_no_duration_of_a_job_that_goes_on(sqlite_url: str, command: Command) -> None:
    """Its last end is not how long it takes."""
    points = [{"metrics": {"loss": 1.0}, "step_number": 1, "created_at": 0}]
    common: dict[str, Any] = {"provider": "p", "created_at": 100, "finished_at": 160, "checkpoints": points}
    with Archive(sqlite_url) as archive:
        for status in ("RUNNING", "SUCCESS"):
            archive.save(Job.model_validate({"job_id": status, "status": status, **common}))
    found = command("compare", "RUNNING", "SUCCESS", "-m", "loss", "--json", "--db", sqlite_url).json["jobs"]
    assert {job["job_id"]: job["duration_seconds"] for job in found} == {"RUNNING": None, "SUCCESS": 60}


def test_compare_writes_a_file_beside_rows(sqlite_url: str, command: Command, tmp_path: Path) -> None:
    """With `-o` the picture goes to the file, and standard output stays what was asked for."""
    job = Job(
        job_id="none",
        provider="p",
        checkpoints=[
            CheckpointOut.model_validate({"metrics": {"loss": math.nan}, "step_number": 1, "created_at": 0})
        ],
    )
    with Archive(sqlite_url) as archive:
        shown_archive.fill(archive)
        archive.save(job)
    target = tmp_path / "c.svg"
    ended = command("compare", "ftjob-01", "none", "-m", "loss", "-o", target, "--json", "--db", sqlite_url)
    assert target.read_bytes().startswith(b"<svg")
    one, none = ended.json["jobs"]
    assert (one["job_id"], one["common_step"]) == ("ftjob-01", None)
    assert (none["job_id"], none["min_value"]) == ("none", None)
    assert "(no numbers)" in command("compare", "ftjob-01", "none", "-m", "loss", "--db", sqlite_url).out
    refused = command("compare", "none", "-m", "loss", "--json", "--csv", "--db", sqlite_url)
    assert refused.code == 2
