"""Jobs made to measure."""

from typing import Any

from tuneledger import Job


def some_job(job_id: str = "job", steps: int = 3, *, first: int = 1, **fields: Any) -> Job:
    """A job with `steps` checkpoints from step `first` on, two metrics each, and one event a checkpoint."""
    numbers = range(first, first + steps)
    given = {
        "job_id": job_id,
        "provider": "test",
        "model": "model",
        "status": "RUNNING",
        "created_at": 1_700_000_000,
        "revision": steps,
        "steps": steps,
        "events": [
            {"name": "checkpoint", "created_at": 1_700_000_000 + n, "data": {"step": n}} for n in numbers
        ],
        "checkpoints": [
            {
                "metrics": {"train_loss": 1 / n, "valid_loss": 0.5 + 1 / n},
                "step_number": n,
                "created_at": 1_700_000_000 + n,
            }
            for n in numbers
        ],
    }
    return Job.model_validate(given | fields)
