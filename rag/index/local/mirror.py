"""Opening files where nothing can be written, for libraries that put locks beside them."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

_OWN = (".tantivy-meta.lock", ".tantivy-writer.lock", ".managed.json")
"""What Tantivy makes for itself, and no reader needs."""


class Mirror:
    """A temporary folder of links to the files of a folder that cannot be written.

    Args:
        folder: The folder.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._temporary = tempfile.TemporaryDirectory(prefix="rag-index-")
        self.path = Path(self._temporary.name)
        self.update()

    def update(self) -> None:
        """Link files that are new since."""
        for entry in self._folder.iterdir():
            link = self.path / entry.name
            if entry.name not in _OWN and not link.is_symlink():
                link.symlink_to(entry.absolute())

    @staticmethod
    def needed(folder: Path) -> bool:
        """Whether the folder cannot be written by this process."""
        return folder.is_dir() and not os.access(folder, os.W_OK)
