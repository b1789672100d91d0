"""TensorBoard's event files, as every writer of them makes them: the scalars, without TensorFlow.

A file is a row of records, each with its length and two checksums, and in each record one message of
Protocol Buffers, of which the few fields that carry scalars are read. Histograms, images and text are
no metrics of a step; the document says which were left out. A last record that is still being written
is left out too. Nothing names the run: its id is the file's folder, where further files of it lie.
"""

from __future__ import annotations

import math
import operator
from pathlib import PurePath
from struct import Struct
from struct import error as StructError  # noqa: N812 - it is a class
from typing import TYPE_CHECKING, Any, Final

from tuneledger.errors import InvalidPayload
from tuneledger.models import Job, validated
from tuneledger.sources.document import Document, Hints
from tuneledger.sources.source import Source, exported_as_is, local_job_id
from tuneledger.sources.steps import checkpoints_of_rows

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["SOURCE"]

_NAME: Final = "tensorboard"
_VERSION: Final = b"brain.Event:"
_LENGTH: Final = Struct("<Q")
_CHECK: Final = Struct("<I")
_FLOAT: Final = Struct("<f")
_DOUBLE: Final = Struct("<d")
_HEAD: Final = _LENGTH.size + _CHECK.size
_LEFT_OUT: Final = "not_scalars"

# Field numbers of event.proto, summary.proto and tensor.proto.
_WALL_TIME, _STEP, _FILE_VERSION, _SUMMARY = 1, 2, 3, 5
_VALUE, _TAG, _SIMPLE_VALUE, _TENSOR = 1, 1, 2, 8
_DTYPE, _CONTENT, _FLOAT_VAL, _DOUBLE_VAL = 1, 4, 5, 6
_VARINT, _FIXED_64, _BYTES, _FIXED_32 = 0, 1, 2, 5
_SCALARS: Final = {1: (_FLOAT, _FLOAT_VAL), 2: (_DOUBLE, _DOUBLE_VAL)}
"""Types of tensors that hold metrics: how a value is packed, and the field it may stand in."""
_MOST_VARINT_BITS: Final = 64


def _table() -> tuple[int, ...]:
    polynomial = 0x82F63B78  # CRC-32C, reflected
    found = []
    for start in range(256):
        value = start
        for _ in range(8):
            value = value >> 1 ^ (polynomial if value & 1 else 0)
        found.append(value)
    return tuple(found)


_TABLE: Final = _table()


def _checksum(data: bytes) -> int:
    """Give the masked CRC-32C of a part of a record."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ _TABLE[(crc ^ byte) & 0xFF]
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def _records(document: Document) -> Iterator[tuple[int, bytes]]:
    """Give each whole record with the byte it begins at. Raises `InvalidPayload` for a damaged one."""
    data, at = document.data, 0
    while at + _HEAD <= len(data):
        head = data[at : at + _LENGTH.size]
        (length,) = _LENGTH.unpack(head)
        end = at + _HEAD + length
        if _CHECK.unpack_from(data, at + _LENGTH.size)[0] != _checksum(head):
            raise _damaged(document, at)
        if end + _CHECK.size > len(data):
            return
        content = data[at + _HEAD : end]
        if _CHECK.unpack_from(data, end)[0] != _checksum(content):
            raise _damaged(document, at)
        yield at, content
        at = end + _CHECK.size


def _damaged(document: Document, at: int) -> InvalidPayload:
    return InvalidPayload(
        source=document.name, position=f"byte {at}", reason="a damaged record of a TensorBoard event file"
    )


def _fields(message: bytes) -> Iterator[tuple[int, Any]]:
    """Give the fields of a message: (number, an int or bytes). Raises `ValueError` where it is none."""
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        kind = key & 7
        if kind == _VARINT:
            value, at = _varint(message, at)
            yield key >> 3, value
            continue
        if kind == _BYTES:
            size, at = _varint(message, at)
        elif kind in (_FIXED_64, _FIXED_32):
            size = 8 if kind == _FIXED_64 else 4
        else:
            raise ValueError(kind)
        if at + size > len(message):
            raise ValueError(size)
        yield key >> 3, message[at : at + size]
        at += size


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while shift < _MOST_VARINT_BITS and at < len(message):
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:  # noqa: PLR2004 - the last byte has no high bit
            return value, at
        shift += 7
    raise ValueError(at)


def _scalar(value: dict[int, Any]) -> float | None:
    """Give the number that a value of a summary holds; None where it holds something else."""
    if _SIMPLE_VALUE in value:
        return float(_FLOAT.unpack(value[_SIMPLE_VALUE])[0])
    if _TENSOR not in value:
        return None
    tensor = dict(_fields(value[_TENSOR]))
    packed, number = _SCALARS.get(tensor.get(_DTYPE, 0), (_FLOAT, 0))
    content = tensor.get(_CONTENT) or tensor.get(number)
    if not isinstance(content, bytes) or len(content) != packed.size or not number:
        return None
    return float(packed.unpack(content)[0])


def _recognises(document: Document) -> bool:
    # The first record of every file names its version.
    return _VERSION in document.data[_HEAD : _HEAD + 64] and document.data[3:8] == bytes(5)


def _read(document: Document, hints: Hints) -> Iterator[Job]:
    if not _recognises(document):
        raise InvalidPayload(
            source=document.name, reason="not a TensorBoard event file: its first record names no version"
        )
    steps: list[int] = []
    rows: list[dict[str, Any]] = []
    times: list[int] = []
    left_out: set[str] = set()
    for at, content in _records(document):
        try:
            event = dict(_fields(content))
            seconds = math.floor(_DOUBLE.unpack(event.get(_WALL_TIME, bytes(8)))[0])
            for number, value in _fields(event.get(_SUMMARY, b"")):
                if number != _VALUE:
                    continue
                fields = dict(_fields(value))
                tag = fields.get(_TAG, b"").decode()
                found = _scalar(fields)
                if found is None:
                    left_out.add(tag)
                    continue
                steps.append(operator.index(event.get(_STEP, 0)))
                rows.append({tag: found})
                times.append(seconds)
        except (ValueError, TypeError, AttributeError, ArithmeticError, StructError):
            raise _damaged(document, at) from None
    name = "" if document.path is None else PurePath(document.path).name
    given = {
        "job_id": local_job_id(document, hints, of_folder=(name,)),
        "provider": _NAME,
        "created_at": min(times, default=0),
        "revision": max(steps, default=0),
        "document": {_LEFT_OUT: sorted(left_out)} if left_out else {},
        "checkpoints": checkpoints_of_rows(steps, rows, times),
    }
    yield validated(Job, given, source=document.name)


SOURCE = Source(_NAME, "TensorBoard's event files", _recognises, _read, exported_as_is)
