"""The stores that are measured, each behind `Store`, and where each is found."""

from __future__ import annotations

from importlib import import_module
from typing import Final

from benchmarks.stores.store import Missing, Store

__all__ = ["BASELINE", "STORES", "Missing", "Store", "opened"]

BASELINE: Final = "tuneledger"

STORES: Final[dict[str, tuple[str, tuple[str, ...]]]] = {
    "tuneledger": ("tuneledger_store", ("sqlite", "postgresql")),
    "raw": ("raw", ("sqlite", "postgresql")),
    "raw VALUES": ("raw", ("sqlite",)),
    "MLflow": ("mlflow_store", ("sqlite", "postgresql")),
    "Trackio": ("trackio_store", ("sqlite",)),
    "Optuna": ("optuna_store", ("sqlite", "postgresql")),
    "LangGraph": ("langgraph_store", ("sqlite", "postgresql")),
}
"""Name to module and engines. Each module has ``opened(name, url)``."""


def opened(name: str, url: str) -> Store:
    """Open a store on a database of its own; imports its package."""
    module = import_module(f"benchmarks.stores.{STORES[name][0]}")
    store: Store = module.opened(name, url)
    return store
