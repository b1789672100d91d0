"""What dashboards ask of a million checkpoints: ``python -m benchmarks.panels``.

One archive an engine, of 100 jobs with 10,000 checkpoints of three metrics each. Every query of Grafana (as
the view role), of Datasette (which reads SQLite alone) and of our own dashboard (as the read role) is asked
once to warm up and then five times; prints the median in milliseconds and the number of rows.
"""

from __future__ import annotations

import argparse
import json
import re
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from importlib import resources
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from benchmarks import workload
from benchmarks.__main__ import fresh_database, server
from tuneledger import Archive, Event, Job, schema
from tuneledger.dashboard import views
from tuneledger.engine import locate, open_engine

if TYPE_CHECKING:
    from tuneledger.engine import Location

_ROOT: Final = Path(__file__).parents[1]
_TIMES: Final = 5
_CHOSEN: Final = (3, 5, 20)
"""Jobs compared in our own dashboard; three are what it begins with."""


class Question(NamedTuple):
    """One query, and a way to ask it that gives the number of rows."""

    name: str
    ask: Callable[[], int]


Clock = Callable[[], float]
"""Seconds, from some moment on."""


def processor(server_process: int | None) -> Clock:
    """Give the processor time of this process, and of the one of the server's that answers it, if any."""

    def seconds() -> float:
        if server_process is None:
            return time.process_time()
        nanoseconds = Path(f"/proc/{server_process}/schedstat").read_text("ascii").split()[0]
        return time.process_time() + int(nanoseconds) / 1e9

    return seconds


def fill(url: str, checkpoints: int) -> None:
    """Archive the jobs through the library."""
    with Archive(url, durable=False) as archive:
        for number, job_id in enumerate(workload.runs(checkpoints)):
            archive.save(_job(workload.run(job_id, checkpoints // workload.JOBS), number))


def _job(run: workload.Run, number: int) -> Job:
    checkpoints = [
        {
            "metrics": dict(zip(workload.METRICS, point[2:], strict=True)),
            "step_number": point.step,
            "created_at": point.created_at,
        }
        for point in run.points
    ]
    end = run.points[-1].created_at
    events = [
        Event(name="status-updated", created_at=at, data={"status": status})
        for at, status in ((run.created_at, "RUNNING"), (end, "SUCCESS"))
    ]
    return Job.model_validate(
        {
            "job_id": run.job_id,
            "provider": ("mistral", "openai", "huggingface")[number % 3],
            "model": ("open-mistral-7b", "gpt-4o-mini", "qwen-2.5-7b")[number % 3],
            "status": "SUCCESS",
            "created_at": run.created_at,
            "revision": end,
            "finished_at": end,
            "trained_tokens": 100_000 + number,
            "cost": 1.0 + number,
            "cost_currency": "USD",
            "events": events,
            "checkpoints": checkpoints,
        }
    )


@contextmanager
def archives(engine: str, given_server: str, checkpoints: int) -> Iterator[dict[str, str]]:
    """Give the URLs of a filled archive, by role; on SQLite all are one."""
    with fresh_database(engine, given_server) as url:
        if engine == "sqlite":
            opened = open_engine(url)
            schema.upgrade(opened)
            opened.dispose()
            fill(url, checkpoints)
            yield dict.fromkeys(("view", "read"), url)
            return
        from archive_roles import archive_roles  # on the path since the server was started

        with archive_roles(url) as url_of:
            fill(url_of("write"), checkpoints)
            import psycopg

            from postgres_server import libpq_url

            with psycopg.connect(libpq_url(url), autocommit=True) as administrator:
                administrator.execute("VACUUM ANALYZE")  # what autovacuum does within a minute
            yield {role: url_of(role) for role in ("view", "read")}


def of_grafana(location: Location) -> Iterator[Question | Clock]:
    """Give what Grafana asks: every variable, panel and annotation, with as many jobs chosen as there are."""
    from grafana_queries import GrafanaQueries

    with closing(_connected(location)) as connection:
        yield processor(connection.info.backend_pid if location.schema else None)
        grafana = GrafanaQueries(location, connection)
        for dashboard in grafana.dashboards.values():
            variables = grafana.variables(dashboard)
            for name, text in grafana.asked(dashboard):
                filled = grafana.filled(text, variables)
                title = dashboard["title"].replace("tuneledger", "Grafana")
                yield Question(f"{title}: {name}", partial(_rows, connection, filled))


def _rows(connection: Any, *asked: object) -> int:
    return len(connection.execute(*asked).fetchall())


def _connected(location: Location) -> Any:
    if location.path is not None:
        return sqlite3.connect(f"file:{location.path}?mode=ro", uri=True)
    import psycopg

    from postgres_server import libpq_url

    url = location.url.render_as_string(hide_password=False)
    return psycopg.connect(libpq_url(url), autocommit=True)


def of_datasette(location: Location) -> Iterator[Question | Clock]:
    """Give what Datasette asks: canned queries, filters and charts."""
    text = (resources.files("tuneledger.dashboards") / "datasette/metadata.json").read_text("utf-8")
    metadata: Any = json.loads(text)
    with closing(_connected(location)) as connection:
        yield processor(None)
        job = connection.execute("SELECT max(job_id) FROM job_overview").fetchone()[0]
        given = {"job_id": job, "metric": "train_loss"}

        def question(name: str, query: str) -> Question:
            arguments = {name: given.get(name, "") for name in re.findall(r":(\w+)", query)}
            return Question(name, partial(_rows, connection, query, arguments))

        for query in metadata["databases"]["archive"]["queries"].values():
            yield question(f"Datasette: {query['title']}", query["sql"])
        for dashboard in metadata["plugins"]["datasette-dashboards"].values():
            title = dashboard["title"]
            for name, found in dashboard.get("filters", {}).items():
                yield question(f"Datasette, {title}: {name}", found["query"])
            for chart in dashboard["charts"].values():
                if "query" in chart:
                    yield question(f"Datasette, {title}: {chart['title']}", chart["query"])


def of_dashboard(url: str) -> Iterator[Question | Clock]:
    """Give what our own dashboard asks for a view, in each of its parts."""
    with Archive(url, read_only=True) as archive:
        with archive.engine.connect() as connection:
            driver: Any = connection.connection.driver_connection
        yield processor(driver.info.backend_pid if archive.location.schema else None)
        ids = [job.job_id for job in views.jobs(archive)]
        yield Question("dashboard: jobs", lambda: len(views.jobs(archive)))
        for number in _CHOSEN:
            choice = views.Choice(ids[:number], "train_loss")

            yield Question(f"dashboard: curves of {number} jobs", partial(_points, archive, choice))
        choice = views.Choice(ids[:1], "train_loss")
        yield Question("dashboard: newest checkpoints", lambda: len(views.checkpoints(archive, choice)[1]))


def _points(archive: Archive, choice: views.Choice) -> int:
    return sum(len(series.steps) for series in views.compared(archive, choice).curves.values())


def measured(engine: str, urls: dict[str, str], *, wall: bool) -> Iterator[tuple[str, int, float]]:
    """Ask every question; give its name, its rows and the median of its milliseconds."""
    view = locate(urls["view"])
    asked: list[Callable[[], Iterator[Question | Clock]]] = [lambda: of_grafana(view)]
    if engine == "sqlite":
        asked.append(lambda: of_datasette(view))
    asked.append(lambda: of_dashboard(urls["read"]))
    for questions in asked:
        clock: Clock = time.perf_counter
        for question in questions():
            if not isinstance(question, Question):
                clock = time.perf_counter if wall else question
                continue
            rows = question.ask()
            took = []
            for _ in range(_TIMES):
                began = clock()
                question.ask()
                took.append((clock() - began) * 1_000)
            yield question.name, rows, median(took)


def main() -> None:
    """Measure each engine."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.panels", description=__doc__)
    parser.add_argument("--checkpoints", type=float, default=1e6, help="in 100 jobs")
    parser.add_argument("--engines", default="sqlite,postgresql", help="comma-separated")
    parser.add_argument("--postgres", help="URL of a server that may CREATE DATABASE; else one is started")
    parser.add_argument(
        "--clock",
        choices=["wall", "cpu"],
        default="wall",
        help="cpu counts processor time, this process' and the server's: for a machine that others use, too",
    )
    given = parser.parse_args()
    sys.path.insert(0, str(_ROOT / "tests"))  # Grafana's variables are put in as the tests do
    engines = given.engines.split(",")
    found: dict[str, dict[str, tuple[int, float]]] = {}
    for engine in engines:
        with (
            server(engine, given.postgres) as place,
            archives(engine, place, int(given.checkpoints)) as urls,
        ):
            for name, rows, milliseconds in measured(engine, urls, wall=given.clock == "wall"):
                found.setdefault(name, {})[engine] = rows, milliseconds
                print(f"{engine} {name}: {milliseconds:.1f} ms, {rows:,}", file=sys.stderr)
    print(f"| query | rows | {' | '.join(f'{engine}, ms' for engine in engines)} |")
    print("|" + " --- |" * (len(engines) + 2))
    for name, figures in found.items():
        rows = max(number for number, _ in figures.values())
        cells = " | ".join(f"{figures[engine][1]:.1f}" if engine in figures else "-" for engine in engines)
        print(f"| {name} | {rows:,} | {cells} |")


if __name__ == "__main__":
    main()
