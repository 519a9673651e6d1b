"""Presentations."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from typing import Any, ClassVar

from langchain_core.documents import Document

from rag.index.readers.file import File
from rag.index.readers.packed import core_properties, unpacked
from rag.index.readers.reader import Reader, Types, document
from rag.index.readers.tables import markdown_table


class PptxReader(Reader):
    """PowerPoint presentations: a document for each slide, as Markdown."""

    types: ClassVar[Types] = {
        "application/vnd.openxmlformats-officedocument.presentationml.presentation": (
            ".pptx",
            ".pptm",
            ".potx",
            ".ppsx",
        )
    }

    def read(self, file: File) -> Iterable[Document]:
        """A slide's title, texts, tables and notes; its number is the `page`."""
        from pptx import Presentation
        from pptx.opc.constants import CONTENT_TYPE as TYPES

        data = file.data()
        known = core_properties(unpacked(data))
        opened: Any = Presentation(io.BytesIO(_as_presentation(data, TYPES.PML_PRESENTATION_MAIN)))
        for number, slide in enumerate(opened.slides, start=1):
            text = "\n\n".join(part for part in _slide(slide) if part.strip())
            if text:
                yield document(text + "\n", page=number, **known)


def _as_presentation(data: bytes, main: str) -> bytes:
    """Templates and shows as presentations, which differ by the name of their type only."""
    import zipfile

    kinds = ("template.main", "slideshow.main", "presentation.macroEnabled.main")
    parts = unpacked(data)
    types = parts.read("[Content_Types].xml").decode("utf-8", "replace")
    wanted = types
    for kind in kinds:
        for family in ("openxmlformats-officedocument.presentationml", "ms-powerpoint"):
            wanted = wanted.replace(f"application/vnd.{family}.{kind}+xml", main)
    if wanted == types:
        return data
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as out:
        for name in parts.namelist():
            out.writestr(name, wanted if name == "[Content_Types].xml" else parts.read(name))
    return held.getvalue()


def _slide(slide: Any) -> Iterator[str]:
    title = slide.shapes.title
    if title is not None and title.has_text_frame and title.text_frame.text.strip():
        yield "# " + " ".join(title.text_frame.text.split())
    for shape in slide.shapes:
        if title is None or shape.shape_id != title.shape_id:
            yield from _shape(shape)
    if slide.has_notes_slide and slide.notes_slide.notes_text_frame is not None:
        notes = slide.notes_slide.notes_text_frame.text.strip()
        if notes:
            yield f"Notes: {notes}"


def _shape(shape: Any) -> Iterator[str]:
    if shape.shape_type == 6:  # a group
        for one in shape.shapes:
            yield from _shape(one)
    elif getattr(shape, "has_table", False) and shape.has_table:
        yield markdown_table([[cell.text for cell in row.cells] for row in shape.table.rows])
    elif shape.has_text_frame:
        paragraphs = [one for one in shape.text_frame.paragraphs if one.text.strip()]
        several = len(paragraphs) > 1
        yield "\n".join(
            f"{'  ' * one.level}- {one.text.strip()}" if several else one.text.strip()
            for one in paragraphs
        )
