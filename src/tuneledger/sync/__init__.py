"""From files and services to the archive, each job in a transaction of its own, with a report."""

from tuneledger.sync.files import archive_document, archive_paths
from tuneledger.sync.inputs import MAX_BYTES, STDIN, found_files, read_document
from tuneledger.sync.outcome import Outcome

__all__ = [
    "MAX_BYTES",
    "STDIN",
    "Outcome",
    "archive_document",
    "archive_paths",
    "found_files",
    "read_document",
]
