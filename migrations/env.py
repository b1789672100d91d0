"""What Alembic runs for every command, by the library's door and by the ``alembic`` command alike.

Both doors end in the same guarded connection, see `tuneledger.schema`.
"""

from __future__ import annotations

import os

from alembic import context

from tuneledger import schema

schema.run_environment(context, url=os.environ.get("TUNELEDGER_DATABASE_URL"))
