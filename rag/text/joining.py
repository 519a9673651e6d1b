"""Chunks of one document put together to its text again."""

from __future__ import annotations

from collections.abc import Sequence

from rag.text.chunk import Chunk


def joined(chunks: Sequence[Chunk]) -> tuple[str, list[tuple[int, int]]]:
    """The text that chunks were cut from, and where each of them stands in it.

    What two chunks share by their offsets appears once; text between chunks that no chunk holds
    is a space, or a blank line where more than one character is missing.

    Args:
        chunks: Of one document, in the order of the text; they may overlap, and be on several
            pages.

    Returns:
        The text, and first character and end of each chunk in it.
    """
    text, end, page = "", None, None
    spans: list[tuple[int, int]] = []
    for chunk in chunks:
        if chunk.page != page:
            end, page = None, chunk.page
        start = chunk.start
        if start is not None and end is not None and start < end:
            shared = min(end - start, len(chunk.text))
            first = len(text) - (end - start)
            text += chunk.text[shared:]
        else:
            close = start is not None and end is not None and start - end <= 1
            text += (" " if close else "\n\n") if text else ""
            first = len(text)
            text += chunk.text
        spans.append((first, first + len(chunk.text)))
        end = max((at for at in (end, chunk.end) if at is not None), default=None)
    return text, spans
