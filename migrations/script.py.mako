"""${message}

Revision ${up_revision}, after ${down_revision or "nothing"}.

Rules of every migration here:

* Write it once, for both engines. Name every constraint as `tuneledger.tables.NAMING` would.
* Atomic: it runs in the one transaction that its caller holds. No COMMIT, no CREATE INDEX CONCURRENTLY.
* The rule of two releases: the previous release must go on working beside it. Add first, with a
  default or null; take away one release later.
* Drop the views that read a table before rebuilding it in batch mode, create them after it.
* No import from tuneledger: its code moves on, this file does not.
* downgrade() puts back what stood before. ``loses`` gives what nobody can compute again, each with
  the statement that counts it: a downgrade refuses while there is any, unless told to accept it.
* ``tuneledger db plan`` shows the docstring of upgrade(), ``locks``, the rows of the tables that
  ``touches`` names, and whether the previous release can go on meanwhile and afterwards. Be exact.
* ``remakes`` names the tables and views that upgrade() drops and makes anew. What others built on one
  of these stops the upgrade on PostgreSQL, and `tuneledger db plan` says so.
* Long work goes in batches and says how far it is:
  ``op.get_context().config.attributes.get("progress")``, called with what is done and of how much.
* It runs offline, too (``op.get_context().as_sql``): then no rows can be read, only statements given.
* At a release `scripts/schema-dump` keeps the schema under tests/data/schema/. The change goes to
  CHANGELOG.md.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

${imports if imports else ""}
revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}
branch_labels = None
depends_on = None

locks = {"sqlite": "", "postgresql": ""}
touches: tuple[str, ...] = ()
remakes: tuple[str, ...] = ()
beside_previous = ""
loses: dict[str, str] = {}


def upgrade() -> None:
    """Say what it adds."""
    ${upgrades if upgrades else "pass"}


def downgrade() -> None:
    """Take it away again."""
    ${downgrades if downgrades else "pass"}
