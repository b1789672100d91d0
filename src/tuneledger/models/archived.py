"""What all stored models have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod

from pydantic import BaseModel, ConfigDict

from tuneledger.markup import described

__all__ = ["ArchivedModel"]


class ArchivedModel(BaseModel, ABC):
    """Behaviour of everything that is stored: strict, unchangeable, compared by exact content."""

    model_config = ConfigDict(
        strict=True,
        frozen=True,
        extra="allow",
        ser_json_inf_nan="constants",
        hide_input_in_errors=True,
        defer_build=True,  # until something is validated: most commands only read
    )

    @abstractmethod
    def canonical_text(self) -> str:
        """Give the text that two equal ones share."""

    def _repr_html_(self) -> str:
        members = [(name, value) for name, value in self if name in self.model_fields_set]
        return described(type(self).__name__, members)

    def __eq__(self, other: object) -> bool:
        """Tell whether ``other`` would be stored identically: NaN equals NaN, 0.0 is not -0.0."""
        if type(other) is not type(self):
            return NotImplemented
        return self.canonical_text() == other.canonical_text()

    def __hash__(self) -> int:
        return hash(self.canonical_text())
