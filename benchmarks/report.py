"""From figures to a table and a chart."""

from __future__ import annotations

import platform
import sqlite3
from importlib.metadata import PackageNotFoundError, version
from os import cpu_count
from statistics import median
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from benchmarks.stores import BASELINE, STORES

if TYPE_CHECKING:
    from pathlib import Path


class Measure(NamedTuple):
    """One line of the table."""

    name: str
    title: str
    unit: str

    @property
    def more_is_better(self) -> bool:
        """Whether it is a rate rather than a cost."""
        return self.unit.endswith("/s") or self.unit == "share"


MEASURES: Final = [
    Measure("archive", "archive", "checkpoints/s"),
    Measure("again", "archive again, unchanged", "checkpoints/s"),
    Measure("again_1_percent", "archive again, 1 % changed", "checkpoints/s"),
    Measure("append", "append, one a commit", "commits/s"),
    Measure("validate", "validation alone", "checkpoints/s"),
    Measure("range", "100 steps of a job", "ms"),
    Measure("job_1000", "job of 1,000", "ms"),
    Measure("job_10000", "job of 10,000", "ms"),
    Measure("job_100000", "job of 100,000", "ms"),
    Measure("columns_1000", "job of 1,000 as columns", "ms"),
    Measure("columns_10000", "job of 10,000 as columns", "ms"),
    Measure("columns_100000", "job of 100,000 as columns", "ms"),
    Measure("stream", "stream of everything", "checkpoints/s"),
    Measure("stream_megabytes", "extra memory of the stream", "MB"),
    Measure("series", "20 curves of 500 points", "ms"),
    Measure("spikes", "spikes kept in them", "share"),
    Measure("latest", "latest of 99 jobs", "ms"),
    Measure("best", "best of 99 jobs", "ms"),
    Measure("by_key", "99 rows by primary key", "ms"),
    Measure("bytes", "bytes a checkpoint", "bytes"),
]
_PACKAGES: Final = (
    "tuneledger",
    "sqlalchemy",
    "psycopg",
    "pydantic",
    "mlflow",
    "trackio",
    "optuna",
    "langgraph-checkpoint-sqlite",
    "langgraph-checkpoint-postgres",
)


def machine() -> dict[str, Any]:
    """Say what the figures were taken on and of."""
    versions = {}
    for package in _PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return {
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "cores": cpu_count(),
        "system": platform.platform(),
        "packages": versions,
    }


def medians(rounds: list[dict[str, Any]]) -> dict[str, float]:
    """Give the median of each figure over the rounds."""
    names = {name for found in rounds for name in found["figures"]}
    return {
        name: median(found["figures"][name] for found in rounds if name in found["figures"]) for name in names
    }


def ratio(measure: Measure, ours: dict[str, float], theirs: dict[str, float]) -> float | None:
    """Say how many times better tuneledger is; None where one of both has no figure."""
    if measure.name not in ours or not theirs.get(measure.name) or not ours[measure.name]:
        return None
    quotient = ours[measure.name] / theirs[measure.name]
    return quotient if measure.more_is_better else 1 / quotient


def table(document: dict[str, Any]) -> str:
    """Give the figures as Markdown, with what tuneledger is times each other store in brackets."""
    size, clock = document["size"], document["clock"]
    lines = [
        f"{size:,} checkpoints in 100 jobs, {clock} time; in brackets how many times better tuneledger is"
    ]
    for engine, results in document["results"].items():
        found = {name: medians(results[name]) for name in STORES if name in results}
        ours = found.get(BASELINE, {})
        lines += ["", f"| {engine} | unit | {' | '.join(found)} |", "|" + " --- |" * (len(found) + 2)]
        for measure in MEASURES:
            if not any(measure.name in figures for figures in found.values()):
                continue
            cells = []
            for name, figures in found.items():
                times = ratio(measure, ours, figures) if name != BASELINE else None
                value = figures.get(measure.name)
                cell = "-" if value is None else _shown(value)
                cells.append(cell if times is None else f"{cell} ({_shown(times)}x)")
            lines.append(f"| {measure.title} | {measure.unit} | {' | '.join(cells)} |")
        for name in found:
            reasons = {k: v for rounds in results[name] for k, v in rounds["missing"].items()}
            shown = "; ".join(f"{what}: {why}" for what, why in reasons.items())
            if shown:
                lines.append(f"\n{name}, not measured: {shown}")
    return "\n".join(lines)


def _shown(value: float) -> str:
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2  # noqa: PLR2004 - three figures tell enough
    return f"{value:,.{digits}f}"


def chart(document: dict[str, Any], path: Path) -> None:
    """Draw how many times better tuneledger is, by measure and store, on a logarithmic axis."""
    from matplotlib.figure import Figure

    engines = document["results"]
    figure = Figure(figsize=(11, 0.35 * len(MEASURES) * len(engines) + 1), layout="constrained")
    for index, (engine, results) in enumerate(engines.items()):
        axes = figure.add_subplot(len(engines), 1, index + 1)
        found = {name: medians(results[name]) for name in STORES if name in results}
        shown = [measure for measure in MEASURES if measure.name in found.get(BASELINE, {})]
        for name, figures in found.items():
            if name == BASELINE:
                continue
            points = [
                (times, row)
                for row, measure in enumerate(shown)
                if (times := ratio(measure, found[BASELINE], figures)) is not None
            ]
            axes.plot([x for x, _ in points], [y for _, y in points], "o", label=name)
        axes.axvline(1.0, color="black", linewidth=0.8)
        axes.set_xscale("log")
        axes.set_yticks(range(len(shown)), [measure.title for measure in shown])
        axes.invert_yaxis()
        axes.grid(visible=True, axis="x", alpha=0.3)
        axes.set_title(f"{engine}: how many times better tuneledger is (right of the line)", fontsize=10)
        axes.legend(fontsize=8)
    figure.savefig(path)
