"""An ``mlruns`` folder: MLflow's runs as files, one folder a run."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from tuneledger import json_text
from tuneledger.errors import Conflict, InvalidPayload
from tuneledger.repository import Input
from tuneledger.sources import mlflow
from tuneledger.sync.inputs import files_below, read_document
from tuneledger.sync.outcome import Outcome

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from tuneledger.archive import Archive
    from tuneledger.repository import OnConflict

__all__ = ["archive_runs", "run_folders"]

_META = "meta.yaml"


def run_folders(files: Iterable[str | Path]) -> list[Path]:
    """Give the folders of runs among those of ``files``: each has a meta.yaml and a folder ``metrics``."""
    metas = (file for file in map(Path, files) if file.name == _META)
    return sorted(file.parent for file in metas if (file.parent / "metrics").is_dir())


def archive_runs(
    archive: Archive, path: str, *, job_id: str | None, on_conflict: OnConflict | str, max_bytes: int
) -> Iterator[Outcome]:
    """Archive the runs at or below a folder, each in a transaction of its own; an outcome a run."""
    for folder in run_folders(files_below(path)):
        outcome = Outcome(str(folder), mlflow.PROVIDER)
        try:
            run = _run(folder, max_bytes)
            job = mlflow.job(run, source=outcome.name, job_id=job_id)
            content = json_text.canonical([job.document, len(job.checkpoints)]).encode()
            given = Input(outcome.name, mlflow.PROVIDER, len(content), hashlib.sha256(content).hexdigest())
            outcome.reports.append(archive.save(job, on_conflict=on_conflict, inputs=[given]))
        except (Conflict, InvalidPayload) as error:
            outcome.error = error
        yield outcome


def _run(folder: Path, max_bytes: int) -> mlflow.Run:
    meta = folder / _META
    fields = mlflow.flat_yaml(_text(meta, max_bytes), source=str(meta))
    metrics = [
        (name, *found)
        for name, file in _files(folder / "metrics")
        for found in mlflow.metric_lines(_text(file, max_bytes), source=str(file))
    ]
    metrics.sort(key=lambda metric: metric[2])
    of_experiment = folder.parent / _META
    experiment = (
        mlflow.flat_yaml(_text(of_experiment, max_bytes), source=str(of_experiment)).get("name")
        if of_experiment.is_file()
        else None
    )
    return mlflow.Run(
        fields,
        metrics,
        {name: _text(file, max_bytes) for name, file in _files(folder / "params")},
        {name: _text(file, max_bytes) for name, file in _files(folder / "tags")},
        experiment,
    )


def _files(folder: Path) -> list[tuple[str, Path]]:
    """Give the files of a folder by name; a slash in a name is a folder."""
    return [(file.relative_to(folder).as_posix(), file) for file in files_below(folder)]


def _text(file: Path, max_bytes: int) -> str:
    return read_document(str(file), max_bytes=max_bytes).text
