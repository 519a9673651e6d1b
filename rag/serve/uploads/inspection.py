"""Inspecting an uploaded file before it is ingested, in a process of its own with limits.

A file may be made to crash a parser or to unpack without end. What passes is read again by the
ingest, which then needs no more than the inspection did.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path

from rag.errors import LoadError

BINARY = (
    b"\x7fELF", b"MZ", b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"\x1f\x8b", b"Rar!", b"7z\xbc\xaf",
    b"OggS", b"ID3", b"\xca\xfe\xba\xbe",
)  # fmt: skip
"""How files begin that no suffix makes a document."""
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
    from rag.index.readers.content_type import by_name, content_type, signature, signature_of

    if not head:
        return "the file is empty"
    suffix = Path(name).suffix.lower()
    try:
        kind = by_name(name) or content_type(name, head)
    except LoadError as error:
        return error.what
    begins, wanted = signature(head), signature_of(kind)
    if begins != wanted:
        return (
            f"the file is a {begins}, not {suffix}"
            if begins
            else f"the file is no {suffix[1:].upper() or wanted}"
        )
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
    from rag.index.readers.content_type import by_content, by_name
    from rag.index.readers.read import read_here

    with path.open("rb") as file:
        head = file.read(HEAD)
    why = refusal(path.name, head)
    if why:
        raise LoadError(why)
    kind = by_name(path.name)
    if kind == "application/pdf":
        _check_pages(path, pages)
    if head.startswith(b"PK") and by_content(head, path) != kind:
        raise LoadError(f"the file is a ZIP, but no {path.suffix[1:].upper()}")
    found = 0
    for document in read_here(path, path.name):
        found += len(document.page_content)
        if found > text:
            raise LoadError(f"more than {text:,} characters of text, which is the limit")
    return found


def _check_pages(path: Path, pages: int) -> None:
    import pypdfium2

    try:
        count = len(pypdfium2.PdfDocument(path))
    except pypdfium2.PdfiumError:
        return  # the reader says what is wrong with it
    if count > pages:
        raise LoadError(f"{count} pages, the limit is {pages}")


async def inspect_apart(path: Path, limits: Limits) -> None:
    """Inspect a file in a process of its own.

    Raises:
        LoadError: It cannot be read within the limits.
    """
    numbers = (limits.pages, limits.text, limits.memory, int(limits.seconds))
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "rag.serve.uploads.inspection", str(path), *map(str, numbers),
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
