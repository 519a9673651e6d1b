"""Documents of every format, made by the libraries that write them, and reading them."""

from __future__ import annotations

import io
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import docx
import pptx
from langchain_core.documents import Document
from reportlab.lib.pagesizes import A4
from reportlab.pdfgen.canvas import Canvas

from rag.index.readers.read import read_here


def read(name: str, data: bytes | str, warnings: list[str] | None = None) -> list[Document]:
    """What is read of a file of this content."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name.replace("/", "_")
        path.write_bytes(data.encode() if isinstance(data, str) else data)
        return list(read_here(path, name, [].append if warnings is None else warnings.append))


def only(name: str, data: bytes | str, warnings: list[str] | None = None) -> Document:
    (document,) = read(name, data, warnings)
    return document


def packed(parts: Mapping[str, str | bytes], *, first: str = "") -> bytes:
    """A ZIP file; `first` is its content type, as OpenDocument and EPUB have it."""
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", zipfile.ZIP_DEFLATED) as file:
        if first:
            file.writestr("mimetype", first)
        for name, data in parts.items():
            file.writestr(name, data)
    return held.getvalue()


def pdf(
    *pages: str,
    title: str | None = None,
    password: str | None = None,
    outline: Sequence[tuple[int, str, int]] = (),
    table: Sequence[Sequence[str]] = (),
    label: str = "",
) -> bytes:
    """A PDF.

    Args:
        pages: Text of each, in lines.
        title: In its metadata.
        password: To open it.
        outline: Page, from 0, title and level, from 0.
        table: Cells, between ruled lines, on the first page.
        label: How the numbers of its pages begin.
    """
    held = io.BytesIO()
    canvas = Canvas(held, pagesize=A4, encrypt=password)
    if title:
        canvas.setTitle(title)
    for at, page in enumerate(pages):
        for where, text, level in outline:
            if where == at:
                canvas.bookmarkPage(text)
                canvas.addOutlineEntry(text, text, level)
        if label:
            canvas.addPageLabel(at, style="ARABIC", start=at + 1, prefix=label)
        for number, line in enumerate(page.split("\n")):
            canvas.drawString(72, 760 - 20 * number, line)
        if table and at == 0:
            columns = [72 + 120 * number for number in range(len(table[0]) + 1)]
            canvas.grid(columns, [500 - 20 * number for number in range(len(table) + 1)])
            for row, cells in enumerate(table):
                for column, cell in enumerate(cells):
                    canvas.drawString(columns[column] + 4, 486 - 20 * row, cell)
        canvas.showPage()
    canvas.save()
    return held.getvalue()


def word(fill: bool = True, title: str = "") -> bytes:
    written = docx.Document()
    written.core_properties.title = title
    written.core_properties.author = ""
    if fill:
        written.add_heading("Locks", 1)
        written.add_paragraph("Two locks join the canal.")
        written.add_heading("North lock", 2)
        written.add_paragraph("Opened by the keeper", style="List Bullet")
        table = written.add_table(rows=2, cols=2)
        for cell, value in zip(
            [*table.rows[0].cells, *table.rows[1].cells],
            ["hour", "water", "6", "high"],
            strict=True,
        ):
            cell.text = value
        written.add_paragraph("After the table.")
    held = io.BytesIO()
    written.save(held)
    return held.getvalue()


def slides() -> bytes:
    shown = pptx.Presentation()
    first = shown.slides.add_slide(shown.slide_layouts[1])
    first.shapes.title.text = "Locks"
    first.placeholders[1].text = "North lock\nSouth lock"
    first.notes_slide.notes_text_frame.text = "Say who opens them."
    second = shown.slides.add_slide(shown.slide_layouts[5])
    second.shapes.title.text = "Hours"
    cells = second.shapes.add_table(2, 2, 0, 0, 9_000_000, 900_000).table
    for at, value in enumerate(["hour", "water", "6", "high | low"]):
        cells.cell(at // 2, at % 2).text = value
    held = io.BytesIO()
    shown.save(held)
    return held.getvalue()


def sheet(rows: Sequence[Sequence[str]], name: str = "Hours") -> bytes:
    """An XLSX file with one sheet."""
    cells = "".join(
        f'<row r="{number}">'
        + "".join(f'<c t="inlineStr"><is><t>{cell}</t></is></c>' for cell in row)
        + "</row>"
        for number, row in enumerate(rows, start=1)
    )
    main = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    links = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    package = "http://schemas.openxmlformats.org/package/2006"
    kind = "application/vnd.openxmlformats-officedocument.spreadsheetml"
    return packed(
        {
            "[Content_Types].xml": f'<Types xmlns="{package}/content-types">'
            f'<Override PartName="/xl/workbook.xml" ContentType="{kind}.sheet.main+xml"/></Types>',
            "_rels/.rels": f'<Relationships xmlns="{package}/relationships"><Relationship Id="a" '
            f'Type="{links}/officeDocument" Target="xl/workbook.xml"/></Relationships>',
            "xl/workbook.xml": f'<workbook xmlns="{main}" xmlns:r="{links}"><sheets>'
            f'<sheet name="{name}" sheetId="1" r:id="s"/></sheets></workbook>',
            "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{package}/relationships">'
            f'<Relationship Id="s" Type="{links}/worksheet" Target="worksheets/sheet1.xml"/>'
            "</Relationships>",
            "xl/worksheets/sheet1.xml": f'<worksheet xmlns="{main}"><sheetData>{cells}'
            "</sheetData></worksheet>",
        }
    )


def book(chapters: Mapping[str, str], title: str = "Locks") -> bytes:
    items = "".join(f'<item id="{name}" href="{name}.xhtml"/>' for name in sorted(chapters))
    spine = "".join(f'<itemref idref="{name}"/>' for name in chapters)
    return packed(
        {
            "META-INF/container.xml": '<container xmlns="urn:oasis:names:tc:opendocument:xmlns:'
            'container"><rootfiles><rootfile full-path="OEBPS/a.opf"/></rootfiles></container>',
            "OEBPS/a.opf": '<package xmlns="http://www.idpf.org/2007/opf" xmlns:dc="http://purl.'
            f'org/dc/elements/1.1/"><metadata><dc:title>{title}</dc:title><dc:creator>A. Keeper'
            f"</dc:creator></metadata><manifest>{items}</manifest><spine>{spine}</spine></package>",
            **{f"OEBPS/{name}.xhtml": text for name, text in chapters.items()},
        },
        first="application/epub+zip",
    )


_ODF = "urn:oasis:names:tc:opendocument:xmlns"


def open_document(body: str, kind: str = "text") -> bytes:
    """An ODT or ODP file of this body."""
    return packed(
        {
            "content.xml": f'<o:document-content xmlns:o="{_ODF}:office:1.0" '
            f'xmlns:text="{_ODF}:text:1.0" xmlns:table="{_ODF}:table:1.0" '
            f'xmlns:draw="{_ODF}:drawing:1.0"><o:body>{body}</o:body></o:document-content>',
            "meta.xml": '<m xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:title>Rules</dc:title>'
            "</m>",
        },
        first=f"application/vnd.oasis.opendocument.{kind}",
    )
