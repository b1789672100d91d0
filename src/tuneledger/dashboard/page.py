"""The page: jobs to choose from, their curves, the numbers below. Every visitor has one of its own."""

from __future__ import annotations

import asyncio
import json
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from nicegui import ui

from tuneledger.dashboard import views
from tuneledger.dashboard.curves import options
from tuneledger.errors import TuneledgerError
from tuneledger.models.job import duration_seconds

if TYPE_CHECKING:
    from tuneledger.archive import Archive
    from tuneledger.repository import JobSummary

__all__ = ["Page"]

_FOLLOW_SECONDS: Final = 2.0
_CHOSEN_AT_FIRST: Final = 3


_DEBOUNCED: Final = "clearable debounce=500"
"""A number is taken when nobody has typed for so many milliseconds."""

_STYLE: Final = """
.q-table td, .q-table th { max-width: 24rem; overflow: hidden; text-overflow: ellipsis; }
.q-table td:hover, .q-table th:hover { white-space: normal; overflow-wrap: anywhere; }
"""
"""A long id does not push the other columns away."""


def _column(name: str, label: str | None = None, *, right: bool = False, by: bool = False) -> dict[str, Any]:
    """Describe a column; with ``by`` its texts are sorted by the numbers that `views` has beside them."""
    column = {
        "name": name,
        "label": label or name,
        "field": name,
        "align": "right" if right else "left",
        "sortable": True,
    }
    if by:
        key = json.dumps(views.sorted_by(name))  # a metric's name is somebody else's text
        column[":sort"] = f"(a, b, one, other) => (one[{key}] ?? -Infinity) - (other[{key}] ?? -Infinity)"
    return column


_JOB_COLUMNS: Final = [
    _column("job"),
    _column("provider"),
    _column("model"),
    _column("status"),
    _column("created", "created (UTC)"),
    _column("duration", right=True, by=True),
    _column("last step", right=True),
    _column("tokens", right=True),
    _column("cost", right=True, by=True),
]
_BEST_COLUMNS: Final = [
    _column("job"),
    _column("name", "reported as"),
    *(
        _column(name, name.replace("_", " at "), right=True, by="_" not in name)
        for name in ("last", "last_step", "lowest", "lowest_step", "highest", "highest_step")
    ),
]


class Page:
    """What one visitor sees and chose."""

    def __init__(self, archive: Archive, job_ids: list[str], metric: str | None) -> None:
        self._archive = archive
        self._choice = views.Choice(job_ids, metric)
        self._chosen_by_visitor = bool(job_ids)
        self._shown: object = None

    async def build(self) -> None:
        """Lay the page out and fill it."""
        ui.page_title("tuneledger")
        ui.add_css(_STYLE)
        self._dark = ui.dark_mode(value=None)
        with ui.header(wrap=False).classes("items-center q-py-sm"):
            ui.label("tuneledger").classes("text-h6")
            ui.label(str(self._archive.location)).classes("text-caption ellipsis")
            ui.space()
            self._follow = ui.switch("follow").props("color=white keep-color")
            ui.button(icon="dark_mode", on_click=self._darken).props("flat color=white dense")
        with ui.column().classes("w-full q-pa-md gap-4"):
            self._build_chart()
            self._best = ui.table(columns=_BEST_COLUMNS, rows=[], row_key="job")
            self._best.classes("w-full").props('dense flat data-part="best"')
            self._build_jobs()
            with ui.row().classes("w-full items-center"):
                self._caption = ui.label().classes("text-subtitle1")
                ui.space()
                self._button = ui.button("Download CSV", icon="download", on_click=self._download)
            self._checkpoints = ui.table(columns=[], rows=[], row_key="step", pagination=10)
            self._checkpoints.classes("w-full").props('dense flat data-part="checkpoints"')
        ui.timer(_FOLLOW_SECONDS, self._tick)
        await self._refresh()

    def _build_jobs(self) -> None:
        with ui.row().classes("w-full items-center"):
            ui.label("Jobs").classes("text-subtitle1")
            ui.space()
            search = ui.input(placeholder="search").props("dense clearable outlined").classes("w-64")
        self._jobs = ui.table(
            columns=_JOB_COLUMNS, rows=[], row_key="job", selection="multiple", pagination=10
        )
        self._jobs.classes("w-full").props('dense flat data-part="jobs"')
        self._jobs.on_select(self._select)
        search.bind_value_to(self._jobs, "filter")

    def _build_chart(self) -> None:
        with ui.row().classes("w-full items-center gap-6"):
            self._metric = ui.select([], label="metric", on_change=self._choose).classes("w-64")
            self._first = ui.number("from step", min=0, precision=0, on_change=self._choose).props(_DEBOUNCED)
            self._last = ui.number("to step", min=0, precision=0, on_change=self._choose).props(_DEBOUNCED)
            with ui.column().classes("gap-0 w-40"):
                ui.label("smoothing").classes("text-caption")
                self._smoothing = ui.slider(min=0, max=0.99, step=0.01, value=0)
                # Where it is let go of: every curve is sent again.
                self._smoothing.on("change", self._draw)
            self._log = ui.switch("log scale", on_change=self._draw)
            self._relative = ui.switch("relative steps", on_change=self._draw)
            with ui.column().classes("gap-0"):
                ui.label("best").classes("text-caption")
                self._goal = ui.toggle({"min": "lowest", "max": "highest"}, value="min", on_change=self._draw)
                self._goal.props("no-caps dense padding='4px 10px'")
        self._chart = ui.echart(options({}), renderer="svg").classes("w-full h-96")
        self._comparison = views.Comparison([], [], None, {}, [])

    async def _darken(self) -> None:
        if self._dark.value is None:  # as the visitor's system has it, which the browser alone knows
            self._dark.value = await ui.run_javascript("Quasar.Dark.isActive")
        self._dark.toggle()

    async def _tick(self) -> None:
        if self._follow.value:
            await self._refresh()

    async def _select(self) -> None:
        self._choice.job_ids = [row["job"] for row in self._jobs.selected]
        self._chosen_by_visitor = True
        await self._refresh()

    async def _choose(self) -> None:
        first, last = self._first.value, self._last.value
        wanted = (
            self._metric.value,
            None if first is None else int(first),
            None if last is None else int(last),
        )
        if wanted != (self._choice.metric, self._choice.first_step, self._choice.last_step):
            self._choice.metric, self._choice.first_step, self._choice.last_step = wanted
            await self._refresh()

    async def _refresh(self) -> None:
        """Ask again for all that is shown, and change what changed."""
        try:
            jobs = await asyncio.to_thread(views.jobs, self._archive)
            if not self._chosen_by_visitor:
                self._choice.job_ids = [job.job_id for job in jobs[:_CHOSEN_AT_FIRST]]
            comparison = await asyncio.to_thread(views.compared, self._archive, self._choice)
            self._narrow(comparison.job_ids)
            names, rows = await asyncio.to_thread(views.checkpoints, self._archive, self._choice)
        except TuneledgerError as error:
            ui.notify(str(error), type="negative")
            return
        found = (jobs, comparison, names, rows)
        if found == self._shown:
            return
        self._shown = found
        self._comparison = comparison
        self._choice.metric = comparison.metric
        self._metric.set_options(comparison.metrics, value=comparison.metric)
        self._jobs.rows = [_job_row(job) for job in jobs]
        self._jobs.selected = [row for row in self._jobs.rows if row["job"] in self._choice.job_ids]
        self._best.rows = comparison.best
        self._draw()
        first = next(iter(self._choice.job_ids), None)
        self._caption.set_text(f"Newest checkpoints of {first}" if first else "Choose a job")
        self._button.set_visibility(first is not None)
        self._checkpoints.columns = [
            _column("step", right=True),
            _column("time", "created (UTC)"),
            *(_column(f"metric {name}", name, right=True, by=True) for name in names),
        ]
        self._checkpoints.rows = [{**row, "time": _time(row["time"])} for row in rows]

    def _narrow(self, there: list[str]) -> None:
        """Leave out of the choice what cannot be shown, and say so."""
        asked = self._choice.job_ids[: views.MOST_CURVES]
        gone = [job_id for job_id in asked if job_id not in there]
        if gone:
            ui.notify(f"no such job: {', '.join(gone)}", type="warning")
        if len(self._choice.job_ids) > views.MOST_CURVES:
            ui.notify(f"at most {views.MOST_CURVES} jobs are compared: these are the first", type="warning")
        self._choice.job_ids = there

    def _message(self) -> str:
        """Say why nothing is drawn."""
        if not self._jobs.rows:
            return "There are no jobs yet: `tuneledger archive FILE` brings them in"
        if not self._choice.job_ids:
            return "Choose jobs below"
        if self._comparison.metric is None:
            return "These jobs have no metrics yet"
        return f"No step here has a number for {self._comparison.metric}"

    def _draw(self) -> None:
        # Replaced whole: a curve that is no longer chosen must go.
        self._chart.options.clear()
        self._chart.options.update(
            options(
                self._comparison.curves,
                smoothing=self._smoothing.value,
                log=self._log.value,
                relative=self._relative.value,
                goal=self._goal.value,
                title=self._comparison.metric or "",
                message=self._message(),
            )
        )
        self._chart.update()

    async def _download(self) -> None:
        content = await asyncio.to_thread(views.download, self._archive, self._choice)
        # An id is somebody else's text, and no file's name.
        name = re.sub(r"[^A-Za-z0-9_-]", "_", self._choice.job_ids[0])[:80]
        ui.download.content(content, f"checkpoints-{name}.csv", "text/csv")


def _time(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S") if seconds else ""


def _job_row(job: JobSummary) -> dict[str, Any]:
    took = duration_seconds(job.created_at, job.finished_at, job.status)
    return {
        "job": job.job_id,
        "provider": job.provider,
        "model": job.model,
        "status": job.status,
        "created": _time(job.created_at),
        "duration": "" if took is None else f"{took // 3600}:{took // 60 % 60:02}:{took % 60:02}",
        "last step": job.last_step,
        "tokens": job.trained_tokens,
        views.sorted_by("duration"): took,
        views.sorted_by("cost"): job.cost,
        "cost": "" if job.cost is None else f"{job.cost:g} {job.cost_currency or ''}".rstrip(),
    }
