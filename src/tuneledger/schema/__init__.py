"""The schema of a database: which state it is in, and the way from one revision to the next.

Alembic is imported where a migration runs and nowhere else: it costs a command's start-up dearly,
and telling the state of a schema does not need it.

Two doors lead to a migration, `upgrade` and `downgrade` here and the ``alembic`` command. Both end in
`run_environment`, on the one guarded connection that `guarding` gives.
"""

from tuneledger.schema.drift import declared, differences, drift, reference
from tuneledger.schema.environment import run_environment
from tuneledger.schema.guarding import guarded
from tuneledger.schema.migrating import downgrade, upgrade
from tuneledger.schema.revisions import head, revisions
from tuneledger.schema.state import State, Status, require_current, status

__all__ = [
    "State",
    "Status",
    "declared",
    "differences",
    "downgrade",
    "drift",
    "guarded",
    "head",
    "reference",
    "require_current",
    "revisions",
    "run_environment",
    "status",
    "upgrade",
]
