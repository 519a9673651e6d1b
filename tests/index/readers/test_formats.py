"""What each format becomes."""

import os
import random
from collections.abc import Callable

import pytest
from langchain_core.documents import Document

from rag.errors import LoadError
from rag.text.structure import KEY
from tests.index.readers.files import only, packed, pdf, read, word


def known(document: Document) -> dict[str, object]:
    return {key: value for key, value in document.metadata.items() if key != KEY}


def test_plain_text() -> None:
    found = only("notes/ferry.txt", "\ufeffOne\r\ntwo\rthree")
    assert found.page_content == "One\ntwo\nthree"
    assert known(found) == {"path": "notes/ferry.txt", "title": "ferry"}


def test_markdown_title_is_front_matter_then_heading_then_name() -> None:
    body = "# Locks\n\nText.\n"
    front = only("a.md", f"---\ntitle: 'The locks'\ntags: [x]\n---\n{body}")
    assert (front.page_content, front.metadata["title"]) == (body, "The locks")
    assert only("a.md", "#hash\n\n" + body).metadata["title"] == "Locks"
    assert only("a.md", "No heading").metadata["title"] == "a"


def test_code_keeps_its_language() -> None:
    found = only("src/ferry.py", "# a comment\nx = 1\n")
    assert known(found) == {"path": "src/ferry.py", "title": "ferry.py", "language": "python"}


def test_html_becomes_markdown_without_boilerplate() -> None:
    found = only(
        "page.html",
        """<html><head><title>The &amp; locks</title><style>p {}</style></head><body>
        <header>Site</header><nav><a href="/">Home</a></nav>
        <main><article><header><h1>Locks</h1></header><script>alert(1)</script>
        <p>Two <b>locks</b>, see <a href="x">the map</a>.</p>
        <h2>Hours</h2><ul><li>six</li><li>seven<ul><li>half past</li></ul></li></ul>
        <table><tr><th>hour</th><th>water</th></tr><tr><td>6</td><td>high</td></tr></table>
        <pre># not a heading</pre>
        </article></main><aside>Adverts</aside><form>Search</form><footer>Imprint</footer></body>""",
    )
    text = found.page_content
    assert found.metadata["title"] == "The & locks"
    assert text.startswith("# Locks\n\nTwo **locks**, see the map.")
    assert "\n## Hours\n\n- six\n- seven\n  - half past\n" in text
    assert "| hour | water |\n| --- | --- |\n| 6 | high |" in text
    assert "```\n# not a heading\n```" in text
    for gone in ("Site", "Home", "alert", "Adverts", "Search", "Imprint", "{}"):
        assert gone not in text


def test_html_in_the_encoding_it_declares() -> None:
    page = '<html><head><meta charset="iso-8859-2"></head><body><p>Łódź</p></body></html>'
    assert only("page.htm", page.encode("iso-8859-2")).page_content == "Łódź\n"


def test_docx_becomes_markdown_in_document_order() -> None:
    found = only("a.docx", word())
    assert found.page_content == (
        "# Locks\n\nTwo locks join the canal.\n\n## North lock\n\n- Opened by the keeper\n\n"
        "| hour | water |\n| --- | --- |\n| 6 | high |\n\nAfter the table.\n"
    )
    assert found.metadata["title"] == "Locks"
    assert only("a.docx", word(title="All locks")).metadata["title"] == "All locks"


def test_pdf_is_a_document_per_page_with_text() -> None:
    first, third = read("a.pdf", pdf("Lock rules\nfor all", "", "Page three", title="Rules"))
    assert (first.page_content, first.metadata["page"]) == ("Lock rules\nfor all", 1)
    assert known(third) == {"path": "a.pdf", "title": "Rules", "page": 3}
    assert read("a.pdf", pdf("Lock rules\nfor all"))[0].metadata["title"] == "Lock rules"


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_csv_is_a_paragraph_per_row(delimiter: str) -> None:
    rows = [["name", "hour", "note"], ["North", "6", '"high ""tide""\n\nonly"'], ["South", "", ""]]
    text = "\r\n".join(delimiter.join(row) for row in rows) + delimiter + "extra\r\n"
    assert only("a.csv", text).page_content == (
        'name: North\nhour: 6\nnote: high "tide" only\n\nname: South\nextra'
    )


def test_what_is_no_unicode_is_escaped() -> None:
    found = only(os.fsdecode(b"caf\xe9.jsonl"), '{"a": "\\ud800"}')
    assert found.page_content == "a: \\ud800"
    assert known(found) == {"path": "caf\\udce9.jsonl", "title": "caf\\udce9"}


def test_jsonl_is_a_paragraph_per_record() -> None:
    text = '{"name": "North", "open": true, "note": null, "at": {"h": 6}}\n\n["a", "b"]\n'
    assert only("a.jsonl", text).page_content == (
        'name: North\nopen: true\nat: {"h": 6}\n\nvalue: a, b'
    )


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("Der Fährmann öffnet die Schleuse früh. Für größere Schiffe gibt es Gebühren.", "cp1252"),
        ("Паромщик открывает шлюз утром и закрывает его вечером после ужина.", "cp1251"),
        ("渡し船は朝の七時に出ます。水門は夕方に閉まります。", "shift_jis"),
        ("The ferry: 7 €", "utf-16"),
    ],
)
def test_text_in_other_encodings(text: str, encoding: str) -> None:
    data = (f"{text}\n" * 20).encode(encoding)
    assert only("a.txt", data).page_content == f"{text}\n" * 20


def test_little_text_in_another_encoding() -> None:
    assert only("a.txt", "café".encode("cp1252")).page_content == "café"
    with pytest.raises(LoadError, match="encoding is unknown"):
        read("a.txt", "шлюз".encode("koi8-r"))


def bomb() -> bytes:
    return packed({f"word/{number}.xml": b" " * 10 * 2**20 for number in range(21)})


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("a.txt", bytes(range(256)) * 40, "zero bytes"),
        ("a.txt", bytes(range(1, 7)) * 100, "control characters"),
        ("a.txt", b" \n\t\n", "there is no text in it"),
        ("a.txt", "odd".encode("utf-16") + b"x", "its encoding is unknown"),
        ("a.py", b"\x7fELF\x00\x01", "zero bytes"),
        ("a.html", b"\x00\x01<p>", "zero bytes"),
        ("a.html", b"<nav>only this</nav>", "there is no text in it"),
        ("a.pdf", b"%PDF-1.7 broken", "broken PDF"),
        ("a.pdf", pdf("secret", password="x"), "the PDF is encrypted"),  # noqa: S106
        ("a.pdf", pdf("", ""), "there is no text in it"),
        ("a.docx", b"no zip", "broken DOCX: File is not a zip file"),
        ("a.docx", word()[:-200], "broken DOCX"),
        ("a.docx", word(fill=False), "there is no text in it"),
        ("a.docx", bomb, "unpacks to more than 200 MB"),
        ("a.jsonl", '{"a": ', "none of its lines can be read: line 1 is not JSON: Expecting"),
        ("a.jsonl", "[" * 100_000, "none of its lines can be read: line 1 is nested too deeply"),
        ("a.csv", "a,b\n", "there is no text in it"),
    ],
)
def test_what_cannot_be_read_says_why(
    name: str, data: bytes | str | Callable[[], bytes], reason: str
) -> None:
    data = data() if callable(data) else data
    with pytest.raises(LoadError, match=reason) as caught:
        read(name, data)
    assert caught.value.where == name
    assert len(caught.value.what) < 160
    assert "\n" not in caught.value.what


def test_random_bytes_are_no_text() -> None:
    for seed in range(8):
        data = random.Random(seed).randbytes(5000).replace(b"\x00", b"\x01")  # noqa: S311
        with pytest.raises(LoadError):
            read("a.txt", data)
