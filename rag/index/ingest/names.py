"""What files are called in an index: relative to a root, so that they may move with it."""

from __future__ import annotations

import re
from pathlib import Path

from rag.index.readers.discover import FileRef
from rag.text.surrogates import escape_surrogates

PART = "#row="
"""What stands in the name of a part of a large table before its first row (as in RFC 7111)."""

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:")


def uri_of(path: Path, root: Path | None = None) -> str:
    """A file's name in the index; bytes that are no UTF-8 are escaped.

    Args:
        path: Absolute.
        root: The folder that it is named relative to; outside of it, and without one, names are
            absolute.
    """
    name = path.as_posix()
    if root is not None:
        name = name.removeprefix(f"{root.as_posix().rstrip('/')}/")
    return escape_surrogates(name)


def name_of(file: FileRef, root: Path | None = None) -> str:
    """What a file is called in the index: as `uri_of`, or by its URL on another file system."""
    return escape_surrogates(file.url) if file.url else uri_of(file.path, root)


def path_of(uri: str, root: Path | None = None) -> Path | None:
    """The file that a source, or a part of one, comes from; None: it is no file's name.

    Args:
        uri: The source.
        root: As for `uri_of`; None: only absolute names are files'.
    """
    whole = whole_uri(uri)
    if whole.startswith("/") or Path(whole).is_absolute():
        return Path(whole)
    return None if root is None or _SCHEME.match(whole) else root / whole


def renamed(uri: str, root: Path | None) -> str:
    """The name of a source as `uri_of` gives it, where it is a file's absolute path."""
    absolute = root is not None and (uri.startswith("/") or Path(uri).is_absolute())
    return uri_of(Path(uri), root) if absolute else uri


def part_uri(uri: str, part: str) -> str:
    """The name of a part of a file in the index.

    Args:
        uri: Of the file.
        part: As readers name it: `row=4001`.
    """
    return f"{uri}#{part}"


def whole_uri(uri: str) -> str:
    """The name of the file that a source is, or is a part of."""
    before, mark, row = uri.rpartition(PART)
    return before if mark and row.isdecimal() else uri


def is_part(uri: str) -> bool:
    """Whether a source is a part of a file, and not the first."""
    return whole_uri(uri) != uri
