"""Suites by which an archive and a source prove themselves: another database, a provider of your own.

Make a class of your own of one and override its fixture::

    import pytest
    from tuneledger import Archive
    from tuneledger.testing import ArchiveConformance

    class TestMine(ArchiveConformance):
        @pytest.fixture
        def archive(self):
            with Archive("postgresql://me@server/scratch") as archive:
                yield archive

Every test gets an archive that is open, writable and empty; ``archive.save``, ``archive.read()`` and
``archive.write()`` are all it uses of it. For a source it is the fixture ``example`` of `SourceConformance`,
which gives a `SourceExample`. pytest runs it; nothing here is imported otherwise.
"""

import pytest

pytest.register_assert_rewrite(
    *(
        f"{__name__}.{part}"
        for part in ("archiving", "example", "finding", "keeping", "recognising", "saving", "sharing")
    )
)

from tuneledger.testing.archiving import ArchivingConformance, ReadingConformance  # noqa: E402 - pytest rewrites what follows
from tuneledger.testing.example import SourceExample  # noqa: E402 - the same
from tuneledger.testing.finding import FindingConformance  # noqa: E402 - the same
from tuneledger.testing.keeping import KeepingConformance  # noqa: E402 - the same
from tuneledger.testing.recognising import RecognisingConformance  # noqa: E402 - the same
from tuneledger.testing.records import Door, checkpoint, checkpoints, job  # noqa: E402 - the same
from tuneledger.testing.saving import SavingConformance  # noqa: E402 - the same
from tuneledger.testing.sharing import SharingConformance  # noqa: E402 - the same

__all__ = [
    "ArchiveConformance",
    "Door",
    "SourceConformance",
    "SourceExample",
    "checkpoint",
    "checkpoints",
    "job",
]


class ArchiveConformance(KeepingConformance, SavingConformance, FindingConformance, SharingConformance):
    """All that an archive promises. Override the fixture ``archive``."""


class SourceConformance(RecognisingConformance, ReadingConformance, ArchivingConformance):
    """All that a source promises. Override the fixture ``example``."""
