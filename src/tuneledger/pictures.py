"""Curves as pictures: one Vega-Lite specification, as PNG, SVG or a page that needs no network.

`vl-convert-python` (extra ``plot``) carries the renderer whole: no browser, no numpy, no server.
"""

from __future__ import annotations

import html
import json
import math
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from tuneledger.errors import ExtraMissing, InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from tuneledger.repository import Series

__all__ = ["COLORS", "FORMATS", "POINTS", "numbers", "rendered", "specification"]

POINTS: Final = 1_000
"""What a curve is thinned out to: about as many as a picture has columns."""

COLORS: Final = (
    "#4e79a7", "#f28e2b", "#59a14f", "#e15759", "#b07aa1", "#76b7b2", "#edc948", "#ff9da7", "#9c755f",
    "#8f8f8f", "#1f9bde", "#c85200", "#8cd17d", "#d4145a", "#7a5fd0", "#17a589", "#b6992d", "#f781bf",
    "#a65628", "#a0cbe8",
)  # fmt: skip
"""As many as jobs are commonly compared, each told from the others on white and on black."""

_WIDTH: Final = 800
_LETTER: Final = 7
_MARK: Final = 40
"""Pixels of the picture, and of a letter and a mark in its legend."""

_LONG_NUMBER: Final = 1e6

FORMATS: Final = ("png", "svg", "html")

_PAGE: Final = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; \
script-src 'unsafe-inline' 'unsafe-eval'; style-src 'unsafe-inline'; img-src data: blob:">
<title>{title}</title>
</head>
<body>
<div id="picture"></div>
<script>{library}</script>
<script>vegaEmbed("#picture", {specification}, {{renderer: "svg"}});</script>
</body>
</html>
"""


def numbers(series: Series) -> tuple[list[int], list[float]]:
    """Give the steps and values of a series that can be drawn: finite numbers that were evaluated."""
    pairs = [
        (step, value)
        for step, value in zip(series.steps, series.values, strict=True)
        if type(value) is float and math.isfinite(value)
    ]
    return [step for step, _ in pairs], [value for _, value in pairs]


def specification(
    curves: Mapping[str, Series], *, title: str, log: bool = False, relative: bool = False, goal: str = "min"
) -> dict[str, Any]:
    """Describe curves as Vega-Lite: a line each, its best step marked; a page zooms by the mouse.

    ``relative`` draws over the share of each curve's own last step. ``log`` scales values; where not all are
    above 0 the scale is linear around it.
    """
    points: list[dict[str, Any]] = []
    best: list[dict[str, Any]] = []
    for name, series in curves.items():
        steps, values = numbers(series)
        last = steps[-1] if steps and steps[-1] else 1
        drawn = [
            {"job": name, "step": step, "share": step / last, "value": value}
            for step, value in zip(steps, values, strict=True)
        ]
        points += drawn
        if drawn:
            best.append((min if goal == "min" else max)(drawn, key=lambda point: point["value"]))
    x = {
        "field": "share" if relative else "step",
        "type": "quantitative",
        "title": "share of the last step" if relative else "step",
        "scale": {"nice": False},
    }
    y = {"field": "value", "type": "quantitative", "title": None, "scale": _scale(points, log=log)}
    if any(abs(point["value"]) >= _LONG_NUMBER for point in points):
        y["axis"] = {"format": "~g"}
    legend = {"labelLimit": _WIDTH // 2, "orient": "bottom", "symbolOpacity": 1}
    legend["columns"] = max(1, _WIDTH // (_MARK + _LETTER * max(map(len, curves), default=0)))
    names = list(curves)
    color = {
        "field": "job",
        "type": "nominal",
        "title": None,
        # Also those without a number, which would be missed.
        "scale": {"domain": names, "range": [COLORS[at % len(COLORS)] for at in range(len(names))]},
        "legend": legend,
    }
    told = [{"field": name, "type": kind} for name, kind in (("job", "nominal"), ("step", "quantitative"))]
    tooltip = [*told, {"field": "value", "type": "quantitative", "format": ".6g"}]
    encoding = {"x": x, "y": y, "color": color, "tooltip": tooltip}
    nothing = {"data": {"values": [{}]}, "mark": {"type": "text", "text": "no numbers", "fontSize": 16}}
    return {
        "$schema": "https://vega.github.io/schema/vega-lite/v5.json",
        "title": title,
        "width": _WIDTH,
        "height": 400,
        "background": "white",
        "layer": [
            {
                "data": {"values": points},
                "mark": {"type": "line", "strokeWidth": 1.5},
                "encoding": encoding,
                "params": [{"name": "zoom", "select": "interval", "bind": "scales"}],
            },
            {
                "data": {"values": best},
                "mark": {"type": "point", "filled": True, "size": 60},
                "encoding": encoding,
            },
            *([] if points else [nothing]),
        ],
    }


def _scale(points: Iterable[Mapping[str, Any]], *, log: bool) -> dict[str, Any]:
    if not log:
        return {"zero": False}
    positive = all(point["value"] > 0 for point in points)
    return {"type": "log"} if positive else {"type": "symlog", "nice": False}


def rendered(specification: Mapping[str, Any], kind: str) -> bytes:
    """Render a specification as one of `FORMATS`. Raises `ExtraMissing` without the extra ``plot``."""
    if kind not in FORMATS:
        raise InvalidArgument(f"a picture is {', '.join(FORMATS)}, not {kind!r}")
    try:
        renderer = import_module("vl_convert")
    except ModuleNotFoundError:
        raise ExtraMissing("plot") from None
    if kind == "png":
        png: bytes = renderer.vegalite_to_png(specification, scale=2)
        return png
    if kind == "svg":
        return str(renderer.vegalite_to_svg(specification)).encode()
    # Names come from providers: nothing in them may end the script or begin a tag.
    text = json.dumps(specification).replace("<", "\\u003c")
    return _PAGE.format(
        title=html.escape(str(specification["title"])),
        library=renderer.javascript_bundle(),
        specification=text,
    ).encode()
