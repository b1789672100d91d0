"""Datasette over an archive: real server, real browser."""

import json
import math
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import quote, urlencode

import pytest

import shown_archive
from browsing import Browser, browser, fetched, refused_as_a_stranger, served
from test_views import RECIPE
from tuneledger import Archive, Event, Job, datasette
from tuneledger.engine import locate
from tuneledger.errors import ExtraMissing, InvalidArgument

__all__ = ["browser"]  # a fixture

METADATA = json.loads((Path(__file__).parents[1] / "dashboards/datasette/metadata.json").read_text())
QUERIES = METADATA["databases"]["archive"]["queries"]
DASHBOARDS = METADATA["plugins"]["datasette-dashboards"]
EVIL = "<img src=x onerror=\"document.title='taken'\">"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """`tuneledger datasette` over a filled archive whose file has an odd name."""
    path = tmp_path_factory.mktemp("datasette") / "my runs.v1.db"
    with Archive(path) as archive:
        shown_archive.fill(archive)
        archive.save(
            Job(
                job_id=f"evil {EVIL}",
                provider=EVIL,
                model=EVIL,
                status=EVIL,
                created_at=2_000_000_000,
                cost=1.0,
                events=[Event(name=EVIL, created_at=1, data=EVIL)],
                checkpoints=[shown_archive.running_checkpoint(1), shown_archive.running_checkpoint(2)],
            )
        )
        for name, value in (("val_loss", 0.001), ("eval_loss", math.nan)):
            odd = {"metrics": {name: value}, "step_number": 7, "created_at": 0}
            archive.save(Job.model_validate({"job_id": name, "provider": "p", "checkpoints": [odd]}))
        archive.save(Job(job_id="eur", provider="p", model="gpt-4o-mini", cost=2.0, cost_currency="EUR"))
        with served("datasette", "--db", str(path), ready="/-/dashboards") as url:
            yield url


def rows(url: str, path: str, **arguments: str) -> list[dict[str, Any]]:
    """The rows of a query, as Datasette's JSON gives them."""
    answer: Any = fetched(f"{url}/{path}.json?{urlencode({'_shape': 'objects', **arguments})}")
    assert not answer.get("truncated")
    found: list[dict[str, Any]] = answer["rows"]
    return found


@pytest.mark.xdist_group("browser")
@pytest.mark.parametrize("name", QUERIES)
def test_every_canned_query_answers(server: str, name: str) -> None:
    """Each canned query runs with the parameters it names, and answers no more than its bound."""
    arguments = {"job_id": "ftjob-03", "metric": "train_loss"}
    given = {parameter: arguments[parameter] for parameter in QUERIES[name].get("params", ())}
    assert 0 < len(rows(server, f"archive/{name}", **given)) <= 1_000


@pytest.mark.xdist_group("browser")
def test_curve_keeps_the_spike(server: str) -> None:
    """The canned curve is the documented recipe, and of 6,000 steps the one spike is left."""
    found = rows(server, "archive/curve", job_id=shown_archive.LONG, metric="train_loss")
    assert {"step": shown_archive.SPIKE, "value": 50.0}.items() <= max(
        found, key=lambda row: row["value"]
    ).items()
    assert len(found) <= 502
    assert QUERIES["curve"]["sql"].split() == RECIPE.split()


@pytest.mark.xdist_group("browser")
def test_best_steps_are_of_every_trainer_and_have_a_number(server: str) -> None:
    """Whatever a trainer calls its validation loss, and without the jobs that have none."""
    found = rows(server, "archive/best_steps")
    assert (found[0]["job_id"], found[0]["valid_loss"]) == ("val_loss", 0.001)
    assert "eval_loss" not in {row["job_id"] for row in found}


def test_charts_thin_out_by_the_documented_recipe() -> None:
    """What they draw is asked by the SQL of docs/dashboards.md, but for which jobs and which metrics."""

    def without_choice(text: str) -> str:
        return re.sub(r"WHERE job_id IN .* AND metric IN \(.*\)", "WHERE", text)

    thinning = [
        chart["query"]
        for board in DASHBOARDS.values()
        for chart in board["charts"].values()
        if "MATERIALIZED" in chart.get("query", "")
    ]
    assert len(thinning) == 5
    for query in thinning:
        assert without_choice(query).split() == without_choice(RECIPE).split()


@pytest.mark.xdist_group("browser")
@pytest.mark.parametrize("name", DASHBOARDS)
def test_every_dashboard_draws_its_charts(server: str, browser: Browser, name: str) -> None:
    """In a real browser each chart of each dashboard is drawn from rows; the page complains of nothing."""
    charts = [slug for slug, chart in DASHBOARDS[name]["charts"].items() if chart["library"] == "vega-lite"]
    for slug in charts:
        chart = DASHBOARDS[name]["charts"][slug]
        arguments = dict.fromkeys(re.findall(r":(\w+)", chart["query"]), "")
        arguments |= {"job": "ftjob-03"} if "job" in arguments else {}
        assert rows(server, "archive", sql=chart["query"], **arguments) or slug == "accuracy"
    browser.open(f"{server}/-/dashboards/{name}" + ("?job=ftjob-03" if name == "job" else ""))
    drawn = f"document.querySelectorAll('.vega-embed svg.marks').length == {len(charts)}"
    assert browser.wait(drawn)
    assert browser.complaints() == []
    assert browser.driver.title != "taken"
    assert len(browser.picture(f"datasette-{name}")) > 10_000


@pytest.mark.xdist_group("browser")
def test_costs_of_two_currencies_are_not_added_up(server: str) -> None:
    """A bar is of one model and one currency."""
    bars = rows(server, "archive", sql=DASHBOARDS["jobs"]["charts"]["cost"]["query"])
    assert {"gpt-4o-mini, USD", "gpt-4o-mini, EUR"} <= {bar["model"] for bar in bars}


@pytest.mark.xdist_group("browser")
def test_filters_choose_the_job(server: str, browser: Browser) -> None:
    """Whoever picks a job in the page gets that job's curves."""
    browser.open(f"{server}/-/dashboards/job")
    browser.wait("document.querySelector('#job')")
    browser.driver.execute_script("document.querySelector('#job').value = 'ftjob-long'")
    browser.driver.execute_script("document.querySelector('.dashboard-filters form').submit()")
    browser.wait("location.search == '?job=ftjob-long' && document.querySelector('.vega-embed svg.marks')")
    browser.wait(
        "performance.getEntriesByType('resource')"
        ".filter(e => e.name.endsWith('job=ftjob-long&_shape=objects')).length == 3"
    )


@pytest.mark.xdist_group("browser")
def test_what_providers_sent_is_text(server: str, browser: Browser) -> None:
    """Names and events that are HTML are shown as the text they are."""
    place = quote(f"evil {EVIL}")
    for path in (f"archive/events?job_id={place}", "archive/newest_jobs", f"-/dashboards/job?job={place}"):
        browser.open(f"{server}/{path}")
        browser.wait("document.readyState == 'complete' && document.body.innerText.length > 0")
        assert not browser.driver.execute_script("return document.querySelector('img[src=x]')")
        assert browser.driver.title != "taken"
    assert not [
        chart
        for board in DASHBOARDS.values()
        for chart in board["charts"].values()
        if chart["library"] == "table"
    ]


@pytest.mark.xdist_group("browser")
def test_nothing_can_be_written_or_downloaded(server: str) -> None:
    """The file is open read-only: SQL that writes is refused, and the file is not handed out."""
    for path in ("archive.json?sql=" + quote("delete from jobs"), "archive.db"):
        with pytest.raises(HTTPError) as refused:
            fetched(f"{server}/{path}")
        assert refused.value.code in {400, 403}
        refused.value.close()


@pytest.mark.xdist_group("browser")
def test_a_stranger_s_page_reads_nothing(server: str) -> None:
    """What comes by another name than this machine's is refused, whatever it asks for."""
    for path in ("", "archive.json", "-/dashboards"):
        assert refused_as_a_stranger(f"{server}/{path}")


def test_only_files_are_served(tmp_path: Path) -> None:
    """A server, an archive in memory and a missing file are refused with the reason."""
    for place in ("postgresql://h/d", "sqlite://", tmp_path / "none.db"):
        with pytest.raises(InvalidArgument, match="serves SQLite files"):
            datasette.application(locate(place))


def test_missing_extra_is_named(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch, command: Callable[..., Any]
) -> None:
    """Without the extra the command says what to install."""
    monkeypatch.setitem(sys.modules, "datasette_dashboards", None)
    with pytest.raises(ExtraMissing, match=re.escape("pip install 'tuneledger[datasette]'")):
        datasette.application(locate(sqlite_url))
    ended = command("datasette", "--db", sqlite_url)
    assert ended.code == 1
    assert "tuneledger[datasette]" in ended.err
    assert "http://" not in ended.err
