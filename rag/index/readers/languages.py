"""Which programming language a file is in, by name and first line."""

from __future__ import annotations

import io
from functools import lru_cache
from pathlib import PurePath

from rag.text.code import LANGUAGES

_NAMES = {
    "c++": "cpp", "c#": "csharp", "javascript": "js", "jsx": "js", "tsx": "ts", "shell": "bash",
    "sh": "bash", "zsh": "bash", "objective-c": "c", "python3": "python",
    "python2": "python", "node": "js", "pyi": "python",
}  # fmt: skip
"""Names of the library where ours differ."""
_PROSE = frozenset("plain-text asciidoc tex bib pofile icalendar".split())  # noqa: SIM905
_GENERIC = frozenset("text binary image".split())  # noqa: SIM905
_SECRET = frozenset("pem dotenv".split())  # noqa: SIM905
"""Keys and passwords."""


def tags_of(name: str) -> frozenset[str]:
    """What the library `identify` knows of a file of this name; empty: nothing."""
    from identify.identify import tags_from_filename

    return frozenset(tags_from_filename(PurePath(name).name))


def is_source(tags: frozenset[str]) -> bool:
    """Whether these are the tags of source code, or of data and settings as text."""
    return "text" in tags and not tags & (_PROSE | _SECRET)


def is_prose(tags: frozenset[str]) -> bool:
    """Whether these are the tags of text for people."""
    return "text" in tags and bool(tags & _PROSE)


def may_be_secret(tags: frozenset[str]) -> bool:
    """Whether these are the tags of keys or passwords."""
    return bool(tags & _SECRET)


@lru_cache(1024)
def language_of(name: str, head: str) -> str:
    """The language of source code, such as `python`; "text" where it is not known.

    Args:
        name: Of the file.
        head: Its first line, or more.
    """
    tags = tags_of(name) or interpreter(head)
    names = sorted(_NAMES.get(tag, tag) for tag in tags - _GENERIC)
    return next((name for name in names if name in LANGUAGES), names[0] if names else "text")


def interpreter(head: str) -> frozenset[str]:
    """Tags of the program that a first line `#!/bin/...` names; empty without one."""
    from identify.identify import parse_shebang, tags_from_interpreter

    if not head.startswith("#!"):
        return frozenset()
    line = head.partition("\n")[0][:200]
    command = parse_shebang(io.BytesIO(line.encode()))
    return frozenset(tags_from_interpreter(command[0])) if command else frozenset()
