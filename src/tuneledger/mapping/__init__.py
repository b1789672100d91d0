"""Between models and rows: the one place that knows both, and the digests that prove them equal.

A digest is 63 bits of BLAKE2b over one canonical form, the same on every engine and in every
release (``docs/schema.md`` gives it byte by byte). The digest of a job is the XOR of the digests
of its parts, so that an append changes it without reading the rest.
"""

from tuneledger.mapping.building import checkpoints_from, checkpoints_of_series, quiet_collector
from tuneledger.mapping.checkpoints import (
    CheckpointColumns,
    CheckpointValues,
    SeriesColumns,
    StoredSeries,
    checkpoint_columns,
    stored_checkpoint_digest,
    stored_digests,
)
from tuneledger.mapping.jobs import (
    EventValues,
    JobContent,
    event_from,
    event_rows,
    events_digest,
    job_content,
    job_from,
    state_digest,
)
from tuneledger.mapping.values import Kind, job_digest, metric_from, metric_values

__all__ = [
    "CheckpointColumns",
    "CheckpointValues",
    "EventValues",
    "JobContent",
    "Kind",
    "SeriesColumns",
    "StoredSeries",
    "checkpoint_columns",
    "checkpoints_from",
    "checkpoints_of_series",
    "event_from",
    "event_rows",
    "events_digest",
    "job_content",
    "job_digest",
    "job_from",
    "metric_from",
    "metric_values",
    "quiet_collector",
    "state_digest",
    "stored_checkpoint_digest",
    "stored_digests",
]
