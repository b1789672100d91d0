"""Small records in every source's shape, invented, as files of a run: for the suite that all sources pass."""

import json
import struct
from typing import Any

from tuneledger.sources import VALUE_HEADER, Document, Hints, named
from tuneledger.testing import SourceExample

PATH = "/runs/one"


def document(name: str, content: object) -> Document:
    """A file of that name with this content: bytes, text, or JSON values."""
    if isinstance(content, bytes):
        data = content
    else:
        data = (content if isinstance(content, str) else json.dumps(content)).encode()
    return Document(name, data, f"{PATH}/{name}")


def mistral_job(status: str, modified_at: int, steps: list[int]) -> dict[str, Any]:
    """A job of Mistral's, as far as it is."""
    return {
        "id": "11111111-2222-4333-8444-555555555555",
        "auto_start": True,
        "model": "open-mistral-7b",
        "status": status,
        "created_at": 1_700_000_000,
        "modified_at": modified_at,
        "training_files": ["file"],
        "hyperparameters": {"training_steps": 20, "learning_rate": 0.0001},
        "events": [{"name": "status-updated", "created_at": modified_at, "data": {"status": status}}],
        "checkpoints": [
            {
                "metrics": {"train_loss": 1.0 / step, "valid_loss": 0.0, "valid_mean_token_accuracy": 0.0},
                "step_number": step,
                "created_at": 1_700_000_000 + step,
            }
            for step in steps
        ],
    }


def openai_job(status: str = "succeeded", finished_at: int | None = 1_700_000_900) -> dict[str, Any]:
    """A job of OpenAI's."""
    return {
        "object": "fine_tuning.job",
        "id": "ftjob-abcdefghijklmnopqrstuvwx",
        "model": "gpt-4o-mini",
        "created_at": 1_700_000_000,
        "finished_at": finished_at,
        "fine_tuned_model": None,
        "status": status,
        "training_file": "file-1",
        "validation_file": None,
        "hyperparameters": {"n_epochs": -1},
        "trained_tokens": None,
        "error": None,
    }


def openai_event(number: int, step: int | None = None, **data: Any) -> dict[str, Any]:
    """An event of OpenAI's; with a step it carries metrics."""
    return {
        "object": "fine_tuning.job.event",
        "id": f"ftevent-{number}",
        "created_at": 1_700_000_000 + (step or number),
        "level": "info",
        "message": "metrics" if step else "started",
        "data": {"step": step, "total_steps": 9, **data} if step else None,
        "type": "metrics" if step else "message",
    }


def openai_checkpoint(step: int, **metrics: Any) -> dict[str, Any]:
    """A checkpoint of OpenAI's that the service keeps."""
    return {
        "object": "fine_tuning.job.checkpoint",
        "id": f"ftchkpt-{step}",
        "created_at": 1_700_000_000 + step,
        "fine_tuned_model_checkpoint": f"ft:gpt:ckpt-step-{step}",
        "fine_tuning_job_id": openai_job()["id"],
        "metrics": {"step": float(step), **metrics},
        "step_number": step,
    }


def page(items: list[Any]) -> dict[str, Any]:
    """A page of a list."""
    return {"object": "list", "data": items, "has_more": True, "first_id": "a", "last_id": "b"}


def together_job(status: str, second: int, **lists: Any) -> dict[str, Any]:
    """A job of Together's, joined with its lists."""
    return {
        "id": "ft-1234",
        "status": status,
        "model": "meta-llama",
        "created_at": "2024-01-01T00:00:00.000Z",
        "updated_at": f"2024-01-01T00:00:{second}.000Z",
        "token_count": 100,
        "events": [
            {
                "object": "fine-tune-event",
                "type": "job_pending",
                "message": "started",
                "created_at": "2024-01-01T00:00:01.5Z",
            }
        ],
        **lists,
    }


# A file that tensorboardX 2.6 wrote: its version, then loss 0.5 at step 7, 1700000000.25.
EVENT_FILE = bytes.fromhex(
    "1800000000000000a37f4b2209360bc505fec0da411a0d627261696e2e4576656e743a3295ac9d301a00000000000000"
    "129bd82d0900001040fc54d94110072a0d0a0b0a046c6f7373150000003ff8ed4b36"
)


def length_delimited(number: int, content: bytes) -> bytes:
    """A field of a Protocol Buffers message that is text, bytes or a message; short ones only."""
    assert len(content) < 128
    return bytes((number << 3 | 2, len(content))) + content


def scalar(tag: str, packed: bytes) -> bytes:
    """A value of a summary, as TensorFlow 1 and PyTorch write it."""
    return length_delimited(1, length_delimited(1, tag.encode()) + b"\x15" + packed)


def event_record(step: int, summary: bytes, seconds: float = 1_700_000_001.0) -> bytes:
    """A record of a TensorBoard event file."""
    event = b"\x09" + struct.pack("<d", seconds) + bytes((0x10, step)) + length_delimited(5, summary)
    length = struct.pack("<Q", len(event))
    return b"".join(
        [length, struct.pack("<I", masked_crc(length)), event, struct.pack("<I", masked_crc(event))]
    )


def masked_crc(data: bytes) -> int:
    """CRC-32C bit by bit, masked as these files have it."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


RESULT_HEADER = "step,train_loss,train_accuracy,valid_loss,valid_mean_token_accuracy\n"


def trainer_state(rows: list[dict[str, Any]], **fields: Any) -> dict[str, Any]:
    """A trainer state with this log."""
    reached = max((row["step"] for row in rows if "step" in row), default=0)
    return {"best_metric": None, "epoch": 1.0, "global_step": reached, "log_history": rows} | fields


def log_rows(last: int) -> list[dict[str, Any]]:
    """What a trainer logged up to a step: losses each step, evaluations every second."""
    rows: list[dict[str, Any]] = []
    for step in range(1, last + 1):
        rows.append({"loss": 1.0 / step, "epoch": step / 10, "step": step})
        if step % 2 == 0:
            rows.append({"eval_loss": 2.0 / step, "eval_rouge-1": 0.5, "epoch": step / 10, "step": step})
    return rows


SUMMARY = {"train_loss": 0.6, "train_runtime": 12.5, "total_flos": 1e17, "epoch": 0.6, "step": 6}


def own_job(steps: list[int]) -> dict[str, Any]:
    """A job as tuneledger exports it."""
    return {
        "job_id": "somebody-else-s",
        "provider": "elsewhere",
        "created_at": 0,
        "revision": max(steps),
        "document": {"kept": [None, 1, "x"]},
        "events": [],
        "checkpoints": [
            {"metrics": {"reward": step / 2, "note": "fine"}, "step_number": step, "created_at": 5}
            for step in steps
        ],
    }


NEPTUNE_HEADER = (
    "project_id,run_id,attribute_path,attribute_type,step,timestamp,int_value,float_value,string_value,"
    "bool_value,datetime_value,string_set_value,file_value,histogram_value\n"
)


# By source: the files of one run as they grew. Whatever subset is archived in whatever order, the last word
# on each value is that of the file that reaches furthest.
SERIES: dict[str, list[Document]] = {
    "mistral": [
        document("a.json", mistral_job("QUEUED", 1_700_000_000, [])),
        document("b.json", mistral_job("RUNNING", 1_700_000_010, [10])),
        document("c.json", mistral_job("SUCCESS", 1_700_000_020, [10, 20])),
    ],
    "openai": [
        document("events.json", page([openai_event(3, 5, train_loss=1, usage={"a": [1]}), openai_event(1)])),
        document("checkpoints.json", page([openai_checkpoint(5, train_loss=1.0, valid_loss=None)])),
        document("job.json", openai_job()),
    ],
    "together": [
        document("a.json", together_job("running", 10, metrics=[{"global_step": 5.0, "train/loss": 0.5}])),
        document(
            "b.json",
            together_job(
                "completed",
                20,
                metrics=[{"global_step": 5.0, "train/loss": 0.5}, {"global_step": 10, "eval/loss": 0.25}],
                checkpoints=[
                    {
                        "step": 10,
                        "created_at": "2024-01-01T00:00:20.5Z",
                        "path": "x",
                        "checkpoint_type": "Final",
                    }
                ],
            ),
        ),
    ],
    "huggingface": [
        document("trainer_state.json", trainer_state(log_rows(2))),
        document("checkpoint-4/trainer_state.json", trainer_state(log_rows(4))),
        document("checkpoint-6/trainer_state.json", trainer_state([*log_rows(6), SUMMARY])),
        document("all_results.json", {"epoch": 0.6, "train_runtime": 12.5, "eval_loss": 0.3}),
        document(
            "trainer_log.jsonl",
            '{"current_steps": 2, "total_steps": 6, "loss": 0.5, "remaining_time": "0:01"}\n'
            '{"current_steps": 4, "total_steps": 6, "loss": 0.25, "remaining_time": "0:00"}\n',
        ),
    ],
    "wandb": [
        document("history.csv", "_step,_timestamp,_runtime,loss\n1,1700000000.5,1.5,0.5\n"),
        document(
            "history.csv",
            "_step,_timestamp,_runtime,loss\n1,1700000000.5,1.5,0.5\n2,1700000001.5,2.5,NaN\n3,,,0.25\n",
        ),
    ],
    "neptune": [
        document(
            "RUN-1_part_0.csv",
            NEPTUNE_HEADER + "w/p,RUN-1,sys/name,string,,,,,first,,,,,\n"
            "w/p,RUN-1,train/loss,float_series,1.000000,2023-11-14 22:13:20.500Z,,0.5,,,,,,\n",
        ),
        document(
            "RUN-1_part_1.csv",
            NEPTUNE_HEADER + 'w/p,RUN-1,sys/tags,string_set,,,,,,,,"[""a"",""b""]",,\n'
            "w/p,RUN-1,eval/loss,float_series,1.000000,2023-11-14 22:13:21.500Z,,,,,,,,\n"
            "w/p,RUN-1,train/loss,float_series,2.000000,2023-11-14 22:13:22.000Z,,0.25,,,,,,\n",
        ),
    ],
    "tensorboard": [
        document("events.out.tfevents.1.host", EVENT_FILE),
        document(
            "events.out.tfevents.2.host",
            EVENT_FILE[:40] + event_record(9, scalar("loss", struct.pack("<f", 0.25))),
        ),
    ],
    "lightning": [
        document("metrics.csv", "epoch,step,train_loss,val_loss\r\n0,1,0.5,\r\n0,1,,0.75\r\n"),
        document("metrics.csv", "epoch,step,train_loss,val_loss\r\n0,1,0.5,\r\n0,1,,0.75\r\n0,2,nan,\r\n"),
    ],
    "tuneledger": [document("a.json", own_job([1, 2])), document("b.json", own_job([1, 2, 3]))],
    "tuneledger-jsonl": [
        document("a.jsonl", json.dumps({"tuneledger": 1, **own_job([1, 2])}) + "\n"),
        document(
            "b.jsonl",
            json.dumps({"tuneledger": 1, "not_evaluated": {}, **own_job([1, 2, 3])}),
        ),
    ],
    "tuneledger-csv": [
        document("a.csv", f"{','.join(VALUE_HEADER)}\nrun,elsewhere,1,5,loss,0.5\n"),
        document(
            "b.csv",
            f"{','.join(VALUE_HEADER)}\nrun,elsewhere,1,5,loss,0.5\nrun,elsewhere,2,6,loss,nan\n"
            "run,elsewhere,2,6,'=x,null\nrun,elsewhere,3,6,,\n",
        ),
    ],
    "csv": [
        document("a.csv", "iteration;\n".replace(";", ",seconds,loss,text") + "1,1700000001,0.5,a\n"),
        document("b.csv", "iteration,seconds,loss,text\n1,1700000001,0.5,a\n2,1700000002,0.25,\n"),
    ],
    "jsonl": [
        document("a.jsonl", '{"iteration": 1, "seconds": "2024-01-01T00:00:00Z", "loss": 0.5}\n'),
        document(
            "b.jsonl",
            '{"iteration": 1, "seconds": "2024-01-01T00:00:00Z", "loss": 0.5}\n'
            '{"iteration": 2, "seconds": "2024-01-01T00:00:01Z", "loss": NaN}\n',
        ),
    ],
}

COLUMNS = {"step": "iteration", "created_at": "seconds", "metric.train_loss": "loss"}

# What the caller must say of these files, of some of which the record does not name its run.
JOB_IDS = dict.fromkeys(("huggingface", "lightning", "wandb", "tensorboard", "csv", "jsonl"), "run") | {
    "openai": "ftjob-abcdefghijklmnopqrstuvwx"
}


def hints_for(source: str, job_id: str | None = None) -> Hints:
    """What the caller says of these files."""
    return Hints(job_id=job_id, columns=COLUMNS if source in {"csv", "jsonl"} else {})


def example_of(source: str) -> SourceExample:
    """A source with its records."""
    return SourceExample(named(source), tuple(SERIES[source]), hints_for(source, JOB_IDS.get(source)))
