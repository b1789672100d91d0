"""Series and checkpoints as data frames, by one call each: pandas, polars or Arrow.

Each is an extra of its name (``pandas``, ``polars``, ``arrow``) and is imported when it is asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal

from tuneledger.errors import ExtraMissing, InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from tuneledger.repository import CheckpointRepository

__all__ = ["Kind", "checkpoints", "series"]

Kind = Literal["pandas", "polars", "arrow"]


def series(
    repository: CheckpointRepository,
    job_ids: Iterable[str],
    metric: str,
    *,
    kind: Kind = "pandas",
    first_step: int | None = None,
    last_step: int | None = None,
    points: int | None = None,
) -> Any:
    """Give a metric of jobs as one long frame: ``job_id``, ``metric``, ``step``, ``value``, in step order.

    The arguments are those of `CheckpointRepository.series`. NaN and infinities stay; null and what was not
    evaluated is null (in pandas NaN).
    """
    found = repository.series(
        job_ids, metric, first_step=first_step, last_step=last_step, points=points
    ).values()
    return _frame(
        kind,
        {
            "job_id": ("text", [one.job_id for one in found for _ in one.steps]),
            "metric": ("text", [one.metric for one in found for _ in one.steps]),
            "step": ("integer", [step for one in found for step in one.steps]),
            "value": ("number", [_number(value) for one in found for value in one.values]),
        },
    )


def checkpoints(
    repository: CheckpointRepository,
    job_id: str,
    *,
    kind: Kind = "pandas",
    first_step: int | None = None,
    last_step: int | None = None,
) -> Any:
    """Give the checkpoints of a job as a wide frame: ``step_number``, ``created_at``, a column a metric.

    A metric that a checkpoint does not have is null there, as is one that is no number.
    """
    names = repository.metric_names(job_id)
    steps: list[int] = []
    times: list[int] = []
    values: list[Mapping[str, Any]] = []
    for checkpoint in repository.stream_checkpoints(job_id, first_step=first_step, last_step=last_step):
        steps.append(checkpoint.step_number)
        times.append(checkpoint.created_at)
        values.append(checkpoint.metrics.named_values())
    columns: dict[str, tuple[str, list[Any]]] = {
        "step_number": ("integer", steps),
        "created_at": ("integer", times),
    }
    for name in names:
        # The archive's own columns keep their names.
        title = name
        while title in columns:
            title = f"metric {title}"
        columns[title] = ("number", [_number(row.get(name)) for row in values])
    return _frame(kind, columns)


def _number(value: object) -> float | None:
    # A placeholder is a float of a class of its own.
    return value if type(value) is float else None


def _frame(kind: str, columns: Mapping[str, tuple[str, list[Any]]]) -> Any:
    if kind not in {"pandas", "polars", "arrow"}:
        raise InvalidArgument(f"kind is pandas, polars or arrow, not {kind!r}")
    try:
        library = import_module("pyarrow" if kind == "arrow" else kind)
    except ModuleNotFoundError:
        raise ExtraMissing(kind) from None
    if kind == "arrow":
        types = {"text": library.string(), "integer": library.int64(), "number": library.float64()}
        return library.table(
            {name: library.array(values, types[of]) for name, (of, values) in columns.items()}
        )
    if kind == "polars":
        types = {"text": library.String, "integer": library.Int64, "number": library.Float64}
        return library.DataFrame(
            {name: values for name, (_, values) in columns.items()},
            schema={name: types[of] for name, (of, _) in columns.items()},
        )
    types = {"text": "str", "integer": "int64", "number": "float64"}
    return library.DataFrame(
        {name: library.Series(values, dtype=types[of]) for name, (of, values) in columns.items()}
    )
