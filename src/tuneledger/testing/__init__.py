"""A suite by which an archive proves itself: another database, a subclass, another release.

Make a class of your own of it and override the one fixture::

    import pytest
    from tuneledger import Archive
    from tuneledger.testing import ArchiveConformance

    class TestMine(ArchiveConformance):
        @pytest.fixture
        def archive(self):
            with Archive("postgresql://me@server/scratch") as archive:
                yield archive

Every test gets an archive that is open, writable and empty; ``archive.save``, ``archive.read()`` and
``archive.write()`` are all it uses of it. pytest runs it; nothing here is imported otherwise.
"""

import pytest

pytest.register_assert_rewrite(
    *(f"{__name__}.{part}" for part in ("finding", "keeping", "saving", "sharing"))
)

from tuneledger.testing.finding import FindingConformance  # noqa: E402 - pytest rewrites what follows
from tuneledger.testing.keeping import KeepingConformance  # noqa: E402 - the same
from tuneledger.testing.records import Door, checkpoint, checkpoints, job  # noqa: E402 - the same
from tuneledger.testing.saving import SavingConformance  # noqa: E402 - the same
from tuneledger.testing.sharing import SharingConformance  # noqa: E402 - the same

__all__ = ["ArchiveConformance", "Door", "checkpoint", "checkpoints", "job"]


class ArchiveConformance(KeepingConformance, SavingConformance, FindingConformance, SharingConformance):
    """All that an archive promises. Override the fixture ``archive``."""
