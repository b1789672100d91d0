"""From files and services to the archive, each job in a transaction of its own, with a report."""

from tuneledger.sync.files import archive_document, archive_paths
from tuneledger.sync.inputs import MAX_BYTES, MAX_VALUES, STDIN, found_files, read_document
from tuneledger.sync.live import PROVIDERS, Provider, provider_named, sync_jobs
from tuneledger.sync.outcome import Outcome
from tuneledger.sync.service import Service
from tuneledger.sync.watching import watch_jobs, watch_paths

__all__ = [
    "MAX_BYTES",
    "MAX_VALUES",
    "PROVIDERS",
    "STDIN",
    "Outcome",
    "Provider",
    "Service",
    "archive_document",
    "archive_paths",
    "found_files",
    "provider_named",
    "read_document",
    "sync_jobs",
    "watch_jobs",
    "watch_paths",
]
