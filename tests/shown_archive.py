"""An archive worth looking at: jobs of three providers, a spike, a diverged step, costs, a job that runs."""

import math

from tuneledger import Archive, CheckpointOut, Event, Job

START = 1_760_000_000
LONG = "ftjob-long"
LONG_STEPS = 6_000
SPIKE = 4_321
"""The one step of the long job whose loss is 50."""
RUNNING = "ftjob-running"


def fill(archive: Archive) -> list[str]:
    """Saves the jobs; gives their ids."""
    jobs = [_job(number) for number in range(9)]
    for job in [*jobs, long_job(LONG_STEPS), _running()]:
        archive.save(job)
    return [job.job_id for job in jobs] + [LONG, RUNNING]


def running_checkpoint(number: int) -> CheckpointOut:
    """The checkpoint that the running job makes as its ``number``th, from 1."""
    return _checkpoint(number * 10, START + number, train_loss=2.0 / number)


def checkpoint(step: int, **metrics: float | None) -> CheckpointOut:
    """A checkpoint made a second a step after the start."""
    return _checkpoint(step, START + step, **metrics)


def _checkpoint(step: int, created_at: int, **metrics: float | None) -> CheckpointOut:
    return CheckpointOut.model_validate({"metrics": metrics, "step_number": step, "created_at": created_at})


def _job(number: int) -> Job:
    created_at = START + number * 86_400
    steps = 40 + number * 10
    checkpoints = []
    for step in range(10, steps * 10, 10):
        share = step / (steps * 10)
        loss = 2.2 * math.exp(-3 * share) + 0.3 + 0.05 * math.sin(step * (number + 1)) + 0.05 * number
        metrics: dict[str, float | None] = {"train_loss": loss, "learning_rate": 1e-4 * (1 - share)}
        if step % 50 == 0:
            metrics |= {"valid_loss": loss * 1.1 + 0.4 * share**4, "valid_mean_token_accuracy": 1 - loss / 4}
        checkpoints.append(_checkpoint(step, created_at + step, **metrics))
    end = created_at + steps * 12
    return Job(
        job_id=f"ftjob-{number:02}",
        provider=("mistral", "openai", "huggingface")[number % 3],
        model=("open-mistral-7b", "gpt-4o-mini", None)[number % 3],
        status="SUCCESS" if number % 4 else "FAILED",
        created_at=created_at,
        revision=end,
        finished_at=end,
        trained_tokens=number * 100_000,
        cost=number * 1.25,
        cost_currency="USD",
        fine_tuned_model=f"ft:{number}",
        events=[
            Event(name="status-updated", created_at=created_at + 1, data={"status": "RUNNING"}),
            Event(name="status-updated", created_at=end, data={"status": "SUCCESS"}),
        ],
        checkpoints=checkpoints,
    )


def long_job(steps: int) -> Job:
    """A job of so many steps, without times, in Hugging Face's names."""
    checkpoints = []
    for step in range(steps):
        loss = 50.0 if step == SPIKE else 3 / math.sqrt(step + 1) + 0.02 * math.sin(step)
        metrics: dict[str, float | None] = {"loss": math.nan if step == 777 else loss}
        if step % 100 == 0:
            metrics["eval_loss"] = loss * 1.2
        checkpoints.append(_checkpoint(step, START + step, **metrics))
    return Job(
        job_id=LONG,
        provider="huggingface",
        model="O'Reilly/long-7b",
        status="finished",
        checkpoints=checkpoints,
    )


def _running() -> Job:
    return Job(
        job_id=RUNNING,
        provider="mistral",
        model="open-mistral-7b",
        status="RUNNING",
        created_at=START,
        revision=START + 5,
        checkpoints=[running_checkpoint(number) for number in range(1, 6)],
    )
