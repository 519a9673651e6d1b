"""The catalogue of operators, read off the folders without importing any of them.

A file `<module>/<name>.py` in this folder defines the operator `name`. Its class is called the
same, but for case and underscores: `bm25.py` defines `BM25`, `multi_query.py` `MultiQuery`.
Modules beside this one are helpers that several operators share.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

PACKAGE = "rag.operators"
FOLDER = Path(__file__).parent
_CLASS = re.compile(r"^class (\w+)\(", re.MULTILINE)


class Catalogue(Mapping[str, str]):
    """Name in pipeline files to `module:Class`.

    A name costs the listing of a folder; its class is looked up in its file when it is asked for.

    Args:
        folder: What holds a folder for each module of operators.
        package: The package of that folder.
    """

    def __init__(self, folder: Path, package: str) -> None:
        self._package = package
        self._files = {file.stem: file for file in sorted(folder.glob("*/[!_]*.py"))}
        self._by_class = {name.replace("_", ""): name for name in self._files}

    def __getitem__(self, name: str) -> str:
        """Where the operator's class is: `module:Class`.

        Raises:
            KeyError: There is no such operator.
            ImportError: Its file defines no class of that name.
        """
        file = self._files[name]
        for found in _CLASS.findall(file.read_text(encoding="utf-8")):
            if found.lower() == name.replace("_", ""):
                return f"{self._package}.{file.parent.name}.{name}:{found}"
        raise ImportError(f"{file} defines no class for the operator {name!r}")

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._files))

    def __len__(self) -> int:
        return len(self._files)

    def of_class(self, class_name: str) -> str | None:
        """Where the class called `class_name` is: `module:Class`; None: it is no operator."""
        name = self._by_class.get(class_name.lower())
        where = None if name is None else self[name]
        return where if where is not None and where.endswith(f":{class_name}") else None


CATALOGUE = Catalogue(FOLDER, PACKAGE)
"""The operators of this package."""
