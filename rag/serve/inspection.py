"""Inspecting an uploaded file before it is ingested, in a process of its own with limits.

A file may be made to crash a parser or to unpack without end. What passes is read again by the
ingest, which then needs no more than the inspection did.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

from rag.errors import LoadError

PDF, ZIP = b"%PDF-", b"PK\x03\x04"
BINARY = (
    b"\x7fELF", b"MZ", b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"\x1f\x8b", b"Rar!", b"7z\xbc\xaf",
    b"\xd0\xcf\x11\xe0", b"OggS", b"ID3", b"\xca\xfe\xba\xbe",
)  # fmt: skip
"""How files begin that no suffix makes a text."""
HEAD = 1024
"""Bytes that `refusal` looks at."""


@dataclass(frozen=True)
class Limits:
    """What a file may hold, and what reading it may take.

    Args:
        pages: Pages of a PDF.
        text: Characters of text.
        memory: Bytes of address space.
        seconds: Seconds of processor time; twice as many may pass.
    """

    pages: int
    text: int
    memory: int
    seconds: float


def refusal(name: str, head: bytes) -> str | None:
    """Why a file cannot be what its name says, by how it begins; None if it can.

    Args:
        name: The file's name.
        head: Its first kilobyte, or all.
    """
    from rag.index.readers.load import loadable

    suffix = Path(name).suffix.lower()
    if not loadable(Path(name)):
        return f"unknown file type {suffix or '(no suffix)'}"
    if not head:
        return "the file is empty"
    if (suffix == ".pdf") != (PDF in head):
        return "the file is no PDF" if suffix == ".pdf" else f"the file is a PDF, not {suffix}"
    if (suffix == ".docx") != head.startswith(ZIP):
        return "the file is no DOCX" if suffix == ".docx" else f"the file is a ZIP, not {suffix}"
    if head.startswith(BINARY):
        return f"the file is no {suffix}"
    return None


def inspect(path: Path, *, pages: int, text: int) -> int:
    """Read a file as the ingest will; returns the characters of its text.

    Args:
        path: The file.
        pages: Pages of a PDF at most.
        text: Characters of text at most.

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
        _check_docx(path)
    found = sum(len(document.page_content) for document in load(path, data, path.name))
    if found > text:
        raise LoadError(f"{found:,} characters of text, the limit is {text:,}")
    return found


def _check_docx(path: Path) -> None:
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


async def inspect_apart(path: Path, limits: Limits) -> None:
    """Inspect a file in a process of its own.

    Raises:
        LoadError: It cannot be read within the limits.
    """
    numbers = (limits.pages, limits.text, limits.memory, int(limits.seconds))
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "rag.serve.inspection", str(path), *map(str, numbers),
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL, env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
    )  # fmt: skip
    try:
        async with asyncio.timeout(limits.seconds * 2):
            out, _ = await process.communicate()
    except TimeoutError:
        out = b""
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    try:
        answer = json.loads(out)
    except ValueError:
        answer = {"reason": "reading it takes too long or too much memory"}
    if "reason" in answer:
        raise LoadError(answer["reason"])


def limit_this_process(memory: int, seconds: int) -> bool:
    """Limit address space, processor time and written bytes of this process.

    Returns:
        False where the system knows no such limits (Windows): the caller's own timeout and the
        checks of `inspect` are all there is.
    """
    try:
        import resource
    except ImportError:
        return False
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    return True


def main() -> None:
    """Inspect the file that the first argument names; the answer is one line of JSON."""
    path, pages, text, memory, seconds = Path(sys.argv[1]), *map(int, sys.argv[2:])
    limit_this_process(memory, seconds)
    try:
        answer: dict[str, object] = {"characters": inspect(path, pages=pages, text=text)}
    except LoadError as error:
        answer = {"reason": error.what}
    except (MemoryError, RecursionError):
        answer = {"reason": "reading it takes too much memory"}
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
