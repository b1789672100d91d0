"""The schema of a database: which state it is in, and the way from one revision to the next.

Alembic is imported where a migration runs and nowhere else: it costs a command's start-up dearly,
and telling the state of a schema does not need it.

Two doors lead to a migration, `upgrade` and `downgrade` here and the ``alembic`` command. Both end in
`run_environment`, on the one guarded connection that `guarding` gives.
"""

from tuneledger.schema.catalog import Catalog
from tuneledger.schema.distributing import Distribution, distribute
from tuneledger.schema.drift import catalog, declared, differences, drift, reference
from tuneledger.schema.dropping import Holdings, drop, holdings
from tuneledger.schema.environment import run_environment
from tuneledger.schema.guarding import guarded
from tuneledger.schema.migrating import downgrade, upgrade
from tuneledger.schema.offline import DIALECTS, sql
from tuneledger.schema.plan import PlannedStep, plan
from tuneledger.schema_state import State, Status, head, known, relations, require_current, revisions, status
from tuneledger.tables import VIEWS

__all__ = [
    "DIALECTS",
    "VIEWS",
    "Catalog",
    "Distribution",
    "Holdings",
    "PlannedStep",
    "State",
    "Status",
    "catalog",
    "declared",
    "differences",
    "distribute",
    "downgrade",
    "drift",
    "drop",
    "guarded",
    "head",
    "holdings",
    "known",
    "plan",
    "reference",
    "relations",
    "require_current",
    "revisions",
    "run_environment",
    "sql",
    "status",
    "upgrade",
]
