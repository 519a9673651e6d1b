"""Files that attack their readers, and files that are broken: one error each, and soon."""

from __future__ import annotations

import io
import os
import random
import signal
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from langchain_core.documents import Document

from rag.errors import LoadError
from rag.index.readers import apart
from rag.index.readers.discover import FileRef, discover
from rag.index.readers.file import File
from rag.index.readers.read import read_file, read_here
from rag.index.readers.reader import Reader
from rag.index.readers.registry import endings, readers
from tests.index.readers.files import book, open_document, packed, pdf, read, sheet, slides, word

LAUGHS = (
    '<?xml version="1.0"?><!DOCTYPE a [<!ENTITY a0 "ha">'
    + "".join(f'<!ENTITY a{n} "{f"&a{n - 1};" * 10}">' for n in range(1, 11))
    + "]>"
)
OUTSIDE = '<?xml version="1.0"?><!DOCTYPE a [<!ENTITY out SYSTEM "file:///etc/passwd">]>'
DEEP = 100_000


def ref(path: Path) -> FileRef:
    (found,) = discover([path])
    assert isinstance(found, FileRef)
    return found


def outcome(path: Path) -> tuple[str, LoadError | None]:
    """What is read of a file, or why it cannot be; any other error is none that may be."""
    try:
        return "".join(document.page_content for document in read_file(ref(path))), None
    except LoadError as error:
        return "", error


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.xml", LAUGHS + "<a>&a10;</a>"),
        ("a.xml", OUTSIDE + "<a>&out;</a>"),
        ("a.xml", "<a>" * DEEP),
        ("a.svg", LAUGHS + "<svg><text>&a10;</text></svg>"),
        ("a.html", "<div>" * DEEP + "x"),
        ("a.html", "<table><tr><td>" * 5_000 + "x"),
        ("a.rtf", "{\\rtf1 " + "{" * DEEP),
        ("a.ipynb", '{"cells": ' + "[" * DEEP),
        ("a.eml", "Subject: x\nContent-Type: multipart/mixed; boundary=b\n\n" + "--b\n" * DEEP),
        ("a.md", "---\na: " + "[" * 5_000 + "\n---\nText."),
        ("a.md", "---\na: &a [x, x]\nb: &b [*a, *a]\n---\nText."),
        ("a.odt", packed({"content.xml": LAUGHS + "<a><body>&a10;</body></a>"}, first="x")),
        ("a.epub", book({"a": LAUGHS + "<html><body>&a10;</body></html>"})),
        ("a.pptx", packed({"[Content_Types].xml": LAUGHS + "<Types>&a10;</Types>"})),
        ("a.docx", packed({"[Content_Types].xml": LAUGHS + "<Types>&a10;</Types>"})),
        ("a.xlsx", lambda: packed({f"xl/{n}": b" " * 30 * 2**20 for n in range(7)})),
        ("a.epub", lambda: packed({str(n): b"" for n in range(20_001)})),
    ],
)
def test_bombs_end_soon_and_show_nothing_of_the_machine(
    name: str, data: str | bytes | Callable[[], bytes], tmp_path: Path
) -> None:
    data = data() if callable(data) else data
    path = tmp_path / name
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    text, error = outcome(path)
    if error is None:
        assert len(text) < 10 * len(data) + 100
        assert "root:" not in text
    else:
        assert error.where == name
        assert "\n" not in error.what


WHOLE = {
    "a.pdf": pdf("Some text", table=[["a", "b"], ["c", "d"], ["e", "f"]]),
    "a.docx": word(),
    "a.pptx": slides(),
    "a.xlsx": sheet([["a", "b"], ["c", "d"]]),
    "a.epub": book({"a": "<p>Some text</p>"}),
    "a.odt": open_document("<text:p>Some text</text:p>"),
}


@pytest.mark.parametrize("name", WHOLE)
def test_cut_and_changed_files_are_one_error_or_still_read(name: str, tmp_path: Path) -> None:
    """No error but LoadError, wherever a file ends or a byte differs."""
    whole = WHOLE[name]
    draw = random.Random(name)  # noqa: S311
    for _ in range(8):
        data = bytearray(whole[: draw.randrange(len(whole))])
        changed = bytearray(whole)
        for at in draw.sample(range(len(whole)), 5):
            changed[at] = draw.randrange(256)
        for one in (data, changed):
            path = tmp_path / name
            path.write_bytes(one or b"x")
            _, error = outcome(path)
            assert error is None or error.where == name


class Hostile(Reader):
    """Does what a broken parser does."""

    types = {"x/hostile": (".hostile",)}  # noqa: RUF012
    seconds = 200  # a busy machine takes some for any file

    def read(self, file: File) -> Iterable[Document]:
        match file.data():
            case b"crash":
                os.kill(os.getpid(), signal.SIGSEGV)
            case b"fill":
                held = []
                while True:
                    held.append(bytearray(2**28))
            case b"print":
                os.write(1, b"noise on standard output")
        return [Document(page_content="fine")]


class Stalling(Reader):
    """Never ends."""

    types = {"x/stalling": (".stalling",)}  # noqa: RUF012
    seconds = 1

    def read(self, file: File) -> Iterable[Document]:
        while True:
            pass


def test_what_kills_a_reader_costs_its_file_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "hostile-1.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: hostile\nVersion: 1\n")
    (folder / "entry_points.txt").write_text(
        f"[rag.readers]\nx = {__name__}:Hostile\ny = {__name__}:Stalling\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(apart, "MEMORY", 2**29)
    monkeypatch.setattr(apart, "_idle", [])
    readers.cache_clear()
    endings.cache_clear()
    try:
        reasons = {}
        for name in ("stall.stalling", "crash.hostile", "fill.hostile", "print.hostile"):
            path = tmp_path / name
            path.write_text(path.stem)
            text, error = outcome(path)
            reasons[path.stem] = error.what if error else text
        assert reasons == {
            "stall": "reading it takes more than 1 seconds",
            "crash": f"its reader crashed (exit code {-signal.SIGSEGV})",
            "fill": "reading it takes too much memory",
            "print": "fine",
        }
    finally:
        readers.cache_clear()
        endings.cache_clear()


def test_one_process_reads_many_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apart, "_idle", [])
    started = []
    popen = apart.subprocess.Popen
    monkeypatch.setattr(
        apart.subprocess, "Popen", lambda *args, **known: started.append(1) or popen(*args, **known)
    )
    for number in range(3):
        path = tmp_path / f"{number}.html"
        path.write_text(f"<p>page {number}</p>")
        assert [one.page_content for one in read_file(ref(path))] == [f"page {number}\n"]
    (tmp_path / "a.txt").write_text("plain")
    list(read_file(ref(tmp_path / "a.txt")))
    assert len(started) == 1


def test_a_file_that_changes_meanwhile_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("a\n1\n")
    found = ref(path)
    documents = read_file(found)
    next(documents)
    path.write_text("a\n1\n2\n")
    with pytest.raises(LoadError, match="changed while"):
        next(documents)
    path.unlink()
    with pytest.raises(LoadError, match="cannot be read"):
        next(read_file(found))


@pytest.mark.parametrize("ending", ["csv", "jsonl"])
def test_large_tables_come_in_parts_that_know_their_rows(ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"a.{ending}"
    rows = 60_000
    with path.open("w") as file:
        if ending == "csv":
            file.write("name,text\n")
        for number in range(rows):
            words = f"row {number} of the table, {'word ' * 8}"
            file.write(
                f'{number},"{words}"\n' if ending == "csv" else f'{{"{number}": "{words}"}}\n'
            )
    parts = list(read_here(path, path.name))
    assert len(parts) > 2
    assert max(len(part.page_content) for part in parts) < 2_100_000
    assert "part" not in parts[0].metadata
    numbers = [row for part in parts for _, row in part.metadata["structure"]["rows"]]
    first = 2 if ending == "csv" else 1
    assert numbers == list(range(first, rows + first))
    for part in parts[1:]:
        at, row = part.metadata["structure"]["rows"][0]
        assert (at, part.metadata["part"]) == (0, f"row={row}")
        assert f"row {row - first} of" in part.page_content[:60]


def test_bad_lines_are_left_out_and_counted(tmp_path: Path) -> None:
    warnings: list[str] = []
    long = "x" * 17_000_000
    text = f'{{"a": 1}}\n{{"a": \n["b"]\n{{"c": "{long}"}}\n{"[" * DEEP}\n{{"d": 4}}\n'
    found = read("a.jsonl", text, warnings)[0]
    assert found.page_content == "a: 1\n\nvalue: b\n\nd: 4"
    assert [row for _, row in found.metadata["structure"]["rows"]] == [1, 3, 6]
    assert warnings == ["3 of 6 lines are left out: line 2 is not JSON: Expecting value"]
    rows = f"a,b\n1,2\n{'x' * 200_000},1\n3,4\n"
    found = read("a.csv", rows, warnings)[0]
    assert found.page_content == "a: 1\nb: 2\n\na: 3\nb: 4"
    assert [row for _, row in found.metadata["structure"]["rows"]] == [2, 4]
    assert warnings[1].startswith("1 of 4 rows are left out: row 3 is field larger")


def test_a_table_in_another_encoding_than_its_beginning() -> None:
    data = b"a\n" + b"plain\n" * 190_000 + "größer\n".encode("cp1252")
    assert read("a.csv", data)[-1].page_content.endswith("a: größer")


def test_a_header_says_what_stands_twice_and_nowhere() -> None:
    found = read("a.csv", "a,a,,b\n1,2,3,4,5\n")[0]
    assert found.page_content == "a: 1\na (2): 2\nb: 4\n3, 5"
    assert io.StringIO(found.page_content).readline() == "a: 1\n"
