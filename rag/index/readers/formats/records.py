"""Tables and records as text, of any size: CSV, TSV, JSON Lines."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, ClassVar

from langchain_core.documents import Document

from rag.errors import LoadError
from rag.index.readers.file import File
from rag.index.readers.lines import lines_of
from rag.index.readers.reader import Reader, Types
from rag.index.readers.tables import header, record_documents, row_of

Record = tuple[int, str, Mapping[str, Any]]


class CsvReader(Reader):
    """CSV and TSV: a paragraph per row; rows are numbered as in a spreadsheet, the head is 1."""

    types: ClassVar[Types] = {"text/csv": (".csv",), "text/tab-separated-values": (".tsv",)}
    apart = False
    max_bytes = None

    def read(self, file: File) -> Iterable[Document]:
        """The rows, in parts where there are many; a row that cannot be read is left out."""
        return record_documents(_rows(file))


class JsonLinesReader(Reader):
    """JSON Lines: a paragraph per record; its row is the number of its line."""

    types: ClassVar[Types] = {"application/jsonl": (".jsonl", ".ndjson")}
    apart = False
    max_bytes = None

    def read(self, file: File) -> Iterable[Document]:
        """The records, in parts where there are many; a line that is not JSON is left out."""
        return record_documents(_records(file))


def _rows(file: File) -> Iterator[Record]:
    bad = _Bad("row")

    def lines() -> Iterator[str]:
        for number, line in lines_of(file):
            if line is None:
                bad.add(number, "too long")
            else:
                yield line

    source = lines()
    first = next(source, "")
    delimiter = max(",;\t|", key=first.count)

    def all_lines() -> Iterator[str]:
        yield first
        yield from source

    rows = csv.reader(all_lines(), delimiter=delimiter)
    names: list[str] | None = None
    number = 0
    while True:
        number += 1
        try:
            cells = next(rows, None)
        except csv.Error as error:
            bad.add(number, str(error))
            continue
        if cells is None:
            break
        if names is None:
            names = header(cells)
        else:
            yield number, "", row_of(names, cells)
    bad.tell(file, number - 1)


def _records(file: File) -> Iterator[Record]:
    bad = _Bad("line")
    number = 0
    for number, line in lines_of(file):
        if line is None:
            bad.add(number, "too long")
        elif line.strip():
            try:
                found = json.loads(line)
            except json.JSONDecodeError as error:
                bad.add(number, f"not JSON: {error.msg}")
            except RecursionError:
                bad.add(number, "nested too deeply")
            else:
                yield number, "", found if isinstance(found, dict) else {"value": found}
    bad.tell(file, number)


class _Bad:
    """What could not be read of a file: how many, and the first of them."""

    def __init__(self, unit: str) -> None:
        self._unit, self._count = unit, 0
        self._first = ""

    def add(self, number: int, why: str) -> None:
        self._count += 1
        self._first = self._first or f"{self._unit} {number} is {why}"

    def tell(self, file: File, total: int) -> None:
        """Warn of them.

        Raises:
            LoadError: It was all.
        """
        if not self._count:
            return
        if self._count >= total:
            raise LoadError(f"none of its {self._unit}s can be read: {self._first}")
        many = f"{self._count} of {total} {self._unit}s are left out"
        file.warn(f"{many}: {self._first}")
