"""A corpus of bad input, as data: each gets one verdict on both engines, and what is refused leaves no trace.

`data/bad_input.json` holds a good job and what each case makes of it. A case says how: a value ``at`` a
place ``is`` another, something is left out (``without``) or added (``append``), a piece of the text is
replaced, the bytes are cut, packed or encoded otherwise. ``taken`` are those that only look bad.
"""

import copy
import gzip
import json
from pathlib import Path
from typing import Any

from stored_content import content
from tuneledger import Archive, sources
from tuneledger.errors import InvalidPayload
from tuneledger.models import Placeholder
from tuneledger.sync import Outcome, archive_paths

CORPUS: dict[str, Any] = json.loads(Path(__file__).with_name("data").joinpath("bad_input.json").read_text())
CASES: list[dict[str, Any]] = CORPUS["cases"]
MAX_BYTES = 2_000_000
MAX_VALUES = 100_000


def _changed(case: dict[str, Any]) -> str:
    """The good job as text, with what the case changes in it."""
    job: Any = copy.deepcopy(CORPUS["job"])
    for kind in ("at", "without", "append"):
        if kind in case:
            *path, last = case[kind]
            place = job
            for key in path:
                place = place[key]
            if kind == "at":
                place[last] = case["is"]
            elif kind == "without":
                del place[last]
            else:
                place[last].append(case["is"])
    text = json.dumps(job, ensure_ascii=False, separators=(",", ":"))
    if "nest" in case:
        return text.replace('"id":', f'"u":{"[" * case["nest"]}{"]" * case["nest"]},"id":', 1)
    if "replace" in case:
        assert case["replace"] in text
        text = text.replace(case["replace"], case["with"], 1)
    return f"{case.get('prefix', '')}{text}{case.get('suffix', '')}"


def input_of(case: dict[str, Any]) -> bytes:
    """The bytes that a case stands for."""
    match case:
        case {"hex": digits}:
            return bytes.fromhex(digits)
        case {"text": text}:
            return str(text).encode()
        case {"repeat": text, "times": times}:
            return str(text * times).encode()
        case {"values": count}:
            return b'{"id":[' + b"0," * int(count) + b"0]}"
    return _packed(case, _changed(case).encode(case.get("encoding", "utf-8"), "surrogatepass"))


def _packed(case: dict[str, Any], data: bytes) -> bytes:
    match case:
        case {"cut": end}:
            data = data[:end]
        case {"pad": count}:
            data += b" " * count
        case {"expand": count}:
            data = gzip.compress(data + b" " * count, mtime=0)
        case {"gzip": _}:
            data = gzip.compress(data, mtime=0)
        case {"gzip_cut": count}:
            data = gzip.compress(data, mtime=0)[:-count]
        case {"gzip_flip": place}:
            packed = bytearray(gzip.compress(data, mtime=0))
            packed[place] ^= 1
            data = bytes(packed)
    return data


def test_corpus_is_large_and_of_one_sort_each() -> None:
    """There are at least 250 bad inputs, no two alike, and none is the good job itself."""
    refused = [input_of(case) for case in CASES if not case.get("taken")]
    assert len(refused) >= 250
    assert len({case["case"] for case in CASES}) == len(CASES)
    assert input_of({}) not in refused


def archived(archive: Archive, file: Path, format_name: str | None) -> Outcome:
    """What becomes of a file; the limits are small, so that the cases can be."""
    (outcome,) = archive_paths(
        archive, [str(file)], format_name=format_name, max_bytes=MAX_BYTES, max_values=MAX_VALUES
    )
    return outcome


def test_every_case_gets_its_verdict(database_url: str, tmp_path: Path) -> None:
    """Refused: by one clean message, the store untouched. Taken: stored, and given back equal."""
    file = tmp_path / "input"
    wrong = []
    with Archive(database_url, durable=False) as archive:
        file.write_bytes(input_of({}))
        assert archived(archive, file, None).error is None
        before = content(archive, "job-1")
        for case in CASES:
            if case.get("taken"):
                continue
            file.write_bytes(input_of(case))
            named = None if {"text", "hex", "repeat"} & case.keys() else "mistral"
            error = archived(archive, file, named).error
            if not isinstance(error, InvalidPayload):
                wrong.append((case["case"], error))
                continue
            assert len(str(error).encode()) < 4_096
            assert str(error).isprintable(), case["case"]
        assert wrong == []
        assert content(archive, "job-1") == before
        for case in CASES:
            if not case.get("taken"):
                continue
            with archive.write() as repository:
                for job in repository.jobs().jobs:
                    repository.delete_job(job.job_id)
            file.write_bytes(input_of(case))
            outcome = archived(archive, file, "mistral")
            assert outcome.error is None, case["case"]
            data = file.read_bytes()
            given = json.loads(gzip.decompress(data) if "gzip" in case else data.decode("utf-8-sig"))
            with archive.read() as repository:
                stored = sources.exported(repository.job(given["id"]))
            assert plain(stored) == plain(given), case["case"]
        assert list(archive.verify()) == []


def plain(value: Any) -> str:
    """One text for what counts as equal: 3 is 3.0, but 0.0 is not -0.0; a step may stand twice."""
    if isinstance(value, dict):
        members = {key: plain(item) for key, item in sorted(value.items())}
        if isinstance(value.get("checkpoints"), list):
            members["checkpoints"] = str(sorted({plain(item) for item in value["checkpoints"]}))
        return str(members)
    if isinstance(value, list):
        return str([plain(item) for item in value])
    if type(value) is int and float(value) == value and abs(value) < 2**53:
        return repr(float(value))
    return repr(0.0 if isinstance(value, Placeholder) else value)


def test_the_comparison_can_fail() -> None:
    """Another value, another sign of zero and another type are not the same."""
    good = json.loads(input_of({}))
    for other in (0.0, -0.0, float("nan"), None, "2.0"):
        changed = json.loads(input_of({}))
        changed["checkpoints"][0]["metrics"]["train_loss"] = other
        assert plain(changed) != plain(good)
    assert plain(0.0) != plain(-0.0)
