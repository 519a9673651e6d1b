"""Files that are small and would be huge in memory, or never end: one error each."""

from __future__ import annotations

import io
import json
import tracemalloc
import zipfile
from pathlib import Path

import pytest

from rag.index.readers import lines
from rag.index.readers.read import read_here
from rag.index.readers.tables import header
from tests.index.readers.files import book, open_document, packed, pdf, sheet, slides, word
from tests.index.readers.test_limits import DEEP, LAUGHS, outcome

MB = 2**20


def repacked(whole: bytes, part: str, data: bytes) -> bytes:
    """A ZIP file with another part in the place of one that it has."""
    with zipfile.ZipFile(io.BytesIO(whole)) as old:
        parts = {name: old.read(name) for name in old.namelist()}
    assert part in parts, sorted(parts)
    return packed({**parts, part: data})


def saying(data: bytes, size: int) -> bytes:
    """The ZIP file, of which each part says that it unpacks to so many bytes."""
    changed = bytearray(data)
    for mark, where in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        at = changed.find(mark)
        while at >= 0:
            changed[at + where : at + where + 4] = size.to_bytes(4, "little")
            at = changed.find(mark, at + 1)
    return bytes(changed)


PARTS = {
    "a.docx": (word(), "word/document.xml"),
    "a.pptx": (slides(), "ppt/presentation.xml"),
    "a.xlsx": (sheet([["a", "b"], ["c", "d"]]), "xl/workbook.xml"),
    "a.odt": (open_document("<text:p>Text</text:p>"), "content.xml"),
    "a.epub": (book({"a": "<p>Text</p>"}), "META-INF/container.xml"),
}


@pytest.mark.parametrize("name", PARTS)
def test_what_unpacks_to_too_much_is_not_unpacked(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(saying(PARTS[name][0], 201 * MB))
    _, error = outcome(tmp_path / name)
    assert error is not None
    assert (error.what, error.where) == ("it unpacks to more than 200 MB", name)


@pytest.mark.parametrize("name", PARTS)
def test_what_unpacks_to_more_than_it_says_is_broken(name: str, tmp_path: Path) -> None:
    bomb = repacked(*PARTS[name], b"<a>" + b" " * 20 * MB + b"</a>")
    (tmp_path / name).write_bytes(saying(bomb, 10))
    text, error = outcome(tmp_path / name)
    assert error is not None, text[:200]
    assert error.where == name


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("a.docx", "word/document.xml"),
        ("a.pptx", "ppt/slides/slide1.xml"),
        ("a.xlsx", "xl/worksheets/sheet1.xml"),
        ("a.odt", "content.xml"),
        ("a.epub", "META-INF/container.xml"),
    ],
)
def test_entities_are_never_expanded(name: str, part: str, tmp_path: Path) -> None:
    bomb = LAUGHS + "<a>&a10;</a>"
    (tmp_path / name).write_bytes(repacked(PARTS[name][0], part, bomb.encode()))
    text, error = outcome(tmp_path / name)
    assert len(text) < 10_000
    assert "haha" not in text
    assert error is None or error.where == name


def cells(places: dict[str, str]) -> bytes:
    """A spreadsheet that says it is as large as its farthest cell."""
    rows = "".join(
        f'<row><c r="{place}" t="inlineStr"><is><t>{text}</t></is></c></row>'
        for place, text in places.items()
    )
    space = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    made = (
        f'<?xml version="1.0"?><worksheet xmlns="{space}"><sheetData>{rows}</sheetData></worksheet>'
    )
    return repacked(PARTS["a.xlsx"][0], "xl/worksheets/sheet1.xml", made.encode())


def test_a_spreadsheet_of_two_cells_far_apart(tmp_path: Path) -> None:
    (tmp_path / "a.xlsx").write_bytes(cells({"A1": "near", "XFD1048576": "far"}))
    text, error = outcome(tmp_path / "a.xlsx")
    assert error is not None or {"near", "far"} <= {*text.split()}
    assert error is None or "too much memory" in error.what


def test_a_pdf_whose_pages_are_their_own_parents(tmp_path: Path) -> None:
    whole = pdf("Some text", "More text")
    looped = whole.replace(b"/Type /Pages", b"/Type /Pages ")
    at = looped.index(b"/Kids [")
    end = looped.index(b"]", at)
    number = looped[: looped.rindex(b" 0 obj", 0, at)].rsplit(b"\n", 1)[1]
    kids = b"/Kids [ " + number + b" 0 R " + number + b" 0 R ]"
    (tmp_path / "a.pdf").write_bytes(looped[:at] + kids + looped[end + 1 :])
    text, error = outcome(tmp_path / "a.pdf")
    assert error is not None, text
    assert error.where == "a.pdf"
    assert error.what


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.jsonl", "[" * DEEP + "]" * DEEP),
        ("a.jsonl", '{"a":' * DEEP + "1" + "}" * DEEP),
        ("a.ipynb", '{"cells": [{"cell_type": "markdown", "source": ' + "[" * DEEP),
        ("a.html", "<ul><li>" * DEEP + "x"),
        ("a.html", "<b>" * DEEP + "x"),
    ],
)
def test_nesting_is_one_error(name: str, data: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(data)
    text, error = outcome(tmp_path / name)
    assert error is not None or text.strip() == "x"
    if error is not None:
        assert error.where == name
        assert "\n" not in error.what


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
@pytest.mark.parametrize("name", ["a.csv", "a.jsonl"])
def test_a_line_without_end_is_left_out(
    name: str, encoding: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lines, "LINE", MB // 4)
    good = "lock,water" if name == "a.csv" else json.dumps({"lock": "water"})
    with (tmp_path / name).open("w", encoding=encoding) as file:
        file.write(f"{good}\n")
        for _ in range(64):
            file.write("x" * (MB // 4))
        file.write(f"\n{good}\n")
    told: list[str] = []
    tracemalloc.start()
    found = list(read_here(tmp_path / name, name, told.append))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert "lock: " in found[0].page_content
    (reason,) = told
    assert "is too long" in reason
    assert peak < 8 * MB


def test_a_head_of_very_many_columns_is_named_in_its_own_time() -> None:
    names = header(["a"] * 100_000 + ["a (2)", "b"])
    assert names[:2] == ["a", "a (2)"]
    assert len(set(names)) == 100_002
    assert header(["a", "a (2)", "a"]) == ["a", "a (2)", "a (3)"]
