"""${message}

Revision ${up_revision}, after ${down_revision or "nothing"}.

Rules of every migration here:

* Write it once, for both engines. Name every constraint as `tuneledger.tables.NAMING` would.
* Atomic: it runs in the one transaction that its caller holds. No COMMIT, no CREATE INDEX CONCURRENTLY.
* The rule of two releases: the previous release must go on working beside it. Add first, with a
  default or null; take away one release later.
* Drop the views that read a table before rebuilding it in batch mode, create them after it.
* No import from tuneledger: its code moves on, this file does not.
* downgrade() puts back what stood before; what it would lose is listed in ``loses``.
* Add the released schema's dump under tests/data/schema/, and the change to CHANGELOG.md.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

${imports if imports else ""}
revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Say what it adds."""
    ${upgrades if upgrades else "pass"}


def downgrade() -> None:
    """Take it away again."""
    ${downgrades if downgrades else "pass"}
