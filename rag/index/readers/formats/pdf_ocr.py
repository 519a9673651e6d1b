"""Text of scanned pages, by the extra `ocr`: RapidOCR, whose package holds its models."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

DPI = 200
"""Dots per inch that a page is rendered with."""
SURE = 0.5
"""Confidence of a line that is taken."""


class Ocr:
    """Reads pages that are pictures; opens its models at the first one.

    Attributes:
        missed: Pages that are pictures and were not read, as the extra is not installed.
        fix: How to mend that.
    """

    fix = 'pip install "modular-rag[ocr]"'

    def __init__(self) -> None:
        self._engine: Any = None
        self.missed = 0

    def text(self, page: Any) -> str:
        """The text of a page, its lines from top to bottom; "" for a page without a picture.

        Args:
            page: Of pypdfium2.
        """
        import pypdfium2.raw as pdfium

        if next(page.get_objects(filter=[pdfium.FPDF_PAGEOBJ_IMAGE]), None) is None:
            return ""
        if find_spec("rapidocr") is None:
            self.missed += 1
            return ""
        if self._engine is None:
            self._engine = _engine()
        image = page.render(scale=DPI / 72, rev_byteorder=False).to_numpy()
        found = self._engine(image[:, :, :3])
        if not found.txts:
            return ""
        lines = [
            (min(y for _, y in box), min(x for x, _ in box), max(y for _, y in box), text)
            for box, text, score in zip(found.boxes, found.txts, found.scores, strict=True)
            if score >= SURE
        ]
        return _joined(sorted(lines))


def _engine() -> Any:
    from rapidocr import RapidOCR

    return RapidOCR(params={"Global.log_level": "critical"})


def _joined(lines: list[tuple[float, float, float, str]]) -> str:
    """Pieces of text as lines: those whose middle is on the height of another stand beside it."""
    rows: list[list[tuple[float, float, float, str]]] = []
    for line in lines:
        middle = (line[0] + line[2]) / 2
        if rows and rows[-1][0][0] <= middle <= rows[-1][0][2]:
            rows[-1].append(line)
        else:
            rows.append([line])
    return "\n".join(
        " ".join(text for *_, text in sorted(row, key=lambda one: one[1])) for row in rows
    )
