"""The type stub of this package: every operator class, for type checkers and editors.

    python -m rag.operators.stub

writes `__init__.pyi`, since `__init__.py` imports a class only when it is asked for.
"""

from __future__ import annotations

from rag.operators.catalogue import CATALOGUE, FOLDER

FILE = FOLDER / "__init__.pyi"


def text() -> str:
    """The stub's text, in the order that the linter wants."""
    places = sorted(where.split(":") for where in CATALOGUE.values())
    imports = [f"from {module} import {name}" for module, name in places]
    imports = sorted(["from rag.operators.catalogue import CATALOGUE", *imports])
    names = sorted(("CATALOGUE", *(name for _, name in places)), key=lambda n: (not n.isupper(), n))
    return "\n".join(
        [
            "# Written by `python -m rag.operators.stub` (`make stubs`); do not edit.",
            *imports,
            "",
            "__all__ = [",
            *(f'    "{name}",' for name in names),
            "]",
            "",
        ]
    )


if __name__ == "__main__":
    FILE.write_text(text(), encoding="utf-8")
