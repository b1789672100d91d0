"""What Alembic runs for every command, by the library's door and by the ``alembic`` command alike.

Both doors end in the same guarded connection, which `tuneledger.schema` explains.
"""

from __future__ import annotations

from alembic import context

from tuneledger import schema

schema.run_environment(context)
