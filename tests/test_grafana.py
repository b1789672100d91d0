"""Grafana's dashboards: every query runs, as the view role, and gives what its panel needs.

No Grafana runs here. Its variables and macros are put in as its documentation and the SQLite plugin's say,
the models of Grafana's own SDK read the JSON, and the databases are real.
"""

import json
import os
import re
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard

import shown_archive
from grafana_queries import GrafanaQueries
from postgres_server import libpq_url
from test_views import RECIPE
from tuneledger import Archive, Job, grafana
from tuneledger.engine import locate
from tuneledger.errors import InvalidArgument

FOLDER = Path(__file__).parents[1] / "dashboards/grafana"
NAMES = sorted(path.stem for path in FOLDER.glob("*.json"))
MOST_ROWS = 5_000

LONG = os.environ.get("TUNELEDGER_LONG") == "1"
JOBS, STEPS = (100, 10_000) if LONG else (10, 1_000)
MOST_SECONDS = 0.2 if LONG else 5  # a machine that runs all tests at once is no measure


class Shown(GrafanaQueries):
    """A filled archive and its dashboards."""

    def __init__(self, url: str, owner: str, connection: Any) -> None:
        super().__init__(locate(url), connection)
        self.owner = owner

    def work(self, text: str) -> int:
        """What a query takes: SQLite's steps in tens, the values and checkpoints that PostgreSQL visits."""
        if self.location.schema is None:
            plan = [row[3] for row in self.run(f"EXPLAIN QUERY PLAN {text}")[1]]
            assert not [line for line in plan if re.match("SCAN [mlc]( |$)", line)], plan
            steps = iter(range(10**9))
            self.connection.set_progress_handler(lambda: next(steps) < 0, 10)
            self.run(text)
            self.connection.set_progress_handler(None, 0)
            return next(steps)
        ((plan,),) = self.run(f"EXPLAIN (ANALYZE, FORMAT JSON) {text}")[1]
        nodes = [plan[0]["Plan"]]
        visited = 0
        for node in nodes:
            nodes += node.get("Plans", [])
            if node.get("Relation Name") in {"metrics", "checkpoints"} and node["Actual Loops"]:
                assert "job_key = " in node.get("Index Cond", node.get("Recheck Cond", "")), plan
                visited += (node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) * node[
                    "Actual Loops"
                ]
        return visited


@pytest.fixture
def postgresql(as_role: Callable[[str], str]) -> Iterator[Shown]:
    """The archive on PostgreSQL, read by the view role."""
    with Archive(as_role("write")) as archive:
        shown_archive.fill(archive)
    url = as_role("view")
    with psycopg.connect(libpq_url(url.partition("?")[0]), autocommit=True) as connection:
        yield Shown(url, as_role("migrate"), connection)


@pytest.fixture
def sqlite(sqlite_url: str) -> Iterator[Shown]:
    """The archive on SQLite, opened as the plugin does: read-only, by the file's path."""
    with Archive(sqlite_url) as archive:
        shown_archive.fill(archive)
    path = sqlite_url.removeprefix("sqlite:///")
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        yield Shown(sqlite_url, sqlite_url, connection)


@pytest.fixture(params=["sqlite", "postgresql"])
def shown(request: pytest.FixtureRequest) -> Shown:
    """The archive and its dashboards, on each engine."""
    found: Shown = request.getfixturevalue(request.param)
    return found


def test_every_panel_gets_what_its_format_needs(shown: Shown) -> None:
    """Each query of each dashboard runs and answers: times, numbers and names where the panel wants them."""
    for dashboard in shown.dashboards.values():
        variables = shown.variables(dashboard)
        for panel in dashboard["panels"]:
            (target,) = panel["targets"]
            columns, rows = shown.answer(shown.query(target), variables)
            where = f"{dashboard['title']}: {panel['title']}"
            assert 0 < len(rows) <= MOST_ROWS, where
            assert len(columns) == len(set(columns)), where
            by_name = {
                name: [value for value in values if value is not None]
                for name, values in zip(columns, zip(*rows, strict=True), strict=True)
            }
            kind = target["format"] if shown.location.schema else target["queryType"].replace(" ", "_")
            assert kind == ("time_series" if panel["type"] == "timeseries" else "table"), where
            if panel["type"] == "timeseries":
                # Grafana's long format: time in rising order, a name, a number.
                assert columns == ["time", "metric", "value"], where
                assert all(is_time(value, shown) for value in by_name["time"]), where
                assert by_name["time"] == sorted(by_name["time"]), where
                assert len(by_name["time"]) == len(rows), where
                assert all(isinstance(value, str) for value in by_name["metric"]), where
                assert all(isinstance(value, float) for value in by_name["value"]), where
            if panel["type"] == "trend":
                x = panel["options"]["xField"].partition("\\")[0]
                assert by_name[x] == sorted(by_name[x]), where
                assert all(isinstance(value, int | float) for value in by_name[x]), where
                numbers = set(columns) - {x, "job_id", "metric"}
                assert any(by_name[name] for name in numbers), where
                assert all(isinstance(v, int | float) for name in numbers for v in by_name[name]), where
            if panel["type"] == "state-timeline":
                assert columns[0] == "time", where
            if panel["type"] == "barchart":
                assert columns[0] == panel["options"]["xField"], where


def is_time(value: object, shown: Shown) -> bool:
    """Whether Grafana takes it for a time: timestamptz, or on SQLite text in RFC 3339."""
    if shown.location.schema:
        return isinstance(value, datetime) and value.tzinfo is not None
    return isinstance(value, str) and bool(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", value))


def test_comparison_shows_eight_jobs_and_every_spike(shown: Shown) -> None:
    """However many jobs are chosen, the newest eight are drawn; the long job alone keeps its spike."""
    dashboard = shown.dashboards["comparison"]
    panel = shown.query(dashboard["panels"][0]["targets"][0])
    every = shown.variables(dashboard) | {"metric": ["train_loss"]}
    assert len(every["jobs"]) > 8
    columns, rows = shown.answer(panel, every)
    assert len({row[columns.index("job_id")] for row in rows}) == 8
    columns, rows = shown.answer(panel, every | {"jobs": [shown_archive.LONG]})
    assert (shown_archive.SPIKE, 50.0) in {
        (row[columns.index("step")], row[columns.index("value")]) for row in rows
    }


def test_jobs_without_a_number_stand_last(shown: Shown) -> None:
    """On both engines: of a table that is cut the best must not be what goes."""
    dashboard = shown.dashboards["comparison"]
    point = {"metrics": {"train_loss": float("nan")}, "step_number": 1, "created_at": 0}
    with Archive(shown.owner) as archive:
        archive.save(Job.model_validate({"job_id": "a", "provider": "p", "checkpoints": [point]}))
    variables = shown.variables(dashboard)
    every = variables | {"metric": ["train_loss"], "jobs": [*variables["jobs"], "a"]}
    (table,) = [panel for panel in dashboard["panels"] if "s.min_value" in json.dumps(panel["targets"])]
    columns, rows = shown.answer(shown.query(table["targets"][0]), every)
    values = [row[columns.index("min_value")] for row in rows]
    assert values.index(None) == len(values) - values.count(None) > 0


def test_events_are_annotations(shown: Shown) -> None:
    """A job's events come with the columns that Grafana's annotations want."""
    dashboard = shown.dashboards["job"]
    (annotation,) = dashboard["annotations"]["list"]
    variables = shown.variables(dashboard) | {"job": ["ftjob-01"]}
    columns, rows = shown.answer(shown.query(annotation["target"]), variables)
    assert columns == ["time", "text", "tags"]
    assert [row[1] for row in rows] == ["status-updated"] * 2
    assert all(is_time(row[0], shown) for row in rows)


def test_view_role_reads_no_table(postgresql: Shown) -> None:
    """The role that runs every panel reads no table and writes nothing, and its queries are not compiled."""
    place = postgresql.location.schema
    assert postgresql.run("SHOW jit")[1] == [("off",)]
    for statement in (
        f"SELECT * FROM {place}.jobs",
        f"DELETE FROM {place}.checkpoints",
        f"CREATE TABLE {place}.x ()",
    ):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            postgresql.run(statement)


def test_thinned_curves_are_the_documented_recipe() -> None:
    """Panels that thin out do so by the SQL of docs/dashboards.md, which is tested against the repository."""

    def squeezed(text: str) -> str:
        text = re.sub(r"IN \([^()]*(SELECT[^()]*(\([^()]*\))?[^()]*)?\)", "IN ()", text, count=2)
        # A comparison draws eight curves, of fewer points each.
        return " ".join(text.replace("${schema}.", "").replace("/ 100 +", "/ 250 +").split())

    recipe = squeezed(RECIPE).rpartition(" ORDER BY")[0]
    head, _, tail = recipe.partition(" ) SELECT")
    thinning = 0
    for name in NAMES:
        for panel in json.loads((FOLDER / f"{name}.json").read_text())["panels"]:
            found = panel["targets"][0]["rawSql"]
            if "MATERIALIZED" in found:
                thinning += 1
                assert head in squeezed(found)
                assert "SELECT" + tail in squeezed(found)
    assert thinning == 7


@pytest.mark.parametrize("name", NAMES)
def test_grafanas_own_models_know_every_key(name: str, sqlite_url: str) -> None:
    """Read by the models of Grafana's SDK and written again, no key of a dashboard is lost."""
    register_default_plugins()
    for url in ("postgresql://u@h/d", sqlite_url):
        files = grafana.files(locate(url), Path("/grafana"))
        dashboard = json.loads(files[f"dashboards/{name}.json"])
        again = json.loads(json.dumps(Dashboard.from_json(dashboard), cls=JSONEncoder))
        assert not list(lost(dashboard, again)), name


def lost(wanted: Any, found: Any, place: str = "") -> Iterator[str]:
    """The places of ``wanted`` that ``found`` has not, or has otherwise."""
    if place.endswith(".target"):
        return  # the SDK knows annotations of Grafana's own data source alone
    if isinstance(wanted, dict) and isinstance(found, dict):
        for key, value in wanted.items():
            if key in found:
                yield from lost(value, found[key], f"{place}.{key}")
            else:
                yield f"{place}.{key}"
    elif isinstance(wanted, list) and isinstance(found, list) and len(wanted) == len(found):
        for number, (one, other) in enumerate(zip(wanted, found, strict=True)):
            yield from lost(one, other, f"{place}[{number}]")
    elif wanted != found:
        yield place


def test_panels_fit_the_grid() -> None:
    """No panel lies upon another or leaves the 24 columns, and links lead to dashboards there are."""
    for name in NAMES:
        dashboard = json.loads((FOLDER / f"{name}.json").read_text())
        assert dashboard["uid"] == f"tuneledger-{name}"
        taken: set[tuple[int, int]] = set()
        for panel in dashboard["panels"]:
            grid = panel["gridPos"]
            cells = {
                (x, y)
                for x in range(grid["x"], grid["x"] + grid["w"])
                for y in range(grid["y"], grid["y"] + grid["h"])
            }
            assert not cells & taken
            assert max(x for x, _ in cells) < 24
            taken |= cells
        for linked in re.findall(r"/d/tuneledger-(\w+)", json.dumps(dashboard)):
            assert linked in NAMES


def test_files_are_made_out_for_the_archive(tmp_path: Path) -> None:
    """Data source and schema are those of the archive; a password never gets into a file."""
    place = locate("postgresql://jo:se$cret@db.example:6543/runs?schema=tunes&sslmode=require")
    paths = grafana.write(place, tmp_path)
    whole = "".join(path.read_text() for path in paths)
    assert "cret" not in whole
    source = (tmp_path / "provisioning/datasources/tuneledger.yaml").read_text()
    for line in (
        'url: "db.example:6543"',
        'user: "jo"',
        'database: "runs"',
        'sslmode: "require"',
        "password: $TUNELEDGER_GRAFANA_PASSWORD",
    ):
        assert line in source
    assert (
        f'path: "{tmp_path}/dashboards"' in (tmp_path / "provisioning/dashboards/tuneledger.yaml").read_text()
    )
    for name in NAMES:
        dashboard = json.loads((tmp_path / f"dashboards/{name}.json").read_text())
        assert dashboard["templating"]["list"][0]["query"] == "tunes"


def test_dollars_are_doubled(tmp_path: Path) -> None:
    """Grafana would take a dollar for a variable of its environment."""
    files = grafana.files(locate(tmp_path / "a$b.db"), tmp_path)
    assert f'path: "{tmp_path}/a$$b.db"' in files["provisioning/datasources/tuneledger.yaml"]
    bare = grafana.files(locate("postgresql:///runs"), tmp_path)["provisioning/datasources/tuneledger.yaml"]
    assert 'url: "localhost:5432"' in bare
    assert 'user: ""' in bare


def test_existing_files_are_kept(tmp_path: Path) -> None:
    """A file with another content is not written over, and none beside it is written, unless forced."""
    place = locate(tmp_path / "x.db")
    target = tmp_path / "g/dashboards/jobs.json"
    target.parent.mkdir(parents=True)
    target.write_text("mine")
    with pytest.raises(InvalidArgument, match=r"jobs\.json would change; --force"):
        grafana.write(place, tmp_path / "g")
    assert [path for path in (tmp_path / "g").rglob("*") if path.is_file()] == [target]
    first = grafana.write(place, tmp_path / "g", force=True)
    before = {path: path.stat().st_mtime_ns for path in first}
    assert grafana.write(place, tmp_path / "g") == first
    assert {path: path.stat().st_mtime_ns for path in first} == before


def test_memory_is_refused() -> None:
    """An archive in memory is nobody else's to see."""
    with pytest.raises(InvalidArgument, match="in memory"):
        grafana.files(locate("sqlite://"), Path())


@pytest.mark.parametrize("analyzed", [False, True])
def test_panels_read_what_they_show_alone(shown: Shown, *, analyzed: bool) -> None:
    """What is asked of chosen jobs costs no more for longer and more other jobs, most of which are short.

    PostgreSQL then expects few values of each job. It may look at those of a long one all the same no more
    often than there are parts to the question, certainly not once for each point that is shown.
    """
    jobs = [shown_archive.LONG, "ftjob-01", "ftjob-03"]
    chosen = {"job": jobs[:1], "jobs": jobs, "metric": ["train_loss"]}
    most = 4 * (shown_archive.LONG_STEPS + 200)
    took: list[dict[str, int]] = []
    for steps, many in ((50, 0), (6_000, 300)):
        with Archive(shown.owner, durable=False) as archive:
            short, long = shown_archive.long_job(1), shown_archive.long_job(steps)
            for number in range(many):
                archive.save(short.model_copy(update={"job_id": f"short-{number}"}))
            for number in range(5):
                archive.save(long.model_copy(update={"job_id": f"other-{number}"}))
            if analyzed:
                with archive.engine.begin() as connection:
                    connection.exec_driver_sql("ANALYZE")
        took.append({})
        for dashboard in shown.dashboards.values():
            variables = shown.variables(dashboard) | chosen
            for name, text in shown.asked(dashboard):
                filled = shown.filled(text, variables)
                assert len(shown.run(filled)[1]) <= MOST_ROWS
                if "${job" in text:
                    took[-1][f"{dashboard['title']}: {name}"] = shown.work(filled)
    before, after = took
    if shown.location.schema:
        assert {name: work for name, work in after.items() if work > most} == {}
    else:
        assert {name: (before[name], work) for name, work in after.items() if work > 1.3 * before[name]} == {}


def test_command_writes_the_files(sqlite_url: str, tmp_path: Path, command: Callable[..., Any]) -> None:
    """`tuneledger grafana DIR` names what it wrote, and what else SQLite needs."""
    ended = command("grafana", str(tmp_path / "g"), "--db", sqlite_url)
    assert ended.code == 0
    assert len(ended.out.splitlines()) == 2 + len(NAMES)
    assert all(Path(line).is_file() for line in ended.out.splitlines())
    assert "frser-sqlite-datasource" in ended.err
    assert command("grafana", str(tmp_path / "p"), "--db", "postgresql://h/d").err.count("\n") == 1
