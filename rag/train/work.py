"""The folder of a training that is under way, beside the one of its result.

A training that was stopped goes on from it. It belongs to one set of settings and data: with
others nothing of it may be used.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rag.errors import ConfigError
from rag.files import sync_folder, write_atomically
from rag.paths import writable_folder

SETTINGS = "settings.json"


class Work:
    """A training's folder, `OUT.training`.

    Attributes:
        folder: The folder.

    Args:
        out: Where the result will be.
        settings: All that the result depends on; plain data.

    Raises:
        ConfigError: The result is there already, or the folder is of other settings, or it cannot
            be written.
    """

    def __init__(self, out: Path, settings: Mapping[str, Any]) -> None:
        self.out = out
        self.folder = out.with_name(f"{out.name}.training")
        if out.exists():
            fix = "give another --out, or remove it"
            raise ConfigError("is there already", where=str(out), fix=fix)
        writable_folder(self.folder, "--out")
        file = self.folder / SETTINGS
        text = json.dumps(settings, indent=1, sort_keys=True)
        if not file.exists():
            write_atomically(file, text)
        elif file.read_text(encoding="utf-8") != text:
            raise ConfigError(
                "a training with other settings or data was stopped here",
                where=str(self.folder),
                fix="train with the same ones to go on, or remove the folder to begin again",
            )

    def rows(self, name: str) -> Rows:
        """The rows of a file that grows, as they were when the training was stopped."""
        return Rows(self.folder / f"{name}.jsonl")

    def finish(self, built: Path) -> None:
        """Put what was built in the result's place, at once, and remove the folder."""
        # Weights that safetensors writes can be read by their owner only: a server may be another.
        usual = (self.folder / SETTINGS).stat().st_mode
        for file in built.rglob("*"):
            if file.is_file():
                file.chmod(usual)
        built.rename(self.out)
        sync_folder(self.out.parent)
        shutil.rmtree(self.folder, ignore_errors=True)


class Rows:
    """A JSONL file to which rows are added, each at once.

    Args:
        file: The file; a last line that was cut off by a kill is dropped.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self.known: dict[str, Any] = dict(self._read())

    def _read(self) -> Iterator[tuple[str, Any]]:
        if not self._file.exists():
            return
        whole = self._file.read_bytes()
        lines = whole[: whole.rfind(b"\n") + 1]
        if lines != whole:
            write_atomically(self._file, lines)
        for line in lines.splitlines():
            row = json.loads(line)
            yield row["id"], row["value"]

    def add(self, name: str, value: Any) -> None:
        """Add a row."""
        with self._file.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"id": name, "value": value}) + "\n")
        self.known[name] = value
