"""What the archive takes and gives back: validated, provider-neutral, lossless. No SQL here."""

from tuneledger.models.checkpoint import CANONICAL_METRIC_NAMES, CheckpointOut, MetricOut
from tuneledger.models.job import FINAL_STATUSES, JOB_FIELDS, Event, Job, is_final
from tuneledger.models.reading import json_schemas, validated
from tuneledger.models.values import LAST_SECOND, LONGEST_NAME, NOT_EVALUATED, Placeholder

__all__ = [
    "CANONICAL_METRIC_NAMES",
    "FINAL_STATUSES",
    "JOB_FIELDS",
    "LAST_SECOND",
    "LONGEST_NAME",
    "NOT_EVALUATED",
    "CheckpointOut",
    "Event",
    "Job",
    "MetricOut",
    "Placeholder",
    "is_final",
    "json_schemas",
    "validated",
]
