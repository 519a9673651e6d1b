"""Files that could not be read, so that they are not read again before they change.

Without this, one broken file among ten thousand unchanged ones would have every ingest open the
embedder. The note is of this machine, beside what else is computed from the index; losing it
costs reading the files once more.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from rag import __version__
from rag.files import write_atomically
from rag.index.readers.discover import FileRef

FILE = "unread.json"


@dataclass(frozen=True)
class Unread:
    """A file that could not be read.

    Attributes:
        size: Bytes.
        mtime_ns: Time of its last change, nanoseconds since the epoch.
        reason: Why.
    """

    size: int
    mtime_ns: int
    reason: str

    def is_of(self, file: FileRef) -> bool:
        """Whether the file is as it was."""
        return (self.size, self.mtime_ns) == (file.size, file.mtime_ns)


def load_unread(folder: Path) -> dict[str, Unread]:
    """The files that could not be read, by their names in the index.

    Args:
        folder: `Index.folder`.

    Returns:
        Nothing where there is no note, or one of another version or set of readers.
    """
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
        found = json.loads((folder / FILE).read_bytes())
        if found["readers"] == _readers():
            return {uri: Unread(*known) for uri, known in found["files"].items()}
    return {}


def save_unread(folder: Path, files: Mapping[str, Unread]) -> None:
    """Replace the note; where it cannot be written, there is none."""
    known = {uri: [one.size, one.mtime_ns, one.reason] for uri, one in sorted(files.items())}
    with contextlib.suppress(OSError):
        if not known:
            (folder / FILE).unlink(missing_ok=True)
            return
        write_atomically(folder / FILE, json.dumps({"readers": _readers(), "files": known}))


def _readers() -> str:
    """Changes when files may be read that could not be before."""
    from rag.index.readers.registry import readers

    kinds = sorted({*readers(), *(["ocr"] if find_spec("rapidocr") else [])})
    return " ".join([__version__, *kinds])
