import json
import re
import shlex
from pathlib import Path

import pytest

from tuneledger import Archive
from tuneledger.cli import run

DOCS = (Path(__file__).parents[1] / "docs/sources.md").read_text()

# Made after each service's documentation: the file, and the (step, time, metrics) that it stands for.
RECORDS: dict[str, dict[str, object]] = {
    "together": {
        "checkpoints.json": {
            "data": [
                {
                    "step": 10,
                    "created_at": "2024-01-01T00:00:10.5Z",
                    "checkpoint_type": "Intermediate",
                    "path": "s3://x",
                }
            ]
        },
        "metrics.json": {"metrics": [{"global_step": 10, "train/loss": 0.5, "eval/loss": 0.75}]},
    },
    "cohere": {
        "steps.json": {
            "step_metrics": [
                {
                    "created_at": "2024-01-01T00:00:10Z",
                    "step_number": 10,
                    "metrics": {"accuracy": 0.5, "cross_entropy": 1.5},
                }
            ],
            "next_page_token": None,
        }
    },
    "predibase": {
        "adapter.json": {
            "checkpoints": [
                {
                    "steps": 10,
                    "epoch": 1,
                    "checkpoint_number": 1,
                    "train_metrics_loss": 0.5,
                    "validation_metrics_loss": 0.75,
                }
            ]
        }
    },
    "bedrock": {
        "step_wise_training_metrics.csv": "step_number,epoch_number,training_loss,perplexity\n0,0,0.5,1.6\n"
    },
    "neptune": {
        "loss.csv": "step,value,timestamp\n10,0.5,2024-01-01 00:00:10.500000\n",
        "acc.csv": "step,value,timestamp\n10,0.75,2024-01-01 00:00:10.500000\n",
    },
}
EXPECTED = {
    "together": (
        10,
        1_704_067_210,
        {"checkpoint_type": "Intermediate", "path": "s3://x", "train/loss": 0.5, "eval/loss": 0.75},
    ),
    "cohere": (10, 1_704_067_210, {"accuracy": 0.5, "cross_entropy": 1.5}),
    "predibase": (
        10,
        0,
        {"epoch": 1.0, "checkpoint_number": 1.0, "train_loss": 0.5, "valid_loss": 0.75},
    ),
    "neptune": (10, 1_704_067_210, {"train/loss": 0.5, "train/acc": 0.75}),
    "bedrock": (0, 0, {"epoch_number": 0.0, "training_loss": 0.5, "perplexity": 1.6}),
}


def recipe(name: str) -> list[str]:
    """The commands of a recipe, as they stand in the documentation."""
    text = DOCS.partition(f"<!-- recipe:{name} -->")[2]
    block = re.search(r"```\n(.*?)```", text, re.DOTALL)
    assert block
    return block[1].strip().splitlines()


@pytest.mark.parametrize("name", RECORDS)
def test_a_recipe_does_what_it_says(
    name: str, sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The documented command archives such a record as one job of that provider."""
    monkeypatch.chdir(tmp_path)
    for file, content in RECORDS[name].items():
        Path(file).write_text(content if isinstance(content, str) else json.dumps(content))
    for line in recipe(name):
        command, *arguments = shlex.split(line)
        assert command == "tuneledger"
        assert run([*arguments, "--db", sqlite_url]) == 0
    with Archive(sqlite_url, read_only=True) as archive, archive.read() as repository:
        (summary,) = repository.jobs().jobs
        (checkpoint,) = repository.checkpoints(summary.job_id)
    assert summary.provider == name
    found = (checkpoint.step_number, checkpoint.created_at, checkpoint.metrics.named_values())
    assert found == EXPECTED[name]
