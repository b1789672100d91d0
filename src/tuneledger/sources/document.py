"""One input as its readers get it, and what the caller knows of it beside."""

from __future__ import annotations

import hashlib
from codecs import BOM_UTF8
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from tuneledger import json_text
from tuneledger.errors import InvalidPayload, LimitExceeded

__all__ = ["Document", "Hints", "items_of", "refuse_many_values"]

_LONGEST_FIRST_LINE = 2**20
"""A header of thousands of columns is shorter."""


@dataclass(frozen=True)
class Document:
    """One input, read whole."""

    name: str
    """What messages call it: a path, ``<stdin>``, a member of an archive."""
    data: bytes = field(repr=False)
    path: str | None = None
    """Its absolute path, after which a run is named whose record does not name it; None without one."""
    first_item: int = 0
    """Which item of a longer list the first of its own list is; see `tuneledger.sources.streamed`."""

    parsed: Any = field(default=None, repr=False, compare=False)
    """The JSON value it holds, where that is known already."""

    @cached_property
    def sha256(self) -> str:
        """The hash of its bytes."""
        return hashlib.sha256(self.data).hexdigest()

    @cached_property
    def text(self) -> str:
        """The text it holds, without a byte-order mark. Raises `InvalidPayload` where it is not UTF-8."""
        return json_text.decoded(self.data, source=self.name)

    @cached_property
    def json(self) -> Any:
        """The JSON value it holds. Raises `InvalidPayload` where it holds none."""
        return json_text.parse(self.data, source=self.name) if self.parsed is None else self.parsed

    @cached_property
    def json_or_none(self) -> Any:
        """The JSON value it holds, or None where it holds none."""
        try:
            return self.json
        except InvalidPayload:
            return None

    @cached_property
    def first_line(self) -> str:
        """Its first line, by which tables and JSON lines are told; empty where it is no text, or too long."""
        line, end, _ = self.data[:_LONGEST_FIRST_LINE].partition(b"\n")
        whole = end or len(line) == len(self.data)
        return line.decode("utf-8-sig", errors="ignore").rstrip("\r") if whole else ""

    @cached_property
    def first_json_line(self) -> Any:
        """The JSON value of its first line that is not blank; None where that is no JSON, or too long."""
        opening = self.data[:_LONGEST_FIRST_LINE].removeprefix(BOM_UTF8).lstrip()
        line, end, _ = opening.partition(b"\n")
        if not (end or len(self.data) <= _LONGEST_FIRST_LINE):
            return None
        try:
            return json_text.parse(line, source=self.name)
        except InvalidPayload:
            return None

    @cached_property
    def looks_like_json(self) -> bool:
        """Whether it begins as a JSON object or list does, be it one, lines of them, or broken."""
        beginning = self.data[:_LONGEST_FIRST_LINE].decode("utf-8-sig", errors="ignore")
        return beginning.lstrip().startswith(("{", "["))

    @property
    def json_lines(self) -> list[Any]:
        """The values of `placed_json_lines`."""
        return [value for _, value in self.placed_json_lines]

    @cached_property
    def placed_json_lines(self) -> list[tuple[str, Any]]:
        """The JSON value of each line that is not blank, with its place: ``line 3``, blank ones counted.

        A last line that was cut while it was being written is left out: it has no end of line and is no
        JSON. Raises `InvalidPayload` with the line for any other.
        """
        values = []
        *lines, last = self.text.split("\n")
        for number, line in enumerate(lines, 1):
            if line and not line.isspace():
                values.append(self._line(f"line {number}", line))
        if last and not last.isspace():
            try:
                values.append(self._line(f"line {len(lines) + 1}", last))
            except InvalidPayload:
                if not values:
                    raise
        return values

    def _line(self, place: str, line: str) -> tuple[str, Any]:
        try:
            return place, json_text.parse(line, source=self.name)
        except InvalidPayload as error:
            raise error.at(place) from None


@dataclass(frozen=True, slots=True)
class Hints:
    """What the caller knows and the input may not say."""

    job_id: str | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    """What ``--map`` says of a table's columns; see `tuneledger.sources.mapped`."""


def items_of(value: Any, first_item: int = 0) -> list[tuple[str, Any]]:
    """Give the items of a list, bare or as the member ``data`` of an object, each with its place.

    Anything else is the one item, without a place. ``first_item`` is as a `Document` has it.
    """
    name = ""
    if isinstance(value, dict) and isinstance(value.get("data"), list):
        name, value = "data", value["data"]
    if not isinstance(value, list):
        return [("", value)]
    return [(f"{name}[{index}]", item) for index, item in enumerate(value, first_item)]


def refuse_many_values(document: Document, max_values: int, position: str = "") -> None:
    """Raise `LimitExceeded` where parsing could take more memory than the limits mean to allow.

    Every value but the first stands behind a comma, a bracket or a brace. Those inside of text are
    counted too: to leave them out would be to parse it.
    """
    if sum(map(document.data.count, (b",", b"[", b"{"))) > max_values:
        raise LimitExceeded(
            source=document.name,
            position=position,
            reason=f"more than {max_values} values; --max-values raises the limit",
        )
