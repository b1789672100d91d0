import math
import struct

import pytest

from source_records import EVENT_FILE, document, event_record, length_delimited, masked_crc, scalar
from tuneledger import Job
from tuneledger.errors import InvalidPayload
from tuneledger.sources import Document, Hints, named, recognised

VERSION = EVENT_FILE[: 12 + 24 + 4]


def read(data: bytes, job_id: str | None = "run") -> Job:
    """The job of an event file."""
    (job,) = named("tensorboard").read(document("events.out.tfevents.1", data), Hints(job_id=job_id))
    return job


def record(event: bytes) -> bytes:
    """A record with checksums that fit."""
    length = struct.pack("<Q", len(event))
    return length + struct.pack("<I", masked_crc(length)) + event + struct.pack("<I", masked_crc(event))


def tensor(tag: str, content: bytes) -> bytes:
    """A value of a summary, as TensorFlow 2 writes it."""
    return length_delimited(1, length_delimited(1, tag.encode()) + length_delimited(8, content))


def test_a_file_of_a_real_writer() -> None:
    """Value, step and time are what was logged; the run is named by its folder."""
    job = read(EVENT_FILE, None)
    (checkpoint,) = job.checkpoints
    assert (checkpoint.step_number, checkpoint.created_at) == (7, 1_700_000_000)
    assert checkpoint.metrics.named_values() == {"loss": 0.5}
    assert (job.job_id, job.created_at, job.revision) == ("/runs/one", 1_700_000_000, 7)
    assert recognised(Document("x", EVENT_FILE)) is named("tensorboard")


def test_scalars_of_every_writer() -> None:
    """Floats and doubles, plain or as tensors; several tags of a step are one checkpoint."""
    job = read(
        VERSION
        + event_record(1, scalar("a", struct.pack("<f", math.nan)))
        + event_record(1, tensor("b", b"\x08\x01" + length_delimited(4, struct.pack("<f", 0.5))))
        + event_record(1, tensor("c", b"\x08\x02" + length_delimited(6, struct.pack("<d", 0.1))))
        + event_record(2, tensor("b", b"\x08\x01\x2d" + struct.pack("<f", 0.25)))
    )
    first, second = job.checkpoints
    assert math.isnan(first.metrics.named_values().pop("a"))
    assert {name: first.metrics.named_values()[name] for name in "bc"} == {"b": 0.5, "c": 0.1}
    assert second.metrics.named_values() == {"b": 0.25}
    assert job.document == {}


def test_what_is_no_scalar_is_named() -> None:
    """Histograms, texts and whole vectors are left out, and the document says which."""
    job = read(
        VERSION
        + event_record(1, tensor("text", b"\x08\x07" + length_delimited(8, b"hi")))
        + event_record(1, tensor("vector", b"\x08\x01" + length_delimited(4, bytes(8))))
        + event_record(1, tensor("empty", b""))
        + event_record(1, length_delimited(1, length_delimited(1, b"histogram") + length_delimited(5, b"")))
        + event_record(1, length_delimited(2, b""))
    )
    assert job.checkpoints == []
    assert job.document == {"not_scalars": ["empty", "histogram", "text", "vector"]}


def test_a_record_that_is_still_being_written_is_left_out() -> None:
    """At whatever byte the writer is."""
    more = event_record(8, scalar("loss", bytes(4)))
    for end in range(len(more)):
        assert len(read(EVENT_FILE + more[:end]).checkpoints) == 1


def test_damage_is_refused() -> None:
    """Any flipped bit of the records is found by the checksums; a message that is none is refused too."""
    for at in range(len(VERSION), len(EVENT_FILE)):
        broken = bytearray(EVENT_FILE)
        broken[at] ^= 4
        with pytest.raises(InvalidPayload, match=f"byte {len(VERSION)}: a damaged record"):
            read(bytes(broken))
    for summary in (b"\x0f", b"\x0a\x7f", b"\xff" * 11, b"\x0a\x03\x15\x00\x00", b"\x08\x01"):
        with pytest.raises(InvalidPayload, match="a damaged record"):
            read(VERSION + event_record(1, summary))
    with pytest.raises(InvalidPayload, match="a damaged record"):
        read(VERSION + event_record(1, b"", seconds=math.nan))


@pytest.mark.parametrize(
    "event",
    [
        length_delimited(5, length_delimited(1, length_delimited(1, b"loss") + b"\x11" + bytes(8))),
        length_delimited(5, length_delimited(1, length_delimited(1, b"loss") + length_delimited(2, b"x"))),
        length_delimited(2, b"7") + length_delimited(5, scalar("loss", bytes(4))),
        b"\x0d" + bytes(4),
    ],
    ids=["value of eight bytes", "value of one byte", "step of text", "time of four bytes"],
)
def test_a_field_of_another_type_is_damage(event: bytes) -> None:
    """Also where the checksums fit: whoever wrote it, it is no event."""
    with pytest.raises(InvalidPayload, match=f"byte {len(EVENT_FILE)}: a damaged record"):
        read(EVENT_FILE + record(event))


def test_another_file_is_refused() -> None:
    """The first record of every event file names its version."""
    with pytest.raises(InvalidPayload, match="names no version"):
        read(b"PK" + bytes(100))
    with pytest.raises(InvalidPayload, match="names no version"):
        read(b"Each file begins with brain.Event:2, its version.")
