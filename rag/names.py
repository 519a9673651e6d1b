"""Names that somebody misspelt: the nearest known one, in one wording everywhere."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name most like `name`; None if none is."""
    found = difflib.get_close_matches(str(name), [str(one) for one in known], n=1, cutoff=0.5)
    return found[0] if found else None


def suggestion(name: str, known: Iterable[str], *, label: str = "known") -> str:
    """A fix for an unknown name: `did you mean 'query'? known: documents, query`."""
    listed = sorted({str(one) for one in known})
    near = nearest(name, listed)
    return (f"did you mean {near!r}? " if near else "") + f"{label}: {', '.join(listed) or 'none'}"
