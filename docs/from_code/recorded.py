"""What is kept of the code as files, so that a change of it is seen; run as a program, writes it anew."""

import json
from pathlib import Path

from public_api import public_api
from schema_picture import schema_picture
from tuneledger.models import json_schemas

__all__ = ["recorded"]

ROOT = Path(__file__).parents[2]


def recorded() -> dict[str, str]:
    """Give what each file must hold, by its path in the repository."""
    return {
        "docs/pictures/schema.svg": schema_picture(),
        "tests/data/public_api.txt": public_api(),
        **{
            f"docs/json-schema/{name}.json": json.dumps(schema, indent=2, ensure_ascii=False) + "\n"
            for name, schema in json_schemas().items()
        },
    }


if __name__ == "__main__":
    for path, content in recorded().items():
        (ROOT / path).write_text(content, encoding="utf-8")
