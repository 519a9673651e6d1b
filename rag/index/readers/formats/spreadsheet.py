"""Spreadsheets: Excel's and OpenDocument's."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from typing import Any, ClassVar

from langchain_core.documents import Document

from rag.errors import LoadError
from rag.index.readers.file import File
from rag.index.readers.packed import unpacked
from rag.index.readers.reader import Reader, Types
from rag.index.readers.tables import header, record_documents, row_of


class SpreadsheetReader(Reader):
    """Spreadsheets: a paragraph for each row, under the name of its sheet."""

    types: ClassVar[Types] = {
        "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": (
            ".xlsx",
            ".xlsm",
            ".xltx",
        ),
        "application/vnd.ms-excel": (".xls",),
        "application/vnd.ms-excel.sheet.binary.macroEnabled.12": (".xlsb",),
        "application/vnd.oasis.opendocument.spreadsheet": (".ods", ".ots"),
    }

    def read(self, file: File) -> Iterable[Document]:
        """The rows of all sheets; values as they are shown, without formulas."""
        from python_calamine import CalamineWorkbook, PasswordError

        data = file.data()
        if zipfile.is_zipfile(io.BytesIO(data)):
            unpacked(data)
        try:
            book = CalamineWorkbook.from_filelike(io.BytesIO(data))
        except PasswordError as error:
            raise LoadError("it is encrypted") from error
        return record_documents(_rows(book))


def _rows(book: Any) -> Iterator[tuple[int, str, Mapping[str, Any]]]:
    for name in book.sheet_names:
        sheet = book.get_sheet_by_name(name)
        if sheet.start is None:  # empty, or a chart
            continue
        first = sheet.start[0] + 1
        rows = (
            (number, list(map(_value, cells)))
            for number, cells in enumerate(sheet.iter_rows(), first)
        )
        filled = ((number, values) for number, values in rows if any(values))
        number, head = next(filled, (0, []))
        names = header(head)
        second = next(filled, None)
        if second is None:  # a row without others is no head
            yield number, name, row_of([], head)
            continue
        for number, values in chain([second], filled):
            yield number, name, row_of(names, values)


def _value(cell: Any) -> str:
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    return str(cell)
