"""Jupyter notebooks."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any, ClassVar

from langchain_core.documents import Document

from rag.errors import LoadError
from rag.index.readers.file import MAX_TEXT_BYTES, File
from rag.index.readers.reader import Reader, Types, document

OUTPUT = 2000
"""Characters of a cell's output that are read."""


class NotebookReader(Reader):
    """Notebooks as Markdown: texts, code, and what the code printed."""

    types: ClassVar[Types] = {"application/x-ipynb+json": (".ipynb",)}
    max_bytes = MAX_TEXT_BYTES

    def read(self, file: File) -> Iterable[Document]:
        """All cells in order."""
        book = json.loads(file.data())
        if not isinstance(book, dict):
            raise LoadError("it is no notebook")
        kept = book.get("metadata", {})
        language = kept.get("language_info", {}).get("name") or "python"
        cells = book.get("cells")
        if cells is None:  # version 3
            cells = [cell for sheet in book.get("worksheets", []) for cell in sheet["cells"]]
        parts = [part for cell in cells for part in _cell(cell, language) if part.strip()]
        return [document("\n\n".join(parts) + "\n", kept.get("title"))]


def _cell(cell: dict[str, Any], language: str) -> Iterator[str]:
    source = _joined(cell.get("source", cell.get("input", "")))
    match cell.get("cell_type"):
        case "code":
            if source.strip():
                yield _fenced(source, language)
            for output in cell.get("outputs", []):
                text = _joined(output.get("text") or output.get("data", {}).get("text/plain", ""))
                if text.strip() and output.get("name") != "stderr":
                    yield _fenced(text[:OUTPUT], "")
        case "heading":
            yield f"{'#' * int(cell.get('level', 1))} {source}"
        case "raw":
            yield _fenced(source, "")
        case _:
            yield source


def _fenced(text: str, language: str) -> str:
    fence = "~~~~" if "```" in text else "```"
    return f"{fence}{language}\n{text.strip(chr(10))}\n{fence}"


def _joined(source: Any) -> str:
    return "".join(map(str, source)) if isinstance(source, list) else str(source)
