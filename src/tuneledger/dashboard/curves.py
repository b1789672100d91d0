"""The chart, as ECharts wants it described."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal

from tuneledger.pictures import COLORS, numbers

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tuneledger.repository import Series

__all__ = ["options", "smoothed"]

_GREY: Final = "#888"
_AXIS: Final = {
    "axisLabel": {"color": _GREY},
    "nameTextStyle": {"color": _GREY},
    "splitLine": {"lineStyle": {"color": _GREY, "opacity": 0.25}},
}
"""What is read as well on black as on white."""
_NUMBER: Final = (
    "value => value && (Math.abs(value) >= 1e6 || Math.abs(value) < 1e-4)"
    " ? value.toExponential() : value.toLocaleString('en', {maximumSignificantDigits: 6})"
)
"""JavaScript that shortens what an axis shows."""


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
    title: str = "",
    message: str = "",
) -> dict[str, Any]:
    """Describe curves: a line each, its best step marked, and with smoothing the numbers pale behind it.

    The best of all has its number beside it, the others when pointed at: many would lie upon each other.
    ``title`` names the values; ``message`` stands where there is nothing to draw.
    """
    lines: list[dict[str, Any]] = []
    positive = True
    better = min if goal == "min" else max
    bests = [better(values) for _, values in map(numbers, curves.values()) if values]
    if not bests:
        told = {"color": _GREY, "fontSize": 16, "fontWeight": "normal"}
        return {
            "title": {"text": message, "left": "center", "top": "middle", "textStyle": told},
            "series": [],
        }
    labelled: float | None = better(bests)
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
        line["data"] = _pairs(xs, smoothed(values, smoothing))
        if values:
            best = values.index(better(values))
            line["markPoint"] = {
                "symbol": "circle",
                "symbolSize": 9,
                "label": {
                    "show": values[best] == labelled,
                    "position": "top",
                    "align": "right" if 2 * xs[best] > xs[0] + xs[-1] else "left",
                    "formatter": f"{values[best]:.4g} @ {steps[best]}",
                    "color": "#fff",
                    "backgroundColor": "inherit",
                    "padding": [3, 6],
                    "borderRadius": 3,
                },
                "emphasis": {"label": {"show": True}},
                "data": [{"coord": [xs[best], values[best]]}],
            }
            if values[best] == labelled:
                labelled = None  # one of equal ones
        if smoothing:
            faint = {"opacity": 0.25, "width": 1}
            lines.append({**line, "data": _pairs(xs, values), "lineStyle": faint, "silent": True})
            lines[-1].pop("markPoint", None)
        lines.append(line)
    return {
        "animation": False,
        "color": COLORS,
        "tooltip": {"trigger": "axis", "order": "valueAsc", "confine": True},
        "legend": {
            "type": "scroll",
            "bottom": 0,
            "data": list(curves),
            "textStyle": {"color": _GREY, "width": 260, "overflow": "truncate"},
            "tooltip": {"show": True},
        },
        "grid": {"left": 60, "right": 30, "top": 40, "bottom": 84},
        "xAxis": {
            **_AXIS,
            "type": "value",
            "min": 0 if relative else "dataMin",
            "max": 1 if relative else "dataMax",
            "name": "share of the last step" if relative else "step",
            "nameLocation": "middle",
            "nameGap": 24,
        },
        # A logarithm needs numbers above 0.
        "yAxis": {
            **_AXIS,
            "type": "log" if log and positive else "value",
            "scale": True,
            "name": title,
            "nameTextStyle": {"color": _GREY, "align": "left"},
            "nameTruncate": {"maxWidth": 400},
            "axisLabel": {"color": _GREY, ":formatter": _NUMBER},
        },
        "dataZoom": [{"type": "inside"}, {"type": "slider", "bottom": 28, "height": 18}],
        "series": lines,
    }


def _pairs(xs: Sequence[float], values: Sequence[float]) -> list[tuple[float, float]]:
    """Put points together, of six digits, more than a picture shows: they go over the network."""
    shares = [float(f"{x:.6g}") if type(x) is float else x for x in xs]
    return list(zip(shares, [float(f"{value:.6g}") for value in values], strict=True))
