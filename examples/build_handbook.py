"""Make the handbook's PDF and DOCX files from their Markdown sources.

    python examples/build_handbook.py

Needs reportlab and python-docx. The same sources give the same bytes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

HERE = Path(__file__).parent
SOURCES, HANDBOOK = HERE / "handbook_sources", HERE / "handbook"
FORMATS = {
    "company/annual_report": "pdf",
    "engineering/heron_manual": "pdf",
    "safety/safety_rules": "pdf",
    "engineering/water_management": "docx",
    "operations/vessel_rules": "docx",
    "people/training": "docx",
}

Block = tuple[str, str | list[list[str]]]


def blocks(text: str) -> Iterator[Block]:
    """The source's headings (`h1`, `h2`), paragraphs (`p`) and tables, in order."""
    for part in re.split(r"\n\s*\n", text.strip()):
        if part.startswith("#"):
            marks, title = part.split(" ", 1)
            yield f"h{len(marks)}", title.strip()
        elif part.startswith("|"):
            rows = [
                [cell.strip() for cell in line.strip("| ").split("|")] for line in part.splitlines()
            ]
            width = max(len(row) for row in rows)
            body = [
                row if len(row) == width else [""] * (width - len(row)) + row
                for row in rows
                if not set("".join(row)) <= {"-"}
            ]
            yield "table", body
        else:
            yield "p", " ".join(part.split())


def plain(text: str) -> str:
    """The text without Markdown's emphasis."""
    return re.sub(r"\*(.+?)\*", r"\1", text)


def write_pdf(source: str, target: Path) -> None:
    """Typeset the source on A4."""
    from reportlab.lib import colors
    from reportlab.lib.pagesizes import A4
    from reportlab.lib.styles import getSampleStyleSheet
    from reportlab.platypus import Paragraph, SimpleDocTemplate, Spacer, Table, TableStyle

    styles = getSampleStyleSheet()
    styles["BodyText"].fontSize, styles["BodyText"].leading = 11, 16
    grid = TableStyle(
        [("GRID", (0, 0), (-1, -1), 0.5, colors.grey), ("FONTSIZE", (0, 0), (-1, -1), 9)]
    )
    story = []
    title = ""
    for kind, content in blocks(source):
        if isinstance(content, list):
            cells = [
                [Paragraph(plain(cell), styles["BodyText"]) for cell in row] for row in content
            ]
            story += [Table(cells, style=grid), Spacer(1, 10)]
        else:
            title = title or plain(content)
            style = {"h1": "Title", "h2": "Heading2"}.get(kind, "BodyText")
            story += [Paragraph(plain(content), styles[style]), Spacer(1, 5)]
    document = SimpleDocTemplate(
        str(target), pagesize=A4, title=title, author="Hallin Canal Company", invariant=1
    )
    document.build(story)


def write_docx(source: str, target: Path) -> None:
    """Write the source with Word's own heading styles and tables."""
    import docx

    document = docx.Document()
    moment = datetime(2025, 1, 1)
    document.core_properties.created = document.core_properties.modified = moment
    document.core_properties.author = "Hallin Canal Company"
    for kind, content in blocks(source):
        if isinstance(content, list):
            table = document.add_table(rows=0, cols=len(content[0]), style="Table Grid")
            for row in content:
                for cell, value in zip(table.add_row().cells, row, strict=True):
                    cell.text = plain(value)
        elif kind == "p":
            document.add_paragraph(plain(content))
        else:
            document.add_heading(plain(content), level=int(kind[1]))
    document.save(str(target))


def main() -> None:
    """Build every file."""
    for name, ending in FORMATS.items():
        target = HANDBOOK / f"{name}.{ending}"
        target.parent.mkdir(parents=True, exist_ok=True)
        source = (SOURCES / f"{name}.md").read_text(encoding="utf-8")
        (write_pdf if ending == "pdf" else write_docx)(source, target)
        print(f"wrote {target.relative_to(HERE.parent)}")


if __name__ == "__main__":
    main()
