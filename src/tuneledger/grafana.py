"""Grafana's dashboards and data source, made out for one archive.

The files under ``dashboards/grafana`` are written for PostgreSQL. Their SQL is the same on SQLite; what
differs is how the plugin frser-sqlite-datasource wants a query wrapped, and that is changed here.
"""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tuneledger.errors import InvalidArgument

if TYPE_CHECKING:
    from tuneledger.engine import Location

__all__ = ["files", "write"]

_SQLITE_SOURCE: Final = "frser-sqlite-datasource"
_POSTGRESQL_PORT: Final = 5432


def files(location: Location, folder: Path) -> dict[str, str]:
    """Give the files by their path below ``folder``, where Grafana is to read the dashboards.

    Its password never stands in a file: Grafana reads TUNELEDGER_GRAFANA_PASSWORD from its own environment.
    Raises `InvalidArgument` for an archive in memory.
    """
    if location.schema is None and location.path is None:
        raise InvalidArgument("Grafana cannot see an archive in memory; name a file or a server")
    place = resources.files("tuneledger.dashboards") / "grafana"
    engine = "sqlite" if location.schema is None else "postgresql"
    found = {
        "provisioning/datasources/tuneledger.yaml": _filled(
            (place / f"datasource-{engine}.yaml").read_text("utf-8"), _settings(location)
        ),
        "provisioning/dashboards/tuneledger.yaml": _filled(
            (place / "dashboards.yaml").read_text("utf-8"),
            {"DASHBOARDS": str((folder / "dashboards").resolve())},
        ),
    }
    for file in sorted(place.iterdir(), key=lambda entry: entry.name):
        if file.name.endswith(".json"):
            dashboard = _of_location(json.loads(file.read_text("utf-8")), location)
            found[f"dashboards/{file.name}"] = json.dumps(dashboard, indent=2, ensure_ascii=False) + "\n"
    return found


def write(location: Location, folder: Path, *, force: bool = False) -> list[Path]:
    """Write the files into ``folder`` and give their paths; those that stand there already are left alone.

    Raises `InvalidArgument` before any is written where one stands there with another content, unless
    ``force``.
    """
    wanted = {folder / name: text for name, text in files(location, folder).items()}
    missing = {path: text for path, text in wanted.items() if not _holds(path, text)}
    taken = [str(path) for path in missing if path.exists()]
    if taken and not force:
        raise InvalidArgument(f"{', '.join(taken)} would change; --force writes over what is there")
    for path, text in missing.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    return list(wanted)


def _holds(path: Path, text: str) -> bool:
    return path.is_file() and path.read_bytes() == text.encode()


def _settings(location: Location) -> dict[str, str]:
    url = location.url
    if location.path is not None:
        return {"PATH": str(location.path.resolve())}
    sslmode = url.query.get("sslmode")
    return {
        "HOST": f"{url.host or 'localhost'}:{url.port or _POSTGRESQL_PORT}",
        "USER": url.username or "",
        "DATABASE": url.database or "",
        "SSLMODE": sslmode if isinstance(sslmode, str) else "prefer",
    }


def _filled(text: str, settings: dict[str, str]) -> str:
    """Put values in the place of Grafana's variables, as JSON text, which is YAML; a dollar is doubled."""
    for name, value in settings.items():
        text = text.replace(f"$TUNELEDGER_GRAFANA_{name}\n", json.dumps(value.replace("$", "$$")) + "\n")
    return text


def _of_location(dashboard: dict[str, Any], location: Location) -> dict[str, Any]:
    schema = location.schema or "main"
    for variable in dashboard["templating"]["list"]:
        if variable["name"] == "schema":
            variable["query"] = schema
            variable["current"] |= {"text": schema, "value": schema}
    return dashboard if location.schema else _for_sqlite(dashboard)


def _for_sqlite(node: Any) -> Any:
    """Wrap every query as the SQLite plugin wants it, and name it as the data source."""
    if isinstance(node, list):
        return [_for_sqlite(item) for item in node]
    if not isinstance(node, dict):
        return node
    if "rawSql" in node:
        node = {
            "refId": node["refId"],
            "datasource": node["datasource"],
            "queryType": node["format"].replace("_", " "),
            "rawQueryText": node["rawSql"],
            "queryText": node["rawSql"],
            "timeColumns": ["time"],
        }
    changed = {name: _for_sqlite(value) for name, value in node.items()}
    if isinstance(source := changed.get("datasource"), dict):
        source["type"] = _SQLITE_SOURCE
    return changed
