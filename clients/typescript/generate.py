"""The types of the TypeScript client, from the server's OpenAPI document.

Needs Node; `npm install` in this folder comes first.

python clients/typescript/generate.py
"""

import hashlib
import json
import subprocess
from pathlib import Path

from rag import Flow, operator
from rag.serve import app, single_user

HERE = Path(__file__).parent
DOCUMENT, TYPES = HERE / "openapi.json", HERE / "src" / "schema.ts"


@operator(writes="answer")
def echo(query: str) -> str:
    """Answer with the question."""
    return query


def document() -> str:
    """The OpenAPI document, as it is written."""
    return json.dumps(app(Flow(echo()), identity=single_user).openapi(), indent=1) + "\n"


def stamp(text: str) -> str:
    """The first line of the types: what they were made of."""
    return f"// Made by generate.py of openapi.json, {hashlib.sha256(text.encode()).hexdigest()}.\n"


def main() -> None:
    """Write the document and the types."""
    text = document()
    DOCUMENT.write_text(text)
    command = ["npx", "--no-install", "openapi-typescript", DOCUMENT, "-o", TYPES]
    subprocess.run(command, cwd=HERE, check=True)  # noqa: S603 - our own command
    TYPES.write_text(stamp(text) + TYPES.read_text())


if __name__ == "__main__":
    main()
