"""Reading an uploaded file in a process of its own, within bounds: `python -m rag.serve.inspect`.

A file may be made to crash a parser or to unpack without end. What comes through here is read
again by the ingest, which then needs no more than it did here.
"""

from __future__ import annotations

import json
import resource
import sys
import zipfile
from pathlib import Path

from rag.errors import LoadError

PDF, ZIP = b"%PDF-", b"PK\x03\x04"
BINARY = (
    b"\x7fELF", b"MZ", b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"\x1f\x8b", b"Rar!", b"7z\xbc\xaf",
    b"\xd0\xcf\x11\xe0", b"OggS", b"ID3", b"\xca\xfe\xba\xbe",
)  # fmt: skip
"""How files begin that no ending makes a text."""
HEAD = 1024


def refusal(name: str, head: bytes) -> str | None:
    """Why a file cannot be what its name says, told by how it begins; None if it can.

    Args:
        name: The file's name.
        head: Its first kilobyte, or all.
    """
    from rag.index.readers.load import loadable

    ending = Path(name).suffix.lower()
    if not loadable(Path(name)):
        return f"unknown file type {ending or '(no ending)'}"
    if not head:
        return "the file is empty"
    if (ending == ".pdf") != (PDF in head):
        return "the file is no PDF" if ending == ".pdf" else f"the file is a PDF, not {ending}"
    if (ending == ".docx") != head.startswith(ZIP):
        return "the file is no DOCX" if ending == ".docx" else f"the file is a ZIP, not {ending}"
    if head.startswith(BINARY):
        return f"the file is no {ending}"
    return None


def inspect(path: Path, *, pages: int, text: int) -> int:
    """Read a file as the ingest will; returns the characters of its text.

    Args:
        path: The file.
        pages: A PDF may have so many.
        text: So many characters may be in it.

    Raises:
        LoadError: It cannot be read, is not what its name says, or holds too much.
    """
    from rag.index.readers.load import load

    data = path.read_bytes()
    why = refusal(path.name, data[:HEAD])
    if why:
        raise LoadError(why)
    if path.suffix.lower() == ".pdf":
        import pypdfium2

        try:
            count = len(pypdfium2.PdfDocument(data))
        except pypdfium2.PdfiumError:
            count = 0  # the loader says what is wrong with it
        if count > pages:
            raise LoadError(f"{count} pages, the limit is {pages}")
    if path.suffix.lower() == ".docx":
        _is_docx(path)
    found = sum(len(document.page_content) for document in load(path, data, path.name))
    if found > text:
        raise LoadError(f"{found:,} characters of text, the limit is {text:,}")
    return found


def _is_docx(path: Path) -> None:
    from rag.index.readers.formats import UNPACKED_BYTES

    try:
        with zipfile.ZipFile(path) as parts:
            names = {part.filename for part in parts.infolist()}
            unpacked = sum(part.file_size for part in parts.infolist())
    except zipfile.BadZipFile as error:
        raise LoadError("the file is no DOCX") from error
    if "word/document.xml" not in names:
        raise LoadError("the file is a ZIP, but no DOCX")
    if unpacked > UNPACKED_BYTES:
        raise LoadError(f"it unpacks to more than {UNPACKED_BYTES // 2**20} MB")


def main() -> None:
    """Inspect the file that the first argument names; the answer is one line of JSON."""
    path, pages, text, memory, seconds = Path(sys.argv[1]), *map(int, sys.argv[2:])
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    try:
        answer: dict[str, object] = {"characters": inspect(path, pages=pages, text=text)}
    except LoadError as error:
        answer = {"reason": error.what}
    except (MemoryError, RecursionError):
        answer = {"reason": "reading it takes too much memory"}
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
