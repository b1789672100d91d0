"""What a release says to its database: every statement of a scenario, to be replayed on later schemas.

``scripts/schema-dump`` keeps it for the newest revision. tests/data/schema/REVISION.ENGINE.statements.json
holds transactions, each a list of statements with their parameters.
"""

import json
from pathlib import Path
from typing import Any

from sqlalchemy import event

from tuneledger import Archive, CheckpointOut, Job

FOLDER = Path(__file__).parent / "data/schema"


def checkpoints(first: int, last: int, **more: float) -> list[CheckpointOut]:
    """Checkpoints whose train_loss falls with the steps."""
    return [
        CheckpointOut.model_validate(
            {
                "metrics": {"train_loss": 8.0 / step, "valid_loss": None if step % 2 else 4.0 / step, **more},
                "step_number": step,
                "created_at": 1_700_000_000 + step,
            }
        )
        for step in range(first, last)
    ]


def job(name: str, steps: list[CheckpointOut], **fields: Any) -> Job:
    """A job of these checkpoints."""
    return Job(job_id=name, provider="mistral", created_at=1_700_000_000, checkpoints=steps, **fields)


def scenario(archive: Archive) -> None:
    """Saves, appends, changes, replaces, deletes and reads, each in a transaction of its own."""
    archive.save(job("kept", checkpoints(1, 20), status="RUNNING", revision=1))
    archive.save(job("gone", checkpoints(1, 5)))
    with archive.write() as repository:
        repository.append("kept", checkpoints(20, 30, grad_norm=0.5))
    archive.save(job("kept", checkpoints(1, 25), status="SUCCESS", revision=2))
    with archive.write() as repository:
        repository.append("kept", checkpoints(28, 31, grad_norm=0.25))
    archive.save(job("replaced", checkpoints(1, 9, loss=1.0)))
    archive.save(job("replaced", checkpoints(3, 6), revision=3), on_conflict="replace")
    with archive.write() as repository:
        repository.delete_job("gone")
    with archive.read() as repository:
        repository.job("kept")
        repository.jobs()
        repository.best_checkpoint("kept", "train_loss")
        repository.latest_checkpoint("kept")
        repository.series(["kept", "replaced"], "valid_loss", points=4)
        repository.count_checkpoints("kept")
        repository.metric_names("kept")
        repository.states("kept")


def record(archive: Archive) -> list[list[dict[str, Any]]]:
    """Runs the scenario in an empty archive; gives the statements, transaction by transaction."""
    transactions: list[list[dict[str, Any]]] = []

    def begin(_connection: object) -> None:
        transactions.append([])

    def note(*arguments: Any) -> None:
        _connection, _cursor, statement, parameters, _context, many = arguments
        if statement.split()[0] not in {"BEGIN", "SET", "PRAGMA", "SHOW"}:
            transactions[-1].append({"sql": statement, "parameters": parameters, "many": many})

    event.listen(archive.engine, "begin", begin)
    event.listen(archive.engine, "before_cursor_execute", note)
    scenario(archive)
    return [transaction for transaction in transactions if transaction]


def write(archive: Archive, revision: str) -> Path:
    """Keeps the statements of the release at hand under the newest revision it knows."""
    path = FOLDER / f"{revision}.{archive.engine.dialect.name}.statements.json"
    text = json.dumps(record(archive), ensure_ascii=False, separators=(",", ":"))
    path.write_text(text.replace('{"sql"', '\n{"sql"') + "\n")
    return path
