"""The picture of the schema, as SVG: tables with their keys, what refers to what, and what the views read."""

import html
from typing import Any, NamedTuple

from sqlalchemy import ForeignKeyConstraint, Table, inspect

from tuneledger import Archive
from tuneledger.tables import VIEWS, Base

__all__ = ["schema_picture"]

WIDTH, ROW, GAP, MARGIN = 196, 17, 54, 12
STYLE = """
  text { font: 12px ui-monospace, monospace; fill: #1f2933; }
  .name { font-weight: bold; fill: #ffffff; }
  .key { font-weight: bold; }
  .box { fill: #ffffff; stroke: #52606d; }
  .table { fill: #3e4c59; }
  .view { fill: #2f6f6b; }
  .line { fill: none; stroke: #52606d; }
  .unchecked { stroke-dasharray: 4 3; }
"""

# Left to right as the keys lead: what a job is, the job, its values, and the names of these.
COLUMNS = (
    ("job_digests", "job_states", "job_labels", "inputs"),
    ("jobs",),
    ("checkpoints", "events", "metric_names"),
    ("job_metrics", "metrics"),
)


class Box(NamedTuple):
    """A table or a view at its place."""

    name: str
    rows: list[tuple[str, bool]]
    x: int
    y: int
    kind: str

    @property
    def height(self) -> int:
        """In pixels, the title's row with it."""
        return ROW * (len(self.rows) + 1) + 6

    def row(self, column: str) -> int:
        """Where the middle of a column's row is."""
        position = [name for name, _ in self.rows].index(column)
        return self.y + ROW * (position + 1) + ROW // 2 + 5


def schema_picture() -> str:
    """Give it as SVG."""
    tables = Base.metadata.tables
    unplaced = set(tables).symmetric_difference(name for column in COLUMNS for name in column)
    if unplaced:
        raise ValueError(f"give these a place in COLUMNS: {unplaced}")
    boxes: dict[str, Box] = {}
    for place, names in enumerate(COLUMNS):
        y = MARGIN
        for name in names:
            columns = [(column.name, column.primary_key) for column in tables[name].columns]
            boxes[name] = Box(name, columns, MARGIN + place * (WIDTH + GAP), y, "table")
            y += boxes[name].height + 2 * ROW
    lines = [line for table in tables.values() for line in _references(table, boxes)]

    top = max(box.y + box.height for box in boxes.values()) + 2 * ROW
    views: list[Box] = []
    for position, (name, of_view) in enumerate(_views()):
        row, place = divmod(position, len(COLUMNS))
        y = top if not row else max(box.y + box.height for box in views[: len(COLUMNS)]) + 2 * ROW
        rows = [(column, False) for column in of_view]
        views.append(Box(name, rows, MARGIN + place * (WIDTH + GAP), y, "view"))
    everything = [*boxes.values(), *views]
    width = max(box.x for box in everything) + WIDTH + GAP
    height = max(box.y + box.height for box in everything) + MARGIN
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img">',
            "<title>The tables and views of an archive</title>",
            f"<style>{STYLE}</style>",
            f'<rect width="{width}" height="{height}" fill="#f5f7fa"/>',
            *lines,
            *(part for box in everything for part in _drawn(box)),
            "</svg>",
            "",
        ]
    )


def _views() -> list[tuple[str, list[str]]]:
    """Give each view with its columns, as the migrations make it."""
    with Archive("sqlite://") as archive, archive.engine.connect() as connection:
        found = inspect(connection)
        return [(name, [column["name"] for column in found.get_columns(name)]) for name in VIEWS]


def _references(table: Table, boxes: dict[str, Box]) -> list[str]:
    """Draw what a table refers to: by foreign keys, and dashed where a key is another's without one."""
    lines = []
    checked = {key.referred_table.name for key in table.constraints if isinstance(key, ForeignKeyConstraint)}
    own = {column.name for column in table.primary_key}
    for other in Base.metadata.tables.values():
        key = [column.name for column in other.primary_key]
        # A key that is itself a reference to a job says no more than that one.
        says_more = other is not table and own.issuperset(key) and key != ["job_key"]
        if other.name in checked or says_more:
            lines.append(_line(boxes[table.name], boxes[other.name], key[-1], checked=other.name in checked))
    return lines


def _line(start: Box, end: Box, column: str, *, checked: bool) -> str:
    kind = "line" if checked else "line unchecked"
    y, to_y = start.row(column), end.row(column)
    if start.x == end.x:
        side = start.x + WIDTH
        return f'<path class="{kind}" d="M{side},{y} C{side + GAP},{y} {side + GAP},{to_y} {side},{to_y}"/>'
    x, to_x = (start.x, end.x + WIDTH) if start.x > end.x else (start.x + WIDTH, end.x)
    middle = (x + to_x) // 2
    return f'<path class="{kind}" d="M{x},{y} C{middle},{y} {middle},{to_y} {to_x},{to_y}"/>'


def _drawn(box: Box) -> list[str]:
    def text(row: int, words: Any, kind: str) -> str:
        y = box.y + ROW * row + ROW - 3 + (4 if row else 0)
        return f'<text class="{kind}" x="{box.x + 8}" y="{y}">{html.escape(str(words))}</text>'

    return [
        f'<rect class="box" x="{box.x}" y="{box.y}" width="{WIDTH}" height="{box.height}" rx="3"/>',
        f'<rect class="{box.kind}" x="{box.x}" y="{box.y}" width="{WIDTH}" height="{ROW + 2}" rx="3"/>',
        text(0, box.name, "name"),
        *(text(row, name, "key" if key else "column") for row, (name, key) in enumerate(box.rows, 1)),
    ]
