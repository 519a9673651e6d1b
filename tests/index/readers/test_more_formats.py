"""What office documents, books, letters, notebooks, XML and reStructuredText become."""

import io
import json
from email.message import EmailMessage
from pathlib import Path

import pytest
from langchain_core.documents import Document
from PIL import Image, ImageDraw, ImageFont
from reportlab.lib.utils import ImageReader
from reportlab.pdfgen.canvas import Canvas

from rag.index.readers.content_type import content_type
from rag.index.readers.formats import pdf_ocr
from rag.text.chunk import Chunk
from rag.text.splitting import split
from tests.index.readers.files import (
    book,
    only,
    open_document,
    packed,
    pdf,
    read,
    sheet,
    slides,
    word,
)

OFFICE = "application/vnd.openxmlformats-officedocument"


def chunks(*documents: Document, size: int = 200) -> list[Chunk]:
    return split(documents, size=size, overlap=0)


def test_slides() -> None:
    first, second = read("a.pptx", slides())
    assert first.page_content == (
        "# Locks\n\n- North lock\n- South lock\n\nNotes: Say who opens them.\n"
    )
    assert second.page_content == (
        "# Hours\n\n| hour | water |\n| --- | --- |\n| 6 | high \\| low |\n"
    )
    assert (first.metadata["page"], second.metadata["page"]) == (1, 2)
    assert chunks(second)[0].heading == "Hours"


def test_a_row_of_a_sheet_is_a_paragraph_with_its_number() -> None:
    found = only("a.xlsx", sheet([["name", "hour"], ["North", "6"], ["South", "9"]]))
    assert found.page_content == "name: North\nhour: 6\n\nname: South\nhour: 9"
    (chunk,) = chunks(found)
    assert (chunk.heading, chunk.rows) == ("Hours", (2, 3))
    assert [one.rows for one in chunks(found, size=4)] == [(2, 2), (3, 3)]
    assert only("a.xlsx", sheet([["alone", "here"]])).page_content == "alone, here"


def test_a_book_is_read_in_its_order() -> None:
    pages = {
        "z": "<html><body><h1>One</h1><p>First.</p></body></html>",
        "a": "<html><body><h1>Two</h1><p>Second.</p></body></html>",
    }
    found = only("a.epub", book(pages))
    assert found.page_content == "# One\n\nFirst.\n\n# Two\n\nSecond.\n"
    assert found.metadata["title"] == "Locks"
    assert found.metadata["author"] == "A. Keeper"


def test_open_document() -> None:
    body = (
        '<o:text><text:h text:outline-level="2">Hours<text:s/>now</text:h>'
        "<text:p>Six<text:note><text:note-body><text:p>in May</text:p></text:note-body>"
        "</text:note> to <text:span>nine</text:span>.</text:p><text:list><text:list-item>"
        "<text:p>North</text:p><text:list><text:list-item><text:p>gate</text:p></text:list-item>"
        "</text:list></text:list-item></text:list><table:table><table:table-row><table:table-cell>"
        "<text:p>a</text:p></table:table-cell><table:table-cell><text:p>b</text:p>"
        "</table:table-cell></table:table-row></table:table></o:text>"
    )
    found = only("a.odt", open_document(body))
    assert found.page_content == (
        "## Hours now\n\nSix [in May] to nine.\n\n- North\n  - gate\n\n| a | b |\n| --- | --- |\n"
    )
    assert found.metadata["title"] == "Rules"
    shown = "".join(f"<draw:page><text:p>Slide {n}</text:p></draw:page>" for n in (1, 2))
    pages = read("a.odp", open_document(f"<o:p>{shown}</o:p>", "presentation"))
    assert [(one.page_content, one.metadata["page"]) for one in pages] == [
        ("Slide 1\n", 1),
        ("Slide 2\n", 2),
    ]


def test_a_notebook() -> None:
    cells = [
        {"cell_type": "markdown", "source": ["# Locks\n", "Text."]},
        {
            "cell_type": "code",
            "source": "# not a heading\nprint(6)",
            "outputs": [
                {"output_type": "stream", "name": "stdout", "text": ["6\n"]},
                {"output_type": "stream", "name": "stderr", "text": ["warned\n"]},
                {"output_type": "display_data", "data": {"image/png": "iVBOR"}},
            ],
        },
    ]
    found = only("a.ipynb", json.dumps({"cells": cells, "metadata": {}, "nbformat": 4}))
    assert found.page_content == (
        "# Locks\nText.\n\n```python\n# not a heading\nprint(6)\n```\n\n```\n6\n```\n"
    )
    assert [chunk.heading for chunk in chunks(found, size=8)] == ["Locks", "Locks"]


def test_a_letter_with_attachments() -> None:
    letter = EmailMessage()
    letter["Subject"], letter["From"], letter["To"] = "North lock", "a@b.example", "c@d.example"
    letter["Date"] = "Mon, 02 Mar 2026 09:30:00 +0100"
    letter.set_content("It opens at six.\n# not a heading\n")
    letter.add_alternative("<p>It opens at <b>six</b>.</p>", subtype="html")
    letter.add_attachment(
        word(), maintype="application", subtype="octet-stream", filename="rules.docx"
    )
    letter.add_attachment(b"\x89PNG\r\n\0", maintype="application", subtype="x", filename="odd.bin")
    warnings: list[str] = []
    found = only("a.eml", letter.as_bytes(), warnings)
    assert found.page_content.startswith("It opens at six.\n# not a heading\n\n# Locks\n\nTwo")
    expected = {
        "title": "North lock", "author": "a@b.example", "to": "c@d.example",
        "date": "2026-03-02T09:30:00+01:00",
    }  # fmt: skip
    assert expected.items() <= found.metadata.items()
    assert warnings == ["its attachment odd.bin is left out: unknown file type .bin"]
    assert {chunk.heading for chunk in chunks(found, size=12)} == {"", "rules.docx"}


def test_letters_in_letters_end() -> None:
    inner = b"Subject: x\n\nthe innermost text\n"
    for _ in range(6):
        letter = EmailMessage()
        letter["Subject"] = "outer"
        letter.set_content("more")
        letter.add_attachment(inner, maintype="text", subtype="plain", filename="in.eml")
        inner = letter.as_bytes()
    warnings: list[str] = []
    text = only("a.eml", inner, warnings).page_content
    assert text.count("more") == 4
    assert any("more than 3 deep" in warning for warning in warnings)


def test_xml_of_documents_and_of_data() -> None:
    text = (
        '<?xml version="1.0"?><!DOCTYPE book [<!ENTITY a "secret">]><book><title>Locks</title>'
        "<chapter><title>Hours</title><para>From <emphasis>six</emphasis> on.</para>"
        "<screen>$ open\n  all</screen></chapter></book>"
    )
    found = only("a.xml", text)
    assert found.page_content == (
        "# Locks\n\n## Hours\n\nFrom six on.\n\n```\n$ open\n  all\n```\n"
    )
    assert found.metadata["title"] == "Locks"
    data = "<rows><row><name>North</name><hour>6</hour></row><lock name='South' hour='9'/></rows>"
    assert only("b.xml", data).page_content == "name: North\nhour: 6\n\nname: South, hour: 9\n"


def test_restructured_text_keeps_its_text_and_gives_its_headings() -> None:
    text = (
        "=====\nLocks\n=====\n\nTwo.\n\nHours\n-----\n\n.. note:: at six\n\n::\n\n    # ls\n\n"
        "====  ====\na     b\n====  ====\n1     2\n====  ====\n\nSouth\n-----\nIt is closed.\n"
    )
    found = only("a.rst", text)
    assert (found.page_content, found.metadata["title"]) == (text, "Locks")
    assert [chunk.heading for chunk in chunks(found, size=14)] == [
        "Locks", "Locks > Hours", "Locks > Hours", "Locks > South"
    ]  # fmt: skip


def test_rich_text() -> None:
    assert only("a.rtf", r"{\rtf1\ansi Sch\'fctzen \b bold\b0\par next}").page_content == (
        "Schützen bold\nnext\n"
    )


def test_only_markdown_has_headings_of_markdown() -> None:
    text = "# apt-get update\n\nIt reads the lists.\n"
    assert chunks(only("a.md", text))[0].heading == "apt-get update"
    for name, data in [("a.txt", text), ("a.pdf", pdf(text)), ("README", text)]:
        assert [chunk.heading for chunk in chunks(only(name, data))] == [""]


def test_a_pdf_has_the_headings_of_its_outline_and_labels_of_its_pages() -> None:
    first, second = read(
        "a.pdf",
        pdf(
            "Preface\nWords.\n1 North\nlock\nOpen.", "Closed all day.\n2 South\nNever.",
            outline=[(0, "North  lock", 0), (1, "South", 1)], label="A-",
        ),
    )  # fmt: skip
    found = chunks(first, second, size=5)
    assert [(one.text, one.heading) for one in found] == [
        ("Preface\nWords.", ""),
        ("1 North\nlock\nOpen.", "North lock"),
        ("Closed all day.", "North lock"),
        ("2 South\nNever.", "North lock > South"),
    ]
    assert [one.page_label for one in found] == ["A-1", "A-1", "A-2", "A-2"]


def test_a_ruled_table_of_a_pdf_is_a_table() -> None:
    cells = [["hour", "water"], ["6", "high"], ["9", "low"]]
    text = only("a.pdf", pdf("Before it.", table=cells)).page_content
    assert text.startswith("Before it.")
    assert "| hour | water |\n| --- | --- |\n| 6 | high |\n| 9 | low |" in text
    assert text.count("high") == 1
    frame = only("a.pdf", pdf("Before it.", table=[["$ ls"], ["$ cd"], ["$ rm"]])).page_content
    assert "|" not in frame


def test_front_matter_is_metadata() -> None:
    text = (
        "---\ntitle: Locks\nauthor: A. Keeper\ndate: 2026-03-02\ntags: [north, 6]\nsource: x\n"
        "nested: {a: 1}\n---\n# One\n"
    )
    found = only("a.md", text)
    assert found.page_content == "# One\n"
    assert found.metadata == {
        "title": "Locks", "author": "A. Keeper", "date": "2026-03-02", "tags": ["north", 6],
        "path": "a.md",
    }  # fmt: skip
    for broken in ["a: [", "a: &x [*x, *x]", "? {a: b"]:
        warnings: list[str] = []
        assert only("a.md", f"---\n{broken}\n---\nText.\n", warnings).page_content == "Text.\n"
        assert ["front matter" in warning for warning in warnings] == [True]


def test_web_pages_lose_navigation_and_keep_code_tables_and_prose() -> None:
    links = "".join(f'<li><a href="{n}">chapter {n}</a></li>' for n in range(9))
    page = f"""<html><body><div class="related" role="navigation"><h3>Navigation</h3></div>
    <table width="100%"><tr><td><a href="a">Prev</a></td><td><a href="b">Up</a></td></tr></table>
    <h1>Locks<a class="headerlink" href="#l">¶</a></h1><p>See <a href="x">the map of locks</a>.</p>
    <p>Two locks join the canal, and both are opened by their keepers at six in the morning.</p>
    <pre>open(<a href="f">north</a>)</pre><ul>{links}</ul>
    <table><tr><td><a href="n">north</a></td><td>opens at six o'clock every day</td></tr></table>
    <p>{"More about the locks. " * 10}</p></body></html>"""
    text = only("a.html", page).page_content
    assert text.startswith("# Locks\n\nTwo locks join")
    assert "```\nopen(north)\n```" in text
    assert "opens at six" in text
    for gone in ("Navigation", "Prev", "¶", "chapter 3"):
        assert gone not in text
    contents = only("toc.html", f"<html><body><ul>{links}</ul></body></html>").page_content
    assert "chapter 3" in contents


@pytest.mark.parametrize(
    ("name", "data", "kind"),
    [
        ("a", b"%PDF-1.7\n", "application/pdf"),
        ("a", word(), f"{OFFICE}.wordprocessingml.document"),
        (
            "a",
            slides(),
            "application/vnd.openxmlformats-officedocument.presentationml.presentation",
        ),
        ("a", sheet([["a"]]), f"{OFFICE}.spreadsheetml.sheet"),
        ("a", book({"a": "<p>x</p>"}), "application/epub+zip"),
        ("a", open_document(""), "application/vnd.oasis.opendocument.text"),
        ("a.dat", b"{\\rtf1 x}", "application/rtf"),
        ("a", b"<!-- x -->\n<!DOCTYPE html><p>", "text/html"),
        ("a", b'<?xml version="1.0"?><rows/>', "application/xml"),
        ("a", b"Message-ID: <1>\nFrom: a@b\nSubject: x\n\ntext", "message/rfc822"),
        ("a", b"Note: from the keeper\n", "text/plain"),
        ("run", b"#!/usr/bin/env python3\nprint(1)\n", "text/x-source"),
        ("Makefile", b"all:\n\techo\n", "text/x-source"),
        ("a.HTML", b"anything", "text/html"),
        ("a.pyi", b"x: int", "text/x-source"),
    ],
)
def test_what_is_in_a_file(name: str, data: bytes, kind: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(data)
    assert content_type(name, tmp_path / name) == content_type(name, data) == kind


@pytest.mark.parametrize(
    ("name", "data"),
    [("a.png", b""), ("a", b"\x89PNG\r\n\x1a\n\0"), ("a", packed({"x": "y"})), ("key.pem", b"x")],
)
def test_what_is_not_read(name: str, data: bytes) -> None:
    with pytest.raises(Exception, match=r"unknown file type|may hold keys"):
        read(name, data)


def test_languages_of_source_code() -> None:
    found = {
        name: only(name, text).metadata["language"]
        for name, text in {
            "a.py": "x", "a.hpp": "x", "a.ts": "x", "b": "#!/bin/sh\necho\n", "a.pm": "x",
            "a.kt": "x", "Dockerfile": "FROM x", "a.toml": "x", "a.mjs": "x",
        }.items()
    }  # fmt: skip
    assert found == {
        "a.py": "python", "a.hpp": "cpp", "a.ts": "ts", "b": "bash", "a.pm": "perl",
        "a.kt": "kotlin", "Dockerfile": "dockerfile", "a.toml": "toml", "a.mjs": "js",
    }  # fmt: skip


def scan(*lines: str) -> bytes:
    """A PDF of a picture of text and a page of text."""
    picture = Image.new("RGB", (1240, 500), "white")
    for at, line in enumerate(lines):
        ImageDraw.Draw(picture).text(
            (120, 100 + 90 * at), line, fill="black", font=ImageFont.load_default(size=40)
        )
    held = io.BytesIO()
    canvas = Canvas(held)
    canvas.drawImage(ImageReader(picture), 0, 600, 595, 240)
    canvas.showPage()
    canvas.drawString(72, 700, "A typed page.")
    canvas.save()
    return held.getvalue()


def test_pages_that_are_pictures_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pdf_ocr, "find_spec", lambda name: None)
    warnings: list[str] = []
    found = only("a.pdf", scan("The lock opens."), warnings)
    assert (found.page_content, found.metadata["page"]) == ("A typed page.", 2)
    assert warnings == ['1 of 2 pages are pictures: pip install "modular-rag[ocr]"']


def test_pages_that_are_pictures_are_read_by_ocr() -> None:
    pytest.importorskip("rapidocr")
    first, second = read("a.pdf", scan("The north lock opens at six.", "Ferries wait."))
    assert first.page_content == "The north lock opens at six.\nFerries wait."
    assert (first.metadata["ocr"], "ocr" in second.metadata) == (True, False)
