"""Long inputs, job by job, in memory that does not grow with the input.

Lists in JSON are taken apart here, by the rules of `tuneledger.json_text`: each item becomes a document of
its own, with what stands around the list around it.
"""

from __future__ import annotations

import codecs
import json
import re
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from tuneledger import json_text
from tuneledger.errors import InvalidPayload, LimitExceeded
from tuneledger.sources.document import Document, refuse_many_values

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["Item", "Stream"]

_WINDOW: Final = 2**20
_LIST: Final = "data"
"""What providers' pages call their list."""

_LOOKING = json.JSONDecoder()
_SPACE = re.compile(r"[ \t\n\r]*+")
_STRING = re.compile(r'"(?:[^"\\]++|\\.)*+"', re.DOTALL)
_LONGEST_RUN_ON: Final = 2
"""Where a number is cut it seems to end before what is left of ``1.5`` or ``1e+5``."""
_LONGEST_WORD: Final = 16
"""No word, number's sign or escape that a cut can make invalid is longer."""


@dataclass(frozen=True, slots=True)
class Stream:
    """A long input, that can be read from its beginning again."""

    name: str
    """What messages call it."""
    path: str | None
    """As a `Document` has it."""
    chunks: Callable[[], Iterator[bytes]]
    """Gives its bytes from the beginning."""
    max_bytes: int
    """The largest job that is read."""
    max_values: int
    """The most values of one job."""

    def opening(self) -> Document:
        """Give a document that begins as this does, to recognise it by: of a JSON list its first item."""
        with suppress(InvalidPayload):  # what is wrong is said when it is read whole
            for item in self.items():
                return item.document
        return Document(self.name, next(self.chunks(), b""), self.path)

    def items(self) -> Iterator[Item]:
        """Give the items of a JSON list, bare or as the member ``data`` of an object; none of anything else.

        What stands around the list is around each of them, what stands behind it only around the last.
        Raises `InvalidPayload` where the list is damaged, after the items before that place.
        """
        yield from _Reader(self).items()

    def lines(self) -> Iterator[bytes]:
        """Give its lines, with their ends. Raises `LimitExceeded` for one longer than a job may be."""
        rest = b""
        count = 0
        for chunk in self.chunks():
            *lines, rest = (rest + chunk).splitlines(keepends=True) if b"\n" in chunk else [rest + chunk]
            if rest.endswith(b"\n"):
                lines.append(rest)
                rest = b""
            count += len(lines)
            yield from lines
            if len(rest) > self.max_bytes:
                raise self.too_large(f"line {count + 1}")
        if rest:
            yield rest

    def too_large(self, position: str) -> LimitExceeded:
        """Make the error about a job that is larger than the limit."""
        return LimitExceeded(
            source=self.name,
            position=position,
            reason=f"a job larger than {self.max_bytes} bytes; --max-bytes raises the limit",
        )


class Item(NamedTuple):
    """An item of a list."""

    place: str
    text: str
    value: Any
    document: Document
    """The list of this item alone."""


class _Reader:
    """A window that moves over a JSON text; ``at`` is where in it the reading stands."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.text = ""
        self.at = 0
        self._decoder = json.JSONDecoder()
        self._chunks = stream.chunks()
        self._undecoded = b""
        self._bytes_decoded = 0
        self._ended = False
        self._lines_before = 0
        self._column_before = 0

    def items(self) -> Iterator[Item]:
        try:
            self._read_on()
        except InvalidPayload:
            return  # no text, so no list
        head = _head(self.text)
        if head is None:
            return
        closing, name = ("]}", _LIST) if head.lstrip().startswith("{") else ("]", "")
        self.at = len(head)
        around = json_text.parse(head + closing, source=self.stream.name)
        index = 0
        while True:
            self._skip_space()
            if index == 0 and self.text.startswith("]", self.at):
                return
            place = f"{name}[{index}]"
            text, value = self._value(place)
            self._skip_space()
            follows = self.text[self.at : self.at + 1]
            if follows == ",":
                behind = closing
            elif follows == "]":
                behind, around = self._behind(head, place)
            else:
                raise self._refused(json.JSONDecodeError("Expecting ',' delimiter", self.text, self.at))
            document = Document(
                self.stream.name,
                f"{head}{text}{behind}".encode(),
                self.stream.path,
                first_item=index,
                parsed={**around, _LIST: [value]} if isinstance(around, dict) else [value],
            )
            refuse_many_values(document, self.stream.max_values, place)
            yield Item(place, text, value, document)
            if follows == "]":
                return
            self._pass_comma(place)
            index += 1

    def _value(self, place: str) -> tuple[str, Any]:
        """Take the value that stands here: its text, and what it says."""
        while True:
            try:
                value, end = self._decoder.raw_decode(self.text, self.at)
            except InvalidPayload as error:
                refused = error
            except json.JSONDecodeError as error:
                if self._ended or not self._may_be_cut(error):
                    raise self._refused(error) from None
                refused = None
            except (ValueError, RecursionError) as error:
                refused = json_text.refusal(error, source=self.stream.name)
            else:
                refused = None
                if end + _LONGEST_RUN_ON < len(self.text) or self._ended:
                    text = self.text[self.at : end]
                    self.at = end
                    return text, value
            if refused is not None:
                raise refused.at(place) from None
            self._grow(place)

    def _may_be_cut(self, error: json.JSONDecodeError) -> bool:
        """Tell whether more text may mend what is wrong: it is at the end, or text without an end."""
        if error.pos > len(self.text) - _LONGEST_WORD:
            return True
        return self.text[error.pos] == '"' and _STRING.match(self.text, error.pos) is None

    def _grow(self, place: str) -> None:
        """Read as much again of a value that is not whole yet."""
        if len(self.text) - self.at > self.stream.max_bytes:
            raise self.stream.too_large(place)
        begun = Document(self.stream.name, self.text[self.at :].encode())
        refuse_many_values(begun, self.stream.max_values, place)
        self._read_on()

    def _skip_space(self) -> None:
        while True:
            found = _SPACE.match(self.text, self.at)
            self.at = found.end() if found else self.at
            if self.at < len(self.text) or self._ended:
                return
            self._read_on()

    def _pass_comma(self, place: str) -> None:
        """Go to the next item; refuse a comma behind which there is none."""
        following = _past_space(self.text, self.at + 1)
        while following == len(self.text) and not self._ended:
            self._grow(place)
            following = _past_space(self.text, self.at + 1)
        if self.text.startswith("]", following):
            # Words and place differ from one Python to the next, and are to be those of a short list.
            begun = "[0"
            try:
                _LOOKING.decode(f"{begun}{self.text[self.at : following + 1]}")
            except json.JSONDecodeError as error:
                place_of_flaw = self.at + error.pos - len(begun)
                raise self._refused(json.JSONDecodeError(error.msg, self.text, place_of_flaw)) from None
        self.at = following

    def _behind(self, head: str, place: str) -> tuple[str, Any]:
        """Take what stands from the list's end on, and what it and the beginning say without the items."""
        while not self._ended:
            self._grow(place)
        text = self.text[self.at :]
        around = f"{head}{text}"
        try:
            return text, json_text.decoder(around, source=self.stream.name).decode(around)
        except json.JSONDecodeError as error:
            flaw = json.JSONDecodeError(error.msg, self.text, self.at + error.pos - len(head))
            raise self._refused(flaw) from None
        except InvalidPayload:
            raise
        except (ValueError, RecursionError) as error:
            refused = json_text.refusal(error, source=self.stream.name)
        raise refused

    def _read_on(self) -> None:
        """Let go of what was read, and read a window more, or as much again as is kept."""
        self._lines_before += self.text.count("\n", 0, self.at)
        last = self.text.rfind("\n", 0, self.at)
        self._column_before = self.at - last - 1 if last >= 0 else self._column_before + self.at
        data = bytearray(self._undecoded)
        wanted = len(data) + max(_WINDOW, len(self.text) - self.at)
        while len(data) < wanted and not self._ended:
            chunk = next(self._chunks, None)
            if chunk is None:
                self._ended = True
            else:
                data += chunk
        try:
            text, used = codecs.utf_8_decode(data, "strict", self._ended)
        except UnicodeDecodeError as error:
            raise json_text.not_utf_8(self._bytes_decoded + error.start, source=self.stream.name) from None
        if not self._bytes_decoded:
            text = text.removeprefix("\ufeff")
        self._undecoded = bytes(data[used:])
        self._bytes_decoded += used
        self.text = self.text[self.at :] + text
        self.at = 0
        self._decoder = json_text.decoder(self.text, source=self.stream.name)

    def _refused(self, error: json.JSONDecodeError) -> InvalidPayload:
        """Say of what is wrong in the window where in the whole input it is."""
        if error.lineno == 1:
            error.colno += self._column_before
        error.lineno += self._lines_before
        return json_text.refusal(error, source=self.stream.name)


def _head(text: str) -> str | None:
    """Give what stands before the first item of a list, of the beginning of a JSON text; None for no list."""
    at = _past_space(text, 0)
    if text.startswith("[", at):
        return text[: at + 1]
    if not text.startswith("{", at):
        return None
    try:
        while text[at] in "{,":
            at = _past_space(text, at + 1)
            name, at = _LOOKING.raw_decode(text, at)
            at = _past_space(text, at)
            if text[at] != ":":
                return None
            at = _past_space(text, at + 1)
            if name == _LIST:
                return text[: at + 1] if text[at] == "[" else None
            _, at = _LOOKING.raw_decode(text, at)
            at = _past_space(text, at)
    except (ValueError, IndexError, RecursionError):
        pass  # what is wrong is said when it is read whole
    return None


def _past_space(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    return found.end() if found else at
