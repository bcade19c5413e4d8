"""`python -m api.openapi` prints the OpenAPI document of this API, as it is committed in `openapi.json`."""

import json
from typing import Any

from api.app import create_app


def as_text(document: dict[str, Any]) -> str:
    """Return an OpenAPI document as it is committed."""
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    print(as_text(create_app().openapi()), end="")
