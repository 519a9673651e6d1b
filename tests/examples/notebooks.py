"""The notebooks of examples/, as programs."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[2] / "examples" / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))


@dataclass(frozen=True)
class Notebook:
    """A notebook's cells."""

    path: Path
    cells: list[dict[str, Any]]

    @property
    def code(self) -> list[str]:
        """The cells that run."""
        return ["".join(one["source"]) for one in self.cells if one["cell_type"] == "code"]


def read(path: Path) -> Notebook:
    """Read a notebook."""
    return Notebook(path, json.loads(path.read_text(encoding="utf-8"))["cells"])
