"""The command line: the one place that reads the environment."""

from __future__ import annotations


def main() -> None:
    """Run the command line."""
