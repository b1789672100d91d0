"""The dashboard of our own: what it asks, what it draws, and how it behaves in a real browser."""

import math
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from selenium.webdriver.common.by import By

import shown_archive
from browsing import Browser, browser, refused_as_a_stranger, served
from tuneledger import Archive, Job
from tuneledger.cli import exit_codes
from tuneledger.dashboard import curves, views
from tuneledger.repository import Series

__all__ = ["browser"]  # a fixture

EVIL = "<img src=x onerror=\"document.title='taken'\">"


@pytest.fixture
def archive(database_url: str) -> Iterator[Archive]:
    """A filled archive, on each engine."""
    with Archive(database_url) as opened:
        shown_archive.fill(opened)
        yield opened


def test_comparison_keeps_the_spike_and_names_the_metrics(archive: Archive) -> None:
    """Metrics stand under the names they stand for; a curve of 6,000 steps keeps its one spike."""
    found = views.compared(archive, views.Choice([shown_archive.LONG, "ftjob-01", "gone"], "train_loss"))
    assert found.metrics == ["learning_rate", "train_loss", "valid_loss", "valid_mean_token_accuracy"]
    assert list(found.curves) == found.job_ids == [shown_archive.LONG, "ftjob-01"]
    assert len(found.curves[shown_archive.LONG].steps) <= 1_000
    row = found.best[0]
    assert (row["name"], row["highest"], row["highest_step"]) == ("loss", "50", shown_archive.SPIKE)


def test_series_without_a_number_has_an_empty_row(archive: Archive) -> None:
    """A job whose every value is NaN stands there, with nothing beside it."""
    job = {"metrics": {"loss": float("nan")}, "step_number": 1, "created_at": 0}
    archive.save(Job.model_validate({"job_id": "n", "provider": "p", "checkpoints": [job]}))
    assert views.compared(archive, views.Choice(["n"], "train_loss")).best == [{"job": "n", "name": "loss"}]


def test_comparison_within_a_range(archive: Archive) -> None:
    """Only the steps between the bounds count, and both bounds do."""
    choice = views.Choice([shown_archive.LONG], "train_loss", 100, 200)
    found = views.compared(archive, choice)
    assert found.curves[shown_archive.LONG].steps == list(range(100, 201))
    _, rows = views.checkpoints(archive, choice)
    assert [row["step"] for row in rows] == list(range(200, 99, -1))


def test_metric_that_no_job_has_gives_way(archive: Archive) -> None:
    """The validation loss is shown first, where there is none the training loss, and nothing without jobs."""
    assert views.compared(archive, views.Choice(["ftjob-01"], "speed")).metric == "valid_loss"
    assert views.compared(archive, views.Choice([shown_archive.RUNNING])).metric == "train_loss"
    nothing = views.compared(archive, views.Choice())
    assert (nothing.metric, nothing.curves) == (None, {})
    assert views.checkpoints(archive, views.Choice()) == ([], [])


def test_checkpoints_are_bounded_and_the_download_is_whole(archive: Archive) -> None:
    """The page shows the newest 200, the file has all 6,000, each number as it is."""
    names, rows = views.checkpoints(archive, views.Choice([shown_archive.LONG]))
    assert names == ["eval_loss", "loss"]
    assert [row["step"] for row in rows] == list(range(5_999, 5_799, -1))
    lines = views.download(archive, views.Choice([shown_archive.LONG])).decode().splitlines()
    assert lines[0] == "step_number,created_at,eval_loss,loss"
    assert len(lines) == 1 + shown_archive.LONG_STEPS
    assert lines[1 + shown_archive.SPIKE].endswith(",50.0")
    assert lines[1 + 777].endswith(",nan")


def test_download_is_no_formula(archive: Archive) -> None:
    """A metric whose name a spreadsheet would run is made text."""
    checkpoint = {"metrics": {"=cmd()": 1.0, "text": "t"}, "step_number": 1, "created_at": 0}
    archive.save(Job.model_validate({"job_id": "f", "provider": "p", "checkpoints": [checkpoint]}))
    assert views.download(archive, views.Choice(["f"])) == b"step_number,created_at,'=cmd()\n1,0,1.0\n"


def test_a_view_is_bounded(archive: Archive) -> None:
    """Of very many jobs the first fifty are drawn, of ten thousand points together, each spike among them."""
    job = shown_archive.long_job(shown_archive.SPIKE + 100)
    with archive.write() as repository:
        for number in range(60):
            repository.save(job.model_copy(update={"job_id": f"h{number:02}"}))
    found = views.compared(archive, views.Choice([f"h{number:02}" for number in range(60)], "train_loss"))
    assert found.job_ids == [f"h{number:02}" for number in range(views.MOST_CURVES)]
    assert sum(len(series.steps) for series in found.curves.values()) <= 10_000
    assert {row["highest_step"] for row in found.best} == {shown_archive.SPIKE}


def test_a_job_older_than_the_listed_ones_is_shown(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    """The list ends with the newest thousand, the choice does not."""
    monkeypatch.setattr(views, "MOST_JOBS", 2)
    assert len(views.jobs(archive)) == 2
    assert list(views.compared(archive, views.Choice(["ftjob-00"], "train_loss")).curves) == ["ftjob-00"]


def test_smoothing_is_a_mean_corrected_for_its_start() -> None:
    """A weight of 0 changes nothing, a constant stays one, and the first value is itself."""
    assert curves.smoothed([3.0, 1.0, 2.0], 0.0) == [3.0, 1.0, 2.0]
    assert curves.smoothed([2.0] * 5, 0.9) == pytest.approx([2.0] * 5)
    assert curves.smoothed([4.0, 1.0], 0.5) == pytest.approx([4.0, 2.0])


def test_options_of_the_chart() -> None:
    """A line a job with its best marked; pale numbers behind a smoothed one; no logarithm of 0."""
    found = {"a": Series("a", "loss", [10, 20], [2.0, 1.0]), "b": Series("b", "loss", [0], [0.0])}
    plain = curves.options(found, log=True)
    assert [line["name"] for line in plain["series"]] == ["a", "b"]
    assert plain["series"][0]["markPoint"]["data"] == [{"coord": [20, 1.0]}]
    assert plain["yAxis"]["type"] == "value"
    smooth = curves.options({"a": found["a"]}, smoothing=0.5, log=True, relative=True, goal="max")
    pale, line = smooth["series"]
    assert (pale["data"], "markPoint" in pale) == ([(0.5, 2.0), (1.0, 1.0)], False)
    assert line["markPoint"]["data"] == [{"coord": [0.5, 2.0]}]
    assert smooth["yAxis"]["type"] == "log"
    beside = curves.options({"n": Series("n", "loss", [1], [None]), **found})["series"]
    assert "markPoint" not in beside[0]


def test_the_best_of_all_alone_has_its_number_beside_it() -> None:
    """Numbers of many curves would lie upon each other; of equal ones the first is told."""
    lasts = {"a": 1.0, "b": 0.5, "c": 0.5}
    found = {name: Series(name, "loss", [1, 2], [2.0, last]) for name, last in lasts.items()}
    for drawn, told in (
        (curves.options(found), [False, True, False]),
        (curves.options(found, goal="max"), [True, False, False]),
    ):
        assert [line["markPoint"]["label"]["show"] for line in drawn["series"]] == told


def test_without_a_number_the_chart_says_why() -> None:
    """No axes of nothing: a message stands there."""
    drawn = curves.options({"n": Series("n", "loss", [1], [None])}, message="no number")
    assert (drawn["title"]["text"], drawn["series"]) == ("no number", [])


def test_six_digits_go_to_the_browser() -> None:
    """A point is sent with the digits that a picture can show."""
    found = {"a": Series("a", "loss", [1, 3], [1 / 3, 2e-7 / 3])}
    (line,) = curves.options(found, relative=True)["series"]
    assert line["data"] == [(0.333333, 0.333333), (1.0, 6.66667e-08)]


def test_texts_are_sorted_by_their_numbers(archive: Archive) -> None:
    """Beside what is shown stands the number itself; what is none has none, for JSON knows no NaN."""
    (row,) = views.compared(archive, views.Choice(["ftjob-01"], "train_loss")).best
    assert float(row["last"]) == pytest.approx(row[views.sorted_by("last")], rel=1e-5)
    _, rows = views.checkpoints(archive, views.Choice([shown_archive.LONG], first_step=776, last_step=777))
    assert [row["metric loss"] for row in rows] == ["nan", f"{rows[1][views.sorted_by('metric loss')]:.6g}"]
    assert rows[0][views.sorted_by("metric loss")] is None


def test_missing_extra_is_named(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch, command: Callable[..., Any]
) -> None:
    """Without the extra the command says what to install, and no address where nobody listens."""
    monkeypatch.setitem(sys.modules, "nicegui", None)
    monkeypatch.delitem(sys.modules, "tuneledger.dashboard.page", raising=False)
    ended = command("dashboard", "--db", sqlite_url)
    assert ended.code == exit_codes.REFUSED
    assert "'tuneledger[dashboard]'" in ended.err
    assert "http://" not in ended.err


@pytest.mark.parametrize("name", ["dashboard", "datasette"])
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_port_that_is_taken(sqlite_url: str, name: str, host: str) -> None:
    """It is told in our words, by the code of an option that makes no sense; no address is given."""
    program = [sys.executable, "-m", "tuneledger", "--quiet", name, "--host", host, "--db", sqlite_url]
    with socket.create_server((host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET) as taken:
        port = taken.getsockname()[1]
        # In a process of its own: as it is imported, Datasette leaves a connection open, of which 3.13 warns.
        ended = subprocess.run([*program, "--port", str(port)], capture_output=True, text=True, check=False)
    assert ended.returncode == exit_codes.USAGE
    assert ended.stderr == (
        f"tuneledger: error: nothing can be served on {host}, port {port}: Address already in use; "
        f"--port and --host choose others\n"
    )


# -- in the browser -----------------------------------------------------------------------------


class Dashboard:
    """The dashboard in a browser."""

    def __init__(self, browser: Browser, url: str) -> None:
        self.browser, self.url = browser, url

    def open(self, jobs: str, metric: str = "train_loss") -> None:
        """Opens it on some jobs, and waits for their curves."""
        self.browser.open(f"{self.url}/?jobs={quote(jobs)}&metric={metric}")
        self.browser.wait("document.querySelectorAll('svg path').length > 5")
        self.browser.wait("document.querySelector('[data-part=checkpoints] tbody td')")

    def rows(self, part: str) -> list[str]:
        """The text of a table's rows."""
        script = (
            f"""return [...document.querySelectorAll('[data-part={part}] tbody tr')].map(r => r.innerText)"""
        )
        found: list[str] = self.browser.driver.execute_script(script)
        return found

    def wait(self, part: str, text: str) -> None:
        """Until a table says so."""
        self.browser.wait(f"document.querySelector('[data-part={part}] tbody').innerText.includes({text!r})")

    def click(self, text: str) -> None:
        """Clicks what says so."""
        path = f"//*[self::button or contains(@class,'q-toggle') or self::td][contains(., '{text}')]"
        self.browser.driver.find_elements(By.XPATH, path)[-1].click()

    def drawing(self) -> str:
        """What the chart is drawn of."""
        found: str = self.browser.driver.execute_script(
            "return [...document.querySelectorAll('svg')].map(drawing => drawing.innerHTML).join()"
        )
        return found

    def changes(self, before: str) -> None:
        """Until the chart is another than before."""
        deadline = time.monotonic() + 30
        while self.drawing() == before:
            assert time.monotonic() < deadline, "the chart stayed as it was"
            time.sleep(0.1)


@pytest.fixture(params=["sqlite", "postgresql"])
def shown(request: pytest.FixtureRequest, browser: Browser) -> Iterator[tuple[Dashboard, str]]:
    """`tuneledger dashboard` of a filled archive, as the read role, in a browser; and who may write there."""
    if request.param == "sqlite":
        writer = reader = request.getfixturevalue("sqlite_url")
    else:
        roles: Callable[[str], str] = request.getfixturevalue("as_role")
        writer, reader = roles("write"), roles("read")
    with Archive(writer) as archive:
        shown_archive.fill(archive)
        archive.save(
            Job(
                job_id=EVIL,
                provider=EVIL,
                model=EVIL,
                status=EVIL,
                created_at=2_000_000_000,
                checkpoints=[shown_archive.running_checkpoint(1), shown_archive.running_checkpoint(2)],
            )
        )
    with served("dashboard", "--db", reader, ready="/") as url:
        yield Dashboard(browser, url), writer


@pytest.mark.xdist_group("browser")
def test_dashboard_in_a_browser(shown: tuple[Dashboard, str], browser: Browser) -> None:
    """Jobs are picked and compared, smoothed, scaled and cut; a running job is followed; text stays text."""
    page, writer = shown
    page.open("ftjob-01,ftjob-08,ftjob-04")
    assert [row.split()[0] for row in page.rows("best")] == ["ftjob-01", "ftjob-08", "ftjob-04"]
    assert any("SUCCESS" in row and "1.25 USD" in row for row in page.rows("jobs"))
    assert "490" in page.rows("checkpoints")[0]
    assert browser.complaints() == []
    assert len(browser.picture(f"dashboard-{'postgresql' if 'postgresql' in writer else 'sqlite'}")) > 20_000

    ground = "getComputedStyle(document.body).backgroundColor"
    light = browser.driver.execute_script(f"return {ground}")
    for expected in (f"{ground} != '{light}'", f"{ground} == '{light}'"):
        page.click("dark_mode")
        browser.wait(expected)

    for what in ("log scale", "relative steps", "highest"):
        before = page.drawing()
        page.click(what)
        page.changes(before)
    slider = browser.driver.find_element(By.CSS_SELECTOR, ".q-slider")
    before = page.drawing()
    slider.click()
    page.changes(before)

    page.click("ftjob-02")  # a cell: nothing is chosen by it
    checkbox = "//*[@data-part='jobs']//tr[contains(., 'ftjob-02')]//*[contains(@class, 'q-checkbox')]"
    browser.driver.find_element(By.XPATH, checkbox).click()
    page.wait("best", "ftjob-02")
    assert len(page.rows("best")) == 4

    for label, steps in (("from step", "100"), ("to step", "200")):
        browser.driver.find_element(By.XPATH, f"//*[@aria-label='{label}']").send_keys(steps)
    page.wait("checkpoints", "200")
    browser.wait(
        "![...document.querySelectorAll('[data-part=checkpoints] tbody tr')]"
        ".some(row => /^(90|210)\\t/.test(row.innerText))"
    )

    page.click("Download CSV")
    deadline = time.monotonic() + 30
    while not (files := list(browser.downloads.glob("checkpoints-ftjob-*.csv"))):
        assert time.monotonic() < deadline, "nothing was downloaded"
        time.sleep(0.1)
    assert files[0].read_text().startswith("step_number,created_at,")
    assert files[0].read_text().count("\n") == 12
    files[0].unlink()

    page.open(f"{EVIL},{shown_archive.RUNNING}")
    page.wait("jobs", "onerror")
    assert not browser.driver.execute_script("return document.querySelector('img[src=x]')")
    assert browser.driver.title != "taken"

    page.open(shown_archive.RUNNING)
    page.wait("best", "50")
    page.click("follow")
    with Archive(writer) as archive, archive.write() as repository:
        repository.append(shown_archive.RUNNING, [shown_archive.running_checkpoint(6)])
    page.wait("best", "0.333333")
    page.wait("checkpoints", "60")
    assert browser.complaints() == []


@pytest.mark.xdist_group("browser")
def test_dashboard_without_a_choice_and_without_its_tables(sqlite_url: str, browser: Browser) -> None:
    """The newest jobs are shown at first; what goes wrong later is told on the page, which goes on.

    A page of a stranger's, who gave this machine another name, gets neither.
    """
    with Archive(sqlite_url) as archive:
        shown_archive.fill(archive)
    with served("dashboard", "--db", sqlite_url, ready="/") as url:
        assert refused_as_a_stranger(url)
        assert refused_as_a_stranger(f"{url}/_nicegui_ws/socket.io/?EIO=4&transport=polling")
        page = Dashboard(browser, url)
        browser.open(url)
        page.wait("best", "ftjob-08")
        assert [row.split()[0] for row in page.rows("best")] == ["ftjob-08", "ftjob-07", "ftjob-06"]
        path = Path(sqlite_url.removeprefix("sqlite:///"))
        with sqlite3.connect(path) as connection:
            connection.execute("ALTER TABLE events RENAME TO gone")
            connection.execute("DROP VIEW job_summary")
            connection.execute("ALTER TABLE metric_names RENAME TO also_gone")
        connection.close()
        page.click("follow")
        browser.wait("document.body.innerText.includes('tuneledger db check')")
        assert page.rows("best")


@pytest.mark.xdist_group("browser")
def test_dashboard_of_odd_jobs(sqlite_url: str, browser: Browser) -> None:
    """What cannot be shown is told; long names leave room; numbers are sorted as such, short on an axis."""
    long_id, evil = "ftjob-" + "x" * 200, "m'] = alert(1) //"
    steps = [
        shown_archive.checkpoint(step, **{"train_loss": loss, evil: 1.0})
        for step, loss in enumerate([9.0, 1e9, 10.0, 1e-9])
    ]
    with Archive(sqlite_url) as archive:
        archive.save(Job(job_id="bare", provider="p"))
        archive.save(
            Job(job_id="nan", provider="p", checkpoints=[shown_archive.checkpoint(1, loss=math.nan)])
        )
        archive.save(Job(job_id=long_id, provider="p", checkpoints=steps))
    with served("dashboard", "--db", sqlite_url, ready="/") as url:
        page = Dashboard(browser, url)
        for asked, told in (
            ("gone", "no such job: gone"),
            ("gone", "Choose jobs below"),
            ("gone" + ",gone" * views.MOST_CURVES, f"at most {views.MOST_CURVES} jobs are compared"),
            ("bare", "These jobs have no metrics yet"),
            ("nan", "No step here has a number for train_loss"),
        ):
            browser.open(f"{url}/?jobs={asked}")
            browser.wait(f"document.body.textContent.includes({told!r})")
        page.open(long_id)
        widths = "[...document.querySelectorAll('[data-part=jobs] tbody td')].map(cell => cell.clientWidth)"
        assert browser.wait(f"Math.max(...{widths}) < 500")
        assert "8e+8" in page.drawing()
        heading = "//*[@data-part='checkpoints']//th[contains(., 'train_loss')]"
        cells = "[...document.querySelectorAll('[data-part=checkpoints] tbody tr > :last-child')]"
        for expected in ("1e-09,9,10,1e+09", "1e+09,10,9,1e-09"):
            browser.driver.find_element(By.XPATH, heading).click()
            browser.wait(f"{cells}.map(cell => cell.innerText).join() == '{expected}'")
        assert browser.complaints() == []


@pytest.mark.xdist_group("browser")
def test_a_number_is_taken_when_it_is_typed(sqlite_url: str, browser: Browser) -> None:
    """Half a number is not asked for: the archive is asked once for a step of four digits."""
    with Archive(sqlite_url) as archive:
        shown_archive.fill(archive)
    with served("dashboard", "--db", sqlite_url, ready="/") as url:
        page = Dashboard(browser, url)
        page.open(shown_archive.LONG)
        browser.driver.execute_script(
            "window.seen = new Set();"
            "const part = document.querySelector('[data-part=best]');"
            "const note = () => seen.add(part.querySelector('tbody').innerText);"
            "new MutationObserver(note).observe(part, {subtree: true, childList: true, characterData: true})"
        )
        browser.driver.find_element(By.XPATH, "//*[@aria-label='to step']").send_keys("5432")
        page.wait("best", "5432")
        assert browser.driver.execute_script("return seen.size") == 1

        page.open(
            shown_archive.LONG
        )  # a bound beyond the end changes nothing, and the next is taken all the same
        for label, step in (("to step", "9999"), ("from step", "5000")):
            browser.driver.find_element(By.XPATH, f"//*[@aria-label='{label}']").send_keys(step)
        browser.wait(
            f"!document.querySelector('[data-part=best] tbody').innerText.includes('{shown_archive.SPIKE}')"
        )


@pytest.mark.xdist_group("browser")
def test_dashboard_of_an_empty_archive(sqlite_url: str, browser: Browser) -> None:
    """An archive without jobs has a page that says so."""
    with served("dashboard", "--db", sqlite_url, ready="/") as url:
        browser.open(url)
        browser.wait("document.body.textContent.includes('There are no jobs yet')")
        browser.wait("document.body.innerText.includes('Choose a job')")
        shown = [found.text for found in browser.driver.find_elements(By.TAG_NAME, "button")]
        assert not [text for text in shown if "download" in text.lower()]
