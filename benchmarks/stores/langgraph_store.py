"""LangGraph's savers: a thread's checkpoints, whose state here are the metrics."""

from __future__ import annotations

from contextlib import ExitStack
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from benchmarks.stores.store import Missing, Store, libpq
from benchmarks.workload import METRICS, Point

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.workload import Run


class LanggraphStore(Store):
    """One thread a job. Each put is a transaction of its own: there is no other way in."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self._open = ExitStack()
        if self.is_sqlite:
            from langgraph.checkpoint.sqlite import SqliteSaver

            self.saver: Any = self._open.enter_context(SqliteSaver.from_conn_string(str(self.path)))
        else:
            from langgraph.checkpoint.postgres import PostgresSaver

            self.saver = self._open.enter_context(PostgresSaver.from_conn_string(libpq(url)))
        self.saver.setup()

    def save(self, prepared: Run) -> None:
        for point in prepared.points:
            self.append(prepared.job_id, point)

    def append(self, job_id: str, point: Point) -> None:
        checkpoint = {
            "v": 4,
            "id": _id(point.step),
            "ts": datetime.fromtimestamp(point.created_at, UTC).isoformat(),
            "channel_values": dict(zip(METRICS, point[2:], strict=True)),
            "channel_versions": {},
            "versions_seen": {},
        }
        self.saver.put(_thread(job_id), checkpoint, {"source": "loop", "step": point.step}, {})

    def between(self, job_id: str, first: int, last: int) -> list[Any]:
        return self._listed(job_id, before=_thread(job_id, _id(last + 1)), limit=(last - first) // 10 + 1)

    def whole(self, job_id: str) -> list[Any]:
        return self._listed(job_id)

    def _listed(self, job_id: str, **options: Any) -> list[Any]:
        found = list(self.saver.list(_thread(job_id), **options))
        found.reverse()
        return found

    def stream(self, job_ids: list[str]) -> Iterator[Any]:
        for job_id in job_ids:
            yield from self.saver.list(_thread(job_id))

    def plain(self, answer: list[Any]) -> list[Point]:
        return [
            Point(
                int(found.checkpoint["id"]),
                round(datetime.fromisoformat(found.checkpoint["ts"]).timestamp()),
                *(found.checkpoint["channel_values"][name] for name in METRICS),
            )
            for found in answer
        ]

    def series(self, _job_ids: list[str], _points: int) -> Any:
        raise Missing("thins nothing out")

    def latest(self, job_ids: list[str]) -> list[Any]:
        return [self.saver.get_tuple(_thread(job_id)) for job_id in job_ids]

    def best(self, job_ids: list[str]) -> list[Any]:
        return [
            min(self.whole(job_id), key=lambda found: found.checkpoint["channel_values"]["valid_loss"])
            for job_id in job_ids
        ]

    def close(self) -> None:
        self._open.close()


def _thread(job_id: str, checkpoint_id: str | None = None) -> dict[str, dict[str, str]]:
    named = {"thread_id": job_id, "checkpoint_ns": ""}
    return {"configurable": named | ({"checkpoint_id": checkpoint_id} if checkpoint_id else {})}


def _id(step: int) -> str:
    return f"{step:020d}"  # compared as text


def opened(_name: str, url: str) -> Store:
    """Open the saver; it makes its tables."""
    return LanggraphStore(url)
