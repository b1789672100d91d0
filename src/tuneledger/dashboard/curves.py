"""The chart, as ECharts wants it described."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from tuneledger.pictures import numbers

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tuneledger.repository import Series

__all__ = ["options", "smoothed"]


def smoothed(values: Sequence[float], weight: float) -> list[float]:
    """Give the exponential moving average, each earlier value weighing ``weight`` as much as the next.

    Corrected for its start, so that the first value is itself; a weight of 0 changes nothing.
    """
    found = []
    mean, total = 0.0, 0.0
    for value in values:
        mean = weight * mean + (1 - weight) * value
        total = weight * total + (1 - weight)
        found.append(mean / total)
    return found


def options(
    curves: Mapping[str, Series],
    *,
    smoothing: float = 0.0,
    log: bool = False,
    relative: bool = False,
    goal: Literal["min", "max"] = "min",
) -> dict[str, Any]:
    """Describe curves: a line each, its best step marked, and with smoothing the numbers pale behind it."""
    lines: list[dict[str, Any]] = []
    positive = True
    for job_id, series in curves.items():
        steps, values = numbers(series)
        positive = positive and all(value > 0 for value in values)
        last = steps[-1] if steps and steps[-1] else 1
        xs = [step / last for step in steps] if relative else steps
        line = {
            "name": job_id,
            "type": "line",
            "showSymbol": len(steps) == 1,
            "emphasis": {"focus": "series"},
        }
        line["data"] = list(zip(xs, smoothed(values, smoothing), strict=True))
        if values:
            best = values.index(min(values) if goal == "min" else max(values))
            line["markPoint"] = {
                "symbol": "circle",
                "symbolSize": 9,
                "label": {
                    "show": True,
                    "position": "top",
                    "formatter": f"{values[best]:.4g} @ {steps[best]}",
                },
                "data": [{"coord": [xs[best], values[best]]}],
            }
        if smoothing:
            faint = {"opacity": 0.25, "width": 1}
            lines.append(
                {**line, "data": list(zip(xs, values, strict=True)), "lineStyle": faint, "silent": True}
            )
            lines[-1].pop("markPoint", None)
        lines.append(line)
    return {
        "animation": False,
        "tooltip": {"trigger": "axis", "order": "valueAsc", "confine": True},
        "legend": {"type": "scroll", "bottom": 0, "data": list(curves)},
        "grid": {"left": 60, "right": 60, "top": 30, "bottom": 84},
        "xAxis": {
            "type": "value",
            "min": 0 if relative else "dataMin",
            "max": 1 if relative else "dataMax",
            "name": "share of the last step" if relative else "step",
            "nameLocation": "middle",
            "nameGap": 24,
        },
        # A logarithm needs numbers above 0.
        "yAxis": {"type": "log" if log and positive else "value", "scale": True},
        "dataZoom": [{"type": "inside"}, {"type": "slider", "bottom": 28, "height": 18}],
        "series": lines,
    }
