import json
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest

from sample_files import FOLDER, sample_files, sample_id
from tuneledger import Archive, Job
from tuneledger.cli import run
from tuneledger.errors import InvalidPayload
from tuneledger.sources import MAPPED, Document, Hints, exported, kept, known, named
from tuneledger.sync import archive_paths

pytestmark = pytest.mark.samples

# Per file: the format, its jobs, steps and values. What is not listed is refused.
EXPECTED: dict[str, tuple[str, int, int, int]] = {
    "huggingface/dpo-eval/trainer_state.json": ("huggingface", 1, 291, 3549),
    "huggingface/early-stopped-accuracy/trainer_state.json": ("huggingface", 1, 28, 104),
    "huggingface/empty-log-history/trainer_state.json": ("huggingface", 1, 0, 0),
    "huggingface/growing-chatglm2/checkpoint-1000.trainer_state.json": ("huggingface", 1, 100, 300),
    "huggingface/growing-chatglm2/checkpoint-2000.trainer_state.json": ("huggingface", 1, 200, 600),
    "huggingface/growing-chatglm2/checkpoint-3000.trainer_state.json": ("huggingface", 1, 300, 900),
    "huggingface/growing-chatglm2/final.trainer_state.json": ("huggingface", 1, 300, 900),
    "huggingface/growing-whisper-eval/final.trainer_state.json": ("huggingface", 1, 200, 625),
    "huggingface/growing-whisper-eval/step-1000.trainer_state.json": ("huggingface", 1, 40, 125),
    "huggingface/growing-whisper-eval/step-2000.trainer_state.json": ("huggingface", 1, 80, 250),
    "huggingface/growing-whisper-eval/step-3000.trainer_state.json": ("huggingface", 1, 120, 375),
    "huggingface/growing-whisper-eval/step-4000.trainer_state.json": ("huggingface", 1, 160, 500),
    "huggingface/growing-whisper-eval/step-5000.trainer_state.json": ("huggingface", 1, 200, 625),
    "huggingface/grpo-one-row/trainer_state.json": ("huggingface", 1, 1, 19),
    "huggingface/huge-24000/trainer_state.json": ("huggingface", 1, 24000, 72000),
    "huggingface/long-1219/trainer_state.json": ("huggingface", 1, 1218, 3654),
    "huggingface/many-jobs-irish-tunes/ashplant-a.trainer_state.json": ("huggingface", 1, 49, 167),
    "huggingface/many-jobs-irish-tunes/banish_misfortune-a.trainer_state.json": ("huggingface", 1, 53, 179),
    "huggingface/many-jobs-irish-tunes/banish_misfortune-b.trainer_state.json": ("huggingface", 1, 105, 353),
    "huggingface/many-jobs-irish-tunes/cooleys-a.trainer_state.json": ("huggingface", 1, 39, 135),
    "huggingface/many-jobs-irish-tunes/earls_chair-a.trainer_state.json": ("huggingface", 1, 143, 453),
    "huggingface/multi-eval-7rows-per-step/trainer_state.json": ("huggingface", 1, 31, 1051),
    "huggingface/nan-all/trainer_state.excerpt.json": ("huggingface", 1, 6, 32),
    "huggingface/nan-t5/trainer_state.excerpt.json": ("huggingface", 1, 4, 19),
    "huggingface/no-step-predict-rows/trainer_state.json": ("huggingface", 1, 20, 130),
    "huggingface/silent-divergence-zero-loss/trainer_state.json": ("huggingface", 1, 100, 300),
    "lightning/GPTTT.metrics.csv": ("lightning", 1, 10, 22),
    "lightning/llm-moderator.metrics.csv": ("lightning", 1, 2, 6),
    "lightning/slm_training-version_0.metrics.csv": ("lightning", 1, 2824, 8522),
    "lightning/slm_training-version_10.metrics.csv": ("lightning", 1, 136, 408),
    "lightning/slm_training-version_11.metrics.csv": ("lightning", 1, 25, 75),
    "azure-openai/ftjob-41e7d3a9/1-job.json": ("openai", 1, 0, 0),
    "azure-openai/ftjob-41e7d3a9/2-events-page.json": ("openai", 1, 6, 36),
    "azure-openai/ftjob-41e7d3a9/3-checkpoints.json": ("openai", 1, 3, 21),
    "azure-openai/ftjob-41e7d3a9/4-job-final.json": ("openai", 1, 0, 0),
    "openai/event-metrics-reinforcement.json": ("openai", 1, 1, 7),
    "openai/step_metrics-HistoryGPT.csv": ("openai", 1, 59, 236),
    "openai/step_metrics-large-robot-model.csv": ("openai", 1, 99, 198),
    "openai/step_metrics-nmap.ai.csv": ("openai", 1, 138, 276),
}
AZURE = FOLDER / "azure-openai/ftjob-41e7d3a9"
OTHERS = [path for path in sample_files("**/*") if not sample_id(path).startswith("mistral/")]
STATES = [path for path in OTHERS if path.name.endswith(".json") and "huggingface" in path.parts]


def document(path: Path) -> Document:
    """The file as the archive sees it."""
    return Document(str(path), path.read_bytes(), str(path))


@pytest.mark.parametrize("path", OTHERS, ids=sample_id)
def test_each_file_is_archived_or_refused(path: Path, database_url: str) -> None:
    """What it was taken for, its jobs, steps and values; archived twice, the second time nothing changes."""
    with Archive(database_url) as archive:
        (outcome,) = archive_paths(archive, [str(path)])
        if sample_id(path) not in EXPECTED:
            assert outcome.error is not None
            return
        with archive.read() as repository:
            jobs = [repository.job(report.job_id) for report in outcome.reports]
        steps = [checkpoint for job in jobs for checkpoint in job.checkpoints]
        values = sum(len(checkpoint.metrics.named_values()) for checkpoint in steps)
        assert (outcome.format, len(jobs), len(steps), values) == EXPECTED[sample_id(path)]
        (again,) = archive_paths(archive, [str(path)])
        assert not any(report.wrote for report in again.reports)


def test_the_whole_folder_twice(sqlite_url: str) -> None:
    """The second time nothing changes, and no file is refused that was not."""
    with Archive(sqlite_url) as archive:
        first = list(archive_paths(archive, [str(FOLDER)]))
        again = list(archive_paths(archive, [str(FOLDER)]))
    assert any(report.wrote for outcome in first for report in outcome.reports)
    assert not any(report.wrote for outcome in again for report in outcome.reports)
    assert [(o.name, o.format, o.skipped) for o in first] == [(o.name, o.format, o.skipped) for o in again]
    assert not [outcome.name for outcome in first if outcome.error and not outcome.skipped]


@pytest.mark.parametrize("run_name", ["growing-chatglm2", "growing-whisper-eval"])
def test_a_growing_run_in_any_order(run_name: str) -> None:
    """Whatever order its files come in, the job ends equal to the last file alone."""
    files = sample_files(f"huggingface/{run_name}/*")

    def end(archive: Archive, order: list[Path]) -> Job:
        for path in order:
            (outcome,) = archive_paths(archive, [str(path)], job_id="run")
            assert outcome.error is None
        with archive.write() as repository:
            job = repository.job("run")
            repository.delete_job("run")
        return job

    last = next(path for path in files if path.name.startswith("final"))
    orders = list(permutations(files))
    with Archive("sqlite://") as archive:
        alone = end(archive, [last])
        for order in orders[:: max(1, len(orders) // 24)]:
            assert end(archive, list(order)) == alone


@pytest.mark.parametrize("path", STATES, ids=sample_id)
def test_every_row_of_a_trainer_state_comes_back(path: Path) -> None:
    """Every step, name, value and unknown field is in the export, rows of one step merged."""
    given = json.loads(path.read_bytes())
    (job,) = named("huggingface").read(document(path), Hints(job_id="run"))
    back: Any = json.loads(json.dumps(exported(job)))
    assert pairs(back["log_history"]) == pairs(given["log_history"])
    assert text({**back, "log_history": []}) == text({**given, "log_history": []})


def pairs(rows: list[dict[str, Any]]) -> set[tuple[Any, str, str]]:
    """Every (step, name, value) of a log."""
    return {
        (row.get("step"), name, str(float(value) if isinstance(value, int) else value))
        for row in rows
        for name, value in row.items()
        if name != "step"
    }


def text(value: object) -> str:
    """JSON in one spelling, so that NaN equals itself."""
    return json.dumps(value, sort_keys=True)


def test_the_azure_run_is_one_job(database_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Its best step stands in the events alone, and the answer says that the checkpoint itself is gone."""
    assert run(["archive", str(AZURE), "--db", database_url]) == 0
    with Archive(database_url, read_only=True) as archive, archive.read() as repository:
        (summary,) = repository.jobs().jobs
        job = repository.job(summary.job_id)
        best = repository.best_checkpoint(job.job_id, "full_valid_loss")
    assert (job.provider, job.status, len(job.events)) == ("azure", "succeeded", 10)
    assert [step.step_number for step in job.checkpoints if kept("azure", step)] == [80, 90, 100]
    assert best is not None
    assert (best.step_number, kept("azure", best)) == (50, False)
    capsys.readouterr()
    assert run(["best", "ftjob-41e7", "full_valid_loss", "--db", database_url]) == 0
    assert "kept no checkpoint at step 50" in capsys.readouterr().err


def test_the_azure_run_comes_back(sqlite_url: str) -> None:
    """Job, events and checkpoints are exported as they came."""
    with Archive(sqlite_url) as archive:
        list(archive_paths(archive, [str(AZURE)]))
        with archive.read() as repository:
            (summary,) = repository.jobs().jobs
            exported_job: Any = exported(repository.job(summary.job_id))
    parts = {name: exported_job.pop(name)["data"] for name in ("events", "checkpoints")}
    assert exported_job == json.loads((AZURE / "4-job-final.json").read_bytes())
    for name, file in (("events", "2-events-page.json"), ("checkpoints", "3-checkpoints.json")):
        given = json.loads((AZURE / file).read_bytes())["data"]
        assert sorted(map(text, parts[name])) == sorted(map(text, given))


@pytest.mark.parametrize("path", sample_files("**/*"), ids=sample_id)
def test_every_wrong_format_is_refused(path: Path) -> None:
    """Read as anything it is not, a file gives a typed refusal and no job."""
    given = document(path)
    for source in (*known(), *MAPPED):
        if not source.recognises(given) or source in MAPPED:
            with pytest.raises(InvalidPayload):
                list(source.read(given, Hints()))
