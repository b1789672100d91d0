"""Grafana's queries, its variables and macros put in as its documentation and the SQLite plugin's say."""

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tuneledger import grafana
from tuneledger.engine import Location

FROM, TO = datetime(2020, 1, 1, tzinfo=UTC), datetime(2030, 1, 1, tzinfo=UTC)

Answer = tuple[list[str], list[tuple[Any, ...]]]
"""Names of columns, and rows."""


class GrafanaQueries:
    """The dashboards as `tuneledger grafana` writes them for an archive, and a way to run their SQL."""

    def __init__(self, location: Location, connection: Any) -> None:
        self.location = location
        self.connection = connection
        self.dashboards: dict[str, Any] = {
            Path(name).stem: json.loads(text)
            for name, text in grafana.files(location, Path("/grafana")).items()
            if name.endswith(".json")
        }

    def run(self, text: str) -> Answer:
        """What SQL answers."""
        cursor = self.connection.execute(text)
        return [column[0] for column in cursor.description], cursor.fetchall()

    def query(self, target: dict[str, Any]) -> str:
        """The SQL of a panel, an annotation or a variable, before Grafana puts anything in."""
        text: str = target["rawSql"] if self.location.schema else target["queryText"]
        return text

    def asked(self, dashboard: dict[str, Any]) -> Iterator[tuple[str, str]]:
        """Every query of a dashboard, by the name of its variable, panel or annotation."""
        for variable in dashboard["templating"]["list"]:
            if variable["type"] == "query":
                yield f"variable {variable['name']}", variable["query"]
        for panel in dashboard["panels"]:
            (target,) = panel["targets"]
            yield panel["title"], self.query(target)
        for annotation in dashboard["annotations"]["list"]:
            yield f"annotation {annotation['name']}", self.query(annotation["target"])

    def filled(self, text: str, variables: dict[str, list[str]]) -> str:
        """A query with the variables put in as Grafana does."""
        text = re.sub(
            r"\$\{(\w+):sqlstring\}",
            lambda found: ",".join("'" + value.replace("'", "''") + "'" for value in variables[found[1]]),
            text,
        )
        text = re.sub(r"\$\{(\w+)\}", lambda found: variables[found[1]][0], text)
        text = re.sub(r"\$__timeFilter\(([^)]*)\)", self._time_filter, text)
        assert "$" not in text, text
        return text

    def answer(self, text: str, variables: dict[str, list[str]]) -> Answer:
        """What a query answers."""
        return self.run(self.filled(text, variables))

    def _time_filter(self, found: re.Match[str]) -> str:
        column = found[1]
        if self.location.schema:
            return f"{column} BETWEEN '{FROM:%Y-%m-%dT%H:%M:%SZ}' AND '{TO:%Y-%m-%dT%H:%M:%SZ}'"
        seconds = f"CASE WHEN typeof({column}) = 'integer' THEN {column} ELSE strftime(\"%s\", {column}) END"
        return f"CAST({seconds} AS INTEGER) BETWEEN {FROM.timestamp():.0f} AND {TO.timestamp():.0f}"

    def variables(self, dashboard: dict[str, Any]) -> dict[str, list[str]]:
        """Every variable's values: all of them for `All` and where several may be chosen, else the first."""
        chosen: dict[str, list[str]] = {}
        for variable in dashboard["templating"]["list"]:
            if variable["type"] == "constant":
                chosen[variable["name"]] = [variable["query"]]
                continue
            columns, rows = self.answer(variable["query"], chosen)
            assert len(columns) == 1
            values = [value for (value,) in rows]
            assert values
            assert len(values) <= 1_000
            chosen[variable["name"]] = values if variable["multi"] else values[:1]
        return chosen
